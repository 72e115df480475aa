"""Rows of vectors under scopes: what is near is of the scope that was asked for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prism.cache import _vectors
from prism.cache._codec import encode
from prism.cache._entry import Entry, entry_of
from prism.cache._metrics import Ledger
from prism.cache._vectors import Vectors
from prism.cache.store import Record

WIDTH = 8
SCOPES = (b"one", b"two")


def entry(number: int, scope: bytes) -> Entry:
    answer = encode(f"answer {number}")
    assert answer is not None
    record = Record(
        key=b"%d %s" % (number, scope),
        scope=scope,
        question=f"question {number}",
        embedder="",
        vector=b"",
        answer=answer.payload,
        encoding=answer.encoding,
        model="gpt-4o",
        input_tokens=None,
        output_tokens=None,
        cached_tokens=None,
        call_s=0.0,
        created_at=0.0,
        expires_at=None,
        tags=(),
    )
    return entry_of(record, position=0, misread=lambda _: None)


def unit(number: int) -> np.ndarray:
    row = np.random.default_rng(number).standard_normal(WIDTH).astype(np.float32)
    return row / np.linalg.norm(row)


def filled(numbers: range, scope: bytes, vectors: Vectors) -> list[Entry]:
    made = [entry(number, scope) for number in numbers]
    vectors.add([(e, unit(n).tobytes()) for n, e in zip(numbers, made, strict=True)])
    return made


@settings(deadline=None, max_examples=60)
@given(
    steps=st.lists(st.tuples(st.booleans(), st.integers(0, 19), st.sampled_from(SCOPES))),
    few=st.integers(0, 3),
)
def test_what_is_near_is_the_nearest_of_its_scope(
    steps: list[tuple[bool, int, bytes]], few: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_vectors, "_FEW_ROWS", few)
        vectors, here = Vectors("tenant", Ledger()), dict[tuple[int, bytes], Entry]()
        for is_added, number, scope in steps:
            known = here.pop((number, scope), None)
            if known is not None:
                vectors.remove(known)
            if is_added:
                [here[number, scope]] = filled(range(number, number + 1), scope, vectors)
        for scope in SCOPES:
            asked = unit(99)
            found = vectors.near(asked, scope, 0.0)
            own = {e.key: float(asked @ unit(n)) for (n, s), e in here.items() if s == scope}
            nearest = sorted(own, key=lambda key: -own[key])[: len(found)]
            assert len(found) == min(16, len(own))
            assert [near.key for near, _ in found] == nearest


def test_a_row_of_another_scope_that_just_came_in_is_not_given() -> None:
    vectors = Vectors("tenant", Ledger())
    filled(range(300), b"one", vectors)
    # As a reader sees it who looked at the scopes before the row was added.
    vectors._note_scopes = lambda: None  # type: ignore[method-assign]
    filled(range(300, 310), b"two", vectors)
    found = vectors.near(unit(305), b"one", 0.0)
    assert len(found) == 16
    assert {near.scope for near, _ in found} == {b"one"}
