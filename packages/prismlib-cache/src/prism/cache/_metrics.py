"""What a cache did so far, in numbers that state their formulas."""

from __future__ import annotations

import math
import threading
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from prism.cache._counting import Tally

__all__ = ["NOTHING_LEARNED", "CacheMetrics", "Ledger"]

NOTHING_LEARNED: Mapping[str, float | None] = {
    "error_estimate": None,
    "error_bound": None,
    "drift_alarms": 0,
}
"""The gauges of a cache that does not learn."""

# Latencies of the last thousand or so requests: enough for a p95, 16 KB a kind.
_RECENT = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheMetrics:
    """A snapshot of one cache's counters since it was built. Unknown is `None`.

    Attributes:
        requests: Questions asked through `get_or_call`, `aget_or_call` and `cached`.
        exact_hits: Answered from the store: the same text.
        similar_hits: Answered from the store: another wording.
        shared_calls: Answered by a call that another caller had in flight for the same text.
        misses: Answered by a call of their own; a stream counts when it begins.
        bypassed: Asked with `bypass=True` or `admit=False`; the cache had no part in them.
        refused: Answered by a call of their own, and not stored, since an admission rule refused
            them.
        held_back: Questions by the admission rule that refused them, or that kept a text that was
            not stored from being compared with other wordings.
        calls: Calls to the model, failed ones included.
        failed_calls: Calls that raised or were cancelled, streams that broke off included.
        guarded: Misses whose best candidate had the score but met a guard's veto or penalty.
        vetoes: Those misses by the guard that objected first.
        unstorable: Answers that could not be stored: not text, bytes or plain JSON values.
        cache_errors: Failures inside the cache that a question survived, by where they happened.
        feedback_wrong: Answers reported as wrong.
        error_estimate: Estimated share of requests answered wrongly under the rules in force, the
            mean over families of scopes weighed by their requests; `None` while nothing is known.
        error_bound: The same mean of the upper confidence bounds.
        labels: Candidates whose truth became known, from misses and checks.
        unlabelled: Candidates of which neither the judge nor the cache's comparison could tell.
        labels_dropped: Lessons that were not learned because too many waited.
        checks: Hits for which the model was asked again beside the caller; they are in `calls`.
        checks_wrong: Those that found another answer than was served.
        check_tokens: `input + output` tokens of the checks, reported or estimated.
        check_cost_usd: Their price; not a number (`nan`) if there were some and none is known.
        drift_alarms: Times that candidates turned out wrong more often than before.
        entries: Answers stored now.
        size_bytes: Estimated memory of those entries, vectors included.
        evicted: Entries given up for room.
        expired: Entries whose time was over.
        tokens_saved: `input + output` tokens of the calls that hits and shared calls replaced.
        tokens_saved_estimated: The part of `tokens_saved` that no provider reported: a quarter of
            the UTF-8 bytes of question and answer.
        cost_saved_usd: Price of those calls at the date of the hit, from the `genai-prices` table.
            Not a number (`nan`) when there were hits and the price of none is known.
        cost_saved_estimated_usd: The part of `cost_saved_usd` that rests on estimated tokens.
        unpriced_hits: Hits whose model has no known price; they are not in `cost_saved_usd`.
        hit_latency_p50_s: Median time from question to stored answer, of the last 1,024 hits.
        hit_latency_p95_s: 95th percentile of the same.
        miss_overhead_p50_s: Median time that the cache added to a call, of the last 1,024 misses.
        miss_overhead_p95_s: 95th percentile of the same.
    """

    requests: int
    exact_hits: int
    similar_hits: int
    shared_calls: int
    misses: int
    bypassed: int
    refused: int
    held_back: Mapping[str, int]
    calls: int
    failed_calls: int
    guarded: int
    vetoes: Mapping[str, int]
    unstorable: int
    cache_errors: Mapping[str, int]
    feedback_wrong: int
    error_estimate: float | None
    error_bound: float | None
    labels: int
    unlabelled: int
    labels_dropped: int
    checks: int
    checks_wrong: int
    check_tokens: int
    check_cost_usd: float
    drift_alarms: int
    entries: int
    size_bytes: int
    evicted: int
    expired: int
    tokens_saved: int
    tokens_saved_estimated: int
    cost_saved_usd: float
    cost_saved_estimated_usd: float
    unpriced_hits: int
    hit_latency_p50_s: float | None
    hit_latency_p95_s: float | None
    miss_overhead_p50_s: float | None
    miss_overhead_p95_s: float | None

    def as_dict(self) -> dict[str, Any]:
        """Give all figures with `hits`, `hit_rate` and `unanswered` as plain JSON values.

        An unknown price is `None` here.
        """
        figures = asdict(self) | {
            name: getattr(self, name) for name in ("hits", "hit_rate", "unanswered")
        }
        for name in ("cost_saved_usd", "check_cost_usd"):
            if math.isnan(figures[name]):
                figures[name] = None
        return figures

    @property
    def unanswered(self) -> int:
        """Questions without an answer yet, or whose call failed before it answered."""
        answered = self.hits + self.shared_calls + self.misses + self.bypassed
        answered += self.refused
        return self.requests - answered

    @property
    def hits(self) -> int:
        """Questions answered from the store: `exact_hits + similar_hits`."""
        return self.exact_hits + self.similar_hits

    @property
    def hit_rate(self) -> float:
        """Share of answered questions that cost no call of their own.

        `(hits + shared_calls) / (hits + shared_calls + misses + refused)`; 0 before the first
        answer.
        """
        free = self.hits + self.shared_calls
        answered = free + self.misses + self.refused
        return free / answered if answered else 0.0


