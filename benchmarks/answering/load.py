"""The published load test: users who ask at the same time, before a slow provider over HTTP.

Each user asks, waits for the answer, thinks for a random time, and asks again. How many of the
answers come from a cache depends on nothing as much as on how often questions repeat: so beside the
hit rate stands what a dict of exact texts gets from the very same requests, and there are two kinds
of load: the FAQ of the demo, some hundred questions asked again and again, and BANKING77, thousands
of questions in their users' own words.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import intents
from answering import faq
from answering.llm_server import Client, served
from answering.model import LLM
from answering.streams import Request, popular
from prism.cache import PrismCache, Reply
from prismresonance.embed import Embedder

LATENCY_S = 0.080
FAQ, BANKING = "faq", "banking77"
POOLS = (FAQ, BANKING)
# Users, seconds, and the hit rate that was published.
PUBLISHED = ((20, 60.0, 0.910), (50, 300.0, 0.959))
# More than any user can ask in the time.
_DRAWN_A_SECOND = 50


@dataclass(frozen=True)
class Plan:
    """What a run does.

    Attributes:
        pool: Which questions.
        users: How many ask together.
        seconds: For how long.
        think_s: Mean time from an answer to the user's next question; exponentially distributed.
        published: Hit rate that was published for that many users, of questions that we don't know.
        seed: Draws questions and waits.
    """

    pool: str
    users: int
    seconds: float
    think_s: float
    published: float
    seed: int


@dataclass(frozen=True)
class Load:
    """A run. Times are the users', in milliseconds.

    Attributes:
        plan: What was done.
        requests: Answered requests.
        distinct: Different texts among them.
        hits: Requests that no call of their own answered.
        wrong: Hits with the answer to another question.
        dict_hits: Requests whose very text had been asked for before.
        p50_ms: Of all requests.
        p95_ms: Of all requests.
        hit_p50_ms: Of the hits.
        miss_p50_ms: Of the others, the provider's time included.
        failures: Requests that raised.
        metrics: What the cache itself says.
    """

    plan: Plan
    requests: int
    distinct: int
    hits: int
    wrong: int
    dict_hits: int
    p50_ms: float
    p95_ms: float
    hit_p50_ms: float | None
    miss_p50_ms: float | None
    failures: int
    metrics: dict[str, Any]

    @property
    def hit_rate(self) -> float:
        """Share of the requests."""
        return self.hits / self.requests

    @property
    def wrong_rate(self) -> float:
        """Share of the requests."""
        return self.wrong / self.requests

    @property
    def dict_rate(self) -> float:
        """Share of the requests."""
        return self.dict_hits / self.requests


def run_load(plan: Plan, embedder: Embedder, advance: Callable[[float], None]) -> Load:
    """Let users ask a new cache with default settings.

    Args:
        plan: What to do.
        embedder: Embeds while the users wait.
        advance: Shows progress; is given seconds.
    """
    pool, seed = plan.pool, plan.seed
    questions = faq.questions() if pool == FAQ else [Request(*p) for p in intents.labelled(pool)]
    intent_of = {request.text: request.intent for request in questions}
    # One order for all users: whoever is free takes the next question of it.
    arrivals = popular(
        questions,
        random.Random(f"{pool}/{plan.users}/{seed}"),
        int(plan.users * plan.seconds * _DRAWN_A_SECOND),
    )
    with served(intent_of, latency_s=LATENCY_S, seed=seed) as client:
        client.ask(questions[0].text)  # the server is up, and the first answer is behind us
        with PrismCache.build("bench", LLM, embedder=embedder) as cache:
            crowd = _Crowd(plan, cache, client, arrivals)
            crowd.run(advance)
            metrics = cache.metrics().as_dict()
    return crowd.summary(metrics)


@dataclass
class _Note:
    """One answered request."""

    latency_s: float
    is_hit: bool
    is_wrong: bool


@dataclass
class _Crowd:
    """The users, and what happens to them."""

    plan: Plan
    cache: PrismCache
    client: Client
    arrivals: Sequence[Request]
    asked: list[str] = field(default_factory=list)
    notes: list[_Note] = field(default_factory=list)
    failures: int = 0
    intents: dict[str, str] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, advance: Callable[[float], None]) -> None:
        """Let them ask until the time is over."""
        shown = time.monotonic()
        end = shown + self.plan.seconds
        threads = [
            threading.Thread(target=self._use, args=(random.Random(f"{self.plan.seed}/{u}"), end))
            for u in range(self.plan.users)
        ]
        for thread in threads:
            thread.start()
        while (now := time.monotonic()) < end:
            advance(now - shown)
            shown = now
            time.sleep(min(0.25, end - now))
        for thread in threads:
            thread.join()
        advance(max(0.0, end - shown))

    def summary(self, metrics: dict[str, Any]) -> Load:
        """Count."""
        all_ms = [1e3 * note.latency_s for note in self.notes]
        hit_ms = [1e3 * note.latency_s for note in self.notes if note.is_hit]
        miss_ms = [1e3 * note.latency_s for note in self.notes if not note.is_hit]
        distinct = len(set(self.asked))
        return Load(
            plan=self.plan,
            requests=len(self.notes),
            distinct=distinct,
            hits=len(hit_ms),
            wrong=sum(note.is_wrong for note in self.notes),
            dict_hits=len(self.asked) - distinct,
            p50_ms=float(np.percentile(all_ms, 50)),
            p95_ms=float(np.percentile(all_ms, 95)),
            hit_p50_ms=float(np.percentile(hit_ms, 50)) if hit_ms else None,
            miss_p50_ms=float(np.percentile(miss_ms, 50)) if miss_ms else None,
            failures=self.failures,
            metrics=metrics,
        )

    def _use(self, rng: random.Random, end: float) -> None:
        self._think(rng, end)  # users do not all come at the same moment
        while time.monotonic() < end:
            with self.lock:
                request = self.arrivals[len(self.asked) % len(self.arrivals)]
                self.asked.append(request.text)
            self._ask(request)
            self._think(rng, end)

    def _think(self, rng: random.Random, end: float) -> None:
        think_s = rng.expovariate(1 / self.plan.think_s)
        time.sleep(min(think_s, max(0.0, end - time.monotonic())))

    def _ask(self, request: Request) -> None:
        own_answers: list[str] = []

        def call() -> Reply[str]:
            reply = self.client.ask(request.text)
            own_answers.append(reply.answer)
            with self.lock:
                self.intents[reply.answer] = request.intent
            return reply

        began = time.perf_counter()
        try:
            answer = self.cache.get_or_call(request.text, call)
        except Exception:  # noqa: BLE001  whatever it is, it is counted and shown
            with self.lock:
                self.failures += 1
            return
        latency_s = time.perf_counter() - began
        is_hit = answer not in own_answers
        with self.lock:
            is_wrong = is_hit and self.intents[answer] != request.intent
            self.notes.append(_Note(latency_s, is_hit, is_wrong))
