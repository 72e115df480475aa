from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prismresonance.embed._retry import (
    BASE_DELAY_S,
    MAX_DELAY_S,
    Failure,
    FailureKind,
    Retry,
    seconds_asked_for,
)

TRANSIENT = Failure(FailureKind.TRANSIENT, "trouble")
NOON = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def test_waits_double_up_to_a_limit() -> None:
    retry = Retry(0.0, timeout_s=1000, max_retries=7)
    longest = [retry.wait_s(TRANSIENT, 0.0, jitter=1.0) for _ in range(7)]
    assert longest == [0.5, 1, 2, 4, 8, 8, 8]
    assert retry.wait_s(TRANSIENT, 0.0, jitter=1.0) is None


def test_at_least_half_of_a_wait_is_certain() -> None:
    retry = Retry(0.0, timeout_s=1000, max_retries=2)
    assert retry.wait_s(TRANSIENT, 0.0, jitter=0.0) == BASE_DELAY_S / 2


@pytest.mark.parametrize("kind", [kind for kind in FailureKind if kind.value != "transient"])
def test_only_transient_failures_are_retried(kind: FailureKind) -> None:
    assert Retry(0.0, timeout_s=10, max_retries=9).wait_s(Failure(kind, ""), 0.0, 0.5) is None


@given(
    timeout_s=st.floats(0.01, 100),
    max_retries=st.integers(0, 10),
    attempts=st.lists(
        st.tuples(st.floats(0, 20), st.none() | st.floats(0, 50), st.floats(0, 1)), min_size=12
    ),
)
def test_attempts_and_waits_keep_within_their_limits(
    timeout_s: float, max_retries: int, attempts: list[tuple[float, float | None, float]]
) -> None:
    start = now = 7.0
    retry = Retry(start, timeout_s=timeout_s, max_retries=max_retries)
    tried = 0
    for took_s, asked_s, jitter in attempts:
        left_s = retry.time_left_s(now)
        assert left_s > 0
        tried += 1
        now += min(took_s, left_s)
        failure = Failure(FailureKind.TRANSIENT, "trouble", asked_s)
        wait_s = retry.wait_s(failure, now, jitter)
        if wait_s is None:
            break
        assert wait_s >= (asked_s or 0)
        assert wait_s <= max(MAX_DELAY_S, asked_s or 0)
        now += wait_s
        assert now < start + timeout_s
    assert tried <= 1 + max_retries


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (302, FailureKind.REFUSED),
        (400, FailureKind.REFUSED),
        (401, FailureKind.FORBIDDEN),
        (403, FailureKind.FORBIDDEN),
        (404, FailureKind.FORBIDDEN),
        (408, FailureKind.TRANSIENT),
        (422, FailureKind.REFUSED),
        (429, FailureKind.TRANSIENT),
        (500, FailureKind.TRANSIENT),
        (529, FailureKind.TRANSIENT),
    ],
)
def test_statuses_are_classified(status: int, kind: FailureKind) -> None:
    assert Failure.from_status(status).kind is kind


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("5", 5.0),
        ("0.25", 0.25),
        ("-3", 0.0),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("", None),
        ("Sun, 01 Mar 2026 12:00:30 GMT", 30.0),
        ("Sun, 01 Mar 2026 12:00:30 -0000", 30.0),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0.0),
        ("Sun, 99 Mar 2026 11:00:00 GMT", None),
    ],
)
def test_retry_after_is_read(header: str | None, seconds: float | None) -> None:
    assert seconds_asked_for(header, now=NOON) == seconds


@given(st.text(max_size=40))
def test_any_retry_after_is_survived(header: str) -> None:
    seconds = seconds_asked_for(header, now=NOON)
    assert seconds is None or seconds >= 0
