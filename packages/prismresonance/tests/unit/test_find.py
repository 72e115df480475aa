"""The compiled query and its parts, against numpy and against an exhaustive search."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import prismresonance._table as table_module
from prismresonance import PrismProjector, WaveIndex
from prismresonance._kernels import codes, lanes, ranking, signs
from prismresonance._vectors import unit_row

pytestmark = pytest.mark.usefixtures("only_compiled")
seeds = st.integers(0, 2**32 - 1)
dims = st.sampled_from([8, 20, 32, 64, 100, 128, 200])
searches = [signs.next_block_plain]
if lanes.HAS_SHUFFLE:
    searches.append(signs.next_block_shuffled)


def agreement(projected: np.ndarray, weights: np.ndarray, low: np.ndarray) -> np.ndarray:
    coded = min(len(projected), codes.MAX_CODED)
    agree = (low[:, :coded] > 0) == (projected[:coded] > 0)
    return agree @ weights[:coded]


@settings(max_examples=30)
@given(seed=seeds, dim=dims, rows=st.integers(1, 200), start=st.integers(0, 70))
def test_codes_hold_the_signs_and_no_other_byte_is_written(seed, dim, rows, start):
    low = np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)
    room = codes.new_codes(start + rows, dim)
    room[:] = 0xA5
    codes.encode(low, room, None, start)
    in_rows = room.transpose(0, 2, 1).reshape(-1, room.shape[1])
    bits = np.unpackbits(in_rows[start : start + rows], axis=1, bitorder="little")
    coded = min(dim, codes.MAX_CODED)
    np.testing.assert_array_equal(bits[:, :coded], low[:, :coded] > 0)
    assert (in_rows[:start] == 0xA5).all()
    assert (in_rows[start + rows :] == 0xA5).all()


@pytest.mark.parametrize("search", searches)
@settings(max_examples=30)
@given(seed=seeds, dim=dims, bar=st.integers(0, 255), blocks=st.integers(0, 3))
def test_estimates_are_the_summed_weights_of_agreeing_signs(search, seed, dim, bar, blocks):
    random = np.random.default_rng(seed)
    low = random.standard_normal((64 * blocks, dim)).astype(np.float32)
    projected = random.standard_normal(dim).astype(np.float32)
    projected[random.random(dim) < 0.2] = 0.0
    planes = codes.plane_count(dim)
    room, weights = codes.new_codes(64 * blocks, dim), np.empty(8 * planes, np.int64)
    tables, sums = np.empty(32 * planes, np.uint8), np.empty(72, np.uint8)
    codes.encode(low, room, None, 0)
    total = signs.quantised_weights(projected, weights)
    assert total == weights.sum() <= 255
    signs.fill_tables(projected, weights, tables)
    expected = agreement(projected, weights, low).reshape(blocks, 64)
    hits = []
    block = -1
    while block < blocks:
        block = search(
            room.ctypes.data, tables.ctypes.data, planes, bar, block + 1, blocks, sums.ctypes.data
        )
        if block < blocks:
            hits.append(block)
            np.testing.assert_array_equal(sums[:64], expected[block])
            mask = int(sums[64:].view(np.uint64)[0])
            assert [(mask >> row) & 1 for row in range(64)] == (expected[block] >= bar).tolist()
    assert hits == np.flatnonzero((expected >= bar).any(axis=1)).tolist()


def missed(weights: np.ndarray, agree: np.ndarray, bar: int) -> float:
    """The exact probability of a sum below the bar, by convolution."""
    chances = np.zeros(512)
    chances[0] = 1.0
    for weight, chance in zip(weights.tolist(), agree.tolist(), strict=True):
        chances = chances * (1 - chance) + np.roll(chances, weight) * chance
    return float(chances[:bar].sum())


@settings(max_examples=60)
@given(
    seed=seeds,
    dim=st.sampled_from([16, 64, 128]),
    width=st.sampled_from([200, 384, 1536]),
    score=st.floats(-0.5, 0.9999),
    sigmas=st.sampled_from([3.0, 4.0]),
)
def test_the_sign_bar_misses_no_more_than_it_says(seed, dim, width, score, sigmas):
    random = np.random.default_rng(seed)
    projected = (random.standard_normal(dim) / math.sqrt(width)).astype(np.float32)
    weights = np.empty(dim, np.int64)
    signs.quantised_weights(projected, weights)
    bar = signs.sign_bar(score, sigmas, projected, weights, width)
    assert 0 <= bar <= 255
    reach = score / math.sqrt(1 - score * score) * np.abs(projected) * math.sqrt(width)
    agree = np.array([0.5 * math.erfc(-x / math.sqrt(2)) for x in reach.tolist()])
    assert missed(weights, agree, bar) <= math.exp(-sigmas * sigmas / 2)
    assert missed(weights, agree, bar) <= {3.0: 2.5e-3, 4.0: 1e-4}[sigmas]


def test_the_sign_bar_at_the_ends():
    projected, weights = np.zeros(64, np.float32), np.empty(64, np.int64)
    assert signs.quantised_weights(projected, weights) == 0
    assert signs.sign_bar(0.9, 4.0, projected, weights, 384) == 0
    projected[3] = 0.1
    assert signs.quantised_weights(projected, weights) == 255
    for score in (-2.0, -1.0):
        assert signs.sign_bar(score, 4.0, projected, weights, 384) == 0
    assert 0 < signs.sign_bar(1.0, 4.0, projected, weights, 384) <= 255


@settings(max_examples=100)
@given(
    st.lists(
        st.tuples(st.sampled_from([0.1, 0.5, 0.9]), st.integers(0, 999)), unique_by=lambda x: x[1]
    ),
    st.integers(1, 20),
)
def test_the_heap_keeps_the_best_and_of_equals_the_oldest(rows, room):
    scores, places = np.empty(room), np.empty(room, np.int64)
    held = 0
    for score, place in rows:
        held = ranking.offer(scores, places, held, score, place)
    ranking.settle(scores, places, held)
    best = sorted(rows, key=lambda row: (-row[0], row[1]))[:room]
    assert list(zip(scores[:held].tolist(), places[:held].tolist(), strict=True)) == best


WIDTH = 80


def rows_of(kind: str, random: np.random.Generator, count: int, query: np.ndarray) -> np.ndarray:
    noise = random.standard_normal((count, WIDTH))
    match kind:
        case "all equal":
            return np.tile(noise[:1], (count, 1))
        case "all pass":
            return query + 0.05 * noise
        case "none match":
            return noise - 3.0 * query
        case "clusters":
            return noise[random.integers(0, max(1, count // 30), count)] + 0.3 * noise
        case "few":
            return noise[random.integers(0, min(3, count), count)]
        case _:
            return noise


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=seeds,
    kind=st.sampled_from(["all equal", "all pass", "none match", "clusters", "few", "random"]),
    count=st.sampled_from([1, 31, 63, 64, 65, 127, 700, 3000]),
    chunk_rows=st.sampled_from([16, 50, 64, 1000]),
    dead=st.sampled_from([0.0, 0.25]),
    top_k=st.sampled_from([1, 5, 60, 5000]),
    threshold=st.sampled_from([None, -1.0, 0.3, 0.85, 1.0]),
    admit=st.sampled_from([None, 0.02, 0.7]),
    precision=st.sampled_from(["int16", "int8"]),
)
def test_a_query_finds_what_an_exhaustive_search_finds(
    seed, kind, count, chunk_rows, dead, top_k, threshold, admit, precision
):
    random = np.random.default_rng(seed)
    query = random.standard_normal(WIDTH)
    query /= np.linalg.norm(query) / math.sqrt(WIDTH)
    vectors = rows_of(kind, random, count, query)
    row_bytes = np.dtype(precision).itemsize
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_module, "_CHUNK_BYTES", chunk_rows * (row_bytes * WIDTH + 64))
        patch.setattr(table_module, "_COPY_BYTES", 20 * row_bytes * WIDTH)
        patch.setattr(table_module, "FULL_SCAN_ELEMENTS", 0)
        index = WaveIndex(
            PrismProjector(tenant_id=f"tenant {seed}"), precision=precision, indexed_fields=["in"]
        )
        marks = random.random(count) < (admit or 1.0)
        index.add_many(vectors, [{"in": bool(mark)} for mark in marks])
        index.remove_many(np.flatnonzero(random.random(count) < dead).tolist())
    assert index.stats().projected
    where = None if admit is None else {"in": True}
    exact = index.query(query, top_k, threshold, where, exact=True)
    living = [index.get(n) for n in range(count) if n in index and (where is None or marks[n])]
    rounded = unit_row(query).rows[0].astype(float)
    rounded /= np.linalg.norm(rounded)
    scores = {record.id: float(record.vector.astype(float) @ rounded) for record in living}
    least = -1.0 if threshold is None else threshold
    sure = [row for row, score in scores.items() if score >= least + 1e-6]
    assert len(exact) >= min(top_k, len(sure))
    ranked = sorted(scores.values(), reverse=True)[: len(exact)]
    assert [match.score for match in exact] == pytest.approx(ranked, abs=1e-6)
    assert exact == sorted(exact, key=lambda match: (-match.score, match.id))
    true = vectors @ (query / np.linalg.norm(query)) / np.linalg.norm(vectors, axis=1)
    error = {"int16": 3e-4, "int8": 1.5e-2}[precision]
    assert [match.score for match in exact] == pytest.approx(
        [true[match.id] for match in exact], abs=error
    )
    found = index.query(query, top_k, threshold, where)
    # Each row may be missed with a small probability, and then the next one moves up.
    kept = {(match.id, match.score) for match in exact}
    hits = sum((match.id, match.score) in kept for match in found)
    assert hits >= len(exact) - max(2, round(0.03 * len(exact)))
    assert found == sorted(found, key=lambda match: (-match.score, match.id))
    if kind == "all equal" or (top_k >= count and threshold is None):
        assert found == exact


@pytest.mark.parametrize("top_k", [1, 10, 100])
@pytest.mark.parametrize("threshold", [None, 0.6, 0.85])
def test_recall_at_full_width(top_k, threshold):
    random = np.random.default_rng(4)
    centres = random.standard_normal((300, 384)) + 1.0
    vectors = centres[random.integers(0, 300, 20_100)] + 0.8 * random.standard_normal((20_100, 384))
    index = WaveIndex(PrismProjector(tenant_id="recall"))
    index.add_many(vectors[:20_000])
    near = vectors[:100] + 0.4 * random.standard_normal((100, 384))
    found = true = 0
    for query in (*vectors[20_000:], *near):
        exact = {(m.id, m.score) for m in index.query(query, top_k, threshold, exact=True)}
        fast = {(m.id, m.score) for m in index.query(query, top_k, threshold)}
        assert threshold is None or fast <= exact or len(exact) == top_k
        found += len(fast & exact)
        true += len(exact)
    assert true >= 100
    assert found >= 0.98 * true


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.85, 0.95, 0.99])
def test_rows_exactly_at_the_threshold(threshold):
    """The hardest data for the bar: every true match is as far away as a match may be."""
    random = np.random.default_rng(int(100 * threshold))
    found = 0
    for tenant in range(4):
        query = random.standard_normal(384)
        query /= np.linalg.norm(query)
        away = random.standard_normal((5000, 384))
        away -= np.outer(away @ query, query)
        away /= np.linalg.norm(away, axis=1, keepdims=True)
        cosine = threshold + 1e-4
        index = WaveIndex(PrismProjector(tenant_id=f"edge {tenant}"))
        index.add_many(cosine * query + math.sqrt(1 - cosine**2) * away)
        found += len(index.query(query, 5000, threshold))
    assert found >= (1 - 1.5e-3) * 20_000
