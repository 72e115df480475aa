"""Unit vectors on a grid: what every vector becomes at the edge of the index.

A unit vector's components are rounded to multiples of 2**-26 (float32 holds those exactly). The
product of two such numbers is a multiple of 2**-52, and by Cauchy-Schwarz no partial sum of the
products of two unit vectors reaches 2, so float64 adds them without any rounding. Their sum is
therefore the same number in any order: numpy, BLAS and numba, one row or a million, agree to the
last bit. The price is an error in a cosine of at most `sqrt(width) * 2**-27` for each of the two
vectors (1.5e-7 at width 384, typically 100 times less).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from prismresonance._kernels import plain
from prismresonance.errors import InvalidVectorError

if TYPE_CHECKING:
    from prismresonance._kernels.interface import Kernels

__all__ = ["MAX_WIDTH", "UnitRows", "real_array", "unit_row", "unit_rows"]

MAX_WIDTH = 65_536
"""Beyond this width the grid would no longer be fine enough to tell components apart."""

_TINY = 1e-70
_BLOCK_ELEMENTS = 1 << 20  # 8 MB of float64 at a time, so that a large batch is not held twice


class UnitRows(NamedTuple):
    """Unit vectors on the grid.

    Attributes:
        rows: Shape `(n, width)`, float32, C-contiguous, each row of length 1 to about 1e-7.
        squared_norms: Shape `(n,)`, float64: the exact squared length of each rounded row.
    """

    rows: npt.NDArray[np.float32]
    squared_norms: npt.NDArray[np.float64]


def unit_row(
    vector: npt.ArrayLike, *, width: int | None = None, kernels: Kernels = plain
) -> UnitRows:
    """Check one vector and scale it to length 1.

    Args:
        vector: Shape `(width,)`: numbers of any real type.
        width: The width it must have; `None` accepts any.
        kernels: The inner loops.

    Returns:
        One row.

    Raises:
        InvalidVectorError: It is not a vector of that width of finite numbers, or it is zero.
    """
    array = real_array(vector)
    if array.ndim == 1 and array.dtype.itemsize <= 8 and width in (None, array.shape[0]):
        unit = _quick(array, kernels)
        if unit is not None:
            return unit
    if array.ndim != 1:
        raise InvalidVectorError(
            f"a vector has one dimension, got an array of shape {array.shape}"
            + ("; use the call for many vectors" if array.ndim == 2 else "")
        )
    return _checked(array[np.newaxis, :], width, single=True, kernels=kernels)


def unit_rows(
    vectors: npt.ArrayLike, *, width: int | None = None, kernels: Kernels = plain
) -> UnitRows:
    """Check many vectors and scale each to length 1; all or nothing.

    Args:
        vectors: Shape `(n, width)`, or a sequence of `n` vectors; `n` may be 0.
        width: The width they must have; `None` accepts any.
        kernels: The inner loops.

    Returns:
        The rows in the given order.

    Raises:
        InvalidVectorError: A row is not of that width, not finite, or zero; the message names it.
    """
    array = real_array(vectors)
    if array.shape == (0,):
        array = array.reshape(0, width or 1)
    if array.ndim != 2:
        raise InvalidVectorError(
            f"many vectors have the shape (n, width), got an array of shape {array.shape}"
        )
    return _checked(array, width, single=False, kernels=kernels)


def real_array(vectors: npt.ArrayLike) -> npt.NDArray[np.generic]:
    """Make an array of integers or floats, or raise `InvalidVectorError`."""
    try:
        array = np.asarray(vectors)
    except (TypeError, ValueError) as error:
        raise InvalidVectorError(f"not an array of numbers: {error}") from error
    if array.dtype.kind not in "fiu":
        raise InvalidVectorError(
            f"vectors hold real numbers, got the type {array.dtype}"
            + ("; is one vector shorter than the others?" if array.dtype.kind == "O" else "")
        )
    return array


def _quick(array: npt.NDArray[np.generic], kernels: Kernels) -> UnitRows | None:
    """As `_checked` for one row, with a third of the calls; `None` if there is fault to find.

    The same operations on the same numbers, so the same bits.
    """
    if not 1 <= array.shape[0] <= MAX_WIDTH:
        return None
    wide = array.astype(np.float64)
    if array.dtype.itemsize < 8:  # squares of these overflow nowhere
        squared = np.vecdot(wide, wide)
    else:
        with np.errstate(over="ignore"):
            squared = np.vecdot(wide, wide)
    if not _TINY * _TINY < squared < 1.0 / (_TINY * _TINY):  # also for NaN
        return None
    rows, squared_norms = np.empty((1, wide.shape[0]), np.float32), np.empty(1, np.float64)
    lengths = np.sqrt(squared).reshape(1)
    kernels.snap(wide.reshape(1, -1), lengths, rows, squared_norms)
    return UnitRows(rows, squared_norms)


def _checked(
    array: npt.NDArray[np.generic], width: int | None, *, single: bool, kernels: Kernels
) -> UnitRows:
    count, found = array.shape
    if width is not None and found != width:
        raise InvalidVectorError(f"the index holds vectors of width {width}, got width {found}")
    if not 1 <= found <= MAX_WIDTH:
        raise InvalidVectorError(f"a vector has 1 to {MAX_WIDTH} components, got {found}")
    rows = np.empty((count, found), np.float32)
    squared_norms = np.empty(count, np.float64)
    step = max(1, _BLOCK_ELEMENTS // found)
    for start in range(0, count, step):
        stop = min(count, start + step)
        with np.errstate(over="ignore"):  # a longdouble beyond float64 becomes infinite: below
            wide = array[start:stop].astype(np.float64)
        peaks = np.abs(wide).max(axis=1)
        if not (np.isfinite(peaks).all() and peaks.all()):
            _refuse(wide, peaks, start, single=single)
        extreme = np.flatnonzero((peaks < _TINY) | (peaks > 1.0 / _TINY))
        if len(extreme):
            # Keeps squares of 1e200 or of 1e-200 in range. A power of two rounds nothing, so a
            # vector's bits do not depend on whether it was scaled.
            _, exponents = np.frexp(peaks[extreme])
            wide[extreme] = np.ldexp(wide[extreme], -exponents[:, np.newaxis])
        # vecdot sums each row by itself, so a row's bits do not depend on its batch.
        lengths = np.sqrt(np.vecdot(wide, wide))
        kernels.snap(wide, lengths, rows[start:stop], squared_norms[start:stop])
    return UnitRows(rows, squared_norms)


def _refuse(
    wide: npt.NDArray[np.float64], peaks: npt.NDArray[np.float64], start: int, *, single: bool
) -> None:
    row = int(np.flatnonzero(~np.isfinite(peaks) | (peaks == 0.0))[0])
    name = "the vector" if single else f"vector {start + row}"
    if peaks[row] == 0.0:
        raise InvalidVectorError(f"{name} is zero: it has no direction")
    column = int(np.flatnonzero(~np.isfinite(wide[row]))[0])
    what = "NaN" if np.isnan(wide[row, column]) else "infinite"
    raise InvalidVectorError(f"{name} is {what} at component {column}")
