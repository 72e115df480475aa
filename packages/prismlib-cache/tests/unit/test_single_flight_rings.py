"""Calls that use the cache themselves: whoever would wait for itself calls alone."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from prism.cache._flights.single_flight import Alone, AloneReason, Lead, Shared, SingleFlight, Turn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.timeout(30)
DEADLINE_S = 10.0
Flights = SingleFlight[str, str]
NESTED = Alone(AloneReason.NESTED)
RING = Alone(AloneReason.RING)


@pytest.fixture
def flights() -> Iterator[Flights]:
    flights = Flights()
    yield flights
    assert len(flights) == 0


def lead(turn: Turn[str]) -> Lead[str]:
    assert isinstance(turn, Lead)
    return turn


async def test_the_leaders_own_call_asks_the_same(flights: Flights) -> None:
    with lead(await flights.ajoin("k")):
        assert flights.join("k") == NESTED
        assert await flights.ajoin("k") == NESTED
        assert await asyncio.create_task(flights.ajoin("k")) == NESTED
        assert await asyncio.to_thread(flights.join, "k") == NESTED
        assert await asyncio.to_thread(lambda: asyncio.run(flights.ajoin("k"))) == NESTED
        with lead(await flights.ajoin("inner")):
            assert await asyncio.to_thread(flights.join, "k") == NESTED
            assert flights.join("inner") == NESTED
        with lead(flights.join("inner")) as inner:
            inner.succeed("done")
    lead(flights.join("k")).abandon()


def test_a_thread_leader_asks_the_same(flights: Flights) -> None:
    with lead(flights.join("k")):
        assert flights.join("k") == NESTED
        assert asyncio.run(flights.ajoin("k")) == NESTED


async def test_a_child_task_that_outlives_the_call_is_no_longer_inside(flights: Flights) -> None:
    go = asyncio.Event()

    async def child() -> Turn[str]:
        await go.wait()
        return await flights.ajoin("k")

    with lead(await flights.ajoin("k")):
        task = asyncio.create_task(child())
        await asyncio.sleep(0)
    go.set()
    with lead(await task):
        pass


class Ring:
    """Members lead key n each, and when all lead, each asks for key n+1 of the ring."""

    def __init__(self, flights: list[Flights], size: int) -> None:
        self.flights = flights
        self.size = size
        self.leading = threading.Barrier(size, timeout=DEADLINE_S)
        self.answers: list[str] = [""] * size
        self.rings = 0

    def serves(self, n: int) -> Flights:
        return self.flights[n % len(self.flights)]

    def in_thread(self, n: int) -> None:
        with lead(self.serves(n).join(str(n))) as leading:
            self.leading.wait()
            other = (n + 1) % self.size
            self.note(n, self.serves(other).join(str(other), timeout_s=DEADLINE_S))
            leading.succeed(f"answer {n}")

    def in_loop(self, n: int) -> None:
        asyncio.run(self.in_task(n))

    async def in_task(self, n: int) -> None:
        with lead(await self.serves(n).ajoin(str(n))) as leading:
            await asyncio.to_thread(self.leading.wait)
            other = (n + 1) % self.size
            # Through a child task and a thread in turn: both carry where they came from.
            joining = self.serves(other).ajoin(str(other), timeout_s=DEADLINE_S)
            if n % 2:
                self.note(n, await asyncio.create_task(joining))
            else:
                joining.close()
                turn = await asyncio.to_thread(
                    self.serves(other).join, str(other), timeout_s=DEADLINE_S
                )
                self.note(n, turn)
            leading.succeed(f"answer {n}")

    def note(self, n: int, turn: Turn[str]) -> None:
        assert not isinstance(turn, Lead)
        if isinstance(turn, Shared):
            self.answers[n] = turn.result
        else:
            assert turn == RING
            self.rings += 1


@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("kind", ["threads", "loops", "mixed"])
@pytest.mark.parametrize("caches", [1, 2])
def test_a_ring_of_calls_is_broken_in_one_place(size: int, kind: str, caches: int) -> None:
    ring = Ring([Flights() for _ in range(caches)], size)
    members: list[Callable[[int], None]] = {
        "threads": [ring.in_thread],
        "loops": [ring.in_loop],
        "mixed": [ring.in_thread, ring.in_loop],
    }[kind]
    with ThreadPoolExecutor(size) as pool:
        going = [pool.submit(members[n % len(members)], n) for n in range(size)]
        for one in going:
            one.result(DEADLINE_S)
    assert ring.rings == 1
    assert ring.answers.count("") == 1
    assert [len(flights) for flights in ring.flights] == [0] * caches


async def test_a_ring_of_tasks_of_one_loop(flights: Flights) -> None:
    turns: dict[str, Turn[str]] = {}
    everyone = asyncio.Barrier(3)

    async def member(key: str, other: str) -> None:
        with lead(await flights.ajoin(key)) as leading:
            await everyone.wait()
            turns[key] = await flights.ajoin(other, timeout_s=DEADLINE_S)
            leading.succeed(key)

    async with asyncio.TaskGroup() as group:
        for key, other in ("ab", "bc", "ca"):
            group.create_task(member(key, other))
    assert sorted(type(turn).__name__ for turn in turns.values()) == ["Alone", "Shared", "Shared"]


async def test_an_heir_inherits_its_place_in_the_ring(flights: Flights) -> None:
    """A waits for B; when B's leader fails its heir, C's call, leads B: asking for A is a ring."""
    first_b = lead(flights.join("b"))
    a_waits = asyncio.Event()
    turns: dict[str, Turn[str]] = {}

    async def call_c() -> None:
        with lead(await flights.ajoin("c")) as leading_c:
            with lead(await flights.ajoin("b", timeout_s=DEADLINE_S)) as heir:
                turns["a"] = await flights.ajoin("a", timeout_s=DEADLINE_S)
                heir.succeed("b")
            leading_c.succeed("c")

    async def call_a() -> None:
        with lead(await flights.ajoin("a")) as leading_a:
            a_waits.set()
            turns["b"] = await flights.ajoin("b", timeout_s=DEADLINE_S)
            leading_a.succeed("a")

    async with asyncio.TaskGroup() as group:
        group.create_task(call_c())
        await asyncio.sleep(0)
        group.create_task(call_a())
        await a_waits.wait()
        await asyncio.sleep(0)
        first_b.abandon()
    assert turns == {"a": RING, "b": Shared("b")}


async def test_reading_a_live_stream_counts_as_waiting_for_it(flights: Flights) -> None:
    source = lead(flights.join("stream"))
    with source:
        source.share_live("live")
        in_source = contextvars.copy_context()
    with lead(flights.join("k")) as leading:
        assert await flights.ajoin("stream") == Shared("live")
        # The stream's source asks for what its reader leads.
        assert in_source.run(flights.join, "k") == RING
        leading.succeed("done")
    source.close()
