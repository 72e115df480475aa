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

__all__ = [
    "fill_tables", "next_block", "next_block_plain", "next_block_shuffled", "quantised_weights",
    "sign_bar",
]  # fmt: skip

_Weights = npt.NDArray[np.int64]

_TOTAL = 255
_ROUNDING = 1e-9  # variance of float32 rounding of a projected component, times the width; ample

_STEPS = 64  # of the table of chances, for each unit
_CHANCES = np.array([0.5 * math.erfc(step / _STEPS) for step in range(6 * _STEPS + 2)])


@part
def _chance(reach: float) -> float:
    """Give `0.5 * erfc(reach)`, or a little more, which makes the bar lower and so safe.

    Between two entries of the table lies the chord of a convex function.
    """
    if reach < 0.0:
        return 0.5 * math.erfc(reach)
    at = min(reach, 6.0) * _STEPS
    low = int(at)
    return float(_CHANCES[low] + (at - low) * (_CHANCES[low + 1] - _CHANCES[low]))


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
    variance, total, heaviest = 0.25, 0, 1
    for column in range(coded):
        weight = weights[column]
        chance = _chance(slope * abs(projected[column]))
        disagree[column] = chance
        variance += weight * weight * chance * (1.0 - chance)
        total += weight
        heaviest = max(heaviest, weight)
    budget = 0.5 * sigmas * sigmas
    steepest = 300.0 / heaviest  # any tilt is valid; this one's powers do not overflow
    gains = np.empty(heaviest + 1, np.float64)
    best = 0
    for factor in (0.6, 0.9):  # the best is near; below 1, for the lower tail is the heavy one
        tilt = min(factor * sigmas / math.sqrt(variance), steepest)
        base, power = math.exp(tilt), 1.0
        for weight in range(heaviest + 1):
            gains[weight] = power - 1.0
            power *= base
        # The whole weight is taken out of each factor: it would underflow.
        log_product, product = -tilt * total, 1.0
        for column in range(coded):
            product *= 1.0 + disagree[column] * gains[weights[column]]
            if product > 1e100:
                log_product += math.log(product)
                product = 1.0
        log_product += math.log(product)
        best = max(best, math.floor((-log_product - budget) / tilt) + 1)
    return best


@part
def next_block_plain(
    codes: int, tables: int, planes: int, bar: int, first: int, blocks: int, sums: int
) -> int:
    """Find the next block of 64 sign codes that has a row whose summed entries reach the bar.

    Args:
        codes: Address of the codes.
        tables: Address of the tables.
        planes: Bytes of a code.
        bar: The least sum to report, 0 to 255.
        first: The block to begin with.
        blocks: How many there are.
        sums: Address of 72 bytes, written when there is one: the sums of its rows, then a bit for
            each row whose sum reaches the bar.

    Returns:
        Its number; `blocks` for none.
    """
    for block in range(first, blocks):
        start = codes + 64 * planes * block
        mask = np.uint64(0)
        for row in range(64):
            total = 0
            for plane in range(planes):
                byte = int(lanes.uint8_at(start, 64 * plane + row))
                total += int(lanes.uint8_at(tables, 32 * plane + (byte & 15)))
                total += int(lanes.uint8_at(tables, 32 * plane + 16 + (byte >> 4)))
            lanes.put_uint8(sums, row, total)
            if total >= bar:
                mask |= np.uint64(1) << np.uint64(row)
        if mask != 0:
            lanes.put_int64(sums + 64, mask)
            return block
    return max(first, blocks)


@part
def next_block_shuffled(
    codes: int, tables: int, planes: int, bar: int, first: int, blocks: int, sums: int
) -> int:
    """As `next_block_plain` by the byte shuffle of AVX2."""
    if planes == 8:
        return int(lanes.next_block_8(codes, tables, planes, bar, first, blocks, sums))
    return int(lanes.next_block_any(codes, tables, planes, bar, first, blocks, sums))


next_block = next_block_shuffled if lanes.HAS_SHUFFLE else next_block_plain
