"""Integer vectors: what every vector becomes at the edge of the index.

A stored row is a vector of whole numbers in its direction: its components at the length 32767,
rounded (`"int16"`), or at the largest component 127, rounded (`"int8"`). A query is always the
former. Their product is a sum of whole numbers and so the same number in any order: numpy, BLAS and
numba, one row or a million, agree to the last bit. A score is that product over the root of both
squared lengths.

By Cauchy-Schwarz no partial sum of the products of two such vectors reaches 2**31: at most
`(32767 + sqrt(width) / 2)**2` for words, `127 * sqrt(width) * (32767 + sqrt(width) / 2)` for a row
of bytes, each below it for widths up to `MAX_WIDTH`. So 32 bits hold all sums.

The price is an error in a cosine: its standard deviation is about 1e-5 for words, and for bytes
about `0.3 / 127` of the largest component, 5e-4 at width 384.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from prismresonance._kernels import plain
from prismresonance.errors import InvalidVectorError

if TYPE_CHECKING:
    from prismresonance._kernels.interface import Integers, Kernels

__all__ = [
    "MAX_WIDTH", "TOPS", "Precision", "UnitRows", "check_width", "float_row", "float_rows",
    "real_array", "refuse", "squared_lengths", "unit_row", "unit_rows",
]  # fmt: skip

Precision: TypeAlias = Literal["int16", "int8"]

TOPS: dict[str, int] = {"int16": 32767, "int8": 127}

MAX_WIDTH = 65_536
"""Beyond this width the sums could leave 32 bits."""

_MODEST = 1e18  # squares of numbers up to this and down to its inverse are float32 numbers
_SINGLE = np.dtype(np.float32)
_BLOCK_ELEMENTS = 1 << 20  # 8 MB of float64 at a time, so that a large batch is not held twice


class UnitRows(NamedTuple):
    """Integer rows.

    Attributes:
        rows: Shape `(n, width)`, int16 or int8, C-contiguous.
        squared_norms: Shape `(n,)`, int32: the squared length of each.
    """

    rows: Integers
    squared_norms: npt.NDArray[np.int32]


def unit_row(
    vector: npt.ArrayLike,
    *,
    width: int | None = None,
    precision: Precision = "int16",
    kernels: Kernels = plain,
) -> UnitRows:
    """Check one vector and round it to integers.

    Args:
        vector: Shape `(width,)`: numbers of any real type.
        width: The width it must have; `None` accepts any.
        precision: Of the components.
        kernels: The inner loops.

    Returns:
        One row.

    Raises:
        InvalidVectorError: It is not a vector of that width of finite numbers, or it is zero.
    """
    single = float_row(vector, width=width)
    return _rounded(single[np.newaxis, :], precision, kernels, single=True)


def unit_rows(
    vectors: npt.ArrayLike,
    *,
    width: int | None = None,
    precision: Precision = "int16",
    kernels: Kernels = plain,
) -> UnitRows:
    """Check many vectors and round each to integers; all or nothing.

    Args:
        vectors: Shape `(n, width)`, or a sequence of `n` vectors; `n` may be 0.
        width: The width they must have; `None` accepts any.
        precision: Of the components.
        kernels: The inner loops.

    Returns:
        The rows in the given order.

    Raises:
        InvalidVectorError: A row is not of that width, not finite, or zero; the message names it.
    """
    return _rounded(float_rows(vectors, width=width), precision, kernels, single=False)


def float_row(vector: npt.ArrayLike, *, width: int | None) -> npt.NDArray[np.float32]:
    """Check one vector's shape and type, and give it as float32; its length may change.

    Returns:
        Shape `(width,)`, C-contiguous. Not finite or zero if the vector is, which `quantise` tells.

    Raises:
        InvalidVectorError: It is not a vector of that width of numbers.
    """
    if type(vector) is np.ndarray and vector.dtype is _SINGLE and vector.ndim == 1:
        array: npt.NDArray[np.generic] = vector  # the usual case, at half the time
    else:
        array = real_array(vector)
    if array.ndim != 1:
        raise InvalidVectorError(
            f"a vector has one dimension, got an array of shape {array.shape}"
            + ("; use the call for many vectors" if array.ndim == 2 else "")
        )
    if array.dtype != np.float32 or not array.flags.c_contiguous:
        narrow: npt.NDArray[np.float32] = _float32(array[np.newaxis, :], width, single=True)[0]
        return narrow
    check_width(array.shape[0], width)
    return cast("npt.NDArray[np.float32]", array)


def float_rows(vectors: npt.ArrayLike, *, width: int | None) -> npt.NDArray[np.float32]:
    """Check many vectors' shape and type, and give them as float32; as `float_row`."""
    array = real_array(vectors)
    if array.shape == (0,):
        array = array.reshape(0, width or 1)
    if array.ndim != 2:
        raise InvalidVectorError(
            f"many vectors have the shape (n, width), got an array of shape {array.shape}"
        )
    return _float32(array, width, single=False)


