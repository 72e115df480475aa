from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prism.cache._eviction import GreedyDual


def test_the_entry_of_least_worth_goes_first() -> None:
    hits = Counter({"popular": 9})
    ranking = GreedyDual[str](lambda key: hits[key])
    ranking.add("small", size_bytes=10, cost=10)
    ranking.add("large", size_bytes=1000, cost=10)
    ranking.add("popular", size_bytes=1000, cost=10)
    ranking.add("dear", size_bytes=1000, cost=10_000)
    assert [ranking.pop() for _ in range(4)] == ["large", "popular", "small", "dear"]
    with pytest.raises(KeyError):
        ranking.pop()


def test_what_was_popular_long_ago_goes_in_the_end() -> None:
    hits = Counter({"old": 20})
    ranking = GreedyDual[int | str](lambda key: hits[key])
    ranking.add("old", size_bytes=1, cost=1)
    for n in range(100):
        ranking.add(n, size_bytes=1, cost=1)
        if ranking.pop() == "old":
            break
    assert 10 < n < 60


@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "discard", "pop", "hit"]), st.integers(0, 9)),
        max_size=200,
    )
)
def test_it_holds_what_was_added_and_not_taken(moves: list[tuple[str, int]]) -> None:
    hits: Counter[int] = Counter()
    ranking = GreedyDual[int](lambda key: hits[key])
    model: set[int] = set()
    for move, key in moves:
        if move == "add":
            ranking.discard(key)
            ranking.add(key, size_bytes=1 + key, cost=1.0)
            model.add(key)
        elif move == "discard":
            ranking.discard(key)
            model.discard(key)
        elif move == "hit":
            hits[key] += 1
        elif model:
            model.remove(ranking.pop())
        assert len(ranking) == len(model)
    taken = [ranking.pop() for _ in range(len(ranking))]
    assert sorted(taken) == sorted(model)
