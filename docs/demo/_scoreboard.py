"""Counts what the cache did, beside a dict of exact questions on the same traffic."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Column", "Outcome", "Scoreboard", "WrongHit", "percentile"]

Kind = Literal["exact", "similar", "miss"]

TAIL = 8
"""How many of the latest outcomes are kept for display."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one question was served.

    Attributes:
        question: The text as typed.
        entry_id: The entry whose answer is the right one.
        served_entry_id: The entry whose answer came back.
        kind: Found literally, found by meaning, or answered by the model.
        cosine: Similarity to the matched question, for a hit by meaning.
        matched: The stored question whose answer was served, for a hit.
        latency_s: From question to answer.
        call_tokens: What one call of the model for this question uses.
        call_usd: Its price, if known.
    """

    question: str
    entry_id: str
    served_entry_id: str
    kind: Kind
    cosine: float | None
    matched: str | None
    latency_s: float
    call_tokens: int
    call_usd: float | None

    @property
    def hit(self) -> bool:
        """Whether the answer came from the cache."""
        return self.kind != "miss"

    @property
    def wrong(self) -> bool:
        """Whether the answer is one to another question."""
        return self.served_entry_id != self.entry_id


@dataclass(frozen=True, slots=True)
class WrongHit:
    """A question that got the answer to another one."""

    question: str
    matched: str | None
    entry_id: str
    served_entry_id: str


@dataclass(slots=True)
class Column:
    """The counts of one contestant.

    Attributes:
        hits: Questions answered without the model.
        similar_hits: Those of them that were found by meaning.
        wrong_hits: Those of them whose answer belongs to another question.
        misses: Questions that the model answered.
        guarded: Those of them that were near enough to a stored one, but that a guard refused.
        saved_tokens: What calls of the model would have used for the hits.
        saved_usd: The price of that; None if it is not known.
    """

    hits: int = 0
    similar_hits: int = 0
    wrong_hits: int = 0
    misses: int = 0
    guarded: int = 0
    saved_tokens: int = 0
    saved_usd: float | None = 0.0

    @property
    def hit_rate(self) -> float | None:
        """Hits over all questions; None before the first one."""
        total = self.hits + self.misses
        return self.hits / total if total else None


@dataclass(slots=True)
class Scoreboard:
    """The cache and the dict, counted side by side.

    Attributes:
        cache: Counts of the cache as seen from outside; what it saved is its own figure.
        exact: Counts of a dict from question to answer. It is not timed.
        possible: Questions whose answer had been given before: the hits of a perfect cache.
        wrong: Every wrong hit of the cache.
        latest: The last few outcomes, oldest first.
        hit_latencies_s, miss_latencies_s: Of the cache, in order of arrival.
    """

    cache: Column = field(default_factory=Column)
    exact: Column = field(default_factory=Column)
    possible: int = 0
    wrong: list[WrongHit] = field(default_factory=list)
    latest: deque[Outcome] = field(default_factory=lambda: deque(maxlen=TAIL))
    hit_latencies_s: list[float] = field(default_factory=list)
    miss_latencies_s: list[float] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set)
    _answered: set[str] = field(default_factory=set)

    @property
    def questions(self) -> int:
        """How many outcomes were recorded."""
        return self.cache.hits + self.cache.misses

    def record(self, outcome: Outcome) -> None:
        """Count one outcome, and what the dict would have done."""
        self._count_exact(outcome)
        self.possible += outcome.entry_id in self._answered
        self._answered.add(outcome.served_entry_id)
        self.latest.append(outcome)
        if not outcome.hit:
            self.cache.misses += 1
            self.miss_latencies_s.append(outcome.latency_s)
            return
        self.cache.hits += 1
        self.hit_latencies_s.append(outcome.latency_s)
        self.cache.similar_hits += outcome.kind == "similar"
        if outcome.wrong:
            self.cache.wrong_hits += 1
            self.wrong.append(
                WrongHit(
                    outcome.question, outcome.matched, outcome.entry_id, outcome.served_entry_id
                )
            )

    def record_savings(self, *, tokens: int, usd: float | None, guarded: int) -> None:
        """Take over what the cache says of itself so far."""
        self.cache.saved_tokens, self.cache.saved_usd, self.cache.guarded = tokens, usd, guarded

    def _count_exact(self, outcome: Outcome) -> None:
        exact = self.exact
        if outcome.question not in self._seen:
            self._seen.add(outcome.question)
            exact.misses += 1
            return
        exact.hits += 1
        exact.saved_tokens += outcome.call_tokens
        if exact.saved_usd is None or outcome.call_usd is None:
            exact.saved_usd = None
        else:
            exact.saved_usd += outcome.call_usd


def percentile(values: list[float], share: float) -> float | None:
    """Return the smallest value that at least `share` of the values do not exceed; None of none.

    Source: nearest-rank method.
    """
    if not values:
        return None
    rank = max(1, math.ceil(len(values) * share))
    return sorted(values)[rank - 1]