def squared_lengths(source: npt.NDArray[np.float32], *, single: bool) -> npt.NDArray[np.float64]:
    """Give the squared lengths of rows, or raise `InvalidVectorError` for one without a direction.

    Args:
        source: Shape `(n, width)`.
        single: Whether the error speaks of the vector rather than of one of many.

    Returns:
        Shape `(n,)`.
    """
    squared = np.empty(len(source), np.float64)
    step = max(1, _BLOCK_ELEMENTS // max(1, source.shape[1]))
    for start in range(0, len(source), step):
        wide = source[start : start + step].astype(np.float64)
        squared[start : start + step] = np.vecdot(wide, wide)
    bad = np.flatnonzero(~((squared > 0.0) & (squared < np.inf)))
    if len(bad):
        raise refuse(source[bad[0]], _name(int(bad[0]), single=single))
    return squared


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


def refuse(wide: npt.NDArray[np.floating], name: str) -> InvalidVectorError:
    """Say what is wrong with a vector that has no direction."""
    if np.isfinite(wide).all():
        return InvalidVectorError(f"{name} is zero: it has no direction")
    column = int(np.flatnonzero(~np.isfinite(wide))[0])
    what = "NaN" if np.isnan(wide[column]) else "infinite"
    return InvalidVectorError(f"{name} is {what} at component {column}")


def check_width(found: int, width: int | None) -> None:
    """Refuse vectors that are not of the width of the index, or of none at all."""
    if width is not None and found != width:
        raise InvalidVectorError(f"the index holds vectors of width {width}, got width {found}")
    if not 1 <= found <= MAX_WIDTH:
        raise InvalidVectorError(f"a vector has 1 to {MAX_WIDTH} components, got {found}")


def _name(row: int, *, single: bool) -> str:
    return "the vector" if single else f"vector {row}"


def _float32(
    array: npt.NDArray[np.generic], width: int | None, *, single: bool
) -> npt.NDArray[np.float32]:
    count, found = array.shape
    check_width(found, width)
    if array.dtype == np.float32:
        return np.ascontiguousarray(array, np.float32)
    narrow = np.empty((count, found), np.float32)
    step = max(1, _BLOCK_ELEMENTS // found)
    for start in range(0, count, step):
        stop = min(count, start + step)
        with np.errstate(over="ignore"):  # a longdouble beyond float64 becomes infinite: below
            wide = array[start:stop].astype(np.float64)
        peaks = np.abs(wide).max(axis=1)
        if not np.isfinite(peaks).all():
            row = int(np.flatnonzero(~np.isfinite(peaks))[0])
            raise refuse(wide[row], _name(start + row, single=single))
        extreme = np.flatnonzero((peaks < 1.0 / _MODEST) | (peaks > _MODEST))
        if len(extreme):
            # A power of two rounds nothing, so a row's integers do not depend on its length.
            _, exponents = np.frexp(peaks[extreme])
            wide[extreme] = np.ldexp(wide[extreme], -exponents[:, np.newaxis])
        narrow[start:stop] = wide
    return narrow


def _rounded(
    source: npt.NDArray[np.float32], precision: Precision, kernels: Kernels, *, single: bool
) -> UnitRows:
    rows: Integers = np.empty(source.shape, precision)
    squared_norms = np.empty(len(source), np.int32)
    bad = kernels.quantise(source, rows, squared_norms, TOPS[precision])
    if bad >= 0:
        raise refuse(source[bad], _name(bad, single=single))
    return UnitRows(rows, squared_norms)
