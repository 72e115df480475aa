"""What is known before a scope has labels: how often a score was wrong elsewhere.

Measured with the careful weights and the default guards, MiniLM, on three streams each of BANKING77
and CLINC150 in which every text came once (insert on miss): the mean of the two. It is a start, not
a promise; `calibrator` gives it the weight of a few dozen labels.
"""

from __future__ import annotations

import math
from itertools import pairwise

__all__ = ["WRONG_RATES", "required_score"]

WRONG_RATES: tuple[tuple[float, float], ...] = (
    (0.80, 0.30), (0.86, 0.20), (0.90, 0.14), (0.94, 0.08), (0.98, 0.04), (1.02, 0.02),
    (1.06, 0.013), (1.10, 0.010), (1.15, 0.010), (1.20, 0.008), (1.30, 0.008),
)  # fmt: skip
"""(score, share of candidates at that score that were wrong)."""

# (share of requests that may be answered wrongly, score that kept it), from the same streams.
_REQUIRED = ((0.001, 1.14), (0.005, 1.06), (0.01, 1.02), (0.02, 0.98), (0.05, 0.92))


def required_score(max_error: float) -> float:
    """Give the score that kept wrong answers under `max_error` of all requests elsewhere.

    Interpolated between the measured points in the logarithm of the error.
    """
    (low_error, low_score), *_, (high_error, high_score) = _REQUIRED
    if max_error <= low_error:
        return low_score
    if max_error >= high_error:
        return high_score
    for (error, score), (next_error, next_score) in pairwise(_REQUIRED):
        if max_error <= next_error:
            part = math.log(max_error / error) / math.log(next_error / error)
            return score + part * (next_score - score)
    return high_score
