"""Threads and tasks of two loops that fail, give up, hang and are cancelled at random."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from prism.cache._flights.gate import Gate
from prism.cache._flights.single_flight import Alone, AloneReason, Lead, Shared, SingleFlight

pytestmark = pytest.mark.timeout(60)
ROUNDS_S = 1.2
KEYS = "abc"


class ModelError(Exception):
    pass


class World:
    """Watches that no key has two leaders at once, and that everyone comes to an end."""

    def __init__(self, seed: int) -> None:
        self.flights: SingleFlight[str, object] = SingleFlight()
        self.seed = seed
        self.until = time.monotonic() + ROUNDS_S
        self.leading: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()
        self.lock = threading.Lock()

    def note(self, what: str) -> None:
        with self.lock:
            self.seen[what] += 1

    def begins(self, key: str) -> None:
        with self.lock:
            self.leading[key] += 1
            assert self.leading[key] == 1, "two leaders"

    def ends(self, key: str) -> None:
        # Before the lead ends: after, the next may begin at once.
        with self.lock:
            self.leading[key] -= 1

    def lead(self, key: str, rng: random.Random, turn: Lead[object]) -> None:
        self.ends(key)
        what = rng.choice(["succeed", "fail", "abandon", "release", "live", "drop"])
        self.note(what)
        if what == "succeed":
            turn.succeed(object())
        elif what == "fail":
            raise ModelError
        elif what == "release":
            turn.release()
        elif what == "live":
            turn.share_live(object())
            turn.close()

    def in_thread(self, number: int) -> None:
        rng = random.Random(f"{self.seed} thread {number}")
        while time.monotonic() < self.until:
            self.ask(rng, depth=0)

    def ask(self, rng: random.Random, depth: int) -> None:
        key = rng.choice(KEYS)
        turn = self.flights.join(key, timeout_s=rng.choice([0, 0.0005, 0.01, 5, 5]))
        if isinstance(turn, Lead):
            try:
                with turn:
                    self.begins(key)
                    try:
                        time.sleep(rng.choice([0, 0, 0.0005]))
                        if depth < 3 and rng.random() < 0.5:
                            self.ask(rng, depth + 1)
                    except BaseException:
                        self.ends(key)
                        raise
                    self.lead(key, rng, turn)
            except ModelError:
                if depth:
                    raise
        else:
            self.note(turn.reason.name if isinstance(turn, Alone) else "shared")

    async def in_task(self, number: int) -> None:
        rng = random.Random(f"{self.seed} task {number}")
        while time.monotonic() < self.until:
            task = asyncio.create_task(self.aask(rng, depth=0))
            for _ in range(rng.randrange(6)):
                await asyncio.sleep(rng.choice([0, 0.0005]))
            if rng.random() < 0.5:
                task.cancel()
            await asyncio.wait([task])
            if task.cancelled():
                self.note("cancelled")
            else:
                error = task.exception()
                assert error is None or isinstance(error, ModelError), error

    async def aask(self, rng: random.Random, depth: int) -> None:
        key = rng.choice(KEYS)
        turn = await self.flights.ajoin(key, timeout_s=rng.choice([0, 0.0005, 0.01, 5, 5]))
        if isinstance(turn, Lead):
            with turn:
                self.begins(key)
                try:
                    await asyncio.sleep(rng.choice([0, 0, 0.0005]))
                    if depth < 3 and rng.random() < 0.5:
                        await self.aask(rng, depth + 1)
                except BaseException:
                    self.ends(key)
                    raise
                self.lead(key, rng, turn)
        else:
            self.note(turn.reason.name if isinstance(turn, Alone) else "shared")

    async def crowd(self, first: int) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(first, first + 12):
                group.create_task(self.in_task(number))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_cancellation_loses_no_one(seed: int) -> None:
    world = World(seed)
    with ThreadPoolExecutor(10) as pool:
        going = [pool.submit(world.in_thread, number) for number in range(8)]
        going += [pool.submit(asyncio.run, world.crowd(first)) for first in (0, 100)]
        for one in going:
            one.result(ROUNDS_S + 20)
    gc.collect()
    assert len(world.flights) == 0
    for what in ("succeed", "fail", "drop", "cancelled", "shared", "NESTED", "TIMEOUT"):
        assert world.seen[what], f"{what} never happened: {world.seen}"


def test_a_work_that_comes_from_inside_waits_until_the_gate_is_left() -> None:
    gate = Gate()
    order: list[str] = []

    def outer() -> None:
        gate.run(lambda: order.append("run"))
        gate.post(lambda: order.append("post"))
        assert not gate.enter()
        order.append("outer")

    gate.run(outer)
    assert order == ["outer", "run", "post"]


def test_a_post_never_waits_for_the_gate() -> None:
    gate = Gate()
    done: list[str] = []
    assert gate.enter()
    poster = threading.Thread(target=gate.post, args=(lambda: done.append("posted"),))
    poster.start()
    poster.join(10)
    assert not poster.is_alive()
    assert done == []
    gate.leave()
    assert done == ["posted"]


def test_a_join_from_inside_the_gate_calls_alone() -> None:
    """As when the collector runs, in the middle of a join, a finalizer that asks the cache."""
    flights: SingleFlight[object, str] = SingleFlight()

    class Key:
        def __hash__(self) -> int:
            met.append(flights.join("other"))
            return 1

    met: list[object] = []
    turn = flights.join(Key())
    assert isinstance(turn, Lead)
    turn.abandon()
    assert met
    assert set(met) == {Alone(AloneReason.FINALIZER)}
    assert not isinstance(flights.join("other"), Shared)
