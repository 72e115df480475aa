"""What the index accepts as a vector, and that a refusal changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prismresonance import (
    Between,
    DuplicateIdError,
    InvalidArgumentError,
    InvalidVectorError,
    Match,
    PrismProjector,
    WaveIndex,
)
from prismresonance._vectors import unit_row, unit_rows


@pytest.fixture
def index() -> WaveIndex:
    index = WaveIndex(PrismProjector(dim=64, tenant_id="t"), indexed_fields=["scope"])
    index.add([1.0, 2.0, 2.0], {"scope": "a"}, id="first")
    return index


def test_the_promised_calls():
    my_embedding = query_embedding = np.arange(1.0, 385.0, dtype=np.float32)
    projector = PrismProjector(dim=64, tenant_id="my-tenant")
    index = WaveIndex(projector)
    index.add(vector=my_embedding, payload={"row_id": "product-1", "text": "Widget"})
    results = index.query(vector=query_embedding, top_k=5, threshold=0.85)
    assert results == [Match(0, 1.0, {"row_id": "product-1", "text": "Widget"})]
    assert (results[0].id, results[0].score) == (0, 1.0)
    assert index.add_many(vectors=[my_embedding, -my_embedding], payloads=[{}, {}], ids=None) == [
        1,
        2,
    ]


BAD_VECTORS = [
    ([1.0, float("nan"), 0.0], "NaN at component 1"),
    ([1.0, 0.0, float("inf")], "infinite at component 2"),
    ([0.0, -0.0, 0.0], "zero"),
    ([1.0, 2.0], "width 3, got width 2"),
    ([], "width 3, got width 0"),
    (1.0, "one dimension"),
    ([[1.0, 2.0, 3.0]], "one dimension"),
    ([[1.0], [1.0, 2.0]], "not an array of numbers"),
    (["1", "2", "3"], "real numbers"),
    ([True, False, True], "real numbers"),
    ([1j, 0, 0], "real numbers"),
    ([None, 1.0, 1.0], "real numbers"),
    ([10**400, 1, 1], "real numbers"),
    ("abc", "real numbers"),
    (None, "real numbers"),
]


@pytest.mark.parametrize(("vector", "message"), BAD_VECTORS)
def test_a_bad_vector_is_refused_and_changes_nothing(index, vector, message):
    before = (len(index), index.stats(), index.get("first").payload)
    for call in (
        lambda: index.add(vector),
        lambda: index.upsert(vector, id="first"),
        lambda: index.query(vector),
    ):
        with pytest.raises(InvalidVectorError, match=message):
            call()
    assert (len(index), index.stats(), index.get("first").payload) == before
    assert index.add([1, 1, 1]) == 0


@pytest.mark.parametrize("bad", [[0, 0, 0], [np.nan, 1, 1], [np.inf, 0, 0]])
def test_a_bad_batch_names_the_row_and_changes_nothing(index, bad):
    with pytest.raises(InvalidVectorError, match="vector 2 is"):
        index.add_many([[1, 0, 0], [0, 1, 0], bad, [0, 0, 1]])
    with pytest.raises(InvalidVectorError, match="vector 2 is"):
        index.query_many([[1, 0, 0], [0, 1, 0], bad])
    assert len(index) == 1
    assert index.add_many(np.empty((0, 3))) == []
    assert index.add_many([]) == []
    assert index.query_many([]) == []


def test_a_refused_first_vector_does_not_fix_the_width():
    index = WaveIndex(PrismProjector(tenant_id="t"))
    with pytest.raises(InvalidVectorError):
        index.add([0.0, 0.0])
    assert index.add_many(np.empty((0, 7))) == []
    assert index.width is None
    assert index.query(np.ones(9)) == []
    index.add(np.ones(5))
    assert index.width == 5
    assert WaveIndex(PrismProjector(tenant_id="t"), width=9).width == 9


def test_ids(index):
    assert index.add([1, 0, 0], id=41) == 41
    assert index.add([1, 0, 0]) == 42
    assert index.remove(42)
    assert index.add([1, 0, 0]) == 43  # an id is not given twice
    assert index.add([1, 0, 0], id=np.int64(7)) == 7
    assert [type(m.id) for m in index.query([1, 0, 0], top_k=4)] == [int, int, int, str]
    with pytest.raises(DuplicateIdError, match="upsert"):
        index.add([1, 0, 0], id=41)
    with pytest.raises(DuplicateIdError, match="twice"):
        index.add_many([[1, 0, 0], [0, 1, 0]], ids=["n", "n"])
    with pytest.raises(DuplicateIdError, match="twice"):
        index.upsert_many([[1, 0, 0], [0, 1, 0]], None, ["first", "first"])
    for bad in (True, 1.0, None, b"x", (1,)):
        with pytest.raises(InvalidArgumentError):
            index.get(bad)
        with pytest.raises(InvalidArgumentError):
            index.remove_many(["first", bad])
    assert "first" in index
    assert None not in index


@pytest.mark.parametrize(
    "arguments",
    [
        {"top_k": 0},
        {"top_k": -1},
        {"top_k": 2.5},
        {"top_k": True},
        {"threshold": float("nan")},
        {"threshold": 1.01},
        {"threshold": -2},
        {"threshold": "0.5"},
        {"threshold": True},
        {"where": "scope"},
        {"where": {1: 2}},
        {"where": {"scope": {"un": "hashable"}}},
        {"where": {"scope": [["unhashable"]]}},
    ],
)
def test_bad_query_arguments(index, arguments):
    with pytest.raises(InvalidArgumentError):
        index.query([1, 1, 1], **arguments)


def test_bad_arguments_of_writes(index):
    with pytest.raises(InvalidArgumentError, match="mapping"):
        index.add([1, 1, 1], "text")
    with pytest.raises(InvalidArgumentError, match="hashable"):
        index.add([1, 1, 1], {"scope": []})
    with pytest.raises(InvalidArgumentError, match="2 vectors need 2 payloads"):
        index.add_many([[1, 1, 1], [1, 1, 2]], [{}])
    with pytest.raises(InvalidArgumentError, match="2 vectors need 2 ids"):
        index.add_many([[1, 1, 1], [1, 1, 2]], ids=[1])
    with pytest.raises(InvalidArgumentError):
        Between()
    with pytest.raises(InvalidArgumentError):
        Between(2, 1)
    with pytest.raises(InvalidArgumentError):
        Between(1, "2")
    with pytest.raises(InvalidArgumentError):
        WaveIndex(index.projector, width=0)
    with pytest.raises(InvalidArgumentError):
        WaveIndex(index.projector, indexed_fields="scope")
    with pytest.raises(InvalidArgumentError):
        WaveIndex("projector")
    assert len(index) == 1


@given(
    st.lists(
        st.floats(-1.0, 1.0, width=32).filter(lambda x: x == 0 or abs(x) > 1e-3),
        min_size=1,
        max_size=700,
    ).filter(any),
    st.sampled_from([1e-320, 1e-300, 1e-45, 1.0, 3.0, 1e38, 1e305]),
)
def test_a_vector_scores_exactly_one_with_itself_at_any_scale(components, scale):
    vector = np.array(components, np.float64) * scale
    if not vector.any():  # underflow
        return
    index = WaveIndex(PrismProjector(tenant_id="t"))
    index.add_many([vector, -vector, vector])
    scores = [(match.id, match.score) for match in index.query(vector)]
    assert scores == [(0, 1.0), (2, 1.0), (1, -1.0)]


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 3, 64, 384, 1536]))
def test_a_row_has_the_same_bits_in_any_batch_and_its_products_in_any_order(seed, width):
    random = np.random.default_rng(seed)
    vectors = random.standard_normal((9, width)) * 10.0 ** random.integers(-30, 30, (9, 1))
    units = unit_rows(vectors)
    wide = units.rows.astype(np.float64)
    for number, vector in enumerate(vectors):
        assert np.array_equal(unit_row(vector).rows[0], units.rows[number])
        backwards = np.ascontiguousarray(wide[number, ::-1])
        one_by_one = sum((wide[0] * wide[number]).tolist())
        assert wide[0] @ wide[number] == one_by_one == wide[0, ::-1] @ backwards
    exact = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(wide, 32767 * exact, atol=0.51)
    assert (units.squared_norms == (wide * wide).sum(axis=1)).all()


def test_scores_do_not_depend_on_what_else_is_stored():
    random = np.random.default_rng(7)
    vectors = random.standard_normal((4000, 96))
    query = random.standard_normal(96)
    alone = {}
    for number in range(0, 4000, 500):
        index = WaveIndex(PrismProjector(tenant_id="t"))
        index.add(vectors[number])
        alone[number] = index.query(query)[0].score
    crowd = WaveIndex(PrismProjector(tenant_id="t"))
    crowd.add_many(vectors)
    scores = {match.id: match.score for match in crowd.query(query, 4000)}
    assert all(scores[number] == score for number, score in alone.items())
    for number, score in list(alone.items())[:4]:
        admitted = crowd.query(query, 4000, threshold=score)
        assert admitted[-1] == (number, score, {})
        assert crowd.query(query, 4000, threshold=np.nextafter(score, 2.0)) == admitted[:-1]


def test_removed_vectors_are_released():
    index = WaveIndex(PrismProjector(tenant_id="t"))
    random = np.random.default_rng(3)
    index.add_many(random.standard_normal((20_000, 128)))
    assert index.stats().projected
    assert 19_999 in index  # makes the map of ids, as the removal would
    full = index.stats().size_bytes
    index.remove_many(range(0, 20_000, 5))
    assert index.stats().tombstones == 4_000
    index.compact()
    assert index.stats().tombstones == 0
    assert index.stats().size_bytes < 0.85 * full
    index.remove_many(range(19_999))
    for _ in range(5):  # each write rewrites at most one chunk
        index.upsert(np.ones(128), id="last")
    assert index.stats().size_bytes < 0.1 * full
    assert len(index) == 2


def test_a_snapshot_finds_only_the_living():
    index = WaveIndex(PrismProjector(tenant_id="t"))
    index.add_many(np.eye(5))
    before = index._table.snapshot
    index.remove(2)
    after = index._table.snapshot
    assert [before.find(seq) is not None for seq in range(-1, 6)] == [0, 1, 1, 1, 1, 1, 0]
    assert [after.find(seq) is not None for seq in range(-1, 6)] == [0, 1, 1, 0, 1, 1, 0]
