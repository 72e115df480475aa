"""The kernels in numpy: the fallback, and the oracle of the compiled ones."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from prismresonance._kernels.slots import locate_ids, store_ids

__all__ = [
    "GRID", "collect", "dots", "estimate", "exact", "find", "locate_ids", "snap", "store_ids",
]  # fmt: skip

# OpenBLAS hands a matrix-vector product of 9216 elements or more to its thread pool. On a busy
# machine a query then waits for a descheduled thread: 8 ms instead of 0.5 (median, 100,000 rows of
# 64). A stack of smaller products is done by one thread, in one call, at one thread's full speed.
_ONE_THREAD_ELEMENTS = 9215

find = None
"""numpy takes a query step by step: see `_search`."""

GRID = float(2**26)
"""Components of stored vectors are multiples of its inverse: see `_vectors`."""

_Float = TypeVar("_Float", np.float32, np.float64)


def dots(rows: npt.NDArray[_Float], query: npt.NDArray[_Float]) -> npt.NDArray[_Float]:
    """Multiply each row with the query, in the calling thread alone.

    Args:
        rows: Shape `(n, width)`, C-contiguous.
        query: Shape `(width,)`, of the same type.

    Returns:
        Shape `(n,)`. O(n * width).
    """
    products = np.empty(len(rows), rows.dtype)
    _dots_into(rows, query, products)
    return products


def _dots_into(
    rows: npt.NDArray[_Float], query: npt.NDArray[_Float], products: npt.NDArray[_Float]
) -> None:
    count, width = rows.shape
    block = max(1, _ONE_THREAD_ELEMENTS // width)
    whole = count - count % block
    if whole:
        stack = rows[:whole].reshape(-1, block, width)
        np.matmul(stack, query, out=products[:whole].reshape(-1, block))
    if whole < count:
        np.matmul(rows[whole:], query, out=products[whole:])


def estimate(
    rows: npt.NDArray[np.float32],
    count: int,
    query: npt.NDArray[np.float32],
    estimates: npt.NDArray[np.float32],
) -> None:
    """Write the products of the first rows with the query.

    Args:
        rows: Shape `(capacity, width)`, C-contiguous.
        count: How many rows to read.
        query: Shape `(width,)`.
        estimates: Shape `(count,)`, written.
    """
    _dots_into(rows[:count], query, estimates)


def collect(
    rows: npt.NDArray[np.float32], count: int, query: npt.NDArray[np.float32], bar: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Find the rows whose product with the query reaches a bar.

    Args:
        rows: Shape `(capacity, width)`, C-contiguous.
        count: How many rows to read.
        query: Shape `(width,)`.
        bar: The least product to report.

    Returns:
        Row numbers, ascending, and their products.
    """
    products = dots(rows[:count], query)
    found = np.flatnonzero(products >= np.float32(bar))
    return found, products[found]


def snap(
    wide: npt.NDArray[np.float64],
    lengths: npt.NDArray[np.float64],
    rows: npt.NDArray[np.float32],
    squared_norms: npt.NDArray[np.float64],
) -> None:
    """Scale rows to length 1 and round them to the grid of `_vectors`.

    Args:
        wide: Shape `(n, width)`; may be overwritten.
        lengths: Shape `(n,)`: their lengths.
        rows: Shape `(n, width)`, written: the unit rows.
        squared_norms: Shape `(n,)`, written: their exact squared lengths.
    """
    wide /= lengths[:, np.newaxis]
    # float32 first: components of 0.25 and more have a coarser grid of their own there.
    rows[:] = wide
    np.multiply(rows, GRID, out=wide)
    np.rint(wide, out=wide)
    wide *= 1.0 / GRID
    rows[:] = wide
    np.vecdot(wide, wide, out=squared_norms)


def exact(
    rows: npt.NDArray[np.float32], chosen: npt.NDArray[np.int64], query: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Multiply chosen rows with the query in float64: without rounding, see `_vectors`.

    Args:
        rows: Shape `(capacity, width)`, C-contiguous, on the grid.
        chosen: Shape `(m,)`: row numbers.
        query: Shape `(width,)`, on the grid.

    Returns:
        Shape `(m,)`. O(m * width).
    """
    products = np.empty(len(chosen), np.float64)
    step = max(1, (1 << 17) // rows.shape[1])  # 1 MB of float64: stays in the cache
    for start in range(0, len(chosen), step):
        some = slice(start, start + step)
        products[some] = dots(rows[chosen[some]].astype(np.float64), query)
    return products
