"""One call per distinct miss in flight, whoever asks, and no deadlock whatever the call does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest
from doubles import WordEmbedder

from prism.cache import PrismCache

if TYPE_CHECKING:
    from doubles import Model

Build = Callable[..., PrismCache]


class Gate:
    """A call that stays inside until it is let go, and says when it has begun."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go = threading.Event()
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        self.begun.set()
        assert self.go.wait(30)
        return f"answer {self.calls}"


def wait_for_followers(cache: PrismCache, count: int) -> None:
    """Return when `count` questions have got as far as the flight, or fail."""
    deadline = threading.Event()
    for _ in range(3000):
        if cache.metrics().requests >= count:
            return
        deadline.wait(0.01)
    pytest.fail("the questions did not arrive")


def test_sixty_four_threads(cache: PrismCache) -> None:
    gate = Gate()
    with ThreadPoolExecutor(64) as pool:
        answers = [pool.submit(cache.get_or_call, "what is up", gate) for _ in range(64)]
        wait_for_followers(cache, 64)
        gate.go.set()
        assert {answer.result(30) for answer in answers} == {"answer 1"}
    assert gate.calls == 1
    metrics = cache.metrics()
    assert metrics.calls == metrics.misses == 1
    assert metrics.hits + metrics.shared_calls == 63


async def test_two_hundred_tasks(cache: PrismCache) -> None:
    calls = 0

    async def call() -> str:
        nonlocal calls
        calls += 1
        while cache.metrics().requests < 200:
            await asyncio.sleep(0.001)
        return "answer"

    asked = (cache.aget_or_call("what is up", call) for _ in range(200))
    assert set(await asyncio.gather(*asked)) == {"answer"}
    assert calls == 1


async def test_threads_and_tasks_together(cache: PrismCache) -> None:
    gate = Gate()
    with ThreadPoolExecutor(32) as pool:
        threads = [pool.submit(cache.get_or_call, "what is up", gate) for _ in range(32)]
        tasks = [asyncio.create_task(cache.aget_or_call("what is up", gate)) for _ in range(100)]
        while cache.metrics().requests < 132:
            await asyncio.sleep(0.001)
        gate.go.set()
        assert set(await asyncio.gather(*tasks)) == {"answer 1"}
        assert {thread.result(30) for thread in threads} == {"answer 1"}
    assert gate.calls == 1


def test_distinct_questions_call_once_each(cache: PrismCache, model: Model) -> None:
    questions = [f"question about topic{n}" for n in range(20)] * 8
    with ThreadPoolExecutor(32) as pool:
        answers = list(
            pool.map(lambda q: (q, cache.get_or_call(q, lambda: model.answer(q))), questions)
        )
    assert len(set(answers)) == 20
    assert model.calls == 20


def test_a_failed_leader_keeps_its_error_and_hands_over(cache: PrismCache) -> None:
    gate, attempts = Gate(), []

    def fail_once() -> str:
        attempts.append(None)
        if len(attempts) == 1:
            gate()
            raise ConnectionError("the model is away")
        return "second attempt"

    with ThreadPoolExecutor(16) as pool:
        leader = pool.submit(cache.get_or_call, "what is up", fail_once)
        assert gate.begun.wait(30)
        others = [pool.submit(cache.get_or_call, "what is up", fail_once) for _ in range(15)]
        wait_for_followers(cache, 16)
        gate.go.set()
        with pytest.raises(ConnectionError, match="away"):
            leader.result(30)
        assert {other.result(30) for other in others} == {"second attempt"}
    assert len(attempts) == 2
    assert cache.metrics().failed_calls == 1


