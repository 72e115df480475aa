"""Readers beside writers: no torn, stale, doubled or missing row, whatever happens meanwhile."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

import prismresonance._arranger as arranger_module
import prismresonance._index as index_module
import prismresonance._table as table_module
from prismresonance import PrismProjector, WaveIndex
from prismresonance._kernels.compiler import Compiler

WIDTH = 16


@pytest.fixture(autouse=True)
def _busy(monkeypatch):
    """Small chunks, so that they fill, thin out, merge and are arranged in cells all the time.

    Threads switch often.
    """
    monkeypatch.setattr(table_module, "_FIRST_CAPACITY", 4)
    monkeypatch.setattr(table_module, "_CHUNK_BYTES", 64 * 2 * WIDTH)
    monkeypatch.setattr(table_module, "_COPY_BYTES", 16 * 2 * WIDTH)
    monkeypatch.setattr(table_module, "_DEAD_ROWS", 2)
    monkeypatch.setattr(table_module, "FULL_SCAN_ELEMENTS", 100 * WIDTH)
    monkeypatch.setattr(arranger_module, "ARRANGE_FROM", 200)
    monkeypatch.setattr(arranger_module, "ARRANGED_ROWS", 100)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


def run(writers: list[Callable[[], None]], readers: list[Callable[[], None]]) -> None:
    """Run the readers again and again until all writers are done, then once more."""
    failures: list[BaseException] = []
    writing = threading.Event()
    writing.set()

    def guarded(work: Callable[[], None], *, again: bool) -> None:
        try:
            work()
            while again and writing.is_set() and not failures:
                work()
        except BaseException as error:  # noqa: BLE001  handed to the test's own thread
            failures.append(error)

    reading = [threading.Thread(target=guarded, args=(r,), kwargs={"again": True}) for r in readers]
    busy = [threading.Thread(target=guarded, args=(w,), kwargs={"again": False}) for w in writers]
    for thread in (*reading, *busy):
        thread.start()
    for thread in busy:
        thread.join(120)
    writing.clear()
    for thread in reading:
        thread.join(120)
    if failures:
        raise failures[0]
    assert not any(thread.is_alive() for thread in (*reading, *busy))


def direction(number: int) -> np.ndarray:
    """A vector that says which version it is of."""
    return np.random.default_rng(number).standard_normal(WIDTH)


@pytest.mark.parametrize("dim", [8, 64], ids=["projected", "full width"])
def test_a_replaced_row_is_seen_exactly_once_and_never_goes_back(dim):
    index = WaveIndex(PrismProjector(dim=dim, tenant_id="t"), indexed_fields=["name", "odd"])
    names = [f"row {n}" for n in range(40)]
    versions = 60

    def payload(name: str, version: int) -> dict:
        return {"name": name, "version": version, "odd": version % 2}

    def vector(name: str, version: int) -> np.ndarray:
        return direction(1000 * int(name.split()[1]) + version)

    for name in names:
        index.add(vector(name, 0), payload(name, 0), id=name)

    def write(mine: list[str]) -> Callable[[], None]:
        def work() -> None:
            for version in range(1, versions):
                if version % 3:
                    for name in mine:
                        assert index.upsert(vector(name, version), payload(name, version), id=name)
                else:
                    vectors = [vector(name, version) for name in mine]
                    payloads = [payload(name, version) for name in mine]
                    assert index.upsert_many(vectors, payloads, mine) == len(mine)

        return work

    def reader() -> Callable[[], None]:
        last = dict.fromkeys(names, 0)
        query = direction(-1 % 2**32)

        def see(name: str, version: int, score: float | None = None) -> None:
            assert version >= last[name]
            last[name] = version
            if score is not None:  # the payload belongs to the vector that was scored
                stored = vector(name, version)
                cosine = stored @ query / np.linalg.norm(stored) / np.linalg.norm(query)
                assert score == pytest.approx(cosine, abs=1e-4)

        def work() -> None:
            for exact in (False, True):
                matches = index.query(query, 100, exact=exact)
                assert sorted(match.id for match in matches) == sorted(names)
                for match in matches:
                    see(match.payload["name"], match.payload["version"], match.score)
            assert len(index) == len(names)
            odd, even = ({"odd": odd} for odd in (1, 0))
            for where in (odd, even):
                found = index.query(query, 100, where=where)
                assert all(match.payload["odd"] == where["odd"] for match in found)
            both = index.query(query, 100, where={"odd": [0, 1]})
            assert sorted(match.id for match in both) == sorted(names)
            for name in names[::7]:
                (only,) = index.query(query, where={"name": name})
                see(name, only.payload["version"], only.score)
                record = index.get(name)
                see(name, record.payload["version"])
                stored = vector(name, record.payload["version"])
                np.testing.assert_allclose(
                    record.vector, stored / np.linalg.norm(stored), atol=5e-5
                )

        return work

    run([write(names[::2]), write(names[1::2])], [reader(), reader()])
    final = index.query(direction(0), 100)
    assert {match.payload["version"] for match in final} == {versions - 1}
    assert index.stats().tombstones <= 40


def test_added_rows_are_there_and_removed_rows_are_gone_when_the_call_returns():
    index = WaveIndex(PrismProjector(dim=8, tenant_id="t"), indexed_fields=["id"])

    def write(base: int) -> Callable[[], None]:
        def work() -> None:
            for n in range(base, base + 400):
                vector = direction(n)
                index.add(vector, {"id": n}, id=n)
                (match,) = index.query(vector, 1, 0.999999)
                assert match.id == n
                assert n in index
                assert [m.id for m in index.query(vector, where={"id": n})] == [n]
                if n % 4:
                    assert index.remove(n)
                    assert index.query(vector, 1, 0.999999) == []
                    assert index.query(vector, where={"id": n}) == []
                    assert index.get(n) is None
                    assert not index.remove(n)

        return work

    def read() -> None:
        for match in index.query(direction(7), 50):
            assert match.payload == {"id": match.id}

    run([write(0), write(10_000), write(20_000)], [read])
    assert len(index) == 300
    index.compact()
    assert index.stats().rows == 300
    assert index.stats().tombstones == 0
    assert [m.id for m in index.query(direction(10_004), 1)] == [10_004]


def test_a_batch_is_seen_whole_or_not_at_all():
    index = WaveIndex(PrismProjector(dim=8, tenant_id="t"), indexed_fields=["batch"])
    size = 37

    def write() -> None:
        for batch in range(40):
            vectors = [direction(batch * size + n) for n in range(size)]
            ids = index.add_many(vectors, [{"batch": batch}] * size)
            if batch % 2:
                assert index.remove_many(ids) == size

    def read() -> None:
        counts: dict[object, int] = {}
        for match in index.query(direction(1), 40 * size):
            batch = match.payload["batch"]
            counts[batch] = counts.get(batch, 0) + 1
        assert set(counts.values()) <= {size}
        assert len(index) % size == 0
        for batch in (3, 20):
            found = index.query(direction(1), 2 * size, where={"batch": batch})
            assert len(found) in (0, size)

    run([write], [read, read])
    assert len(index) == 20 * size


def test_compaction_beside_readers_loses_nothing():
    index = WaveIndex(PrismProjector(dim=8, tenant_id="t"))
    keep = [direction(n) for n in range(50)]
    index.add_many(keep, ids=[f"keep {n}" for n in range(50)])
    done = time.monotonic() + 1.0

    def write() -> None:
        while time.monotonic() < done:
            ids = index.add_many([direction(n) for n in range(100, 300)])
            index.remove_many(ids[::2])
            index.compact()
            index.remove_many(ids[1::2])

    def read() -> None:
        for number, vector in enumerate(keep[::5]):
            match = index.query(vector, 1, 0.9999)[0]
            assert match.id == f"keep {5 * number}"
            np.testing.assert_allclose(
                index.get(match.id).vector, vector / np.linalg.norm(vector), atol=5e-5
            )

    run([write], [read, read])
    assert len(index) == 50


def test_counts_of_queries_lose_none(monkeypatch):
    # Compiled kernels score fewer rows, and may become ready in between.
    monkeypatch.setattr(index_module, "COMPILER", Compiler(disabled=True))
    index = WaveIndex(PrismProjector(dim=8, tenant_id="t"))
    index.add_many([direction(n) for n in range(30)])

    def read() -> None:
        for _ in range(300):
            index.query(direction(1))

    run([read, read, read], [])
    stats = index.stats()
    assert (stats.queries, stats.rows_scanned, stats.rows_rescored) == (900, 27_000, 27_000)
