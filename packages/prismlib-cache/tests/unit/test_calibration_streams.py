"""Over many seeded streams the true error stays under the target; without a rule it does not.

Forty streams of each sort run here. A larger run: `PRISM_STREAMS=2000 hatch test -- -k streams`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from streams import Outcome, Traffic, ask_all, random_traffic

from prism.cache._calibration import calibrator as calibration
from prism.cache._calibration import tail as tails
from prism.cache._calibration.drift import Alarm

STREAMS = int(os.environ.get("PRISM_STREAMS", "40"))
MUTANT_STREAMS = 30
# Streams that may end above the target. The bound lets one look in six be too bold, and a stream is
# an average of looks: of 300 streams, 4 ended above it at 1 %, 3 at 3 % and 14 at 5 %.
ALLOWED = 0.075
# Drift is sudden and harsh here; wrong answers go on until it is noticed.
ALLOWED_WITH_DRIFT = 0.3


def run(count: int, *, drifts: bool, max_error: float = 0.01) -> list[Outcome]:
    return [
        ask_all(
            random_traffic(np.random.default_rng(10_000 + seed), drifts=drifts),
            seed,
            max_error=max_error,
        )
        for seed in range(count)
    ]


def share_above(outcomes: Sequence[Outcome], max_error: float) -> float:
    return sum(outcome.wrong > max_error for outcome in outcomes) / len(outcomes)


@pytest.mark.parametrize("max_error", [0.01, 0.03, 0.05])
def test_steady_streams_stay_under_the_target(max_error: float) -> None:
    outcomes = run(STREAMS, drifts=False, max_error=max_error)
    assert share_above(outcomes, max_error) <= ALLOWED
    errors = [outcome.wrong for outcome in outcomes]
    # Of 300: .44, .61 and .69.
    assert np.mean(errors) <= 0.75 * max_error
    # Of 300: .80, .90 and .99; of 40 it is the second or third largest.
    assert np.quantile(errors, 0.95) <= 1.05 * max_error
    # Questions that come 25 of a kind in a row leave few that are independent. Of 300: 1.4.
    assert max(errors) <= 1.5 * max_error


def test_drift_is_answered() -> None:
    outcomes = run(STREAMS, drifts=True)
    assert share_above(outcomes, 0.01) <= ALLOWED_WITH_DRIFT
    # Of 300: a fifth above the target, the mean at .7 of it, the worst at 2.1 times.
    assert np.mean([outcome.wrong for outcome in outcomes]) <= 0.0085
    assert max(outcome.wrong for outcome in outcomes) <= 0.025


def test_hits_are_gained_where_they_can_be() -> None:
    easy = Traffic(separation=4.0, repeats=0.7, exact=0.0, strangers=0.0)
    outcomes = [ask_all(easy, seed) for seed in range(3)]
    for outcome in outcomes:
        assert outcome.hits >= 0.45
        assert outcome.wrong <= 0.01
        assert outcome.checks <= 0.05


def test_without_checks_there_are_hits_too() -> None:
    easy = Traffic(separation=4.0, repeats=0.7, exact=0.0, strangers=0.0)
    outcome = ask_all(easy, 1, check_share=0.0)
    assert outcome.checks == 0
    assert outcome.hits >= 0.2
    assert outcome.wrong <= 0.01


def test_a_judge_that_splits_answers_costs_hits_and_nothing_else() -> None:
    told_well, told_badly = (
        ask_all(Traffic(4.0, 0.7, 0.0, 0.0, split=split), 1) for split in (0.0, 0.1)
    )
    assert told_badly.hits < told_well.hits
    assert told_badly.wrong <= 0.01


def unweighted(*given: Any, **named: Any) -> tails.Tail:
    """Take labels for an even sample of the requests."""
    scores, wrong, counted = given
    named["traffic"] = scores
    named["share"] = min(1.0, float(counted.sum()) / max(named["requests"], 1))
    return tails.tail_of(scores, wrong, counted, **named)


def test_without_importance_weights_the_target_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "tail_of", unweighted)
    assert share_above(run(MUTANT_STREAMS, drifts=False), 0.01) > 3 * ALLOWED


def test_without_the_bound_the_target_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    tail_of = tails.tail_of

    def unbounded(*given: Any, **named: Any) -> tails.Tail:
        tail = tail_of(*given, **named)
        return tails.Tail(tail.bars, tail.shares, tail.estimates, tail.estimates, tail.rates)

    monkeypatch.setattr(calibration, "tail_of", unbounded)
    assert share_above(run(MUTANT_STREAMS, drifts=False), 0.01) > 2 * ALLOWED


def test_without_the_alarm_drift_does_more_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    crowded = Traffic(3.5, 0.3, 0.1, 0.1, drift_at=0.6, drift=0.6)
    answered = [ask_all(crowded, seed, requests=6000).wrong_late for seed in range(6)]
    monkeypatch.setattr(Alarm, "hear", lambda *_, **__: False)
    ignored = [ask_all(crowded, seed, requests=6000).wrong_late for seed in range(6)]
    assert np.mean(ignored) > 1.5 * np.mean(answered)
    assert np.mean(answered) < 0.015
