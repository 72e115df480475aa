"""Hits a second on the exact tier: many threads against one."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from prism.cache import PrismCache

MANY = 16
ROUNDS = 5
_BETWEEN_LOOKS = 50


@dataclass(frozen=True)
class Throughput:
    """Hits a second, the median of the rounds.

    Attributes:
        threads: How many threads asked together.
        one: By one thread.
        many: By all of them.
        ratio: Median over the rounds of many to one, measured in turns.
    """

    threads: int
    one: float
    many: float
    ratio: float


def throughput(
    cache: PrismCache,
    stored: Sequence[str],
    *,
    seconds: float,
    track: Callable[[Sequence[int]], Iterable[int]],
) -> Throughput:
    """Ask for stored texts, every thread for others.

    Args:
        cache: Holds them.
        stored: The texts.
        seconds: Of each round and each number of threads.
        track: Shows progress; is given the rounds.
    """
    ones, manys = [], []
    for _ in track(range(ROUNDS)):
        ones.append(_hits_a_second(cache, stored, 1, seconds))
        manys.append(_hits_a_second(cache, stored, MANY, seconds))
    ratio = statistics.median(many / one for one, many in zip(ones, manys, strict=True))
    return Throughput(MANY, statistics.median(ones), statistics.median(manys), ratio)


def _hits_a_second(cache: PrismCache, stored: Sequence[str], threads: int, seconds: float) -> float:
    hits = [0] * threads
    together = threading.Barrier(threads + 1)
    stop = threading.Event()

    def ask(number: int) -> None:
        own = stored[number::threads]
        together.wait()
        place = 0
        while not stop.is_set():
            for _ in range(_BETWEEN_LOOKS):
                cache.get_or_call(own[place % len(own)], _never)
                place += 1
            hits[number] = place

    asking = [threading.Thread(target=ask, args=(number,)) for number in range(threads)]
    for thread in asking:
        thread.start()
    together.wait()
    began = time.perf_counter()
    time.sleep(seconds)
    stop.set()
    for thread in asking:
        thread.join()
    return sum(hits) / (time.perf_counter() - began)


def _never() -> str:
    raise AssertionError("a stored text was not found")
