"""After TTL, eviction, tag or invalidate the vector is gone with the answer, and bounds hold."""

from __future__ import annotations

import random
import threading
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from prism.cache import CacheConfigurationError, PrismCache

if TYPE_CHECKING:
    from doubles import Clock, Model

Build = Callable[..., PrismCache]


def rows(cache: PrismCache) -> int:
    """Vectors in the index."""
    index = cache._engine._shelf._vectors.index
    return 0 if index is None else len(index)


@pytest.fixture(params=["memory", "sqlite"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    return {} if request.param == "memory" else {"path": tmp_path / "answers.db"}


def assert_gone(cache: PrismCache, build: Build, where: dict[str, Any], query: str) -> None:
    assert not cache.lookup(query).hit
    assert not cache.lookup(query + " please").hit
    assert cache.metrics().entries == rows(cache) == 0
    if where:
        assert build(**where).metrics().entries == 0


def test_time_to_live(build: Build, clock: Clock, where: dict[str, Any]) -> None:
    cache = build(ttl_s=60, **where)
    cache.put("what is up", "much")
    clock.now += 59.9
    assert cache.lookup("what is up").hit
    clock.now += 0.1
    assert_gone(cache, build, where, "what is up")
    assert cache.metrics().expired == 1


def test_time_to_live_of_one_answer(build: Build, clock: Clock) -> None:
    cache = build(ttl_s=60)
    cache.put("what is up", "much", ttl_s=5)
    cache.put("what is down", "little")
    clock.now += 30
    assert not cache.lookup("what is up").hit
    assert cache.lookup("what is down").hit


def test_a_new_answer_starts_a_new_life(build: Build, clock: Clock) -> None:
    cache = build(ttl_s=60)
    cache.put("what is up", "old")
    clock.now += 50
    cache.put("what is up", "new")
    clock.now += 50
    assert cache.lookup("what is up").answer == "new"
    assert cache.metrics().entries == rows(cache) == 1


def test_a_tag(build: Build, where: dict[str, Any]) -> None:
    cache = build(**where)
    cache.put("what is up", "much", tags=["prices", "plans"])
    assert cache.invalidate(tag="weather") == 0
    assert cache.invalidate(tag="prices") == 1
    assert_gone(cache, build, where, "what is up")


def test_a_tag_reaches_every_scope_of_the_tenant_and_no_other_tenant(build: Build) -> None:
    ours, theirs = build("ours"), build("theirs")
    for cache in (ours, ours.scope(system_prompt="be brief"), theirs):
        cache.put("what is up", "much", tags=["prices"])
    assert ours.invalidate(tag="prices") == 2
    assert theirs.lookup("what is up").hit


def test_a_question_and_everything(build: Build, where: dict[str, Any]) -> None:
    cache = build(**where)
    cache.put("what is up", "much")
    cache.put("who is there", "me")
    assert cache.invalidate(query="What is up?") == 1
    assert cache.invalidate(query="What is up?") == 0
    assert cache.invalidate(everything=True) == 1
    assert_gone(cache, build, where, "who is there")


@pytest.mark.parametrize("how", [{}, {"tag": "a", "everything": True}, {"query": "q", "tag": "t"}])
def test_what_to_invalidate_must_be_clear(cache: PrismCache, how: dict[str, Any]) -> None:
    with pytest.raises(CacheConfigurationError, match="exactly one"):
        cache.invalidate(**how)


def test_feedback_removes_a_wrong_answer(build: Build, where: dict[str, Any]) -> None:
    cache = build(**where)
    cache.put("what is up", "nonsense")
    assert not cache.feedback("what is up", wrong=False)
    assert cache.feedback("what is up", wrong=True)
    assert_gone(cache, build, where, "what is up")
    assert cache.metrics().feedback_wrong == 1


def test_an_answer_fetched_before_an_invalidation_is_not_kept(cache: PrismCache) -> None:
    def call() -> str:
        # The price changes while the model is still reading the old one.
        cache.invalidate(tag="prices")
        return "old price"

    assert cache.get_or_call("what does it cost", call, tags=["prices"]) == "old price"
    assert not cache.lookup("what does it cost").hit
    assert cache.get_or_call("what is up", lambda: "much", tags=["prices"]) == "much"
    assert cache.lookup("what is up").hit


def test_eviction_keeps_the_bounds_and_takes_vectors_along(
    build: Build, where: dict[str, Any]
) -> None:
    cache = build(max_entries=10, **where)
    for n in range(50):
        cache.put(f"question about topic{n}", f"answer {n}")
    metrics = cache.metrics()
    assert metrics.entries == rows(cache) == 10
    assert metrics.evicted == 40
    if where:
        assert build(**where).metrics().entries == 10


def test_what_is_asked_often_outlives_what_is_not(build: Build) -> None:
    cache = build(max_entries=10)
    cache.put("what is up", "much")
    for n in range(100):
        cache.get_or_call("what is up", lambda: "called again")
        cache.put(f"question about topic{n}", f"answer {n}")
    assert cache.lookup("what is up").answer == "much"


def test_an_answer_larger_than_all_room_is_passed_on(build: Build) -> None:
    cache = build(max_bytes=20_000)
    assert cache.get_or_call("what is up", lambda: "x" * 30_000) == "x" * 30_000
    metrics = cache.metrics()
    assert (metrics.entries, metrics.unstorable) == (0, 1)


def test_bounds_hold_under_load(build: Build, model: Model) -> None:
    cache = build(max_bytes=400_000)
    highest = 0

    def ask(seed: int) -> None:
        nonlocal highest
        rng = random.Random(seed)
        for _ in range(60):
            question = f"question about topic{rng.randrange(300)}"
            size = rng.randrange(10, 20_000)
            cache.get_or_call(question, lambda size=size: "x" * size)
            highest = max(highest, cache.metrics().size_bytes)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(8)))
    assert 200_000 < highest <= 400_000
    assert cache.metrics().entries == rows(cache)


def test_the_estimated_size_is_not_below_the_real_one(build: Build) -> None:
    cache = build(tenant_id="warm-up")
    for n in range(200):
        cache.put(f"question number{n} about topic{n}", f"answer {n} " + "word " * 40)
    threading.Event()
    tracemalloc.start()
    try:
        cache = build()
        before, _ = tracemalloc.get_traced_memory()
        for n in range(2000):
            cache.put(f"question number{n} about topic{n}", f"answer {n} " + "word " * 40)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0.25 * cache.metrics().size_bytes < after - before <= cache.metrics().size_bytes
