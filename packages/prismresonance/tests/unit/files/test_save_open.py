"""Any life of an index with saves and opens in it, against a dictionary; and what is refused."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from crash_folder import CrashFolder
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

import prismresonance._arranger as arranger_module
import prismresonance._files.content as content_module
import prismresonance._files.folder as folder_module
import prismresonance._table as table_module
from prismresonance import (
    IndexBusyError,
    IndexDamagedError,
    IndexFileError,
    PrismProjector,
    UnsavablePayloadError,
    WaveIndex,
)
from prismresonance._files.folder import DiskFolder

WIDTH = 12
PROJECTOR = PrismProjector(dim=8, tenant_id="t")
FIELDS = ("scope", "number")
TOLERANCE = 3e-4  # of rows as words
QUERY = np.linspace(-1.0, 2.0, WIDTH)

payloads = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "scope": st.sampled_from(["a", "b", None]),
        "number": st.sampled_from([0, 1, 2.5, "seven"]),
        "text": st.sampled_from(["x", ["a", {"list": 1}], "\ud800"]),
    },
)
ids = st.one_of(
    st.integers(-3, 40),
    st.sampled_from(["r", "s", "", "\udfff", 2**63, -(2**63), 10**30]),
)
seeds = st.integers(0, 2**32 - 1)


def seen(index: WaveIndex) -> dict:
    matches = index.query(QUERY, 10_000, exact=True)
    assert len(matches) == len(index)
    return {match.id: (match.score, match.payload) for match in matches}


def settled(index: WaveIndex) -> None:
    deadline = time.monotonic() + 60
    while index._arranger.busy:
        assert time.monotonic() < deadline, "arranging did not end in time"
        time.sleep(0.0001)


class SavedMachine(RuleBasedStateMachine):
    """One index and its folder; `rows` is what the index holds, `saved` what the folder does."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.folder = CrashFolder()
        self.folder.install(self.patch)
        self.index = WaveIndex(PROJECTOR, indexed_fields=FIELDS)
        self.rows: dict = {}
        self.next_id = 0
        self.save()

    def teardown(self) -> None:
        self.patch.undo()

    def _store(self, row_id, vector, payload) -> None:
        self.rows.pop(row_id, None)
        self.rows[row_id] = (vector / np.linalg.norm(vector), payload or {})
        if isinstance(row_id, int):
            self.next_id = max(self.next_id, row_id + 1)

    @rule(seed=seeds, payload=payloads)
    def add(self, seed, payload):
        vector = np.random.default_rng(seed).standard_normal(WIDTH)
        row_id = self.index.add(vector, payload)
        assert row_id == self.next_id
        self._store(row_id, vector, payload)

    @rule(seed=seeds, count=st.integers(1, 40))
    def add_many(self, seed, count):
        vectors = np.random.default_rng(seed).standard_normal((count, WIDTH))
        for row_id, vector in zip(self.index.add_many(vectors), vectors, strict=True):
            self._store(row_id, vector, None)

    @rule(seed=seeds, batch=st.dictionaries(ids, payloads, max_size=10))
    def upsert_many(self, seed, batch):
        vectors = np.random.default_rng(seed).standard_normal((len(batch), WIDTH))
        given = [payload or {} for payload in batch.values()]
        known = len(set(batch) & set(self.rows))
        assert self.index.upsert_many(vectors, given, list(batch)) == known
        for row_id, vector, payload in zip(batch, vectors, given, strict=True):
            self._store(row_id, vector, payload)

    @rule(row_id=ids)
    def remove(self, row_id):
        assert self.index.remove(row_id) is (self.rows.pop(row_id, None) is not None)

    @rule(keep=st.integers(0, 5))
    def remove_most(self, keep):
        gone = [row_id for place, row_id in enumerate(self.rows) if place % 6 >= keep]
        assert self.index.remove_many(gone) == len(gone)
        for row_id in gone:
            del self.rows[row_id]

    @rule()
    def compact(self):
        self.index.compact()

    @rule()
    def arrange(self):
        self.index._arranger.want()
        settled(self.index)

    @rule()
    def save(self):
        self.index.save("folder")
        self.saved = dict(self.rows), self.next_id
        assert seen(WaveIndex.open("folder", verify=True)) == seen(self.index)

    @rule()
    def open(self):
        """As after the end of the process: what was not saved is gone."""
        self.index = WaveIndex.open("folder")
        self.rows, self.next_id = dict(self.saved[0]), self.saved[1]

    @rule(seed=seeds)
    def save_elsewhere(self, seed):
        other = CrashFolder()
        other.install(self.patch)
        self.index.save(f"other {seed}")
        assert seen(WaveIndex.open("other", verify=True)) == seen(self.index)
        self.folder.install(self.patch)

    @rule(scope=st.sampled_from(["a", None]), number=st.sampled_from([1, "seven"]))
    def filter(self, scope, number):
        where = {"scope": scope, "number": [0, number]}
        found = {match.id for match in self.index.query(QUERY, 10_000, where=where)}
        assert found == {
            row_id
            for row_id, (_, payload) in self.rows.items()
            if payload.get("scope", "none") == scope and payload.get("number", -1) in (0, number)
        }

    @rule(row_id=ids)
    def get(self, row_id):
        record = self.index.get(row_id)
        assert (record is not None) is (row_id in self.index) is (row_id in self.rows)
        if record is not None:
            np.testing.assert_allclose(record.vector, self.rows[row_id][0], atol=TOLERANCE)
            assert record.payload == self.rows[row_id][1]

    @invariant()
    def holds_the_rows(self):
        found = seen(self.index)
        assert set(found) == set(self.rows)
        direction = QUERY / np.linalg.norm(QUERY)
        for row_id, (score, payload) in found.items():
            assert payload == self.rows[row_id][1]
            assert score == pytest.approx(self.rows[row_id][0] @ direction, abs=TOLERANCE)


