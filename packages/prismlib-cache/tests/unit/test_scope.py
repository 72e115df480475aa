from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prism.cache._keys import question_key
from prism.cache._scope import Scope, tenant_key
from prism.cache.errors import ScopeError

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
PARTS = st.fixed_dictionaries(
    {"tenant_id": st.text(), "model": st.text()},
    optional={
        "system_prompt": st.text(),
        "tools": VALUES,
        "parameters": VALUES,
        "history": VALUES,
        "context": VALUES,
    },
)


def spelled(value: object) -> str:
    """A spelling that is equal exactly for values that must share a key."""
    match value:
        case bytes():
            return f"b{value.hex()}"
        case Mapping():
            return (
                "{" + ",".join(f"{json.dumps(k)}:{spelled(value[k])}" for k in sorted(value)) + "}"
            )
        case list() | tuple():
            return "[" + ",".join(map(spelled, value)) + "]"
        case _:
            return f"{type(value).__name__}{value!r}"


@given(PARTS, PARTS)
def test_scopes_share_a_key_exactly_when_all_parts_are_equal(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    names = ["tenant_id", "model", "system_prompt", "tools", "parameters", "history", "context"]
    same = [spelled(one.get(n)) for n in names] == [spelled(other.get(n)) for n in names]
    assert (Scope(**one).key == Scope(**other).key) == same
    assert Scope(**one).key == Scope(**one).key


def test_values_do_not_slip_from_one_part_into_the_next() -> None:
    keys = {
        Scope(tenant_id="a", model="b", tools="c").key,
        Scope(tenant_id="a", model="b", parameters="c").key,
        Scope(tenant_id="a", model="b", system_prompt="c").key,
        Scope(tenant_id="ab", model="").key,
        Scope(tenant_id="", model="ab").key,
        Scope(tenant_id="a", model="b", history=["c", "d"]).key,
        Scope(tenant_id="a", model="b", history=[["c"], "d"]).key,
        Scope(tenant_id="a", model="b", history=1).key,
        Scope(tenant_id="a", model="b", history=True).key,
        Scope(tenant_id="a", model="b", history="1").key,
    }
    assert len(keys) == 10


def test_the_order_of_a_mapping_does_not_matter() -> None:
    one = Scope(tenant_id="t", model="m", parameters={"a": 1, "b": 2})
    assert one.key == Scope(tenant_id="t", model="m", parameters={"b": 2, "a": 1}).key


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"x": {1, 2}}, r"parameters\.x is a set"),
        ({1: "x"}, "a key of type int"),
        ([object()], r"parameters\[0\] holds a object"),
    ],
)
def test_what_has_no_exact_key_is_refused(part: Any, words: str) -> None:
    with pytest.raises(ScopeError, match=words):
        Scope(tenant_id="t", model="m", parameters=part)


def test_objects_of_sdks_count_by_what_they_dump() -> None:
    class Message:
        def model_dump(self, *, mode: str) -> dict[str, str]:
            return {"role": "user", "content": "hi"}

    plain = Scope(tenant_id="t", model="m", history=[{"role": "user", "content": "hi"}])
    assert Scope(tenant_id="t", model="m", history=[Message()]).key == plain.key  # type: ignore[list-item]  # any object with model_dump


def test_a_question_has_one_key_in_a_scope_whatever_its_case() -> None:
    here, there = Scope(tenant_id="t", model="m"), Scope(tenant_id="t", model="n")
    assert question_key(here, "Hi there?") == question_key(here, "hi  there")
    assert question_key(here, "hi") != question_key(there, "hi")
    assert question_key(here, "lone \udc80 surrogate") != question_key(here, "lone surrogate")
    assert tenant_key("a") != tenant_key("b")
