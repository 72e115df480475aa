"""One scope's calibrator: told what came, it says how to decide next.

    count(requests)           requests came, of any kind: exact hits and those without a candidate
    see(evidence, served=)    one of them had a candidate that no guard forbids
    learn(evidence, wrong=)   the truth about such a candidate became known: the fresh answer to a
                              miss was compared with the stored one, or a hit was checked
    report(evidence)          a user said that a hit was wrong
    update()                  take it all into account, if enough of it is new
    rule                      how to decide

The bar is the lowest whose bound of the error (`tail`) is under `max_error`. What was measured
elsewhere (`experience`) gives the first bar and counts as `_PRIOR_LABELS` labels, so that a scope's
own take over as they come. Weights are learned (`weights`) from all labels, and judged by labels
they were not learned from: by fourfold cross-fitting. They are in force while they let more hits
through than the common ones, both under the same bound.

Candidates that are wrong more often than predicted raise the alarm (`drift`). Then the labels from
before the change are dropped, nothing is served until there are new ones, hits are checked as often
as in the beginning, and experience, refuted as it is, expects more wrong answers from then on.

A label may be wrong itself. Right answers taken for wrong make the rule careful, without limit.
Wrong answers taken for right would make it bold: a share of `_OVERLOOKED` of them is allowed for.

Pure: no clock, no threads, no randomness; which hits are checked follows from the seed. Not safe
for threads: one at a time may tell it things. `rule` is replaced whole and may be read by anybody.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from prism.cache._calibration.drift import Alarm
from prism.cache._calibration.experience import WRONG_RATES, required_score
from prism.cache._calibration.rule import Rule
from prism.cache._calibration.tail import Tail, tail_of
from prism.cache._calibration.weights import Weights, fit
from prism.cache._calibration.window import Window
from prism.cache._evidence import KINDS, Kind

__all__ = ["Calibrator", "is_checked"]

Array = npt.NDArray[np.float64]

_VERSION = 1
# Labels of misses and of checks are kept apart: a window for both would soon hold misses alone.
_LABELS = 3072
_TRAFFIC = 1536
_REPORTS = 256
# Requests in which a report counts.
_REPORT_REACH = 8192
# Standard deviations from estimate to bound: by chance one look in six is too bold. The error is an
# average over many looks, so streams that end above the target are fewer: of 60 simulated ones
# (tests/unit/test_calibration_streams.py) two at 1 %, none at 3 %, five at 5 %. From 1.0 to 1.3 a
# tenth of the hits at 1 % is lost.
_DEVIATIONS = 1.0
# Share of wrong answers that a judge may take for right.
_OVERLOOKED = 0.05
# A label counts e times less after so many others. At 1,000 a quarter of the hits is lost on steady
# traffic; against sudden drift it helps less than the alarm.
_REMEMBERED = 4000.0
# How many labels experience counts for. The more, the longer a scope that is harder than others
# overspends: at 3 % one stream in eight with 60. Between 15 and 30 the simulations end alike, and
# hits differ by less than one in thirty.
_PRIOR_LABELS = 15.0
# Until a scope has so many labels, experience stands unless they put its error so many times above
# the target. It costs a scope that is harder than others a few wrong answers, once.
_TRUSTED_LABELS = 600
_REFUTING = 1.5
# What an alarm does to the odds of experience. With 3 or 6 the simulations end much the same.
_REFUTED = 4.0
_LABELS_IN_RANGE = 12.0
_LEAST_TRAFFIC = 25
_NEWS = 25
# Of the labels there are: what one look takes grows with them, and what it changes shrinks.
_NEWS_GROWTH = 0.025
# More than any number of labels.
_URGENT = 1_000_000
# Before that weights would rest on a handful of mistakes.
_LEAST_TO_FIT = 200
_LEAST_OF_EACH = 20
_REFIT_GROWTH = 1.15
_FOLDS = 4
# Hits that learned weights must gain before they take over; to stay they must not lose any.
_WORTHWHILE = 1.05
# Of a young scope (a new one, or one after an alarm) so large a share of the requests is checked
# besides, half of it after so many requests. The first requests of a scope cost no checks at all.
# The bound of a young scope is wide for want of labels of hits. Of 8,000 requests of BANKING77 and
# CLINC150 half the share saves one call in a hundred and loses two hits.
_YOUNG_CHECKS = 0.08
_CHECKS_HALVE_AFTER = 500
_UNCHECKED_REQUESTS = 100
# Of the hits, whatever the share of the requests is.
_MOST_CHECKS = 0.5
# The alarm hears of candidates that matter, once there is something to compare them with.
_WATCHED = 0.9
_LEAST_TO_WATCH = 150
_RECENT_TRAFFIC = 200


@dataclass(frozen=True, slots=True)
class _Choice:
    """A set of weights with the bar it would have."""

    weights: Weights
    tail: Tail
    place: int | None
    is_learned: bool

    @property
    def hits(self) -> float:
        """Share of all requests at or above the bar."""
        return 0.0 if self.place is None else float(self.tail.shares[self.place])


class Calibrator:
    """See the module.

    Args:
        max_error: Share of all requests that may be answered wrongly.
        check_share: Checks in the long run, as a share of all requests; 0 for no checks ever.
            Raising it costs calls, brings the bound nearer to the estimate and finds drift sooner.
        kinds: What evidence there is.

    Attributes:
        rule: How to decide now.
        alarms: How often drift was noticed.
    """

    def __init__(
        self, *, max_error: float, check_share: float, kinds: Sequence[Kind] = KINDS
    ) -> None:
        self._max_error = max_error
        self._check_share = check_share
        self._kinds = tuple(kinds)
        self._careful = np.array([kind.careful for kind in kinds])
        self._scales = np.array([kind.scale for kind in kinds])
        self._directions = np.array([float(kind.direction) for kind in kinds])
        # Evidence, whether it was wrong, and how many labels there were before.
        width = len(self._kinds) + 2
        self._misses = Window(width, _LABELS)
        self._checks = Window(width, _LABELS)
        self._traffic = Window(len(self._kinds), _TRAFFIC)
        self._reports = Window(len(self._kinds) + 1, _REPORTS)
        self._alarm = Alarm()
        self._rise = 0
        self._labels = 0
        self._requests = 0
        self._candidates = 0
        self._hits = 0
        self._young_at = 0
        self._news = 0
        self._choice: _Choice | None = None
        self._folds: tuple[Weights, ...] = ()
        self._fitted = 0
        self.alarms = 0
        self.rule = self._experienced()

    @property
    def labels(self) -> int:
        """Questions whose truth ever became known."""
        return self._labels

    @property
    def hits(self) -> int:
        """Candidates that were served."""
        return self._hits

    def count(self, requests: int, *, unseen: int = 0) -> None:
        """Take in that so many requests came.

        Args:
            requests: All of them, of any kind.
            unseen: Those of them that `see` is never told of. They are taken to have had candidates
                as the others had: else the error would seem the smaller, the more are left out.
        """
        self._requests += requests
        self._candidates += unseen

    def see(self, evidence: Sequence[float], *, served: bool) -> None:
        """Take in that a request had a candidate, and whether it was a hit."""
        self._traffic.add(evidence)
        self._candidates += 1
        self._hits += served
        self._news += 1

    def learn(self, evidence: Sequence[float], *, wrong: bool, served: bool) -> None:
        """Take in the truth about a candidate: of a hit that was checked, or of a miss."""
        self._watch(evidence, wrong=wrong)
        window = self._checks if served else self._misses
        window.add((*evidence, float(wrong), float(self._labels)))
        self._labels += 1
        self._news += 1

    def report(self, evidence: Sequence[float]) -> None:
        """Take in that a user called a hit wrong.

        Only wrong answers are reported, so a report stands for itself alone: the estimate counts it
        as one wrong answer more.
        """
        self._reports.add((*evidence, float(self._requests)))
        self._news += _URGENT

    def update(self) -> None:
        """Work out the rule anew if enough is new. Milliseconds; now and then tens of them."""
        held = len(self._misses) + len(self._checks)
        due = max(min(_NEWS, 5 + held // 10), int(_NEWS_GROWTH * held))
        if self._news < due or len(self._traffic) < _LEAST_TRAFFIC:
            return
        self._news = 0
        labelled = np.concatenate([self._misses.rows(), self._checks.rows()])
        evidence, wrong, number = labelled[:, :-2], labelled[:, -2], labelled[:, -1]
        choice = self._common(evidence, wrong, number)
        if self._is_fit_due(wrong):
            self._fit(evidence, wrong, number)
        if self._folds:
            learned = self._learned(evidence, wrong, number)
            held = self._choice is not None and self._choice.is_learned
            if learned.hits > choice.hits * (1.0 if held else _WORTHWHILE):
                choice = learned
        self._choice = choice
        is_young = not self.alarms and len(labelled) < _TRUSTED_LABELS
        self.rule = self._ruled(choice, len(labelled), is_young=is_young)

    def state(self) -> dict[str, Any]:
        """Give everything learned as plain JSON values, at most about 550 kB."""
        return {
            "version": _VERSION,
            "kinds": [kind.name for kind in self._kinds],
            "requests": self._requests,
            "candidates": self._candidates,
            "hits": self._hits,
            "young_at": self._young_at,
            "labels": self._labels,
            "alarms": self.alarms,
            "misses": self._misses.state(),
            "checks": self._checks.state(),
            "traffic": self._traffic.state(),
        }

    @classmethod
    def restored(
        cls,
        state: Mapping[str, Any],
        *,
        max_error: float,
        check_share: float,
        kinds: Sequence[Kind] = KINDS,
    ) -> Calibrator:
        """Make one that goes on where `state` was given; the target may be another.

        Raises:
            ValueError: The state is of another version, of other kinds of evidence, or damaged.
        """
        made = cls(max_error=max_error, check_share=check_share, kinds=kinds)
        if state.get("version") != _VERSION:
            raise ValueError(f"the state has version {state.get('version')}, not {_VERSION}")
        if state.get("kinds") != [kind.name for kind in kinds]:
            raise ValueError("the state is of other kinds of evidence")
        try:
            made._requests = int(state["requests"])
            made._candidates = int(state["candidates"])
            made._hits = int(state["hits"])
            made._young_at = int(state["young_at"])
            made._labels = int(state["labels"])
            made.alarms = int(state["alarms"])
            made._misses.restore(state["misses"])
            made._checks.restore(state["checks"])
            made._traffic.restore(state["traffic"])
        except (KeyError, TypeError, OverflowError) as error:
            raise ValueError(f"the state is damaged: {error!r}") from error
        made._news = _URGENT
        made.update()
        return made

    def _experienced(self) -> Rule:
        return Rule(
            weights=tuple(self._careful.tolist()),
            bar=math.inf if self.alarms else required_score(self._max_error),
            check_share=self._share_now(),
        )

    def _share_now(self) -> float:
        if not self._check_share:
            return 0.0
        if self._requests < _UNCHECKED_REQUESTS:
            return 0.0
        age = self._requests - self._young_at
        of_requests = self._check_share + _YOUNG_CHECKS / (1 + age / _CHECKS_HALVE_AFTER)
        return min(_MOST_CHECKS, of_requests * max(self._requests, 1) / max(self._hits, 1))

    def _common(self, evidence: Array, wrong: Array, number: Array) -> _Choice:
        scores, rates = np.array(WRONG_RATES).T
        if self.alarms:
            rates = _REFUTED * rates / (1 + (_REFUTED - 1) * rates)
        counted = np.full(len(scores), _PRIOR_LABELS / len(scores))
        return self._weighed(
            Weights(self._careful, 0.0),
            np.concatenate([evidence @ self._careful, scores]),
            np.concatenate([wrong, rates]),
            np.concatenate([self._counted(number), counted]),
            is_learned=False,
            # While experience stands its bar is asked about, not the next label's above or below.
            cut=required_score(self._max_error) if len(number) < _TRUSTED_LABELS else -math.inf,
        )

    def _learned(self, evidence: Array, wrong: Array, number: Array) -> _Choice:
        *folds, whole = self._folds
        scores = whole.score(evidence)
        learned_from = number < self._fitted
        for fold, weights in enumerate(folds):
            is_held_out = learned_from & (number % _FOLDS == fold)
            scores[is_held_out] = weights.score(evidence[is_held_out])
        return self._weighed(whole, scores, wrong, self._counted(number), is_learned=True)

    def _weighed(
        self,
        weights: Weights,
        scores: Array,
        wrong: Array,
        counted: Array,
        *,
        is_learned: bool,
        cut: float = -math.inf,
    ) -> _Choice:
        reported = self._reports.rows()
        reach = min(self._requests, _REPORT_REACH)
        reported = reported[reported[:, -1] >= self._requests - reach]
        tail = tail_of(
            scores,
            wrong,
            counted,
            traffic=weights.score(self._traffic.rows()),
            share=min(1.0, self._candidates / max(self._requests, 1)),
            least=_LABELS_IN_RANGE,
            deviations=_DEVIATIONS,
            overlooked=_OVERLOOKED,
            known=weights.score(reported[:, :-1]),
            requests=reach,
            cut=cut,
        )
        return _Choice(weights, tail, tail.lowest(self._max_error), is_learned)

    def _counted(self, number: Array) -> Array:
        """What each label counts: the less the older it is."""
        counted: Array = np.exp((number - self._labels) / _REMEMBERED)
        return counted

    def _is_fit_due(self, wrong: Array) -> bool:
        if len(wrong) < _LEAST_TO_FIT:
            return False
        if not _LEAST_OF_EACH <= wrong.sum() <= len(wrong) - _LEAST_OF_EACH:
            return False
        return self._labels >= _REFIT_GROWTH * self._fitted

    def _fit(self, evidence: Array, wrong: Array, number: Array) -> None:
        self._fitted = self._labels
        is_right = 1 - wrong
        parts = [number % _FOLDS != fold for fold in range(_FOLDS)] + [number >= 0]
        fitted = [
            fit(
                evidence[part],
                is_right[part],
                careful=self._careful,
                scales=self._scales,
                directions=self._directions,
            )
            for part in parts
        ]
        self._folds = tuple(weights for weights in fitted if weights is not None)
        if len(self._folds) < len(fitted):
            self._folds = ()

    def _ruled(self, choice: _Choice, labels: int, *, is_young: bool) -> Rule:
        tail, place, known = choice.tail, choice.place, choice.weights
        if is_young and not choice.is_learned:
            place = self._at_least_experienced(tail, place)
        if place is None:
            # Not even the best that was seen is safe enough.
            bar, estimate, bound = math.inf, 0.0, 0.0
        else:
            bar, estimate, bound = (
                float(values[place]) for values in (tail.bars, tail.estimates, tail.bounds)
            )
        return Rule(
            weights=tuple(known.weights.tolist()),
            offset=known.offset,
            bar=bar,
            is_bar_learned=True,
            are_weights_learned=choice.is_learned,
            check_share=self._share_now(),
            error_estimate=estimate,
            error_bound=bound,
            labels=labels,
        )

    def _at_least_experienced(self, tail: Tail, place: int | None) -> int | None:
        """Keep to the bar of experience, or the nearest above it, that labels do not refute.

        With few labels hardly a bound is under the target, whatever they say.
        """
        first = required_score(self._max_error)
        refuted = tail.estimates > _REFUTING * self._max_error
        standing = np.flatnonzero((tail.bars >= first) & ~np.maximum.accumulate(refuted))
        if not len(standing) or (place is not None and place >= standing[-1]):
            return place
        return int(standing[-1])

    def _watch(self, evidence: Sequence[float], *, wrong: bool) -> None:
        choice = self._choice
        if choice is None or self.rule.labels < _LEAST_TO_WATCH:
            return
        predicted = choice.tail.rate_at(self.rule.score(evidence))
        if predicted > _WATCHED:
            return
        if not self._alarm.run:
            self._rise = self._labels
        if self._alarm.hear(wrong=wrong, predicted=predicted):
            for window in (self._misses, self._checks):
                window.keep_last(int((window.rows()[:, -1] >= self._rise).sum()))
            self._traffic.keep_last(_RECENT_TRAFFIC)
            self._alarm = Alarm()
            self._young_at = self._requests
            self._choice, self._folds, self._fitted = None, (), 0
            self._news = _URGENT
            self.alarms += 1
            self.rule = self._experienced()


def is_checked(number: int, share: float, seed: int) -> bool:
    """Tell whether the hit of this number is one of those that are checked.

    A hash of seed and number, so a run can be repeated and no pattern of the traffic meets a
    pattern of the checks. Source: S. Vigna's splitmix64.
    """
    mixed = (seed + (number + 1) * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return (mixed ^ (mixed >> 31)) < share * 2.0**64