class TestSaved(SavedMachine.TestCase):
    settings = settings(max_examples=50, stateful_step_count=25, deadline=None)


class TestSavedInSmallParts(SavedMachine.TestCase):
    """The same with chunks and parts of a few rows, and the projected space from 40 rows on."""

    settings = settings(max_examples=70, stateful_step_count=25, deadline=None)

    def setUp(self) -> None:
        self.patch = pytest.MonkeyPatch()
        self.addCleanup(self.patch.undo)
        small_parts(self.patch)


def small_parts(patch: pytest.MonkeyPatch) -> None:
    """Make chunks and files of a few rows, and cells from 60 rows on."""
    patch.setattr(table_module, "_FIRST_CAPACITY", 2)
    patch.setattr(table_module, "_CHUNK_BYTES", 8 * 4 * (WIDTH + 8))
    patch.setattr(table_module, "_COPY_BYTES", 4 * 4 * (WIDTH + 8))
    patch.setattr(table_module, "_DEAD_ROWS", 1)
    patch.setattr(table_module, "FULL_SCAN_ELEMENTS", 40 * WIDTH)
    patch.setattr(content_module, "PART_BYTES", 16 * 3 * WIDTH)
    patch.setattr(arranger_module, "ARRANGE_FROM", 60)
    patch.setattr(arranger_module, "ARRANGED_ROWS", 30)


def test_rows_that_were_dead_when_saved_have_no_length(monkeypatch):
    small_parts(monkeypatch)
    CrashFolder().install(monkeypatch)
    index = WaveIndex(PROJECTOR)
    index.add_many(np.random.default_rng(0).standard_normal((60, WIDTH)))
    index._arranger.want()
    settled(index)
    assert index.stats().cells
    index.remove(0)
    index.save("folder")
    again = WaveIndex.open("folder")
    assert again.stats().cells
    assert seen(again) == seen(index)  # without a warning of 0 / 0


