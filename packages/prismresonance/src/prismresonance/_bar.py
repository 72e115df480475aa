"""How far an estimate may fall below what the true score lets expect: numpy's bars.

The compiled query has bars of its own, `_kernels.signs.sign_bar` and `_kernels.scores.low_bar`,
where the mathematics is told.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["agreement_bar", "full_width_bar"]

_ROUNDING = 1e-9


def agreement_bar(
    score: float, *, projected: npt.NDArray[np.float32], width: int, sigmas: float
) -> float:
    """Say in how many signs a row of at least that true cosine agrees with the query.

    Chernoff's bound as in `_kernels.signs`, with a weight of 1 for every sign.

    Args:
        score: The true cosine that must not be missed.
        projected: Shape `(dim,)`: the projection of the query, a unit vector at full width.
        width: Width of the unprojected vectors.
        sigmas: Bounds the probability that a row exactly at `score` is missed by
            `exp(-sigmas**2 / 2)`; it is about that of the normal tail.

    Returns:
        The bar; 0 when every row passes.
    """
    if score <= -1.0:
        return 0.0
    score = min(score, 1.0)
    slope = score * math.sqrt(0.5 * width / (1.0 - score * score + _ROUNDING))
    reach = (slope * np.abs(projected)).tolist()
    disagree = np.array([0.5 * math.erfc(x) for x in reach])
    spread = math.sqrt(0.25 + float(np.sum(disagree * (1.0 - disagree))))
    best = 0.0
    for factor in (0.6, 0.9):
        tilt = factor * sigmas / spread
        gain = math.expm1(min(tilt, 300.0))
        tail = float(np.log1p(disagree * gain).sum()) - tilt * len(disagree)
        best = max(best, math.floor((-tail - 0.5 * sigmas * sigmas) / tilt) + 1.0)
    return best


def full_width_bar(score: float, *, width: int) -> float:
    """Say which cosine by float32 products a row of at least that true cosine reaches.

    Rounding errs by at most `width * 2**-24` when the absolute products sum to 1.

    Args:
        score: The true cosine that must not be missed.
        width: Number of terms.

    Returns:
        The bar; no row can be missed.

    Source: N. Higham, *Accuracy and Stability of Numerical Algorithms*, section 3.1.
    """
    return max(score, -2.0) - (width + 32) * 2.0**-23
