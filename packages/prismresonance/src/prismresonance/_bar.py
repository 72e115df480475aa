"""How far an estimated score may fall below the true one."""

from __future__ import annotations

import math

__all__ = ["FLOAT32_SLACK", "full_width_bar", "projected_bar"]

FLOAT32_SLACK = 2e-5
"""Rounding of a projection and of a 64-term dot product in float32, with a wide margin."""


def projected_bar(score: float, *, dim: int, sigmas: float) -> float:
    """Say which projected cosine a row of at least that true cosine reaches.

    The cosine of two vectors after a random projection to `dim` dimensions is the sample
    correlation of `dim` draws from a bivariate normal distribution whose correlation is the true
    cosine. Fisher's transform `atanh` makes it nearly normal, with a standard deviation of
    `1 / sqrt(dim - 2)` that does not depend on the cosine (the mean is known to be zero, hence 2
    and not Fisher's 3). An orthonormal matrix spreads less than a Gaussian one, so this errs on
    the safe side. It holds for *any* pair of vectors chosen without knowledge of the matrix, the
    shape of the data does not enter; vectors built against the matrix can defeat it.

    Args:
        score: The true cosine that must not be missed.
        dim: Width of the projected space, at least 3.
        sigmas: Standard deviations allowed. A row exactly at `score` falls below the bar with the
            probability of the normal tail: 2.3e-2 at 2, 1.3e-3 at 3, 3e-5 at 4; a row further
            above it with less. Raising it costs candidates, lowering it costs recall.

    Returns:
        The bar, -2 when every row passes.

    Source: R. A. Fisher, *On the probable error of a coefficient of correlation deduced from a
    small sample* (1921).
    """
    if score <= -1.0:
        return -2.0
    if score >= 1.0:
        return 1.0 - FLOAT32_SLACK
    return math.tanh(math.atanh(score) - sigmas / math.sqrt(dim - 2)) - FLOAT32_SLACK


def full_width_bar(score: float, *, width: int) -> float:
    """Say which float32 dot product at full width a row of at least that true cosine reaches.

    Rounding errs by at most `width * 2**-24` when the absolute products sum to 1 (unit vectors).

    Args:
        score: The true cosine that must not be missed.
        width: Number of terms.

    Returns:
        The bar; no row can be missed.

    Source: N. Higham, *Accuracy and Stability of Numerical Algorithms*, section 3.1.
    """
    return max(score, -2.0) - (width + 16) * 2.0**-23
