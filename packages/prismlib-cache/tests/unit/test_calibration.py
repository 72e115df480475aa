from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streams import Traffic, answer

from prism.cache._calibration.calibrator import Calibrator, is_checked
from prism.cache._calibration.drift import Alarm
from prism.cache._calibration.experience import required_score
from prism.cache._calibration.tail import tail_of
from prism.cache._calibration.weights import fit
from prism.cache._calibration.window import Window
from prism.cache._evidence import KINDS, careful_weights

CAREFUL = np.array(careful_weights())
SCALES = np.array([kind.scale for kind in KINDS])
DIRECTIONS = np.array([float(kind.direction) for kind in KINDS])
EASY = Traffic(separation=3.0, repeats=0.6, exact=0.2, strangers=0.1)


def taught(requests: int = 1500, seed: int = 1, **settings: Any) -> Calibrator:
    calibrator = Calibrator(**{"max_error": 0.01, "check_share": 0.02, **settings})
    kinds, evidence = answer(EASY, np.random.default_rng(seed), requests)
    for kind, row in zip(kinds, evidence.tolist(), strict=True):
        calibrator.count(1)
        if kind <= 1:
            rule = calibrator.rule
            served = rule.score(row) >= rule.bar
            calibrator.see(row, served=served)
            if not served or is_checked(calibrator.hits, 0.1, seed):
                calibrator.learn(row, wrong=bool(kind), served=bool(served))
            calibrator.update()
    return calibrator


def test_a_new_scope_starts_from_experience() -> None:
    rule = Calibrator(max_error=0.01, check_share=0.02).rule
    assert rule.bar == required_score(0.01)
    assert not rule.is_bar_learned
    assert rule.error_estimate is rule.error_bound is None
    assert rule.score((0.8, 0.1, 0.05, 0.1, *[1.0] * 7)) == pytest.approx(0.95)


def test_a_learned_rule_states_its_error() -> None:
    rule = taught().rule
    assert rule.is_bar_learned
    assert rule.error_estimate is not None
    assert rule.error_bound is not None
    assert 0 <= rule.error_estimate < rule.error_bound <= 0.01
    assert rule.labels > 300


def wrong_when_busy(seed: int, *, tells: bool) -> float:
    """The share of wrong answers when seven of eight requests come too fast to be looked at."""
    calibrator = Calibrator(max_error=0.01, check_share=0.02)
    kinds, evidence = answer(EASY, np.random.default_rng(seed), 12_000)
    wrong = unseen = 0
    for number, (kind, row) in enumerate(zip(kinds, evidence.tolist(), strict=True)):
        served = kind <= 1 and calibrator.rule.score(row) >= calibrator.rule.bar
        wrong += served and kind == 1
        if kind <= 1 and number % 8:
            unseen += 1
            calibrator.count(1, unseen=1 if tells else 0)
            continue
        calibrator.count(1)
        if kind <= 1:
            calibrator.see(row, served=served)
            if not served or is_checked(calibrator.hits, 0.2, seed):
                calibrator.learn(row, wrong=bool(kind), served=bool(served))
            calibrator.update()
    assert unseen > 4_000
    return wrong / len(kinds)


def test_requests_that_nobody_had_time_for_do_not_make_the_error_seem_small() -> None:
    told = [wrong_when_busy(seed, tells=True) for seed in range(4)]
    assert max(told) <= 0.012
    assert np.mean(told) <= 0.01
    untold = [wrong_when_busy(seed, tells=False) for seed in range(4)]
    assert np.mean(untold) > 0.015  # what this is about


def test_reports_raise_the_bar() -> None:
    calibrator = taught()
    before = calibrator.rule
    certain = (0.95, 0.1, 0.1, 0.0, 0.25, 1.0, 1.0, 0.95, 1.0, 1.0, 0.0)
    for _ in range(15):
        calibrator.report(certain)
    calibrator.update()
    assert calibrator.rule.bar > before.bar


