"""Ids and payloads in batches: as arrays, as lists, one by one, and not at all."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prismresonance import DuplicateIdError, PrismProjector, WaveIndex
from prismresonance._no_payload import NO_PAYLOAD

LEAST = -(2**63)


def rows(index: WaveIndex) -> list:
    return [(m.id, m.score, m.payload) for m in index.query([1.0, 0.0, 0.5], 10_000)]


@settings(max_examples=40)
@given(
    batches=st.lists(
        st.tuples(st.sampled_from(["next", "array", "list", "range"]), st.integers(0, 30)),
        max_size=6,
    ),
    kind=st.sampled_from(["i8", "i4", "u8", "u2", ">i8"]),
    gone=st.lists(st.integers(0, 400), max_size=40),
)
def test_a_batch_is_as_its_rows_one_by_one(batches, kind, gone):
    projector = PrismProjector(dim=8, tenant_id="t")
    many, single = WaveIndex(projector), WaveIndex(projector)
    random = np.random.default_rng(0)
    for number, (form, count) in enumerate(batches):
        vectors = random.standard_normal((count, 3))
        wanted = range(300 - 40 * number, 300 - 40 * number + count)
        given_ids = {
            "next": None,
            "range": wanted,
            "list": list(wanted),
            "array": np.array(wanted, kind),
        }[form]
        named = many.add_many(vectors, ids=given_ids)
        assert all(type(row_id) is int for row_id in named)
        for row_id, vector in zip(named, vectors, strict=True):
            assert single.add(vector, id=None if form == "next" else row_id) == row_id
    assert many.remove_many(np.array(gone, "i8")) == sum(map(single.remove, gone))
    assert rows(many) == rows(single)
    for row_id in range(0, 400, 3):
        assert (row_id in many) == (row_id in single)


def test_ids_in_an_array_are_copied_and_checked():
    index = WaveIndex(PrismProjector(tenant_id="t"))
    given_ids = np.arange(5)
    index.add_many(np.eye(5), ids=given_ids)
    given_ids[:] = 9
    assert [row_id in index for row_id in range(6)] == [True] * 5 + [False]
    with pytest.raises(DuplicateIdError, match="in the index already") as caught:
        index.add_many(np.eye(5), ids=np.arange(4, 9))
    assert caught.value.id == 4
    with pytest.raises(DuplicateIdError, match="twice in the batch") as caught:
        index.upsert_many(np.eye(5), None, np.array([7, 11, 8, 11, 9]))
    assert caught.value.id == 11
    assert index.upsert_many(np.eye(5), None, np.array([7, 3, 2, 8, 1])) == 3
    assert sorted(m.id for m in index.query(np.ones(5))) == [0, 1, 2, 3, 4, 7, 8]
    huge = np.array([2**64 - 1, 2**63, 5], np.uint64)
    assert index.add_many(np.eye(5)[:3], ids=huge) == [2**64 - 1, 2**63, 5]
    assert index.add(np.ones(5)) == 2**64
    assert 2**63 in index
    least = np.array([LEAST, LEAST + 1])
    assert index.add_many(np.eye(5)[:2], ids=least) == [LEAST, LEAST + 1]
    assert index.get(LEAST).id == LEAST
    assert index.remove_many(least) == 2


def test_rows_without_a_payload_share_one_that_cannot_change():
    index = WaveIndex(PrismProjector(tenant_id="t"))
    index.add_many(np.eye(4)[:2])
    mine = {"mine": 1}
    index.add(np.eye(4)[2], mine)
    index.add(np.eye(4)[3])
    payloads = [index.get(row_id).payload for row_id in range(4)]
    assert payloads == [{}, {}, mine, {}]
    assert payloads[2] is mine
    assert payloads[0] is payloads[3] is NO_PAYLOAD
    for change in (
        lambda: payloads[0].update(a=1),
        lambda: payloads[0].__setitem__("a", 1),
        lambda: payloads[0].setdefault("a", 1),
        lambda: payloads[0].__ior__({"a": 1}),
        payloads[0].clear,
        payloads[0].popitem,
    ):
        with pytest.raises(TypeError, match="without a payload"):
            change()
    assert json.dumps(payloads[0]) == repr(payloads[0]) == "{}"
    for made in (pickle.loads(pickle.dumps(payloads[0])), copy.deepcopy(payloads[0])):  # noqa: S301
        assert made is NO_PAYLOAD
