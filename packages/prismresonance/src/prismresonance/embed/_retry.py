"""When to ask a provider again, and when to give up. Pure: times come in as arguments.

One `Retry` follows one request from its first attempt to its end:

    attempt ── answered ────────────────────────────────> done
       ^  │
       │  └─ failed ── final, timed out, out of attempts,
       │        │      or out of time ──────────────────> give up
       │        │
       └─ wait ─┘

Invariants: there are at most `1 + max_retries` attempts; no attempt starts, and no wait ends, later
than `timeout_s` after the start; a wait is never shorter than what the provider asked for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

__all__ = ["BASE_DELAY_S", "MAX_DELAY_S", "Failure", "FailureKind", "Retry", "seconds_asked_for"]

BASE_DELAY_S = 0.5
"""Longest wait after the first failure; each later one doubles it."""

MAX_DELAY_S = 8.0
"""Longest wait of our own choosing; a provider may ask for more."""


class FailureKind(Enum):
    """What a failure means for the request."""

    TRANSIENT = "transient"
    """Too many requests, a server in trouble, a broken connection: ask again."""
    TIMEOUT = "timeout"
    """No answer in the time the attempt had."""
    FORBIDDEN = "forbidden"
    """The key, the model's name or the address is wrong."""
    REFUSED = "refused"
    """The provider will not embed these texts, or its answer cannot be used."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed attempt, without anything the provider wrote: that may quote texts or keys.

    Attributes:
        kind: What it means for the request.
        reason: Our own words for it.
        retry_after_s: Seconds the provider asked to wait; `None` when it did not say.
    """

    kind: FailureKind
    reason: str
    retry_after_s: float | None = None

    @classmethod
    def from_status(cls, status: int, *, retry_after_s: float | None = None) -> Failure:
        """Classify an HTTP status of 300 or more."""
        reason = f"HTTP status {status}"
        if status in (408, 425, 429) or status >= 500:
            return cls(FailureKind.TRANSIENT, reason, retry_after_s)
        if status in (401, 403):
            return cls(FailureKind.FORBIDDEN, f"{reason}: the key is not accepted")
        if status == 404:
            return cls(FailureKind.FORBIDDEN, f"{reason}: no such model, or a wrong address")
        return cls(FailureKind.REFUSED, reason)


class Retry:
    """Decides over one request.

    Args:
        now: Seconds on a clock that never goes back.
        timeout_s: Seconds from now in which all must be over.
        max_retries: Attempts after the first.
    """

    def __init__(self, now: float, *, timeout_s: float, max_retries: int) -> None:
        self._deadline = now + timeout_s
        self._retries_left = max_retries
        self._delay_s = BASE_DELAY_S

    def time_left_s(self, now: float) -> float:
        """Return how long an attempt that starts now may take."""
        return self._deadline - now

    def wait_s(self, failure: Failure, now: float, jitter: float) -> float | None:
        """Say how long to wait before the next attempt.

        The wait doubles from failure to failure, and its second half is drawn at random so that
        clients that failed together do not come back together.
        Source: M. Brooker, Exponential Backoff And Jitter, AWS Architecture Blog, 2015 ("equal").

        Args:
            failure: How the attempt ended.
            now: When it ended.
            jitter: A random number in [0, 1).

        Returns:
            Seconds, or `None` to give up: another attempt would not help or not fit.
        """
        if failure.kind is not FailureKind.TRANSIENT or self._retries_left == 0:
            return None
        wait_s = max(self._delay_s * (1 + jitter) / 2, failure.retry_after_s or 0.0)
        if now + wait_s >= self._deadline:
            return None
        self._retries_left -= 1
        self._delay_s = min(2 * self._delay_s, MAX_DELAY_S)
        return wait_s


def seconds_asked_for(retry_after: str | None, *, now: datetime) -> float | None:
    """Read a `Retry-After` header.

    Source: RFC 9110 s.10.2.3: a number of seconds, or a date.

    Args:
        retry_after: The header's value; `None` if it was not sent.
        now: The time of day, with its time zone.

    Returns:
        Seconds from now, 0 for a date in the past, or `None` for what cannot be read.
    """
    if retry_after is None:
        return None
    try:
        seconds = float(retry_after)
    except ValueError:
        seconds = _seconds_until(retry_after, now)
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def _seconds_until(date: str, now: datetime) -> float:
    # Here and not above: few providers send dates, and every import would pay for it.
    from email.utils import parsedate_to_datetime

    try:
        then = parsedate_to_datetime(date)
    except ValueError:
        return math.nan
    # "-0000" gives a date without a zone; in HTTP all dates are in UTC.
    return (then if then.tzinfo else then.replace(tzinfo=UTC)).timestamp() - now.timestamp()
