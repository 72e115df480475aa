"""Full rows as numba compiles them: rounding them to integers, and their exact products.

Importing this module imports numba; only `compiled` and the kernels it compiles do.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from prismresonance._kernels.codes import LOW_SCALE, UNKNOWN
from prismresonance._kernels.parts import part, summing_part

__all__ = ["encode", "exact", "quantise"]

_Integers = npt.NDArray[np.int16] | npt.NDArray[np.int8]

_BYTE_TOP = 127
_UNSIGNED = np.int32(0x7FFFFFFF)
_FRACTION = np.int32(0x7FFFFF)
_FRACTION_BITS = 23  # of IEEE 754's 32-bit numbers
_BYTE_LIMIT = np.int32(_BYTE_TOP)  # as integers the loop becomes vector code


@part
def _peak(source: npt.NDArray[np.float32], row: int) -> float:
    """Give the size of the greatest component of a finite row.

    The bits of floats without a sign ascend as the floats do, and the greatest integer is found by
    vector code; that of floats is not, because of NaN.
    """
    bits = source.view(np.int32)
    peak = np.int32(0)
    for column in range(source.shape[1]):
        peak = max(peak, bits[row, column] & _UNSIGNED)
    exponent, fraction = int(peak >> _FRACTION_BITS), peak & _FRACTION
    if exponent == 0:
        return math.ldexp(float(fraction), -149)
    return math.ldexp(float(fraction | (_FRACTION + 1)), exponent - 150)


@summing_part
def quantise(
    source: npt.NDArray[np.float32], rows: _Integers, squared_norms: npt.NDArray[np.int32], top: int
) -> int:
    """Round rows to integers; as `plain.quantise`."""
    width = source.shape[1]
    for row in range(source.shape[0]):
        total = 0.0
        for column in range(width):
            component = np.float64(source[row, column])
            total += component * component
        if not 0.0 < total < np.inf:
            return row
        size = _peak(source, row) if top == _BYTE_TOP else np.sqrt(total)
        # As float32 the scale hardly depends on the order in which the squares were added.
        scale = np.float64(np.float32(top / size))
        norm = np.int64(0)
        for column in range(width):
            rounded = np.int32(np.rint(np.float64(source[row, column]) * scale))
            rows[row, column] = rounded
            norm += np.int64(rounded) * np.int64(rounded)
        squared_norms[row] = norm
    return -1


def encode(
    products: npt.NDArray[np.float32],
    codes: npt.NDArray[np.uint8],
    low: npt.NDArray[np.int8],
    start: int,
) -> None:
    """Write what is stored of projected rows; as `codes.encode`, with an empty `low` for none."""
    dim, planes = products.shape[1], codes.shape[1]
    for number in range(products.shape[0]):
        row = start + number
        for plane in range(planes):
            byte = np.int32(0)
            for bit in range(min(8, dim - 8 * plane)):
                if products[number, 8 * plane + bit] > np.float32(0.0):
                    byte |= np.int32(1) << np.int32(bit)
            codes[row >> 6, plane, row & 63] = byte
        if low.shape[0] == 0:
            continue
        total = np.float32(0.0)
        for column in range(dim):
            total += products[number, column] * products[number, column]
        length = np.sqrt(total)
        scale = np.float32(LOW_SCALE) / (length if length > np.float32(0.0) else np.float32(1.0))
        peak = np.int32(0)
        for column in range(dim):
            whole = np.int32(np.rint(products[number, column] * scale))
            peak = max(peak, abs(whole))
            low[row, column] = min(max(whole, -_BYTE_LIMIT), _BYTE_LIMIT)
        if peak > _BYTE_LIMIT:
            low[row, 0] = UNKNOWN


def exact(
    rows: _Integers,
    chosen: npt.NDArray[np.int64],
    query: npt.NDArray[np.int16],
    products: npt.NDArray[np.float64],
) -> None:
    """Write the products of chosen rows with the query; as `plain.exact`."""
    width = query.shape[0]
    for place in range(chosen.shape[0]):
        row = chosen[place]
        total = np.int32(0)
        for column in range(width):
            total = np.int32(total + np.int32(rows[row, column]) * np.int32(query[column]))
        products[place] = total