@pytest.mark.usefixtures("only_compiled")
class TestSavedInSmallPartsCompiled(TestSavedInSmallParts):
    """The same by the compiled kernels, which read mapped rows by address."""


def filled(count: int = 200, **settings) -> WaveIndex:
    index = WaveIndex(PROJECTOR, **settings)
    vectors = np.random.default_rng(count).standard_normal((count, WIDTH))
    index.add_many(vectors, [{"n": n} for n in range(count)])
    return index


def rows_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.rows")}


def test_on_disk_only_what_is_new_is_written(tmp_path):
    folder = tmp_path / "a" / "b"
    index = filled()
    index.save(folder)
    first = rows_files(folder)
    assert len(first) == 1
    stamp = (folder / "manifest").stat().st_mtime_ns
    index.save(str(folder))
    assert (folder / "manifest").stat().st_mtime_ns == stamp  # nothing to do: nothing done
    index.add_many(np.random.default_rng(9).standard_normal((3, WIDTH)))
    index.remove_many([0, 7])
    index.save(folder)
    second = rows_files(folder)
    assert len(second) == 2
    assert second.items() > first.items()
    (new,) = set(second) - set(first)
    assert len(second[new]) < 2000
    opened = WaveIndex.open(folder)
    assert seen(opened) == seen(index)
    opened.remove(1)
    opened.save(folder)
    assert rows_files(folder) == second
    assert seen(WaveIndex.open(folder)) == seen(opened)


@pytest.mark.usefixtures("only_compiled")
def test_cells_are_saved_once_they_are_there_and_dead_rows_leave_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(table_module, "FULL_SCAN_ELEMENTS", 0)
    monkeypatch.setattr(table_module, "_CHUNK_BYTES", 300 * 36)
    monkeypatch.setattr(arranger_module, "ARRANGED_ROWS", 900)
    monkeypatch.setattr(arranger_module, "ARRANGE_FROM", 10**9)
    index = WaveIndex(PROJECTOR, indexed_fields=["third"])
    random = np.random.default_rng(0)
    vectors = random.standard_normal((3000, WIDTH))
    payloads = [{"third": n % 3, "text": f"secret {n}."} for n in range(3000)]
    index.add_many(vectors, payloads, [f"id {n}!" if n % 5 == 0 else n for n in range(3000)])
    index.save(tmp_path)
    (before,) = rows_files(tmp_path)
    index.save(tmp_path)
    monkeypatch.setattr(arranger_module, "ARRANGE_FROM", 0)
    index._arranger.want()
    settled(index)
    cells = index.stats().cells
    assert cells > 5
    index.remove_many([7, "id 10!", *range(2001, 2040)])
    index.save(tmp_path)
    (after,) = rows_files(tmp_path)
    assert after != before  # once more, with cells
    content = (tmp_path / after).read_bytes()
    assert b"secret 6." in content
    for gone in (b"secret 7.", b"secret 10.", b"id 10!", b"secret 2006."):
        assert gone not in content
    monkeypatch.setattr(arranger_module, "ARRANGE_FROM", 10**9)
    opened = WaveIndex.open(tmp_path, verify=True)
    assert opened.stats().cells == cells
    for exact in (False, True):
        for where in (None, {"third": 1}, {"third": 1, "text": ["secret 4.", "secret 1000."]}):
            for query in vectors[:5]:
                mine = index.query(query, 50, where=where, exact=exact)
                assert opened.query(query, 50, where=where, exact=exact) == mine
    assert opened.get("id 2995!").payload == payloads[2995]
    assert [row_id in opened for row_id in (7, "id 10!", 11, 2006, "id 2005!")] == [
        False, False, True, False, True,
    ]  # fmt: skip
    index.remove_many(range(100, 300))
    opened.remove_many(range(100, 300))
    opened.upsert(vectors[0], {"third": 1}, id=4)
    index.upsert(vectors[0], {"third": 1}, id=4)
    opened.save(tmp_path)
    assert set(rows_files(tmp_path)) > {after}
    again = WaveIndex.open(tmp_path)
    assert seen(again) == seen(opened) == seen(index)
    again.compact()
    assert seen(again) == seen(index)
    assert again.query(QUERY, 3000, where={"third": 1}) == index.query(
        QUERY, 3000, where={"third": 1}
    )


