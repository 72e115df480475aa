"""Cells: sorting rows into them, what a query may pass over, and an index that has some."""

from __future__ import annotations

import math
import os
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import prismresonance._arranger as arranger_module
import prismresonance._cells as cells_module
import prismresonance._index as index_module
import prismresonance._table as table_module
from prismresonance import PrismProjector, WaveIndex
from prismresonance._cells import arrange
from prismresonance._kernels import plain
from prismresonance._kernels.compiler import Compiler
from prismresonance._kernels.ranges import NO_REACH, fill_reach

WIDTH = 96
seeds = st.integers(0, 2**32 - 1)
kinds = st.sampled_from(["clusters", "random", "all equal", "two points", "zeros"])


def rows_of(kind: str, random: np.random.Generator, count: int, width: int) -> np.ndarray:
    noise = random.standard_normal((count, width)).astype(np.float32)
    match kind:
        case "clusters":
            centres = random.standard_normal((max(1, count // 150), width))
            return (centres[random.integers(0, len(centres), count)] + 0.5 * noise).astype("f4")
        case "all equal":
            return np.repeat(noise[:1], count, axis=0)
        case "two points":
            return noise[random.integers(0, min(2, count), count)]
        case "zeros":
            return np.zeros((count, width), np.float32)
    return noise


def settled(index: WaveIndex) -> None:
    deadline = time.monotonic() + 60
    while index._arranger.busy:
        assert time.monotonic() < deadline, "arranging did not end in time"
        time.sleep(0.001)


@settings(max_examples=60)
@given(seed=seeds, kind=kinds, count=st.sampled_from([1, 63, 64, 65, 300, 2000, 3001]))
def test_rows_are_sorted_and_the_floors_are_floors(seed, kind, count):
    random = np.random.default_rng(seed)
    rows = rows_of(kind, random, count, 64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    rows /= np.where(lengths == 0, 1, lengths)
    order, cells = arrange(rows, go_on=lambda: True)
    assert sorted(order.tolist()) == list(range(count))
    blocks = -(-count // 64)
    assert len(cells.floors) == blocks
    assert len(cells.starts) == len(cells.centres) + 1
    assert cells.starts[0] == 0
    assert (np.diff(cells.starts) >= 0).all()
    assert cells.starts[-1] <= count // 64
    cosines = rows[order] @ (cells.centres.astype(np.float32) / 32767).T
    for cell, (start, stop) in enumerate(zip(cells.starts, cells.starts[1:], strict=False)):
        floors = cells.floors[start:stop]
        assert (np.diff(floors.astype(int)) <= 0).all()  # the loosest rows last
        for block in range(start, stop):
            least = cosines[64 * block : 64 * block + 64, cell].min()
            assert cells.floors[block] <= max(0.0, 255 * least + 0.1)
    again = arrange(rows, go_on=lambda: True)
    np.testing.assert_array_equal(order, again[0])
    assert arrange(rows, go_on=lambda: False) is None


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("goal", [0.3, 0.6, 0.85, 0.99, 1.0])
@pytest.mark.parametrize("sigmas", [2.0, 3.5])
def test_the_reach_is_the_inverse_of_the_need(goal, sigmas):
    reach = fill_reach(goal, sigmas, 64)
    away = 1 - goal * goal
    r = np.arange(256) / 255
    need = goal * r - (sigmas + 1) / math.sqrt(62) * np.sqrt((r * away) ** 2 + away * (1 - r * r))
    assert (np.diff(need) > 0).all()
    for step, most in enumerate(2 * (np.arange(256) + 1) / 256 - 1):
        assert reach[step] == (need <= most).sum() - 1
    assert len(fill_reach(0.1, sigmas, 64)) == NO_REACH


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=seeds,
    kind=st.sampled_from(["clusters", "random", "all equal", "two points"]),
    top_k=st.sampled_from([1, 10, 700]),
    threshold=st.sampled_from([None, 0.3, 0.85]),
    precision=st.sampled_from(["int16", "int8"]),
    kernels=st.sampled_from(["numpy", "numba"]),
)
def test_an_index_with_cells_finds_what_one_without_finds(
    compiled, seed, kind, top_k, threshold, precision, kernels
):
    random = np.random.default_rng(seed)
    vectors = rows_of(kind, random, 3000, WIDTH)
    queries = np.concatenate([vectors[:3], random.standard_normal((2, WIDTH))])
    indexes = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_module, "FULL_SCAN_ELEMENTS", 0)
        patch.setattr(table_module, "_CHUNK_BYTES", 300 * (2 * WIDTH + 64))
        patch.setattr(table_module, "_COPY_BYTES", 20 * WIDTH)
        patch.setattr(arranger_module, "ARRANGED_ROWS", 900)
        patch.setattr(cells_module, "CELL_ROWS", 128)
        for start in (10**9, 1000):
            patch.setattr(arranger_module, "ARRANGE_FROM", start)
            index = WaveIndex(
                PrismProjector(tenant_id="cells"), precision=precision, indexed_fields=["third"]
            )
            payloads = [{"third": number % 3, "number": number} for number in range(3000)]
            for begin in range(0, 3000, 500):
                some = slice(begin, begin + 500)
                index.add_many(vectors[some], payloads[some], list(range(begin, begin + 500)))
                index.remove_many(range(begin, begin + 500, 11))  # some while it is arranged
            index.upsert_many(vectors[:50], payloads[:50], list(range(50)))
            index._arranger.want()
            settled(index)
            index.remove_many(range(3, 3000, 29))
            indexes.append(index)
    flat, arranged = indexes
    assert not any(chunk.arranged for chunk in flat._table.snapshot.chunks)
    assert any(chunk.arranged for chunk in arranged._table.snapshot.chunks)
    compiler = Compiler(disabled=True)
    compiler.kernels = plain if kernels == "numpy" else compiled
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index_module, "COMPILER", compiler)
        for where in (None, {"third": 1}, {"third": 1, "number": 4}):
            for query in queries:
                asked = (query, top_k, threshold, where)
                exact = [index.query(*asked, exact=True) for index in indexes]
                assert exact[0] == exact[1]
                kept = {match[:2] for match in exact[0]}
                for index in indexes:
                    hits = {match[:2] for match in index.query(*asked)}
                    assert len(hits & kept) >= len(kept) - max(2, round(0.05 * len(kept)))
        for row in range(0, 3000, 7):
            one, other = (index.get(row) for index in indexes)
            assert (one is None) == (other is None)
            if one is not None:
                assert one.payload == other.payload
                np.testing.assert_array_equal(one.vector, other.vector)
        before = [match.id for match in arranged.query(queries[0], 3000, exact=True)]
        arranged.compact()
        assert arranged.stats().tombstones == 0
        assert [match.id for match in arranged.query(queries[0], 3000, exact=True)] == before


@pytest.mark.usefixtures("only_compiled")
def test_cells_are_passed_over_and_no_match_is(monkeypatch):
    """As in the recall tests: topics within topics, a common mean, noise."""
    monkeypatch.setattr(arranger_module, "ARRANGE_FROM", 30_000)
    monkeypatch.setattr(arranger_module, "ARRANGED_ROWS", 30_000)
    random = np.random.default_rng(3)
    basis = random.standard_normal((48, 128)) / np.arange(1, 49)[:, None] ** 0.3
    topics = random.standard_normal((300, 48))
    mixed = topics[random.integers(0, 300, 70_000)] + 0.6 * random.standard_normal((70_000, 48))
    vectors = mixed @ basis + 0.3 * random.standard_normal((70_000, 128))
    index = WaveIndex(PrismProjector(tenant_id="t"))
    for start in range(0, 70_000, 10_000):
        index.add_many(vectors[start : start + 10_000])
    settled(index)
    index._arranger.want()
    settled(index)
    queries = vectors[:200] + 0.2 * random.standard_normal((200, 128))
    before = index.stats()
    found = true = 0
    answers = [index.query(query, 100, 0.85) for query in queries]
    scanned = index.stats().rows_scanned - before.rows_scanned
    for query, answer in zip(queries, answers, strict=True):
        exact = index.query(query, 100, 0.85, exact=True)
        true += len(exact)
        found += len({match.id for match in answer} & {match.id for match in exact})
    assert true > 200
    assert found >= 0.999 * true
    assert scanned < 0.75 * 200 * 70_000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.usefixtures("only_compiled")
def test_a_process_forked_off_meanwhile_goes_on(monkeypatch):
    monkeypatch.setattr(arranger_module, "ARRANGE_FROM", 2_000)
    monkeypatch.setattr(arranger_module, "ARRANGED_ROWS", 2_000)
    monkeypatch.setattr(table_module, "_CHUNK_BYTES", 500 * (2 * WIDTH + 64))
    random = np.random.default_rng(1)
    index = WaveIndex(PrismProjector(tenant_id="t"))
    for number in range(12):
        index.add_many(random.standard_normal((3_000, WIDTH)))
        child = os.fork()
        if not child:
            row_id = index.add(np.ones(WIDTH))
            good = [match.id for match in index.query(np.ones(WIDTH), 1)] == [row_id]
            index.add_many(random.standard_normal((3_000, WIDTH)))
            settled(index)
            os._exit(0 if good and len(index) == 3_000 * (number + 2) + 1 else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    settled(index)
    assert index.stats().cells


@pytest.mark.parametrize("compiled_too", [False, True])
def test_filters_admit_the_same_rows_with_cells(compiled, monkeypatch, compiled_too):
    compiler = Compiler(disabled=True)
    compiler.kernels = compiled if compiled_too else plain
    monkeypatch.setattr(index_module, "COMPILER", compiler)
    monkeypatch.setattr(table_module, "FULL_SCAN_ELEMENTS", 0)
    monkeypatch.setattr(table_module, "_CHUNK_BYTES", 300 * (2 * WIDTH + 64))
    monkeypatch.setattr(arranger_module, "ARRANGED_ROWS", 900)
    monkeypatch.setattr(arranger_module, "ARRANGE_FROM", 0)
    vectors = rows_of("clusters", np.random.default_rng(1), 3000, WIDTH)
    index = WaveIndex(PrismProjector(tenant_id="cells"), indexed_fields=["third"])
    index.add_many(vectors, [{"third": n % 3, "half": n % 2, "n": n} for n in range(3000)])
    index._arranger.want()
    settled(index)
    assert any(chunk.arranged for chunk in index._table.snapshot.chunks)
    alive = set(range(3000))
    for gone in (range(0), range(5, 1500, 2), range(0, 3000, 4), range(1600, 2990)):
        index.remove_many(gone)  # past half of them, the lists are purged
        alive -= set(gone)
        for where in ({"half": 1}, {"third": 1}, {"third": 2, "half": 0}):
            found = index.query(vectors[0], 3000, where=where, exact=True)
            fields = {"third": lambda n: n % 3, "half": lambda n: n % 2}
            assert {match.id for match in found} == {
                n for n in alive if all(fields[f](n) == value for f, value in where.items())
            }