@pytest.mark.parametrize("max_error", [0.002, 0.01, 0.05])
def test_a_state_goes_on_where_it_was_given(max_error: float) -> None:
    calibrator = taught(max_error=max_error)
    state = json.loads(json.dumps(calibrator.state()))
    restored = Calibrator.restored(state, max_error=max_error, check_share=0.02)
    again = Calibrator.restored(restored.state(), max_error=max_error, check_share=0.02)
    assert again.rule == restored.rule
    assert 0 <= restored.rule.labels - calibrator.rule.labels < 25 + 0.025 * calibrator.labels
    assert restored.rule.is_bar_learned
    assert len(json.dumps(state)) < 600_000


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("version", 99),
        ("kinds", ["cosine"]),
        ("misses", {"rows": "!"}),
        ("checks", {"rows": "AAAA"}),
        ("traffic", None),
        ("requests", "many"),
    ],
)
def test_a_damaged_state_is_refused(key: str, value: object) -> None:
    state = {**taught(200).state(), key: value}
    with pytest.raises(ValueError, match=r"state|row|base64|buffer|literal|reshape"):
        Calibrator.restored(state, max_error=0.01, check_share=0.02)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    wrong=st.floats(0.02, 0.6),
    careful=st.sampled_from([1.0, 2.0]),
)
def test_learned_weights_never_count_likeness_against_a_hit(
    seed: int, wrong: float, careful: float
) -> None:
    rng = np.random.default_rng(seed)
    evidence = rng.normal(0.5, 1.0, (300, len(KINDS))) * SCALES
    is_right = (rng.random(300) > wrong).astype(float)
    learned = fit(
        evidence, is_right, careful=careful * CAREFUL, scales=SCALES, directions=DIRECTIONS
    )
    if learned is not None:
        assert (learned.weights * DIRECTIONS >= -1e-9).all()
        assert np.isfinite(learned.score(evidence)).all()


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32), labels=st.integers(1, 400))
def test_lower_bars_let_more_through_and_bounds_lie_above_estimates(seed: int, labels: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.normal(1, 0.1, labels)
    tail = tail_of(
        scores,
        (rng.random(labels) < 0.2).astype(float),
        np.ones(labels),
        traffic=rng.normal(1, 0.1, 200),
        share=0.7,
        least=10,
        deviations=1.3,
    )
    assert (np.diff(tail.bars) <= 0).all()
    assert (np.diff(tail.shares) >= 0).all()
    assert (np.diff(tail.estimates) >= 0).all()
    assert (np.diff(tail.rates) >= 0).all()
    assert (tail.bounds >= tail.estimates).all()


def test_the_bound_covers_as_often_as_it_says() -> None:
    # Hits are labelled one in twenty, misses all; wrong answers are rare. 1.3 deviations are 90 %.
    covered = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        scores = rng.normal(1, 0.1, 2000)
        is_wrong = rng.random(2000) < 1 / (1 + np.exp(25 * (scores - 0.92)))
        labelled = (scores < 1.0) | (rng.random(2000) < 0.05)
        tail = tail_of(
            scores[labelled],
            is_wrong[labelled].astype(float),
            np.ones(labelled.sum()),
            traffic=scores,
            share=1.0,
            least=12,
            deviations=1.3,
        )
        place = int(np.argmin(abs(tail.bars - 1.0)))
        truth = np.mean((scores >= tail.bars[place]) / (1 + np.exp(25 * (scores - 0.92))))
        covered += bool(truth <= tail.bounds[place])
    assert covered / 300 >= 0.85


def test_false_alarms_are_rare_and_drift_is_found_soon() -> None:
    waits, alarms = [], 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        calm, found = Alarm(), Alarm()
        alarms += any(calm.hear(wrong=rng.random() < 0.1, predicted=0.1) for _ in range(300))
        waits.append(
            next(n for n in range(1000) if found.hear(wrong=rng.random() < 0.4, predicted=0.1))
        )
    assert alarms <= 3
    assert np.median(waits) < 60


@given(st.integers(0, 2**63), st.floats(0, 1))
def test_checks_have_their_share_and_repeat(seed: int, share: float) -> None:
    checked = [is_checked(number, share, seed) for number in range(2000)]
    assert abs(sum(checked) / 2000 - share) < 0.06
    assert checked == [is_checked(number, share, seed) for number in range(2000)]


@given(st.integers(1, 20), st.lists(st.floats(-1, 1, width=32), max_size=200), st.integers(0, 30))
def test_a_window_keeps_the_last_rows(capacity: int, numbers: list[float], count: int) -> None:
    window = Window(1, capacity)
    for number in numbers:
        window.add((number,))
    assert window.rows()[:, 0].tolist() == numbers[-capacity:]
    restored = Window(1, capacity)
    restored.restore(window.state())
    assert restored.rows().tolist() == window.rows().tolist()
    window.keep_last(count)
    kept = numbers[-capacity:]
    assert window.rows()[:, 0].tolist() == kept[max(0, len(kept) - count) :]


@given(st.floats(1e-6, 0.2), st.floats(1e-6, 0.2))
def test_less_error_never_asks_for_a_lower_score(one: float, other: float) -> None:
    if one <= other:
        assert required_score(one) >= required_score(other)
