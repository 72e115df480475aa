"""Both stores against a plain dict, over all fields and over random histories."""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from prism.cache.errors import CacheConfigurationError, StoreError
from prism.cache.store import MemoryStore, Record, SQLiteStore, Store
from prism.cache.store.conformance import Follower, make_record

TENANTS = (b"", b"tenant a", b"tenant \0 b")
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)
tokens = st.none() | st.integers(-(2**63), 2**63 - 1)
seconds = st.floats(allow_nan=False) | st.integers(-(2**53), 2**53)
records = st.builds(
    Record,
    key=st.binary(max_size=32),
    scope=st.binary(max_size=16),
    question=texts,
    embedder=texts,
    vector=st.binary(max_size=64),
    answer=st.binary(max_size=6000),
    encoding=texts,
    model=texts,
    input_tokens=tokens,
    output_tokens=tokens,
    cached_tokens=tokens,
    call_s=seconds,
    created_at=seconds,
    expires_at=st.none() | seconds,
    tags=st.lists(texts, max_size=3).map(tuple),
)


@pytest.fixture(scope="module")
def shared_file(tmp_path_factory):
    with SQLiteStore(tmp_path_factory.mktemp("store") / "answers.db") as store:
        yield store


@given(record=records, tenant=st.binary(max_size=40))
def test_sqlite_gives_back_an_equal_record(shared_file, record, tenant):
    position = shared_file.changes(tenant, 0).position
    shared_file.put(tenant, record)
    assert shared_file.changes(tenant, position).stored == (record,)


@pytest.mark.parametrize(
    "fields",
    [
        {"input_tokens": 2**63},
        {"output_tokens": -(2**63) - 1},
        {"call_s": float("nan")},
        {"created_at": 10**400},
        {"expires_at": float("nan")},
        {"expires_at": 2**53 + 1},
        {"question": "secret \udc00"},
        {"tags": ("fine", "secret \ud800")},
    ],
)
def test_sqlite_refuses_what_it_cannot_hold(shared_file, fields):
    shared_file.put(b"refusals", make_record(1, b"old"))
    before = shared_file.changes(b"refusals", 0)
    with pytest.raises(StoreError, match=next(iter(fields))) as caught:
        shared_file.put(b"refusals", make_record(1, b"new", **fields))
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert shared_file.changes(b"refusals", 0) == before


@pytest.mark.parametrize("make", [MemoryStore, lambda **kwargs: SQLiteStore("unused.db", **kwargs)])
def test_settings_are_validated(make):
    with pytest.raises(CacheConfigurationError, match="remembered_changes"):
        make(remembered_changes=0)


@pytest.mark.parametrize(
    ("path", "settings", "named"),
    [
        ("", {}, "path"),
        (":memory:", {}, "MemoryStore"),
        ("a\0b", {}, "path"),
        ("unused.db", {"busy_timeout_s": -1}, "busy_timeout_s"),
        ("unused.db", {"busy_timeout_s": float("nan")}, "busy_timeout_s"),
        ("unused.db", {"durability": "none"}, "durability"),
    ],
)
def test_sqlite_settings_are_validated(path, settings, named):
    with pytest.raises(CacheConfigurationError, match=named):
        SQLiteStore(path, **settings)


class StoreModel(RuleBasedStateMachine):
    """Puts, deletes and followers that read now and then; the dicts say what must be there."""

    store: Store

    def make_store(self) -> Store:
        return MemoryStore(remembered_changes=10)

    @initialize()
    def open(self):
        self.store = self.make_store()
        self.truth: dict[bytes, dict[bytes, Record]] = {tenant: {} for tenant in TENANTS}
        self.followers = [Follower(tenant) for tenant in TENANTS for _ in range(2)]
        self.position = 0

    @rule(tenant=st.sampled_from(TENANTS), number=st.integers(0, 5), answer=st.binary(max_size=9))
    def put(self, tenant, number, answer):
        record = make_record(number, answer)
        position = self.store.put(tenant, record)
        assert position > self.position
        self.position = position
        self.truth[tenant].pop(record.key, None)
        self.truth[tenant][record.key] = record

    @rule(tenant=st.sampled_from(TENANTS), numbers=st.lists(st.integers(0, 5), max_size=4))
    def delete(self, tenant, numbers):
        keys = [make_record(number).key for number in numbers]
        there = sum(self.truth[tenant].pop(key, None) is not None for key in dict.fromkeys(keys))
        assert self.store.delete(tenant, keys) == there

    @rule(which=st.integers(0, 2 * len(TENANTS) - 1))
    def follow(self, which):
        follower = self.followers[which]
        before = follower.position
        might_have = self.store.has_changed(before)
        changes = follower.follow(self.store)
        assert might_have or not (changes.stored or changes.deleted)
        assert follower.records == self.truth[follower.tenant]
        assert not self.store.has_changed(follower.position)
        self.position = max(self.position, changes.position)

    @invariant()
    def order_is_that_of_the_puts(self):
        for tenant, expected in self.truth.items():
            assert self.store.changes(tenant, 0).stored == tuple(expected.values())

    def teardown(self):
        if hasattr(self, "store"):
            self.store.close()


class SQLiteModel(StoreModel):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()

    def make_store(self) -> Store:
        return SQLiteStore(Path(self.folder.name) / "answers.db", remembered_changes=10)

    @precondition(lambda self: hasattr(self, "store"))
    @rule()
    def reopen(self):
        self.store.close()
        self.store = self.make_store()

    @rule(tenant=st.sampled_from(TENANTS), number=st.integers(0, 5))
    def put_by_another(self, tenant, number):
        record = make_record(number, b"another")
        with closing(self.make_store()) as other:
            self.position = other.put(tenant, record)
        self.truth[tenant].pop(record.key, None)
        self.truth[tenant][record.key] = record

    def teardown(self):
        super().teardown()
        self.folder.cleanup()


TestMemoryModel = StoreModel.TestCase
TestMemoryModel.settings = settings(max_examples=60, stateful_step_count=40)
TestSQLiteModel = SQLiteModel.TestCase
TestSQLiteModel.settings = settings(max_examples=25, stateful_step_count=25)
