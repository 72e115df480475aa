"""One index under several threads: queries beside a stream of writes, and beside each other."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np

from contestant import Contestant, Rows, Samples
from ours import Wave
from timing import Timing

BATCH = 1_000
ROWS_A_SECOND = 100_000
_ROUNDS = 3


@dataclass(frozen=True)
class Streaming:
    """One thread's queries at rest and beside a thread that replaces rows, in turns.

    Attributes:
        pauses: Whether the reader rests after each query for as long as that took; otherwise it
            asks back to back, and there is no moment in which nobody wants the interpreter's lock.
        rows_s: Rows a second that were in fact written, of the 100,000 offered.
        at_rest: Queries with no writer.
        beside: Queries beside the writer.
    """

    pauses: bool
    rows_s: float
    at_rest: Timing
    beside: Timing


@dataclass(frozen=True)
class Threads:
    """Queries a second, the median of the rounds.

    Attributes:
        contestant: Who.
        space: Which rows.
        one: By one thread.
        two: By two threads together.
    """

    contestant: str
    space: str
    one: float
    two: float


def while_streaming(
    wave: Wave,
    rows: Rows,
    queries: Sequence[Any],
    top_k: int,
    threshold: float,
    *,
    pauses: bool,
    seconds: float,
) -> Streaming:
    """Time queries while `upsert_many` replaces rows by equal ones: the index stays as it is.

    Args:
        wave: The index; its rows 0, 1, 2 and so on are `rows`.
        rows: At least one batch.
        queries: Prepared queries.
        top_k: As in `query`.
        threshold: As in `query`.
        pauses: As in `Streaming`.
        seconds: Length of each of the three turns at rest, and of those beside the writer.
    """
    rest: Samples = ([], [])
    busy: Samples = ([], [])
    written, spent = 0, 0.0
    for _ in range(_ROUNDS):
        _ask_for(seconds, wave, queries, top_k, threshold, rest, pauses=pauses)
        stop = threading.Event()
        counts: list[int] = []
        writer = threading.Thread(target=_write, args=(wave, rows, stop, counts))
        start = time.perf_counter()
        writer.start()
        _ask_for(seconds, wave, queries, top_k, threshold, busy, pauses=pauses)
        stop.set()
        spent += time.perf_counter() - start
        written += sum(counts)
        writer.join()
    return Streaming(pauses, written / spent, Timing.of(*rest), Timing.of(*busy))


def two_threads(
    contestant: Contestant,
    space: str,
    queries: Sequence[Any],
    top_k: int,
    threshold: float,
    *,
    seconds: float,
) -> Threads:
    """Count queries a second by one thread and by two, in turns."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(_ROUNDS):
        for count, own in rates.items():
            own.append(_rate(count, contestant, queries, top_k, threshold, seconds))
    one, two = (float(np.median(rates[count])) for count in (1, 2))
    return Threads(contestant.name, space, one, two)


def _ask_for(
    seconds: float,
    contestant: Contestant,
    queries: Sequence[Any],
    top_k: int,
    threshold: float,
    samples: Samples,
    *,
    pauses: bool,
) -> None:
    stop = time.perf_counter() + seconds
    for query in cycle(queries):
        walls, cpus = contestant.timed([query], top_k, threshold)
        samples[0].extend(walls)
        samples[1].extend(cpus)
        if time.perf_counter() >= stop:
            return
        if pauses:
            time.sleep(walls[0])


def _write(wave: Wave, rows: Rows, stop: threading.Event, counts: list[int]) -> None:
    """Replace rows, a batch at a time, no faster than the wanted rate."""
    start = time.perf_counter()
    batches = [slice(at, at + BATCH) for at in range(0, len(rows) - BATCH + 1, BATCH)]
    for number, batch in enumerate(cycle(batches)):
        if stop.wait(max(0.0, start + number * BATCH / ROWS_A_SECOND - time.perf_counter())):
            return
        wave.index.upsert_many(rows[batch], None, range(batch.start, batch.stop))
        counts.append(BATCH)


def _rate(
    count: int,
    contestant: Contestant,
    queries: Sequence[Any],
    top_k: int,
    threshold: float,
    seconds: float,
) -> float:
    barrier = threading.Barrier(count)
    rates: list[float] = []

    def ask(first: int) -> None:
        barrier.wait()
        start = time.perf_counter()
        answered = 0
        while (spent := time.perf_counter() - start) < seconds:
            query = queries[(first + answered) % len(queries)]
            contestant.search(query, top_k, threshold)
            answered += 1
        rates.append(answered / spent)

    threads = [
        threading.Thread(target=ask, args=(number * len(queries) // count,))
        for number in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(rates)
