"""The estimate from sign codes: weights, tables, and the bar it must reach.

The code of a row says on which side of zero each component of its projection lies. The estimate is
the summed weight of the components in which row and query agree; the weights are the query's own
components, scaled and rounded so that they sum to at most 255. It is then a sum of bytes without
any rounding, and the bar below is for these very weights.

**The bar.** Let `c` be the cosine of two unit vectors at full width `W`, and `u`, `v` their
projections by a random orthonormal matrix. Given `u`, each `v[d]` is normal with mean `c * u[d]`
and variance `(1 - c*c) / W`, to the accuracy of a normal in place of a coordinate of a random unit
vector. So row and query agree in component `d` with the probability
`p[d] = Phi(c * |u[d]| * sqrt(W) / sqrt(1 - c*c))`. This holds the errors of the projection and of
the signs together. The agreements are independent for a Gaussian matrix and slightly more regular
for an orthonormal one, so by Chernoff's bound, for any `t > 0`,

    P(sum < T) <= exp(t * (T - 1)) * prod(1 - p[d] + p[d] * exp(-t * w[d])).

The bar is the greatest `T` that makes the right side at most `exp(-sigmas**2 / 2)`, for a `t` near
the best. That is a bound of 3.4e-4 at 4 sigmas and of 1.1e-2 at 3; the probability itself is about
that of the normal tail, 3e-5 and 1.3e-3. A row with a greater cosine agrees in each component with
a greater probability, and so is missed with a smaller one.

Source: M. Charikar, *Similarity estimation techniques from rounding algorithms* (2002), for the
signs; H. Chernoff, *A measure of asymptotic efficiency for tests of a hypothesis based on the sum
of observations* (1952).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from prismresonance._kernels import lanes
from prismresonance._kernels.parts import part

__all__ = ["code_step_plain", "code_step_shuffled", "fill_tables", "quantised_weights", "sign_bar"]

_Weights = npt.NDArray[np.int64]

_TOTAL = 255
_ROUNDING = 1e-9  # variance of float32 rounding of a projected component, times the width; ample


@part
def quantised_weights(projected: npt.NDArray[np.float32], weights: _Weights) -> int:
    """Round the magnitudes of a projected query to weights of sum 255 at most.

    Args:
        projected: Shape `(dim,)`.
        weights: Shape `(8 * planes,)`, written; 0 where there is no component.

    Returns:
        Their sum; 0 for a query whose projection is zero.
    """
    coded = min(projected.shape[0], weights.shape[0])
    size = 0.0
    for column in range(coded):
        size += abs(projected[column])
    weights[:] = 0
    if size == 0.0:
        return 0
    scale = _TOTAL / size
    while True:
        total = 0
        for column in range(coded):
            weights[column] = np.int64(abs(projected[column]) * scale + 0.5)
            total += weights[column]
        if total <= _TOTAL:
            return total
        scale *= 0.99


@part
def fill_tables(
    projected: npt.NDArray[np.float32], weights: _Weights, tables: npt.NDArray[np.uint8]
) -> None:
    """Write for each four components and each of their 16 codes the summed weight that agrees.

    Args:
        projected: Shape `(dim,)`.
        weights: Shape `(8 * planes,)`.
        tables: Shape `(2 * planes * 16,)`, written.
    """
    coded = min(projected.shape[0], weights.shape[0])
    for group in range(weights.shape[0] // 4):
        base = 16 * group
        tables[base] = 0
        for bit in range(4):
            column = 4 * group + bit
            positive = column < coded and projected[column] > 0.0
            if_set, if_not = (weights[column], 0) if positive else (0, weights[column])
            for code in range(1 << bit):
                tables[base + code + (1 << bit)] = tables[base + code] + if_set
                tables[base + code] += if_not


@part
def sign_bar(
    score: float, sigmas: float, projected: npt.NDArray[np.float32], weights: _Weights, width: int
) -> int:
    """Say which estimate a row of at least that true cosine reaches.

    Args:
        score: The true cosine that must not be missed.
        sigmas: Bounds the probability that it is, see the module; raising it costs candidates.
        projected: Shape `(dim,)`: the projection of the query, a unit vector at full width.
        weights: From `quantised_weights`.
        width: Width of the unprojected vectors.

    Returns:
        The bar, 0 to 255; 0 when every row passes.
    """
    if score <= -1.0:
        return 0
    score = min(score, 1.0)
    coded = min(projected.shape[0], weights.shape[0])
    slope = score * math.sqrt(0.5 * width / (1.0 - score * score + _ROUNDING))
    disagree = np.empty(coded, np.float64)
    variance = 0.25
    for column in range(coded):
        chance = 0.5 * math.erfc(slope * abs(projected[column]))
        disagree[column] = chance
        variance += weights[column] * weights[column] * chance * (1.0 - chance)
    budget = 0.5 * sigmas * sigmas
    steepest = 300.0 / max(1, weights.max())  # any tilt is valid; this one's powers do not overflow
    best = 0
    for factor in (0.6, 0.9):  # the best is near; below 1, for the lower tail is the heavy one
        tilt = min(factor * sigmas / math.sqrt(variance), steepest)
        log_product, product = 0.0, 1.0
        for column in range(coded):
            if weights[column]:
                # The whole weight is taken out of each factor: it would underflow.
                gain = math.exp(tilt * weights[column]) - 1.0
                product *= 1.0 + disagree[column] * gain
                log_product -= tilt * weights[column]
                if product > 1e100:
                    log_product += math.log(product)
                    product = 1.0
        log_product += math.log(product)
        best = max(best, math.floor((-log_product - budget) / tilt) + 1)
    return best


@part
def code_step_plain(codes: int, tables: int, planes: int, bar: int, sums: int) -> np.uint64:
    """Add up the table entries of 64 sign codes, where there is no byte shuffle.

    Args:
        codes: Address of a block of codes.
        tables: Address of the tables.
        planes: Bytes of a code.
        bar: The least sum to report, 0 to 255.
        sums: Address of room for 64 bytes, written.

    Returns:
        A bit for each row whose sum reaches the bar.
    """
    mask = np.uint64(0)
    for row in range(64):
        total = 0
        for plane in range(planes):
            byte = int(lanes.uint8_at(codes, 64 * plane + row))
            total += int(lanes.uint8_at(tables, 32 * plane + (byte & 15)))
            total += int(lanes.uint8_at(tables, 32 * plane + 16 + (byte >> 4)))
        lanes.put_uint8(sums, row, total)
        if total >= bar:
            mask |= np.uint64(1) << np.uint64(row)
    return mask


@part
def code_step_shuffled(codes: int, tables: int, planes: int, bar: int, sums: int) -> np.uint64:
    """As `code_step_plain` by the byte shuffle of AVX2."""
    if planes == 8:
        mask: np.uint64 = lanes.code_step_8(codes, tables, planes, bar, sums)
    else:
        mask = lanes.code_step(codes, tables, planes, bar, sums)
    return mask
