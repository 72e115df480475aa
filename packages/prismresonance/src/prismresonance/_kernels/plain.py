"""The kernels in numpy: the fallback, and the oracle of the compiled ones."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from prismresonance._kernels.codes import BLOCK_ROWS, encode
from prismresonance._kernels.interface import Integers
from prismresonance._kernels.slots import locate_ids, store_ids

__all__ = [
    "disagreements", "dots", "encode", "estimate", "exact", "find", "find_many", "locate_ids",
    "quantise", "store_ids",
]  # fmt: skip

# OpenBLAS hands a matrix-vector product of 9216 elements or more to its thread pool. On a busy
# machine a query then waits for a descheduled thread: 8 ms instead of 0.5 (median, 100,000 rows of
# 64). A stack of smaller products is done by one thread, in one call, at one thread's full speed.
_ONE_THREAD_ELEMENTS = 9215
_BLOCK_ELEMENTS = 1 << 17  # 1 MB of float64 at a time: stays in the cache

find = find_many = None
"""numpy takes a query step by step: see `_search`."""

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


def disagreements(
    codes: npt.NDArray[np.uint8], count: int, query: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint8]:
    """Count in how many signs rows differ from the query.

    Args:
        codes: From `codes.new_codes`.
        count: How many rows to read.
        query: Shape `(planes,)`: the code of the query.

    Returns:
        Shape `(count,)`.
    """
    blocks = codes[: -(-count // BLOCK_ROWS)]
    differing = np.bitwise_count(blocks ^ query[:, np.newaxis])
    sums: npt.NDArray[np.uint8] = np.add.reduce(differing, axis=1, dtype=np.uint8)
    return sums.reshape(-1)[:count]


def estimate(rows: Integers, count: int, query: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Give the products of the first rows with the query, rounded as float32 sums are.

    Args:
        rows: Shape `(capacity, width)`, C-contiguous.
        count: How many rows to read.
        query: Shape `(width,)`.

    Returns:
        Shape `(count,)`.
    """
    products = np.empty(count, np.float32)
    step = max(1, _BLOCK_ELEMENTS // rows.shape[1])
    for start in range(0, count, step):
        some = slice(start, min(count, start + step))
        _dots_into(rows[some].astype(np.float32), query, products[some])
    return products


def quantise(
    source: npt.NDArray[np.float32], rows: Integers, squared_norms: npt.NDArray[np.int32], top: int
) -> int:
    """Round rows to integers; see `_vectors`.

    Args:
        source: Shape `(n, width)`.
        rows: Shape `(n, width)`, written.
        squared_norms: Shape `(n,)`, written: the squared lengths of the integer rows.
        top: 32767: the length that rows get. 127: the size of their largest component.

    Returns:
        The number of the first row that is not finite or zero; what is written from it on has no
        meaning. -1 when there is none.
    """
    step = max(1, _BLOCK_ELEMENTS // source.shape[1])
    for start in range(0, len(source), step):
        some = slice(start, start + step)
        wide = source[some].astype(np.float64)
        total = np.vecdot(wide, wide)
        bad = np.flatnonzero(~((total > 0.0) & (total < np.inf)))
        if len(bad):
            return start + int(bad[0])
        size = np.abs(wide).max(axis=1) if top == 127 else np.sqrt(total)
        wide *= (top / size).astype(np.float32).astype(np.float64)[:, np.newaxis]
        np.rint(wide, out=wide)
        rows[some] = wide
        squared_norms[some] = np.vecdot(wide, wide)
    return -1


def exact(
    rows: Integers, chosen: npt.NDArray[np.int64], query: npt.NDArray[np.int16]
) -> npt.NDArray[np.float64]:
    """Multiply chosen rows with the query: integers, in float64 without any rounding.

    Args:
        rows: Shape `(capacity, width)`, C-contiguous.
        chosen: Shape `(m,)`: row numbers.
        query: Shape `(width,)`.

    Returns:
        Shape `(m,)`. O(m * width).
    """
    wide = query.astype(np.float64)
    products = np.empty(len(chosen), np.float64)
    step = max(1, _BLOCK_ELEMENTS // rows.shape[1])
    for start in range(0, len(chosen), step):
        some = slice(start, start + step)
        products[some] = dots(rows[chosen[some]].astype(np.float64), wide)
    return products
