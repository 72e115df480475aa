"""Made-up traffic for the calibrator: what is right is known, what it is told may be wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from prism.cache._calibration.calibrator import Calibrator, is_checked
from prism.cache._evidence import KINDS, careful_weights

__all__ = ["Outcome", "Traffic", "answer", "ask_all", "random_traffic"]

CAREFUL = np.array(careful_weights())
PLACES = {kind.name: place for place, kind in enumerate(KINDS)}


@dataclass(frozen=True)
class Traffic:
    """One kind of traffic with one embedder and one judge.

    Attributes:
        separation: How far right candidates are from wrong ones, in standard deviations.
        repeats: Share of requests that ask what is stored, in other words.
        exact: Share of requests that are exact repeats.
        strangers: Share of requests without any candidate.
        split: Share of right answers that the judge takes for wrong.
        merged: Share of wrong answers that it takes for right.
        drift_at: Share of the stream after which wrong candidates look better; 1 for never.
        drift: How far they come towards the right ones then; at 1 they cannot be told apart.
        run: How many requests of one kind come in a row, on average.
    """

    separation: float
    repeats: float
    exact: float
    strangers: float
    split: float = 0.0
    merged: float = 0.0
    drift_at: float = 1.0
    drift: float = 0.0
    run: float = 1.0


@dataclass(frozen=True)
class Outcome:
    """What came of a stream, as shares of all requests."""

    hits: float
    wrong: float
    checks: float
    alarms: int
    wrong_late: float


def random_traffic(rng: np.random.Generator, *, drifts: bool | None = None) -> Traffic:
    """Draw a kind of traffic."""
    if drifts is None:
        drifts = bool(rng.random() < 0.3)
    return Traffic(
        separation=rng.uniform(0.8, 4.0),
        repeats=rng.uniform(0.05, 0.85),
        exact=rng.uniform(0.0, 0.6),
        strangers=rng.uniform(0.0, 0.3),
        split=rng.uniform(0.0, 0.04),
        merged=rng.uniform(0.0, 0.1),
        drift_at=rng.uniform(0.3, 0.7) if drifts else 1.0,
        drift=rng.uniform(0.2, 0.8) if drifts else 0.0,
        run=rng.choice([1.0, 5.0, 25.0]),
    )


def _in_runs(
    rng: np.random.Generator, shares: npt.NDArray[np.float64], requests: int, run: float
) -> npt.NDArray[np.int64]:
    """Draw kinds of requests that come in runs."""
    fresh = rng.random(requests) < 1 / run
    fresh[0] = True
    drawn = rng.choice(len(shares), size=requests, p=shares)
    last = np.maximum.accumulate(np.where(fresh, np.arange(requests), 0))
    return drawn[last]


def answer(
    traffic: Traffic, rng: np.random.Generator, requests: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Draw requests: 0 right, 1 wrong candidate, 2 exact repeat, 3 nothing near; and evidence."""
    near = (1 - traffic.exact) * (1 - traffic.strangers)
    shares = np.array(
        [
            near * traffic.repeats,
            near * (1 - traffic.repeats),
            traffic.exact,
            (1 - traffic.exact) * traffic.strangers,
        ]
    )
    kinds = _in_runs(rng, shares / shares.sum(), requests, traffic.run)
    # Wrong candidates look the same whatever the embedder; right ones stand out from them.
    lift = np.where(np.arange(requests) < traffic.drift_at * requests, 0.0, traffic.drift)
    apart = traffic.separation * np.where(kinds == 0, 1.0, lift)
    level = apart + rng.standard_normal(requests)
    evidence = np.zeros((requests, len(KINDS)))

    def kind(name: str, middle: float, slope: float, noise: float) -> None:
        own = rng.standard_normal(requests) * noise
        evidence[:, PLACES[name]] = middle + slope * level + own

    kind("cosine", 0.72, 0.05, 0.03)
    kind("lead", 0.02, 0.02, 0.015)
    kind("wide lead", 0.02, 0.03, 0.02)
    kind("answer lead", 0.0, 0.02, 0.03)
    kind("support", 0.4, 0.1, 0.1)
    kind("wide support", 0.3, 0.1, 0.1)
    kind("company", 0.68, 0.04, 0.02)
    kind("number", 0.8, 0.2, 0.3)
    kind("overlap", 0.4, 0.1, 0.15)
    for name, cap in (("lead", 0.1), ("wide lead", 0.25), ("answer lead", 0.1)):
        column = evidence[:, PLACES[name]]
        np.clip(column, -0.1, cap, out=column)
    evidence[:, PLACES["doubt"]] = 0.1 * (rng.random(requests) < 0.1)
    return kinds, evidence


def ask_all(
    traffic: Traffic,
    seed: int,
    *,
    requests: int = 4000,
    max_error: float = 0.01,
    check_share: float = 0.015,
) -> Outcome:
    """Send a stream through a calibrator of its own."""
    rng = np.random.default_rng(seed)
    kinds, evidence = answer(traffic, rng, requests)
    told_wrong = (kinds == 1) ^ (
        rng.random(requests) < np.where(kinds == 1, traffic.merged, traffic.split)
    )
    calibrator = Calibrator(max_error=max_error, check_share=check_share)
    hits = checks = 0
    wrong: list[int] = []
    for number, (kind, row) in enumerate(zip(kinds, evidence.tolist(), strict=True)):
        calibrator.count(1)
        if kind > 1:
            continue
        rule = calibrator.rule
        served = rule.score(row) >= rule.bar
        calibrator.see(row, served=served)
        if served:
            hits += 1
            if kind == 1:
                wrong.append(number)
            if is_checked(hits, rule.check_share, seed):
                checks += 1
                calibrator.learn(row, wrong=bool(told_wrong[number]), served=True)
        else:
            calibrator.learn(row, wrong=bool(told_wrong[number]), served=False)
        calibrator.update()
    late = sum(number >= requests // 2 for number in wrong)
    return Outcome(
        hits=hits / requests,
        wrong=len(wrong) / requests,
        checks=checks / requests,
        alarms=calibrator.alarms,
        wrong_late=late / (requests - requests // 2),
    )