def test_many_small_saves_leave_few_files(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_module, "_sync", lambda descriptor: None)
    monkeypatch.setattr(folder_module, "_sync_names", lambda path: None)
    index = WaveIndex(PROJECTOR)
    for number in range(300):
        index.add(np.random.default_rng(number).standard_normal(WIDTH))
        index.save(tmp_path)
        if number % 50 == 0:
            index = WaveIndex.open(tmp_path)
    assert len(list(tmp_path.iterdir())) <= 9 + 2
    assert len(index) == 300
    assert WaveIndex.open(tmp_path).stats().chunks <= 9


def test_open_needs_no_projector_and_checks_one(tmp_path):
    filled(indexed_fields=["n"]).save(tmp_path)
    opened = WaveIndex.open(tmp_path)
    assert repr(opened) == repr(filled(indexed_fields=["n"]))
    assert WaveIndex.open(tmp_path, projector=PROJECTOR).projector is PROJECTOR
    for wrong in (PrismProjector(dim=8, tenant_id="u"), PrismProjector(dim=9, tenant_id="t")):
        with pytest.raises(IndexFileError, match="its projector has dim=8 and tenant_id='t'"):
            WaveIndex.open(tmp_path, projector=wrong)


@pytest.mark.parametrize("precision", ["int8", "int16"])
def test_rows_keep_their_precision(tmp_path, precision):
    index = filled(precision=precision)
    index.save(tmp_path)
    opened = WaveIndex.open(tmp_path)
    assert seen(opened) == seen(index)
    vector = np.random.default_rng(5).standard_normal(WIDTH)
    assert opened.add(vector) == index.add(vector)
    assert seen(opened) == seen(index)
    dtype = np.dtype(precision)
    assert {chunk.rows.dtype for chunk in opened._table.snapshot.chunks} == {dtype}
    manifest = tmp_path / "manifest"
    content = manifest.read_bytes().partition(b"\n")[2].replace(precision.encode(), b"int4")
    manifest.write_bytes(
        b"PRISM INDEX 1 %08x %d\n%s" % (zlib.crc32(content), len(content), content)
    )
    with pytest.raises(IndexFileError, match="stored as 'int4', which this version does not read"):
        WaveIndex.open(tmp_path)


def test_an_empty_index_keeps_its_settings_and_its_next_id(tmp_path):
    index = WaveIndex(PROJECTOR, width=5, indexed_fields=["a"])
    index.add(np.ones(5), id=41)
    index.remove(41)
    index.save(tmp_path)
    opened = WaveIndex.open(tmp_path)
    assert (len(opened), opened.width, opened.query(np.ones(5))) == (0, 5, [])
    assert opened.add(np.ones(5)) == 42


