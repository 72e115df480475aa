"""What is stored of a projected row: a bit for each component's sign, and each component in a byte.

**Sign codes** are laid out after the 4-bit fast scan: rows in blocks of 64; within a block one
plane of 64 bytes after the other; byte `r` of plane `p` holds components `8 * p` to `8 * p + 7` of
the block's row `r`, lowest bit first. So a row owns whole bytes, and a writer that fills a row of a
published block touches no byte of another row.

**Bytes**: the components of the row at length `LOW_SCALE`, rounded. A random direction of 64
components has none beyond 127 in 250 rows out of 251; a row that has one is marked by `UNKNOWN` in
its first byte, and whoever meets it must look at the full row.

Source: F. Andre, A.-M. Kermarrec, N. Le Scouarnec, *Cache locality is not enough: high-performance
nearest neighbor search with product quantization fast scan* (2015).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = [
    "BLOCK_ROWS", "LOW_SCALE", "LOW_SLACK", "MAX_CODED", "UNKNOWN", "copy_codes", "encode",
    "new_codes", "plane_count",
]  # fmt: skip

BLOCK_ROWS = 64

MAX_CODED = 128
"""Components beyond this have no sign code: weights of more would not fit one byte's sum."""

LOW_SCALE = 254.0

LOW_SLACK = 0.006
"""How far rounding to bytes can move a projected cosine: five standard deviations of
`1 / (LOW_SCALE * sqrt(12))`."""

UNKNOWN = -128


def plane_count(dim: int) -> int:
    """Say how many bytes the sign code of a row of `dim` projected components has."""
    return (min(dim, MAX_CODED) + 7) // 8


def new_codes(capacity: int, dim: int) -> npt.NDArray[np.uint8]:
    """Make room for sign codes: shape `(blocks, planes, 64)`."""
    return np.empty((-(-capacity // BLOCK_ROWS), plane_count(dim), BLOCK_ROWS), np.uint8)


def encode(
    products: npt.NDArray[np.float32],
    codes: npt.NDArray[np.uint8],
    low: npt.NDArray[np.int8] | None,
    start: int,
) -> None:
    """Write what is stored of some projected rows.

    Args:
        products: Shape `(n, dim)`: projected rows, of any length.
        codes: From `new_codes`; rows `start` to `start + n - 1` are written, no byte else.
        low: Shape `(capacity, dim)`; the same rows are written. `None` for none.
        start: The first row's number.
    """
    stop = start + len(products)
    packed = np.packbits(products[:, :MAX_CODED] > 0.0, axis=1, bitorder="little")
    rows = np.arange(start, stop)
    codes[rows // BLOCK_ROWS, :, rows % BLOCK_ROWS] = packed
    if low is None:
        return
    lengths = np.sqrt(np.vecdot(products, products))
    lengths[lengths == 0.0] = 1.0
    scaled = np.rint(products * (np.float32(LOW_SCALE) / lengths)[:, np.newaxis])
    low[start:stop] = np.clip(scaled, -127.0, 127.0)
    low[start:stop][np.abs(scaled).max(axis=1, initial=0.0) > 127.0, 0] = UNKNOWN


def copy_codes(
    source: npt.NDArray[np.uint8],
    rows: npt.NDArray[np.int64],
    codes: npt.NDArray[np.uint8],
    start: int,
) -> None:
    """Copy the sign codes of chosen rows to the rows from `start` on."""
    to = np.arange(start, start + len(rows))
    codes[to // BLOCK_ROWS, :, to % BLOCK_ROWS] = source[rows // BLOCK_ROWS, :, rows % BLOCK_ROWS]
