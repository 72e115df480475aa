"""A reader at every line of a writer, and a writer at every line of a reader.

Readers take no lock, so a whole query can run inside a trace function while a write stands still
at any of its lines, and the other way round. Threads meet such moments by luck, this meets all.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable

import numpy as np
import pytest
from crash_folder import CrashFolder

import prismresonance._table as table_module
from prismresonance import InvalidVectorError, PrismProjector, WaveIndex
from prismresonance._kernels import plain
from prismresonance._search import TOP_K_SIGMAS, Tally, search
from prismresonance._vectors import float_row

PROJECTOR = PrismProjector(dim=8, tenant_id="t")
WIDTH = 12
ROWS = 12
FORMS = {
    "nearest": {},
    "exact": {"exact": True},
    "threshold": {"threshold": -0.99},
    "where": {"where": {"side": ["left", "right"]}},
    "where twice": {"where": {"half": [0, 1], "side": {"left", "right"}}},
}

State = dict[object, int]
opened_from_files = False


@pytest.fixture(autouse=True, params=["in memory", "from files"])
def _source(request):
    global opened_from_files
    opened_from_files = request.param == "from files"


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(table_module, "_FIRST_CAPACITY", 2)
    monkeypatch.setattr(table_module, "_CHUNK_BYTES", 8 * (2 * WIDTH + 8))
    monkeypatch.setattr(table_module, "_COPY_BYTES", 4 * (2 * WIDTH + 8))
    monkeypatch.setattr(table_module, "_DEAD_ROWS", 1)
    monkeypatch.setattr(table_module, "FULL_SCAN_ELEMENTS", 10 * WIDTH)


def run_traced(work: Callable[[], object], at_line: Callable[[int], None]) -> int:
    """Run `work`, calling `at_line` before each of its lines in this package; returns how many."""
    lines = 0

    def trace(frame, event, argument):
        nonlocal lines
        if "prismresonance" not in frame.f_code.co_filename:
            return None
        if event == "line":
            lines += 1
            at_line(lines)  # not traced: Python traces nothing while it runs a trace function
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return lines


@functools.cache
def vector(row_id: int, version: int) -> np.ndarray:
    return np.random.default_rng([row_id, version]).standard_normal(WIDTH)


def payload(row_id: int, version: int) -> dict:
    side = "left" if (row_id + version) % 2 else "right"
    return {"version": version, "side": side, "half": row_id % 2, "own": row_id}


def filled() -> tuple[WaveIndex, State]:
    index = WaveIndex(PROJECTOR, indexed_fields=["side", "half", "own"])
    ids = list(range(ROWS))
    index.add_many([vector(n, 0) for n in ids], [payload(n, 0) for n in ids], ids)
    index.remove_many([3, 4])
    if opened_from_files:
        with pytest.MonkeyPatch.context() as patch:
            CrashFolder().install(patch)
            index.save("folder")
            index = WaveIndex.open("folder", projector=PROJECTOR)
        # What is made at the first need takes the writers' lock: it must not be within a write.
        index.get(0)
        index.query(np.ones(WIDTH), where={"side": "left"})
    return index, {row_id: 0 for row_id in range(ROWS) if row_id not in (3, 4)}


def upsert_one(index: WaveIndex, state: State) -> State:
    index.upsert(vector(7, 1), payload(7, 1), id=7)
    return {**state, 7: 1}


def upsert_many(index: WaveIndex, state: State) -> State:
    ids = list(range(5, 10))
    index.upsert_many([vector(n, 1) for n in ids], [payload(n, 1) for n in ids], ids)
    return {**state, **dict.fromkeys(ids, 1)}


def add_many(index: WaveIndex, state: State) -> State:
    ids = list(range(ROWS, ROWS + 7))
    index.add_many([vector(n, 0) for n in ids], [payload(n, 0) for n in ids], ids)
    return {**state, **dict.fromkeys(ids, 0)}


def remove_one(index: WaveIndex, state: State) -> State:
    index.remove(5)
    return {row_id: version for row_id, version in state.items() if row_id != 5}


def remove_most(index: WaveIndex, state: State) -> State:
    gone = range(1, ROWS)
    index.remove_many(gone)
    return {row_id: version for row_id, version in state.items() if row_id not in gone}


def remove_all(index: WaveIndex, state: State) -> State:
    index.remove_many(range(ROWS))
    return {}


def compact(index: WaveIndex, state: State) -> State:
    index.compact()
    return state


# The small chunks make these cross all of growing, filling, purging, rewriting and merging.
WRITES = [upsert_one, upsert_many, add_many, remove_one, remove_most, remove_all, compact]


def seen(index: WaveIndex, form: dict) -> State:
    matches = index.query(np.ones(WIDTH), 100, **form)
    state = {match.id: match.payload["version"] for match in matches}
    assert len(state) == len(matches), "a row was seen twice"
    unit = np.ones(WIDTH) / WIDTH**0.5
    for match in matches:
        stored = vector(match.id, state[match.id])
        assert match.score == pytest.approx(stored @ unit / np.linalg.norm(stored), abs=1e-4)
    return state


@pytest.mark.parametrize("write", WRITES)
def test_a_reader_at_every_line_of_a_writer(write):
    index, before = filled()
    after = write(*filled())
    held = index._table.snapshot
    question = (float_row(np.ones(WIDTH), width=WIDTH), 100, -2.0, None, False, TOP_K_SIGMAS)
    passed = False

    def look(line: int) -> None:
        nonlocal passed
        old = search(held, question, index.projector, plain, Tally())
        assert {match.id: match.payload["version"] for match in old} == before
        for form in FORMS.values():
            state = seen(index, form)
            assert state in ((after,) if passed else (before, after))
            passed = passed or state == after != before
        for row_id in {*before, *after} - {0, 1, 2, 6}:
            record = index.get(row_id)
            version = None if record is None else record.payload["version"]
            allowed = {after.get(row_id)} if passed else {before.get(row_id), after.get(row_id)}
            assert version in allowed
            if before.get(row_id) != after.get(row_id):
                passed = passed or version == after.get(row_id)
            found = index.query(np.ones(WIDTH), where={"own": row_id})
            assert [m.payload["version"] for m in found] == (
                [] if (now := (after if passed else before).get(row_id)) is None else [now]
            )
        assert len(index) == len(after if passed else before)

    assert run_traced(lambda: write(index, before), look) > 10
    look(0)
    assert seen(index, {}) == after


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_a_writer_at_every_line_of_a_reader(write, form):
    index, _ = filled()
    lines = run_traced(lambda: index.query(np.ones(WIDTH), 100, **form), lambda line: None)
    for moment in range(1, lines + 1, 1 if "where" in form else 5):
        index, before = filled()
        outcome: list[State] = []

        def write_now(line: int, moment=moment, index=index, before=before, outcome=outcome):
            if line == moment:
                outcome.append(write(index, before))

        results: list[State] = []
        run_traced(lambda: results.append(seen(index, form)), write_now)  # noqa: B023  runs now
        assert outcome
        assert results[0] in (before, outcome[0])


def test_a_get_with_a_writer_at_every_line():
    index, _ = filled()
    lines = run_traced(lambda: index.get(7), lambda line: None)
    for write, allowed in ((upsert_many, {0, 1}), (remove_most, {0, None}), (compact, {0})):
        for moment in range(1, lines + 1):
            index, before = filled()
            records: list = []

            def write_now(line: int, moment=moment, index=index, before=before, write=write):
                if line == moment:
                    write(index, before)

            run_traced(lambda: records.append(index.get(7)), write_now)  # noqa: B023  runs now
            assert (records[0] and records[0].payload["version"]) in allowed


@pytest.mark.parametrize("write", WRITES)
def test_an_interrupt_at_lines_of_a_writer(write):
    """The write was done or not, ids and lists agree with the rows, and life goes on."""
    index, before = filled()
    lines = run_traced(lambda: write(index, before), lambda line: None)
    after = write(*filled())
    for moment in range(1, lines + 1, 7 if opened_from_files else 4):
        index, before = filled()

        def interrupt(line: int, moment=moment) -> None:
            if line == moment:
                raise KeyboardInterrupt

        with contextlib.suppress(KeyboardInterrupt):
            run_traced(lambda: write(index, before), interrupt)  # noqa: B023  runs now
        if index._table._lock.locked():
            continue  # on the way out of `with`, where Python itself does not interrupt
        state = seen(index, {})
        assert state in (before, after), moment
        for attempt in range(2):
            for form in FORMS.values():
                assert seen(index, form) == state, (moment, form)
            for row_id in range(ROWS + 7):
                record = index.get(row_id)
                assert (record and record.payload["version"]) == state.get(row_id)
                found = index.query(np.ones(WIDTH), where={"own": row_id})
                assert [match.id for match in found] == [row_id] * (row_id in state)
            assert len(index) == len(state)
            if attempt == 0:
                fresh = index.add(vector(50, 0), payload(50, 0))
                assert fresh >= ROWS
                assert index.remove(fresh)
                state = upsert_many(index, state)
                state = remove_one(index, state)


def test_a_first_row_of_another_width_at_every_line_of_a_query():
    index = WaveIndex(PROJECTOR)
    lines = run_traced(lambda: index.query(np.ones(WIDTH)), lambda line: None)
    for moment in range(1, lines + 1):
        index = WaveIndex(PROJECTOR)

        def write_now(line: int, moment=moment, index=index):
            if line == moment:
                index.add(np.ones(WIDTH + 1))

        with contextlib.suppress(InvalidVectorError):
            run_traced(lambda: index.query(np.ones(WIDTH)), write_now)  # noqa: B023  runs now
        assert index.query(np.ones(WIDTH + 1))[0].id == 0
