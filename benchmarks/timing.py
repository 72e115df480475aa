"""Time of single queries, all contestants in turn, so that a slow moment slows all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from contestant import Contestant

BLOCK = 10


@dataclass(frozen=True)
class Timing:
    """Microseconds a query.

    Attributes:
        queries: How many were measured.
        min_us: The least time on the clock: the easiest query at the quietest moment.
        median_us: The median time on the clock.
        p99_us: The 99th percentile on the clock: on a shared machine mostly the others' work.
        cpu_us: The median time of the thread's CPU, which leaves out moments when others ran.
    """

    queries: int
    min_us: float
    median_us: float
    p99_us: float
    cpu_us: float

    @classmethod
    def of(cls, walls: Sequence[float], cpus: Sequence[float]) -> Timing:
        """Summarise samples in seconds."""
        micros = np.asarray(walls) * 1e6
        return cls(
            queries=len(walls),
            min_us=float(micros.min()),
            median_us=float(np.median(micros)),
            p99_us=float(np.percentile(micros, 99)),
            cpu_us=float(np.median(cpus) * 1e6),
        )


@dataclass
class Entry:
    """A contestant at one effort, with its queries and what was measured so far."""

    contestant: Contestant
    effort: int
    queries: Sequence[Any]

    def __post_init__(self) -> None:
        self.walls: list[float] = []
        self.cpus: list[float] = []

    @property
    def timing(self) -> Timing:
        """What was measured."""
        return Timing.of(self.walls, self.cpus)


def take_turns(
    entries: Sequence[Entry],
    *,
    queries: int,
    top_k: int,
    threshold: float | None,
    track: Callable[[Iterable[int]], Iterable[int]],
) -> None:
    """Time `queries` queries of each entry, ten of one, ten of the next, and round again.

    Every entry gets the same queries, and two others before each block that do not count: the first
    would find the caches full of the entry before, the more so the more that one reads.
    """
    for start in track(range(0, queries, BLOCK)):
        for entry in entries:
            asked = [
                entry.queries[place % len(entry.queries)]
                for place in range(start - 2, min(start + BLOCK, queries))
            ]
            entry.contestant.set_effort(entry.effort)
            entry.contestant.timed(asked[:2], top_k, threshold)
            walls, cpus = entry.contestant.timed(asked[2:], top_k, threshold)
            entry.walls += walls
            entry.cpus += cpus