async def test_a_cancelled_leader_hands_over(cache: PrismCache) -> None:
    begun = asyncio.Event()

    async def hang() -> str:
        begun.set()
        await asyncio.Event().wait()
        return "never"

    async def answer() -> str:
        return "from the heir"

    leader = asyncio.create_task(cache.aget_or_call("what is up", hang))
    await begun.wait()
    followers = [asyncio.create_task(cache.aget_or_call("what is up", answer)) for _ in range(5)]
    while cache.metrics().requests < 6:
        await asyncio.sleep(0.001)
    leader.cancel()
    assert set(await asyncio.gather(*followers)) == {"from the heir"}
    with pytest.raises(asyncio.CancelledError):
        await leader


def test_who_waits_too_long_calls_alone(build: Build) -> None:
    cache, gate = build(wait_timeout_s=0.05), Gate()
    with ThreadPoolExecutor(1) as pool:
        leader = pool.submit(cache.get_or_call, "what is up", gate)
        assert gate.begun.wait(30)
        assert cache.get_or_call("what is up", lambda: "my own") == "my own"
        gate.go.set()
        assert leader.result(30) == "answer 1"


def test_a_call_may_ask_the_cache_its_own_question(cache: PrismCache) -> None:
    def outer() -> str:
        return "outer " + cache.get_or_call("what is up", lambda: "inner")

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(cache.get_or_call, "what is up", outer).result(30) == "outer inner"


async def test_an_async_call_may_ask_the_cache_its_own_question(cache: PrismCache) -> None:
    async def inner() -> str:
        return "inner"

    async def outer() -> str:
        asked = await asyncio.gather(*(cache.aget_or_call("what is up", inner) for _ in range(3)))
        return "outer " + asked[0]

    asked = cache.aget_or_call("what is up", outer)
    assert await asyncio.wait_for(asked, 30) == "outer inner"


def test_two_calls_that_ask_each_others_question_end(cache: PrismCache) -> None:
    both = threading.Barrier(2)

    def ask_other(other: str) -> Callable[[], str]:
        def call() -> str:
            both.wait(30)
            return cache.get_or_call(other, lambda: f"alone {other}")

        return call

    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(cache.get_or_call, "alpha question", ask_other("beta topic"))
        other = pool.submit(cache.get_or_call, "beta topic", ask_other("alpha question"))
        assert one.result(30).startswith("alone")
        assert other.result(30).startswith("alone")


class Counting(WordEmbedder):
    def __init__(self) -> None:
        self.texts = 0

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        self.texts += len(texts)
        return super().embed(texts)


def test_a_text_in_flight_is_embedded_once(build: Build) -> None:
    embedder, gate = Counting(), Gate()
    cache = build(embedder=embedder, learn=False)
    with ThreadPoolExecutor(32) as pool:
        answers = [pool.submit(cache.get_or_call, "what is up", gate) for _ in range(32)]
        wait_for_followers(cache, 32)
        gate.go.set()
        assert {answer.result(30) for answer in answers} == {"answer 1"}
    assert embedder.texts == 1


def test_those_who_wait_for_a_similar_hit_have_hits(build: Build) -> None:
    cache = build()
    cache.put("what is up", "much")
    with ThreadPoolExecutor(16) as pool:
        asked = [
            pool.submit(cache.get_or_call, "what is up please", lambda: "called") for _ in range(16)
        ]
        assert {answer.result(30) for answer in asked} == {"much"}
    assert cache.metrics().similar_hits == 16


async def test_who_wants_the_whole_of_a_running_stream_waits_for_it(cache: PrismCache) -> None:
    go, calls = asyncio.Event(), 0

    async def chunks() -> AsyncIterator[str]:
        nonlocal calls
        calls += 1
        yield "Hel"
        await go.wait()
        yield "lo"

    stream = await cache.aget_or_call("say hello", chunks)
    wholes = [
        asyncio.create_task(cache.aget_or_call("say hello", chunks, stream=False)) for _ in range(5)
    ]
    while cache.metrics().requests < 6:
        await asyncio.sleep(0.001)
    go.set()
    assert [chunk async for chunk in stream] == ["Hel", "lo"]
    assert await asyncio.gather(*wholes) == ["Hello"] * 5
    assert calls == 1
