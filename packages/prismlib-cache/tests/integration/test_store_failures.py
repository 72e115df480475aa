"""What happens to answers when the store fails, lags behind, or holds what it should not."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from doubles import Clock, WordEmbedder

from prism.cache import CacheConfigurationError, MemoryStore, PrismCache, SQLiteStore, StoreError
from prism.cache._scope import tenant_key
from prism.cache.store import Changes, Record

Build = Callable[..., PrismCache]
OURS = tenant_key("tests")


class Unwilling(MemoryStore):
    """A store that refuses what it is told to refuse."""

    def __init__(self) -> None:
        super().__init__()
        self.refuses: set[str] = set()

    def _maybe_fail(self, what: str) -> None:
        if what in self.refuses:
            raise StoreError(f"{what} refused")

    def put(self, tenant: bytes, record: Record) -> int:
        self._maybe_fail("put")
        return super().put(tenant, record)

    def delete(
        self,
        tenant: bytes,
        keys: Collection[bytes],
        *,
        versions: Mapping[bytes, int] | None = None,
    ) -> int:
        self._maybe_fail("delete")
        return super().delete(tenant, keys, versions=versions)

    def changes(self, tenant: bytes, since: int) -> Changes:
        self._maybe_fail("changes")
        return super().changes(tenant, since)


def stored(store: MemoryStore | SQLiteStore) -> list[str]:
    return sorted(record.question for record in store.changes(OURS, 0).stored)


def test_a_removal_that_the_store_refused_is_made_up_for(build: Build) -> None:
    store = Unwilling()
    cache = build(store=store)
    cache.put("what is up", "much", tags=["news"])
    store.refuses = {"delete"}
    with pytest.raises(StoreError):
        cache.invalidate(tag="news")
    assert not cache.lookup("what is up").hit
    assert stored(store) == ["what is up"]
    store.refuses = set()
    deadline = time.monotonic() + 30
    while stored(store) and time.monotonic() < deadline:
        assert not cache.lookup("what is up").hit
    assert stored(store) == []


def test_a_removal_works_though_the_store_cannot_be_read(build: Build) -> None:
    store = Unwilling()
    cache = build(store=store)
    cache.put("what is up", "much", tags=["news"])
    store.put(b"another tenant", store.changes(OURS, 0).stored[0])
    store.refuses = {"changes"}
    with pytest.raises(StoreError):
        cache.invalidate(tag="news")
    assert not cache.lookup("what is up").hit


def test_put_tells_what_it_could_not_do(build: Build) -> None:
    store = Unwilling()
    cache = build(store=store, max_bytes=20_000)
    cache.put("what is up", "old")
    store.refuses = {"put"}
    with pytest.raises(StoreError, match="in memory"):
        cache.put("what is up", "new")
    assert cache.lookup("what is up").answer == "new"
    store.refuses = set()
    with pytest.raises(CacheConfigurationError, match="max_bytes is 20,000"):
        cache.put("what is up", "x" * 30_000)
    assert not cache.lookup("what is up").hit
    assert stored(store) == []


def test_an_old_answer_does_not_outlive_a_new_one_that_could_not_be_written(build: Build) -> None:
    store = Unwilling()
    cache = build(store=store)
    cache.put("what is up", "old")
    store.refuses = {"put"}
    with pytest.raises(StoreError):
        cache.put("what is up", "new")
    assert stored(store) == []


def test_who_slept_past_a_ttl_does_not_delete_what_another_renewed(
    build: Build, clock: Clock, tmp_path: Path
) -> None:
    path = tmp_path / "answers.db"
    sleeper, awake = build(path=path, ttl_s=10), build(path=path, ttl_s=10)
    sleeper.get_or_call("what is up", lambda: "old")
    assert awake.lookup("what is up").hit
    clock.now += 11
    assert awake.get_or_call("what is up", lambda: "fresh") == "fresh"
    assert not sleeper.lookup("something else").hit
    assert awake.lookup("what is up").answer == "fresh"
    assert sleeper.lookup("what is up").answer == "fresh"
    assert build(path=path).lookup("what is up").answer == "fresh"


@pytest.mark.parametrize(
    "damage",
    [
        {"vector": np.full(64, np.nan, "<f4").tobytes()},
        {"vector": np.ones(32, "<f4").tobytes()},
        {"vector": b"\1\2\3"},
        {"encoding": "of a newer version"},
        {"encoding": "json", "answer": b"{bad"},
    ],
)
def test_one_odd_record_spoils_nothing_else(build: Build, damage: dict[str, Any]) -> None:
    store = MemoryStore()
    cache = build(store=store)
    for question in ("what is up", "who is there", "where are we"):
        cache.put(question, f"answer to {question}")
    record = store.changes(OURS, 0).stored[1]
    store.put(OURS, dataclasses.replace(record, **damage))
    again = build(store=store)
    assert again.lookup("what is up please").hit
    assert again.lookup("where are we please").hit
    assert again.get_or_call("who is there", lambda: "called") in (
        "called",
        "answer to who is there",
    )
    assert not again.lookup("who is there please").hit or "vector" not in damage


class OnceOdd(WordEmbedder):
    """Gives one vector that is none."""

    def __init__(self, odd: npt.NDArray[np.float32]) -> None:
        self.odd = [odd]

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        return self.odd.pop() if self.odd else super().embed(texts)


@pytest.mark.parametrize(
    "odd", [np.full((1, 64), np.nan), np.ones((1, 32)), np.ones(64), np.ones((2, 64))]
)
def test_an_odd_vector_is_never_stored(build: Build, odd: npt.NDArray[np.float32]) -> None:
    store = MemoryStore()
    cache = build(store=store, embedder=OnceOdd(odd.astype(np.float32)))
    assert cache.get_or_call("what is up", lambda: "much") == "much"
    assert cache.get_or_call("who is there", lambda: "me") == "me"
    assert cache.metrics().cache_errors == {"lookup": 1}
    assert [len(record.vector) for record in store.changes(OURS, 0).stored] == [0, 256]


def test_bounds_hold_when_a_larger_file_is_opened(
    build: Build, clock: Clock, tmp_path: Path
) -> None:
    path = tmp_path / "answers.db"
    with build(path=path) as cache:
        for n in range(5):
            cache.put(f"question about topic{n}", "live")
            cache.put(f"question about thing{n}", "expired", ttl_s=5)
        cache.put("what is large", "x" * 50_000)
    clock.now += 10
    small = build(path=path, max_entries=5, max_bytes=40_000)
    metrics = small.metrics()
    assert metrics.size_bytes <= 40_000
    assert metrics.entries == 5
    assert not small.lookup("what is large").hit


def test_a_closed_cache_leaves_the_store_of_others_alone(build: Build) -> None:
    store = MemoryStore()
    cache = build(store=store, max_entries=2)
    begun, go = threading.Event(), threading.Event()

    def call() -> str:
        begun.set()
        assert go.wait(30)
        return "late"

    cache.put("what is up", "much")
    cache.put("who is there", "me")
    asking = threading.Thread(target=cache.get_or_call, args=("is it late", call))
    asking.start()
    assert begun.wait(30)
    cache.close()
    go.set()
    asking.join(30)
    assert set(stored(store)) >= {"what is up", "who is there"}


def test_expiries_do_not_pile_up(build: Build) -> None:
    cache = build(ttl_s=1000)
    for n in range(2000):
        cache.put("what is up", f"answer {n}")
    assert len(cache._engine._shelf._expiries) < 200


def test_a_child_forked_while_others_write_can_use_the_cache(build: Build, tmp_path: Path) -> None:
    cache = build(path=tmp_path / "answers.db")
    stop = threading.Event()

    def write(name: str) -> None:
        n = 0
        while not stop.is_set():
            cache.put(f"question {name}{n % 50} about topic", "x" * 200)
            n += 1

    writers = [threading.Thread(target=write, args=(name,)) for name in "ab"]
    for writer in writers:
        writer.start()
    try:
        for _ in range(5):
            read, written = os.pipe()
            child = os.fork()
            if child == 0:
                signal.alarm(20)
                cache.put("what is up", "much")
                os.write(written, json.dumps(cache.lookup("what is up").hit).encode())
                os._exit(0)
            os.close(written)
            with os.fdopen(read) as told:
                assert told.read() == "true"
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        for writer in writers:
            writer.join(30)


def test_a_removal_by_another_process_counts_though_we_removed_the_key_before(
    build: Build, tmp_path: Path
) -> None:
    one, other = build(path=tmp_path / "answers.db"), build(path=tmp_path / "answers.db")
    one.put("what is up", "old")
    one.invalidate(query="what is up")
    one.put("what is up", "new")
    assert other.invalidate(everything=True) == 1
    assert not one.lookup("what is up").hit


def test_what_could_not_be_read_when_it_was_removed_stays_removed(build: Build) -> None:
    store = Unwilling()
    one, other = build(store=store), build(store=store)
    one.put("what is up", "much", tags=["news"])
    store.refuses = {"changes"}
    with pytest.raises(StoreError):
        other.invalidate(tag="news")
    store.refuses = set()
    assert not other.lookup("what is up").hit
    assert stored(store) == []


@pytest.mark.parametrize(
    "damage",
    [
        {"encoding": "stream", "answer": b"{}"},
        {"encoding": "json", "answer": b"[" * 100_000},
        {"input_tokens": 1, "output_tokens": 1, "cached_tokens": 5},
        {"input_tokens": -1, "output_tokens": 1},
    ],
)
def test_an_odd_record_does_not_stop_the_others(build: Build, damage: dict[str, Any]) -> None:
    store = MemoryStore()
    first = build(store=store)
    first.put("what is up", "much")
    record = store.changes(OURS, 0).stored[0]
    store.put(OURS, dataclasses.replace(record, **damage))
    second = build(store=store)
    first.put("who is there", "me")
    assert second.lookup("who is there").answer == "me"
    assert second.get_or_call("what is up", lambda: "called") in ("called", "much")
