"""Payloads and ids as bytes: back as they were, or refused by name."""

from __future__ import annotations

import collections
import datetime
import enum
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prismresonance._encoding import decoded_id, decoded_payload, encoded_id, encoded_payload
from prismresonance._no_payload import NO_PAYLOAD
from prismresonance.errors import UnsavablePayloadError

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.just(10**400)
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8
)
surrogates = st.text(st.characters(categories=["Cs", "Lu"]))


def same(a: object, b: object) -> bool:
    """Compare as `==` does, but tell 1 from 1.0 and True, and 0.0 from -0.0."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b and (not isinstance(a, float) or math.copysign(1, a) == math.copysign(1, b))


@given(st.dictionaries(st.text() | surrogates, values | surrogates))
def test_a_payload_is_read_back_as_it_was(payload):
    assert same(decoded_payload(encoded_payload(payload, 1, ())), payload)


def test_numbers_that_are_none_are_kept_and_no_payload_stays_none():
    read = decoded_payload(encoded_payload({"n": math.nan, "i": -math.inf}, 1, ()))
    assert math.isnan(read["n"])
    assert read["i"] == -math.inf
    assert encoded_payload(NO_PAYLOAD, 1, ()) == b""
    assert decoded_payload(b"") is NO_PAYLOAD
    assert decoded_payload(encoded_payload({}, 1, ())) is not NO_PAYLOAD
    ordered = collections.OrderedDict(b=1, a=2)
    assert same(decoded_payload(encoded_payload(ordered, 1, ())), {"b": 1, "a": 2})


class Colour(enum.IntEnum):
    RED = 1


circle: list = []
circle.append(circle)
deep: list = []
for _ in range(100_000):
    deep = [deep]


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (b"x", "bytes"),
        ((1, 2), "tuple"),
        ({1}, "set"),
        (datetime.date(2024, 1, 1), "datetime.date"),
        (np.float64(1.0), "numpy.float64"),
        (np.arange(3), "numpy.ndarray"),
        (Colour.RED, "Colour"),
        (collections.OrderedDict(), "collections.OrderedDict"),
        ({"a": [{"b": 1j}]}, "complex"),
        ({"a": {1: 2}}, "int for a key"),
        (10**5000, "digits"),
        (circle, "holds itself"),
        (deep, "nested too deeply"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_json_cannot_hold_is_refused(value, named):
    with pytest.raises(UnsavablePayloadError, match=named) as caught:
        encoded_payload({"fine": 1, "bad": value}, "row 7", ())
    assert caught.value.id == "row 7"
    assert caught.value.field in ("bad", "")
    assert "'row 7'" in str(caught.value)


def test_fields_must_be_texts_and_indexed_ones_hashable():
    with pytest.raises(UnsavablePayloadError, match="named by int"):
        encoded_payload({1: 2}, 5, ())
    assert encoded_payload({"a": [1]}, 5, ("b",)) == b'{"a":[1]}'
    with pytest.raises(UnsavablePayloadError, match="'a': holds list but is indexed"):
        encoded_payload({"a": [1]}, 5, ("a",))


@given(st.integers() | st.text() | surrogates | st.just(10**6000) | st.just(-(2**63)))
def test_an_id_is_read_back(row_id):
    assert same(decoded_id(encoded_id(row_id)), row_id)