def test_payloads_are_looked_at_before_anything_is_written(tmp_path):
    index = filled()
    index.add(QUERY, {"fine": 1, "when": b"bytes"}, id="guilty")
    with pytest.raises(UnsavablePayloadError, match="row 'guilty', field 'when': holds bytes"):
        index.save(tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == [tmp_path / "new" / "lock"]
    index.remove("guilty")
    index.save(tmp_path / "new")
    assert seen(WaveIndex.open(tmp_path / "new")) == seen(index)


def test_an_opened_payload_is_made_anew_and_no_payload_is_shared(tmp_path):
    index = WaveIndex(PROJECTOR)
    index.add(QUERY, {"list": [1]})
    index.add(QUERY)
    index.save(tmp_path)
    opened = WaveIndex.open(tmp_path)
    opened.get(0).payload["list"].append(2)
    assert opened.get(0).payload == {"list": [1]}
    assert opened.get(1).payload is index.get(1).payload


def test_a_folder_holds_one_index(tmp_path):
    one, other = filled(10), filled(20)
    one.save(tmp_path)
    with pytest.raises(IndexFileError, match="holds another index") as caught:
        other.save(tmp_path)
    assert caught.value.path == str(tmp_path)
    opened = WaveIndex.open(tmp_path)
    opened.add(QUERY)
    opened.save(tmp_path)
    with pytest.raises(IndexFileError, match="saved to by another since"):
        one.save(tmp_path)
    before = seen(opened)
    other.save(tmp_path, replace=True)
    assert seen(WaveIndex.open(tmp_path)) == seen(other)
    assert len(rows_files(tmp_path)) == 1
    assert seen(opened) == before  # its files are gone by name, not from its memory


def test_other_files_are_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(IndexFileError, match=r"other files \('thesis.txt' is one\)"):
        filled().save(tmp_path, replace=True)
    (tmp_path / "manifest").write_text("of somebody else")
    with pytest.raises(IndexFileError, match="is not a manifest"):
        filled().save(tmp_path, replace=True)
    with pytest.raises(IndexFileError, match="is a file"):
        filled().save(tmp_path / "thesis.txt")
    assert {path.name for path in tmp_path.iterdir()} == {"thesis.txt", "manifest", "lock"}


def test_what_is_no_index_is_not_opened(tmp_path):
    for place in (tmp_path, tmp_path / "nowhere", tmp_path / "file" / "below"):
        (tmp_path / "file").write_text("")
        with pytest.raises(IndexFileError, match="holds no saved index"):
            WaveIndex.open(place)
    (tmp_path / "manifest").write_text("of somebody else")
    with pytest.raises(IndexFileError, match="is not a manifest of a saved index"):
        WaveIndex.open(tmp_path)


def test_a_newer_format_and_another_byte_order_are_refused(tmp_path, monkeypatch):
    filled().save(tmp_path)
    manifest = tmp_path / "manifest"
    ours = manifest.read_bytes()
    manifest.write_bytes(ours.replace(b"PRISM INDEX 1 ", b"PRISM INDEX 7 ", 1))
    with pytest.raises(IndexFileError, match="format 7, this version of prismresonance reads 1"):
        WaveIndex.open(tmp_path)
    with pytest.raises(IndexFileError, match="format 7"):
        filled().save(tmp_path, replace=True)
    manifest.write_bytes(ours)
    foreign = {"little": "big", "big": "little"}[sys.byteorder]
    monkeypatch.setattr(sys, "byteorder", foreign)
    with pytest.raises(IndexFileError, match=f"this one is {foreign}-endian"):
        WaveIndex.open(tmp_path)


def test_damage_is_found(tmp_path):
    index = filled()
    index.save(tmp_path / "good")
    index.remove(3)
    index.save(tmp_path / "good")
    names = sorted(path.name for path in (tmp_path / "good").iterdir() if path.name != "lock")
    assert [name.rpartition("-")[2] for name in names] == ["1.rows", "dead", "manifest"]

    def damaged(name: str, change) -> Path:
        shutil.rmtree(tmp_path / "bad", ignore_errors=True)
        shutil.copytree(tmp_path / "good", tmp_path / "bad")
        path = tmp_path / "bad" / name
        path.write_bytes(change(path.read_bytes()))
        return tmp_path / "bad"

    for name in names:
        for change in (
            lambda content: b"",
            lambda content: content[:-1],
            lambda content: content[: len(content) // 2],
            lambda content: bytes(len(content)),
            lambda content: content[:-50] + bytes([content[-50] ^ 1]) + content[-49:],
            lambda content: content + b"\x00",
        ):
            with pytest.raises(IndexFileError) as caught:
                WaveIndex.open(damaged(name, change))
            assert name in str(caught.value)
            assert str(tmp_path / "bad") in str(caught.value)
        folder = damaged(name, lambda content: content)
        (folder / name).unlink()
        with pytest.raises(IndexFileError, match=r"not there|holds no saved index"):
            WaveIndex.open(folder)
    folder = damaged(names[0], lambda content: content[:300] + b"x" + content[301:])
    assert len(WaveIndex.open(folder)) == 199
    with pytest.raises(IndexDamagedError, match=f"{names[0]} its content has another checksum"):
        WaveIndex.open(folder, verify=True)
    index.save(damaged("manifest", lambda content: content[:-1]), replace=True)
    assert seen(WaveIndex.open(tmp_path / "bad")) == seen(index)


def test_one_saver_at_a_time(tmp_path):
    index, other = filled(), filled(50)
    index.save(tmp_path)
    with DiskFolder(tmp_path).locked():
        for saver in (index, other):
            with pytest.raises(IndexBusyError, match="is being saved to by another"):
                saver.save(tmp_path)
        assert seen(WaveIndex.open(tmp_path)) == seen(index)
    index.save(tmp_path)


def test_threads_of_one_index_take_turns(tmp_path):
    index = filled(20)
    failures: list[BaseException] = []

    def work(base: int) -> None:
        try:
            for number in range(10):
                index.add(np.random.default_rng(base + number).standard_normal(WIDTH), {"b": base})
                index.save(tmp_path)
        except BaseException as error:  # noqa: BLE001  handed to the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(base,)) for base in (100, 200, 300)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    assert seen(WaveIndex.open(tmp_path, verify=True)) == seen(index)
    assert len(index) == 50


def test_readers_of_an_opened_index_start_at_once(tmp_path):
    """Several threads need the id map, the posting lists and the rows at the same moment."""
    filled(3000, indexed_fields=["n"]).save(tmp_path)
    for _ in range(5):
        opened = WaveIndex.open(tmp_path)
        barrier = threading.Barrier(6)
        failures: list[object] = []

        def work(place: int, opened=opened, barrier=barrier, failures=failures) -> None:
            try:
                barrier.wait(30)
                for n in range(place, 3000, 500):
                    if place % 3 == 0:
                        assert opened.get(n).payload == {"n": n}
                    elif place % 3 == 1:
                        (match,) = opened.query(QUERY, where={"n": n})
                        assert match.id == n
                    else:
                        assert opened.remove((n + 250) % 3000)
                        row_id = opened.add(QUERY, {"n": -n})
                        assert opened.get(row_id).payload == {"n": -n}
                        (match,) = opened.query(QUERY, where={"n": -n})
                        assert match.id == row_id
            except BaseException as error:  # noqa: BLE001  handed to the test's own thread
                failures.append(error)

        threads = [threading.Thread(target=work, args=(place,)) for place in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not failures
        assert len(opened) == 3000


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="POSIX")
def test_an_index_stays_readable_when_its_files_are_superseded(tmp_path):
    filled(500).save(tmp_path)
    reader, writer = WaveIndex.open(tmp_path), WaveIndex.open(tmp_path)
    before = seen(reader)
    writer.remove_many(range(400))
    writer.save(tmp_path)
    writer.add_many(np.random.default_rng(0).standard_normal((900, WIDTH)))
    writer.save(tmp_path)
    assert seen(reader) == before
    reader.add(QUERY, {"own": True}, id="own")
    reader.remove_many(range(0, 500, 2))
    reader.compact()
    expected = {n: before[n] for n in range(1, 500, 2)}
    assert {k: v for k, v in seen(reader).items() if k != "own"} == expected
    reader.save(tmp_path / "elsewhere")
    assert seen(WaveIndex.open(tmp_path / "elsewhere")) == seen(reader)
