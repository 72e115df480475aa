"""Whatever fails inside the cache, the app gets its answer; what the app does wrong it is told."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from prism.cache import (
    CacheClosedError,
    CacheConfigurationError,
    CallError,
    MemoryStore,
    PrismCache,
    StoreError,
)
from prism.cache.store import Changes, Record

Build = Callable[..., PrismCache]


class BrokenEmbedder:
    model_id = "broken"
    dim = 4

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        raise RuntimeError("no vectors today")


class BrokenStore(MemoryStore):
    """A store that fails when it is told to."""

    broken = False

    def _fail(self) -> None:
        if self.broken:
            raise StoreError("the disk is gone")

    def put(self, tenant: bytes, record: Record) -> int:
        self._fail()
        return super().put(tenant, record)

    def delete(
        self,
        tenant: bytes,
        keys: Collection[bytes],
        *,
        versions: Mapping[bytes, int] | None = None,
    ) -> int:
        self._fail()
        return super().delete(tenant, keys, versions=versions)

    def changes(self, tenant: bytes, since: int) -> Changes:
        self._fail()
        return super().changes(tenant, since)

    def has_changed(self, since: int) -> bool:
        self._fail()
        return super().has_changed(since)


def test_a_broken_embedder(build: Build) -> None:
    cache = build(embedder=BrokenEmbedder())
    assert cache.get_or_call("what is up", lambda: "much") == "much"
    assert cache.get_or_call("what is up", lambda: "called again") == "much"
    assert cache.metrics().cache_errors == {"lookup": 1}


async def test_a_broken_embedder_in_a_coroutine(build: Build) -> None:
    cache = build(embedder=BrokenEmbedder())
    assert await cache.aget_or_call("what is up", lambda: "much") == "much"
    assert await cache.aget_or_call("what is up", lambda: "called again") == "much"


def test_a_broken_store(build: Build) -> None:
    store = BrokenStore()
    cache = build(store=store)
    cache.put("who is there", "me", tags=["people"])
    store.broken = True
    assert cache.get_or_call("what is up", lambda: "much") == "much"
    assert cache.get_or_call("what is up", lambda: "called again") == "much"
    assert cache.get_or_call("who is there", lambda: "called again") == "me"
    assert cache.metrics().cache_errors["store"] >= 3
    with pytest.raises(StoreError, match="disk is gone"):
        cache.invalidate(tag="people")


def test_what_cannot_be_stored_is_passed_on(cache: PrismCache) -> None:
    thing = object()
    assert cache.get_or_call("what is up", lambda: thing) is thing
    assert cache.get_or_call("what is up", lambda: None) is None
    assert cache.metrics().unstorable == 2
    assert cache.metrics().entries == 0


def test_errors_of_the_model_reach_the_caller_and_are_not_stored(cache: PrismCache) -> None:
    def fail() -> str:
        raise ConnectionError("away")

    with pytest.raises(ConnectionError, match="away"):
        cache.get_or_call("what is up", fail)
    assert cache.get_or_call("what is up", lambda: "much") == "much"
    assert cache.metrics().failed_calls == 1


async def an_answer() -> str:
    return "much"


def test_an_async_call_in_the_sync_method_is_told(cache: PrismCache) -> None:
    with pytest.raises(CallError, match="aget_or_call"):
        cache.get_or_call("what is up", an_answer)
    with pytest.raises(CallError, match="aget_or_call"):
        cache.get_or_call("what is up", lambda: an_answer())


@pytest.mark.parametrize("query", [None, b"what", 3, ["what"]])
def test_a_question_must_be_a_string(cache: PrismCache, query: Any) -> None:
    with pytest.raises(CallError, match="query must be a string"):
        cache.get_or_call(query, lambda: "much")


def test_a_call_must_be_callable(cache: PrismCache) -> None:
    with pytest.raises(CallError, match="callable"):
        cache.get_or_call("what is up", "much")  # type: ignore[arg-type]  # what a user might do


@pytest.mark.parametrize("query", ["", "   ", "?", "\0", "lone \udc80 surrogate", "x" * 100_000])
def test_odd_questions_are_answered(build: Build, tmp_path: Any, query: str) -> None:
    cache = build(path=tmp_path / "answers.db")
    assert cache.get_or_call(query, lambda: "much") == "much"
    assert cache.get_or_call(query, lambda: "called again") == "much"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"tenant_id": ""}, "tenant_id"),
        ({"llm_model": None}, "llm_model"),
        ({"max_error": 0}, "max_error must be a number above 0 and at most 0.2, not 0"),
        ({"max_error": 0.5}, "max_error"),
        ({"similarity_threshold": 1.5}, "similarity_threshold"),
        ({"ttl_s": 0}, "ttl_s"),
        ({"ttl_s": float("nan")}, "ttl_s"),
        ({"max_bytes": 0}, "max_bytes"),
        ({"max_entries": 1.5}, "max_entries"),
        ({"wait_timeout_s": -1}, "wait_timeout_s"),
        ({"path": "x.db", "store": MemoryStore()}, "exclude each other"),
    ],
)
def test_settings_that_make_no_sense_are_named(
    build: Build, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(CacheConfigurationError, match=words):
        build(**settings)


@pytest.mark.parametrize("options", [{"tags": "prices"}, {"tags": [1]}, {"ttl_s": -1}])
def test_options_that_make_no_sense_are_told(cache: PrismCache, options: dict[str, Any]) -> None:
    with pytest.raises(CacheConfigurationError):
        cache.get_or_call("what is up", lambda: "much", **options)


async def test_a_closed_cache_says_so(build: Build, tmp_path: Any) -> None:
    async with build(path=tmp_path / "answers.db") as cache:
        pass
    cache.close()
    for ask in (cache.lookup, cache.explain, lambda q: cache.get_or_call(q, lambda: "much")):
        with pytest.raises(CacheClosedError):
            ask("what is up")
    with pytest.raises(CacheClosedError):
        await cache.aget_or_call("what is up", lambda: "much")
