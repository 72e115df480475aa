"""The scans as numba compiles them: plain loops that LLVM turns into vector instructions.

This module imports no numba: `compiler` compiles these functions when it is time. Each is compiled
with `fastmath`, which lets LLVM keep several partial sums.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["collect", "estimate"]


def estimate(
    rows: npt.NDArray[np.float32],
    count: int,
    query: npt.NDArray[np.float32],
    estimates: npt.NDArray[np.float32],
) -> None:
    """Write the products of the first `count` rows with the query; as `plain.estimate`."""
    width = query.shape[0]
    for row in range(count):
        total = np.float32(0.0)
        for column in range(width):
            total += rows[row, column] * query[column]
        estimates[row] = total


def collect(
    rows: npt.NDArray[np.float32],
    count: int,
    query: npt.NDArray[np.float32],
    bar: float,
    found: npt.NDArray[np.int64],
    values: npt.NDArray[np.float32],
) -> int:
    """Find the rows whose product with the query reaches the bar; as `plain.collect`.

    Args:
        rows: Shape `(capacity, width)`.
        count: How many rows to read.
        query: Shape `(width,)`.
        bar: The least product to report.
        found: Shape `(count,)`, written from the front: row numbers, ascending.
        values: Shape `(count,)`, written likewise: their products.

    Returns:
        How many were found.
    """
    width = query.shape[0]
    least = np.float32(bar)
    hits = 0
    for row in range(count):
        total = np.float32(0.0)
        for column in range(width):
            total += rows[row, column] * query[column]
        if total >= least:
            found[hits] = row
            values[hits] = total
            hits += 1
    return hits
