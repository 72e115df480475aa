"""What a row is worth: bounds from bytes, and exact scores from integers.

All sums here are of integers and fit 32 bits, whatever the order (see `_vectors`), so that LLVM may
use any vector instructions and every path gives the same bits.

Importing this module imports numba; only `compiled` does.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from prismresonance._kernels import lanes
from prismresonance._kernels.codes import LOW_SCALE, LOW_SLACK, UNKNOWN
from prismresonance._kernels.parts import part
from prismresonance._kernels.places import LOW, NORMS, RANKS, ROW_BITS, ROW_MASK, ROWS
from prismresonance._kernels.ranking import offer

__all__ = ["UNIT", "cosine", "least_square", "low_bar", "offer_all", "product", "reaches"]

UNIT = 32767.0

_AHEAD = 8  # rows between asking for one from memory and its use
_LINES = 6  # of 64 bytes to ask for; the processor asks for the rest by itself
_Query = npt.NDArray[np.int16]
_Directory = npt.NDArray[np.int64]


@part
def product(row: int, query: int, width: int, row_bytes: int) -> int:
    """Multiply the row at an address with the query at another."""
    total = np.int32(0)
    if row_bytes == 2:
        for column in range(width):
            total = np.int32(
                total
                + np.int32(lanes.int16_at(row, column)) * np.int32(lanes.int16_at(query, column))
            )
    else:
        for column in range(width):
            total = np.int32(
                total
                + np.int32(lanes.int8_at(row, column)) * np.int32(lanes.int16_at(query, column))
            )
    return int(total)


@part
def least_square(goal: float, squared_norm: float) -> float:
    """Prepare `reaches`: squares spare it the root and the division."""
    square = goal * abs(goal) * squared_norm
    return square - 1e-9 * abs(square)


@part
def reaches(multiplied: float, least: float, own_squared_norm: float) -> bool:
    """Say whether a row with that product has a cosine of at least the goal, or a hair less."""
    return multiplied * abs(multiplied) >= least * own_squared_norm


@part
def cosine(multiplied: float, squared_norm: float, own_squared_norm: float) -> float:
    """Give the exact cosine."""
    return min(max(multiplied / math.sqrt(own_squared_norm * squared_norm), -1.0), 1.0)


@part
def low_bar(score: float, dim: int, sigmas: float) -> int:
    """Say which product of bytes and direction a row of at least that true cosine reaches.

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
        The bar; far below any product when every row passes.

    Source: R. A. Fisher, *On the probable error of a coefficient of correlation deduced from a
    small sample* (1921).
    """
    if score <= -1.0:
        return -(1 << 40)
    bar = 1.0 if score >= 1.0 else math.tanh(math.atanh(score) - sigmas / math.sqrt(dim - 2))
    return math.floor((bar - LOW_SLACK) * LOW_SCALE * UNIT)


@part
def _fetch_low(directory: _Directory, place: int, dim: int) -> None:
    """Ask for the bytes of a row ahead of their use."""
    low = directory[place >> ROW_BITS, LOW] + dim * (place & ROW_MASK)
    for line in range(0, dim, 64):
        lanes.fetch(low + line)


@part
def _fetch_row(directory: _Directory, place: int, line_bytes: int) -> None:
    row = directory[place >> ROW_BITS, ROWS] + line_bytes * (place & ROW_MASK)
    for line in range(0, min(line_bytes, 64 * _LINES), 64):
        lanes.fetch(row + line)


@part
def offer_all(
    query: _Query,
    squared_norm: float,
    row_bytes: int,
    direction: _Query,
    directory: _Directory,
    chosen: npt.NDArray[np.int64],
    count: int,
    bar: int,
    threshold: float,
    places: npt.NDArray[np.int64],
    scores: npt.NDArray[np.float64],
    held: int,
) -> tuple[int, int]:
    """Score the rows that their bytes do not rule out, and keep the best.

    Args:
        query: Shape `(width,)`: the query in integers.
        squared_norm: Its squared length.
        row_bytes: Bytes of a stored component, 1 or 2.
        direction: Shape `(dim,)`: the projected query in integers.
        directory: The chunks.
        chosen: Shape `(n,)`: the rows; overwritten.
        count: How many of them count.
        bar: From `low_bar`.
        threshold: The least score.
        places: The heap's rows.
        scores: The heap's scores.
        held: How many rows it holds.

    Returns:
        How many rows it holds now, and how many were scored.
    """
    if directory[0, LOW] != 0:
        dim, left = direction.shape[0], 0
        direction_at = direction.ctypes.data
        for number in range(min(count, _AHEAD)):
            _fetch_low(directory, chosen[number], dim)
        for number in range(count):
            if number + _AHEAD < count:
                _fetch_low(directory, chosen[number + _AHEAD], dim)
            place = chosen[number]
            low = directory[place >> ROW_BITS, LOW] + dim * (place & ROW_MASK)
            unknown = int(lanes.int8_at(low, 0)) == UNKNOWN
            if unknown or product(low, direction_at, dim, 1) >= bar:
                chosen[left] = place
                left += 1
        count = left
    width = query.shape[0]
    query_at, line_bytes = query.ctypes.data, row_bytes * width
    least = least_square(threshold, squared_norm)
    if held == scores.shape[0]:
        least = max(least, least_square(scores[0], squared_norm))
    for number in range(min(count, _AHEAD)):
        _fetch_row(directory, chosen[number], line_bytes)
    for number in range(count):
        if number + _AHEAD < count:
            _fetch_row(directory, chosen[number + _AHEAD], line_bytes)
        place = chosen[number]
        chunk, row = place >> ROW_BITS, place & ROW_MASK
        at = directory[chunk, ROWS] + line_bytes * row
        multiplied = float(product(at, query_at, width, row_bytes))
        own = float(lanes.int32_at(directory[chunk, NORMS], row))
        if reaches(multiplied, least, own):
            score = cosine(multiplied, squared_norm, own)
            if score >= threshold:
                ranks = directory[chunk, RANKS]
                if ranks != 0:
                    place = (chunk << ROW_BITS) | int(lanes.int32_at(ranks, row))
                held = offer(scores, places, held, score, place)
                if held == scores.shape[0]:
                    least = max(least, least_square(scores[0], squared_norm))
    return held, count
