"""How many true matches the 64-dimensional search finds, on easy and on the hardest data."""

from __future__ import annotations

import math

import numpy as np
import pytest

from prismresonance import PrismProjector, WaveIndex
from prismresonance._bar import full_width_bar
from prismresonance._kernels.codes import LOW_SCALE, LOW_SLACK
from prismresonance._kernels.scores import UNIT, low_bar
from prismresonance.errors import InvalidArgumentError

WIDTH = 384


def sentence_like(random: np.random.Generator, count: int) -> np.ndarray:
    """Topics within topics in a low-rank space, a common mean, noise: as embeddings are."""
    basis = random.standard_normal((48, WIDTH)) / np.arange(1, 49)[:, None] ** 0.3
    topics = random.standard_normal((150, 48))
    mixed = topics[random.integers(0, 150, count)] + 0.6 * random.standard_normal((count, 48))
    noise = 0.5 * random.standard_normal((count, WIDTH))
    return mixed @ basis + noise + 1.5 * random.standard_normal(WIDTH)


def found_by(index: WaveIndex, *arguments, **options) -> set:
    return {(match.id, match.score) for match in index.query(*arguments, **options)}


@pytest.fixture(scope="module")
def corpus():
    random = np.random.default_rng(20)
    vectors = sentence_like(random, 12_100)
    stored, unseen = vectors[:12_000], vectors[12_000:]
    near = stored[:100] + 1.0 * random.standard_normal((100, WIDTH))
    index = WaveIndex(PrismProjector(tenant_id="recall"))
    index.add_many(stored)
    assert index.stats().projected
    return index, np.concatenate([unseen, near])


@pytest.mark.parametrize("threshold", [0.6, 0.75, 0.85, 0.92])
def test_threshold_queries_on_sentence_like_data(corpus, threshold):
    index, queries = corpus
    found = true = 0
    for query in queries:
        exact = found_by(index, query, 1000, threshold, exact=True)
        fast = found_by(index, query, 1000, threshold)
        assert fast <= exact  # no false match, no other score
        found += len(fast)
        true += len(exact)
    assert true > 50
    assert found >= 0.999 * true


@pytest.mark.parametrize("top_k", [1, 10, 100])
def test_top_k_queries_on_sentence_like_data(corpus, top_k):
    index, queries = corpus
    found = sum(
        len(found_by(index, query, top_k) & found_by(index, query, top_k, exact=True))
        for query in queries
    )
    assert found >= 0.99 * top_k * len(queries)


@pytest.mark.parametrize("recall", [0.6, 0.84, 0.97, 0.999])
def test_top_k_queries_keep_the_recall_asked_for(corpus, recall):
    index, queries = corpus
    found = sum(
        len(found_by(index, query, 10, recall=recall) & found_by(index, query, 10, exact=True))
        for query in queries
    )
    assert found >= recall * 10 * len(queries)


def test_a_lower_recall_scores_fewer_rows(corpus):
    index, queries = corpus
    scored = []
    for recall in (0.6, 0.999):
        before = index.stats().rows_rescored
        for query in queries:
            assert len(index.query(query, 10, recall=recall)) == 10
        index.query_many(queries, 10, recall=recall)
        scored.append(index.stats().rows_rescored - before)
    assert scored[0] < 0.7 * scored[1]


@pytest.mark.parametrize("recall", [0.5, 1.0, 1, 0, float("nan"), "0.9", True, [0.9]])
def test_a_recall_that_makes_no_sense_is_refused(corpus, recall):
    with pytest.raises(InvalidArgumentError, match="recall"):
        corpus[0].query(np.ones(WIDTH), recall=recall)


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.85, 0.95])
def test_rows_exactly_at_the_threshold(threshold):
    """The hardest data for the bar: every true match is as far away as a match may be."""
    random = np.random.default_rng(int(100 * threshold))
    query = random.standard_normal(WIDTH)
    query /= np.linalg.norm(query)
    away = random.standard_normal((8000, WIDTH))
    away -= np.outer(away @ query, query)
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    cosine = threshold + 1e-4
    index = WaveIndex(PrismProjector(tenant_id="edge"))
    index.add_many(cosine * query + math.sqrt(1 - cosine**2) * away)
    assert index.stats().projected
    assert len(index.query(query, 8000, threshold)) >= 0.999 * 8000
    assert len(index.query(query, 8000, threshold, exact=True)) == 8000


def test_vectors_built_against_the_matrix_need_exact():
    """The limit, shown: whoever knows the matrix can hide a match from the projected search."""
    random = np.random.default_rng(5)
    projector = PrismProjector(tenant_id="known")
    matrix = projector.matrix(WIDTH).astype(np.float64)
    hidden = random.standard_normal(WIDTH)
    hidden -= matrix.T @ (matrix @ hidden)
    hidden /= np.linalg.norm(hidden)
    seen = matrix.sum(axis=0) / np.linalg.norm(matrix.sum(axis=0))
    query, row = hidden + 0.25 * seen, hidden - 0.25 * seen
    index = WaveIndex(projector)
    index.add(row, id="hidden")
    assert index.query(query, threshold=0.85)[0].id == "hidden"  # a small index looks at all
    index.add_many(random.standard_normal((4000, WIDTH)))
    assert index.query(query, threshold=0.85) == []
    assert index.query(query, threshold=0.85, exact=True)[0].id == "hidden"


def test_equal_rows_by_the_thousand():
    """Every row passes every bar: the answer is right, and the oldest come first."""
    vector = np.random.default_rng(6).standard_normal(WIDTH)
    index = WaveIndex(PrismProjector(tenant_id="same"))
    index.add_many(np.tile(vector, (3000, 1)))
    index.remove(1)
    for threshold in (None, 0.5, 1.0):
        found = index.query(vector, 4, threshold)
        assert [(match.id, match.score) for match in found] == [(0, 1), (2, 1), (3, 1), (4, 1)]


def test_the_bar_for_bytes_follows_fishers_formula():
    def bar(score: float, dim: int, sigmas: float) -> float:
        return low_bar(score, dim, sigmas) / (LOW_SCALE * UNIT) + LOW_SLACK

    assert bar(0.85, 66, 4.0) == pytest.approx(math.tanh(math.atanh(0.85) - 0.5), abs=1e-4)
    assert bar(1.0, 64, 4.0) == pytest.approx(1.0, abs=1e-4)
    assert bar(-1.0, 64, 4.0) < -1.0
    bars = [bar(score, 64, 4.0) for score in np.linspace(-1, 1, 101).tolist()]
    assert bars == sorted(bars)


def test_the_bar_at_full_width():
    assert full_width_bar(0.5, width=384) == pytest.approx(0.5, abs=1e-4)
    assert full_width_bar(-2.0, width=384) < -1.0