class Ledger:
    """Counts events. Safe for threads, none of which waits; well under a microsecond an event."""

    def __init__(self) -> None:
        self._counts = Tally[str]()
        self._vetoes = Tally[str]()
        self._held = Tally[str]()
        self._errors: Counter[str] = Counter()
        self._hit_s: deque[float] = deque(maxlen=_RECENT)
        self._overhead_s: deque[float] = deque(maxlen=_RECENT)
        # Re-entrant: a finalizer that counts may interrupt its own thread while it counts.
        self._lock = threading.RLock()

    @property
    def locks(self) -> tuple[Any, ...]:
        """What must not be held by anybody while the process forks."""
        return self._lock, self._counts.lock, self._vetoes.lock, self._held.lock

    def count(self, event: str, times: int = 1) -> None:
        """Count an event by the name of its metric."""
        if times == 1:
            self._counts.add(event)
        elif times:
            self._counts.add_many(event, times)

    def veto(self, guard: str) -> None:
        """Count a miss that a guard caused."""
        self._counts.add("guarded")
        self._vetoes.add(guard)

    def hold(self, rule: str) -> None:
        """Count a question that an admission rule held back."""
        self._held.add(rule)

    def error(self, place: str) -> int:
        """Count a failure inside the cache that a question survived; give how many there were."""
        with self._lock:
            self._errors[place] += 1
            return self._errors[place]

    def hit(self, kind: str, latency_s: float) -> None:
        """Count a hit with its latency. `kind` is `exact_hits` or `similar_hits`."""
        self._counts.add(kind)
        self._hit_s.append(latency_s)

    def miss(self, overhead_s: float) -> None:
        """Count a miss with what the cache added to its call."""
        self._counts.add("misses")
        self._overhead_s.append(overhead_s)

    def snapshot(self, **gauges: float | None) -> CacheMetrics:
        """Freeze the counters together with what others measure."""
        counts, vetoes = self._counts.counts(), dict(self._vetoes.counts())
        held = dict(self._held.counts())
        # Copies are made in one step of the interpreter, also while others append.
        hit_s, overhead_s = list(self._hit_s.copy()), list(self._overhead_s.copy())
        with self._lock:
            errors = dict(self._errors)
        counted = {
            name: counts[name]
            for name in (
                "requests", "exact_hits", "similar_hits", "shared_calls", "misses", "bypassed",
                "refused", "calls", "failed_calls", "guarded", "unstorable", "feedback_wrong",
                "evicted", "expired", "labels", "unlabelled", "labels_dropped", "checks",
                "checks_wrong",
            )
        }  # fmt: skip
        return CacheMetrics(
            **counted,
            vetoes=vetoes,
            cache_errors=errors,
            held_back=held,
            hit_latency_p50_s=_percentile(hit_s, 0.50),
            hit_latency_p95_s=_percentile(hit_s, 0.95),
            miss_overhead_p50_s=_percentile(overhead_s, 0.50),
            miss_overhead_p95_s=_percentile(overhead_s, 0.95),
            **gauges,  # type: ignore[arg-type]  # the caller's gauges are the remaining fields
        )


def _percentile(values: list[float], part: float) -> float | None:
    return sorted(values)[min(len(values) - 1, int(part * len(values)))] if values else None
