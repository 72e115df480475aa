"""How long a hit takes, and what a miss adds to the call, in a cache that holds many entries.

The cache is filled by asking it a stream until it holds that many answers, so it has seen what a
cache of that size has seen. The questions that are timed come from the rest of the stream. All is
asked by one thread on one core, where the system lets a thread choose.
"""

from __future__ import annotations

import contextlib
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import intents
from answering import gptcache_peer
from answering.asking import Question
from answering.gptcache_peer import GPTCachePeer
from answering.model import LLM, RewordingModel
from answering.streams import ONCE, Request, stream
from answering.vectors import KeptVectors
from prism.cache import PrismCache
from timing import Timing

EXACT, DECISION, EMBEDDED = "exact hit", "decision alone", "hit with embedding"
MISS, MISS_DECISION = "a miss adds", "a miss adds, without embedding"
PEER, PEER_EMBEDDED = "GPTCache get() without embedding", "GPTCache get() with embedding"
PEER_STORED = "GPTCache get() of a stored text, without embedding"

Track = Callable[[Iterable[Any]], Iterable[Any]]

# Of the texts that remain, how many are looked up for each question that is to be timed.
_LOOKED_UP = 20


@dataclass(frozen=True)
class Latency:
    """One kind of question.

    Attributes:
        what: The kind.
        model_id: The embedder.
        entries: How many answers were stored.
        timing: Of the questions.
    """

    what: str
    model_id: str
    entries: int
    timing: Timing


@dataclass(frozen=True)
class Filled:
    """A cache with many entries and questions that it has not heard.

    Attributes:
        cache: The cache.
        model: Who answers.
        vectors: The cache's embedder.
        stored: Texts with an answer of their own, and that answer.
        hits: New texts that it would answer.
        misses: New texts that it would not.
    """

    cache: PrismCache
    model: RewordingModel
    vectors: KeptVectors
    stored: dict[str, str]
    hits: list[Request]
    misses: list[Request]


