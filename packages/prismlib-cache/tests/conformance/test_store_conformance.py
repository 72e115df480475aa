from __future__ import annotations

import os
import subprocess
import sys

import pytest

from prism.cache.store import Changes, MemoryStore, Record, SQLiteStore, Store
from prism.cache.store.conformance import StoreConformance


class TestMemoryStore(StoreConformance):
    remembered_changes = 50

    def make_store(self) -> Store:
        return MemoryStore(remembered_changes=50)


class TestSQLiteStore(StoreConformance):
    remembered_changes = 50
    is_shared = True

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path):
        self.path = tmp_path / "answers.db"

    def make_store(self) -> Store:
        return SQLiteStore(self.path, remembered_changes=50)

    reopen_store = make_store


class TestDurableSQLiteStore(TestSQLiteStore):
    def make_store(self) -> Store:
        return SQLiteStore(self.path, remembered_changes=50, durability="power")

    reopen_store = make_store


class Lossy(MemoryStore):
    def put(self, tenant: bytes, record: Record) -> int:
        position = super().put(tenant, record)
        if record.tags:
            super().delete(tenant, [record.key])
        return position


class ForgetsDeletions(MemoryStore):
    def changes(self, tenant: bytes, since: int) -> Changes:
        found = super().changes(tenant, since)
        return Changes(position=found.position, stored=found.stored, deleted=())


class MixesTenants(MemoryStore):
    def put(self, tenant: bytes, record: Record) -> int:
        return super().put(b"", record)

    def changes(self, tenant: bytes, since: int) -> Changes:
        return super().changes(b"", since)


class NoticesOnce(MemoryStore):
    seen = 0

    def has_changed(self, since: int) -> bool:
        before, self.seen = self.seen, self._position
        return before != self._position


class NeverResets(MemoryStore):
    def changes(self, tenant: bytes, since: int) -> Changes:
        found = super().changes(tenant, max(since, self._horizon))
        return Changes(position=found.position, stored=found.stored, deleted=found.deleted)


class AnswersClosed(MemoryStore):
    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    "wrong",
    [Lossy, ForgetsDeletions, MixesTenants, NoticesOnce, NeverResets, AnswersClosed],
)
def test_suite_finds_a_wrong_store(wrong):
    class Suite(StoreConformance):
        remembered_changes = 50

        def make_store(self) -> Store:
            return wrong(remembered_changes=50)

    report = Suite.check()
    assert not report.is_conformant
    assert report.passed


def test_report_names_what_was_not_applicable():
    class Suite(StoreConformance):
        def make_store(self) -> Store:
            return MemoryStore()

    report = Suite.check()
    assert report.is_conformant
    assert set(report.not_applicable) == {
        "test_outlives_its_object",
        "test_resets_whoever_missed_a_forgotten_deletion",
        "test_shows_each_others_changes",
    }
    assert (
        report.not_applicable["test_shows_each_others_changes"] == "not shared: is_shared is false"
    )


def test_suite_needs_no_pytest():
    program = "import sys, prism.cache.store.conformance; assert 'pytest' not in sys.modules"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=60)
