"""How many requests would be answered wrongly above each bar.

Labels are not an even sample of the traffic: every miss gets one, of the hits only those that are
checked. Within a narrow range of scores, though, whether a question has a label does not depend on
whether the stored answer is right: it was decided by the score and by a coin. So the range's rate
of wrong answers is that of its labels, and its weight is its share of the traffic, labelled or not:

    error above a bar = sum over ranges above it of  traffic share * wrong labels / labels

which weighs each label by the inverse of the (observed) chance that it was taken. Ranges hold
equally many labels, so the last one of the top reaches down to where labels are; as better scores
are not wrong more often, that errs on the safe side.

Upper bound: a weighted sum of Poisson counts, y with variance v, is treated as a multiple of a
gamma variable. With the mean weight added to y and its square to v it covers well for few counts
too.
Sources: D. Horvitz, D. Thompson, JASA 47, 1952 (weights); M. Fay, E. Feuer, Statistics in Medicine
16, 1997 and R. Tiwari, L. Clegg, Z. Zou, Statistical Methods in Medical Research 15, 2006 (bound);
E. Wilson, M. Hilferty, PNAS 17, 1931 (quantile).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

__all__ = ["Tail", "tail_of"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Tail:
    """Bars by falling height, and what lies at or above each.

    Attributes:
        bars: Scores.
        shares: Share of all requests at or above the bar.
        estimates: Share of all requests that are there and would be answered wrongly.
        bounds: Upper confidence bounds of that.
        rates: Wrong among those of the lowest range above the bar, made to rise with falling bars.
    """

    bars: Array
    shares: Array
    estimates: Array
    bounds: Array
    rates: Array

    def lowest(self, max_error: float) -> int | None:
        """Give the place of the lowest bar that can be reached with all bounds under the target.

        From the top down to the first that fails: so that testing many bars needs no correction.
        Source: A. Angelopoulos et al., "Learn then test", arXiv 2110.01052, section 3.
        """
        fails = np.flatnonzero(self.bounds > max_error)
        place = int(fails[0]) - 1 if len(fails) else len(self.bars) - 1
        return place if place >= 0 else None

    def rate_at(self, score: float) -> float:
        """Estimate how often a candidate of this score is wrong."""
        place = bisect_left(self._heights, -score)
        return float(self.rates[min(place, len(self.rates) - 1)])

    @cached_property
    def _heights(self) -> list[float]:
        """The bars, rising: one score is found faster in a list than in an array."""
        heights: list[float] = (-self.bars).tolist()
        return heights


def tail_of(
    scores: Array,
    wrong: Array,
    weights: Array,
    *,
    traffic: Array,
    share: float,
    least: float,
    deviations: float,
    overlooked: float = 0.0,
    known: Array | None = None,
    requests: int = 0,
    cut: float = -math.inf,
) -> Tail:
    """Work out the tail.

    Args:
        scores: Of the labelled questions, one at least.
        wrong: 1 where the stored answer was wrong, 0 where it was right, or a share between.
        weights: What each label counts, 1 or less.
        traffic: Scores of the last questions that had a candidate, labelled or not, one at least.
        share: Such questions among all requests.
        least: Labels in a range.
        deviations: How far the bound is above the estimate, in standard deviations of a normal.
        overlooked: Share of the wrong answers that is labelled right all the same.
        known: Scores of hits that were reported as wrong: each is one wrong request more.
        requests: Among how many requests those were.
        cut: A score that no range reaches across.
    """
    order = np.argsort(-scores, kind="stable")
    order = order[weights[order] > 0]
    scores, wrong, weights = scores[order], wrong[order], weights[order]
    counted = np.cumsum(weights)
    least = max(least, counted[-1] / 80)
    number = (counted - 1e-9) // least
    is_below = scores < cut
    is_end = (number[1:] != number[:-1]) | (is_below[1:] != is_below[:-1])
    ends = np.flatnonzero(np.append(is_end, True))
    begins = np.concatenate([[0], ends[:-1] + 1])
    labels = np.add.reduceat(weights, begins)
    mistakes = np.add.reduceat(weights * wrong, begins)
    squares = np.add.reduceat(weights**2 * wrong, begins)
    bars = scores[ends]
    rising = np.sort(traffic)
    above = len(rising) - np.searchsorted(rising, bars, side="left")
    mass = np.diff(np.concatenate([[0], above])) * share / len(rising)
    weight = mass / labels
    weight = weight / (1 - overlooked)
    estimate = np.cumsum(weight * mistakes)
    variance = np.cumsum(weight**2 * squares)
    ranges = np.arange(1, len(bars) + 1)
    # What is not seen among so few candidates may still be one of them.
    one = np.maximum(np.cumsum(weight) / ranges, share / len(rising))
    one_squared = np.cumsum(weight**2) / ranges
    if known is not None and len(known):
        reported = (known[None, :] >= bars[:, None]).sum(axis=1)
        estimate, variance = estimate + reported / requests, variance + reported / requests**2
    rates = np.maximum.accumulate((mistakes + 0.1) / (labels + 0.2))
    return Tail(
        bars=bars,
        shares=above * share / len(rising),
        estimates=estimate,
        bounds=_bound(estimate + one, variance + one_squared, deviations),
        rates=rates,
    )


def _bound(mean: Array, variance: Array, deviations: float) -> Array:
    """Give the upper quantile of the gamma distribution with this mean and variance."""
    with np.errstate(divide="ignore", invalid="ignore"):
        shape = mean**2 / variance
        ninth = 1 / (9 * shape)
        bound = mean * (1 - ninth + deviations * np.sqrt(ninth)) ** 3
    return np.where(mean > 0, bound, 0.0)