@contextlib.contextmanager
def filled(vectors: KeptVectors, *, entries: int, probes: int, track: Track) -> Iterator[Filled]:
    """Fill a cache with default settings.

    Args:
        vectors: The embedder.
        entries: How many answers to store.
        probes: How many new texts of both kinds to find at most, twice over: one half is asked
            with the vector looked up, one with the embedder.
        track: Shows progress.

    Raises:
        SystemExit: There are not texts enough.
    """
    requests = _all_texts()
    vectors.is_live = False
    looked_up = _LOOKED_UP * probes
    # Of five texts three are answered on the way, or refused.
    vectors.learn([request.text for request in requests[: 5 * entries // 2 + looked_up]], track)
    model = RewordingModel(1)
    stored: dict[str, str] = {}
    hits: list[Request] = []
    misses: list[Request] = []
    with PrismCache.build("bench", LLM, embedder=vectors) as cache:
        rest = iter(requests)
        for request in track(_until(lambda: len(stored) >= entries, rest)):
            question = Question(model, request)
            answer = cache.get_or_call(request.text, question.call)
            # What an admission rule refuses is not stored.
            if answer in question.own_answers and cache.lookup(request.text).hit:
                stored[request.text] = answer
        if len(stored) < entries:
            raise SystemExit(
                f"the texts of {' and '.join(intents.SETS)} fill a cache with {len(stored):,} "
                f"answers, not with {entries:,}: give a smaller --entries"
            )
        # What it still learns would change which of the texts below it answers.
        cache.settle()
        enough = _until(lambda: min(len(hits), len(misses)) >= 2 * probes, rest)
        for request in islice(enough, looked_up):
            found = cache.lookup(request.text)
            if found.explanation.decision != "refused":
                (hits if found.hit else misses).append(request)
        yield Filled(cache, model, vectors, stored, hits[: 2 * probes], misses[: 2 * probes])


def latencies(filled: Filled, *, probes: int) -> list[Latency]:
    """Time the questions. Misses come last, since they are stored."""
    hits, misses, exact = filled.hits, filled.misses, list(filled.stored)[-probes:]
    half_hits, half_misses = len(hits) // 2, len(misses) // 2
    results: list[Latency] = []

    def note(what: str, samples: tuple[list[float], list[float]]) -> None:
        if samples[0]:
            results.append(
                Latency(what, filled.vectors.model_id, len(filled.stored), Timing.of(*samples))
            )

    with one_core():
        note(EXACT, _time(filled, [Request(text, "") for text in exact], live=False))
        note(DECISION, _time(filled, hits[:half_hits], live=False))
        note(EMBEDDED, _time(filled, hits[half_hits:], live=True))
        note(MISS_DECISION, _time(filled, misses[:half_misses], live=False, calls=True))
        note(MISS, _time(filled, misses[half_misses:], live=True, calls=True))
    return results


def peer_latencies(filled: Filled, *, probes: int) -> list[Latency]:
    """Time GPTCache with the same entries and questions; nothing when it is not installed."""
    if gptcache_peer.missing():
        return []
    vectors, hits = filled.vectors, filled.hits[: 2 * probes]
    half = len(hits) // 2
    results = []
    with tempfile.TemporaryDirectory() as folder:
        vectors.is_live = False
        peer = GPTCachePeer(
            vectors, list(filled.stored), list(filled.stored.values()), Path(folder)
        )
        rounds = (
            (PEER_STORED, list(filled.stored)[-probes:], False),
            (PEER, [request.text for request in hits[:half]], False),
            (PEER_EMBEDDED, [request.text for request in hits[half:]], True),
        )
        with one_core():
            for what, texts, live in rounds:
                vectors.is_live = live
                samples = [_timed(peer.get, text) for text in texts]
                if samples:
                    walls, cpus = zip(*samples, strict=True)
                    timing = Timing.of(walls, cpus)
                    results.append(Latency(what, vectors.model_id, len(filled.stored), timing))
        vectors.is_live = False
        peer.close()
    return results


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Keep this thread, and those that it starts, on one core."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _all_texts() -> list[Request]:
    """Give the texts of all sets in one order: of one set alone there are too few."""
    requests = [
        request
        for data in intents.SETS
        for request in stream(data, ONCE, seed=1, length=1_000_000).requests
    ]
    random.Random(1).shuffle(requests)
    return requests


def _until(is_enough: Callable[[], bool], requests: Iterator[Request]) -> Iterator[Request]:
    while not is_enough() and (request := next(requests, None)) is not None:
        yield request


def _time(
    filled: Filled, requests: Sequence[Request], *, live: bool, calls: bool = False
) -> tuple[list[float], list[float]]:
    """Ask, and drop those that did not go the expected way. What the model takes does not count."""
    walls, cpus = [], []
    filled.vectors.is_live = live
    # Two do not count: the first finds caches full of other things, and a model not yet awake.
    for place, request in enumerate([*requests[:2], *requests]):
        call = _Call(filled.model, request)
        wall, cpu = _timed(filled.cache.get_or_call, request.text, call)
        if place >= 2 and call.was_made == calls:
            walls.append(wall - call.wall_s)
            cpus.append(cpu - call.cpu_s)
    filled.vectors.is_live = False
    return walls, cpus


class _Call:
    """A call whose own time is known."""

    def __init__(self, model: RewordingModel, request: Request) -> None:
        self._question = Question(model, request)
        self.wall_s = self.cpu_s = 0.0

    @property
    def was_made(self) -> bool:
        """Whether the model was asked."""
        return bool(self._question.own_answers)

    def __call__(self) -> Any:
        cpu, wall = time.thread_time(), time.perf_counter()
        reply = self._question.call()
        self.wall_s, self.cpu_s = time.perf_counter() - wall, time.thread_time() - cpu
        return reply


def _timed(function: Callable[..., object], *arguments: object) -> tuple[float, float]:
    cpu, wall = time.thread_time(), time.perf_counter()
    function(*arguments)
    return time.perf_counter() - wall, time.thread_time() - cpu
