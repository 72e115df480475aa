"""Sign codes: one bit for each projected component, laid out for a scan of 64 rows at a time.

Layout, after the 4-bit fast scan: rows in blocks of 64; within a block one plane of 64 bytes after
the other; byte `r` of plane `p` holds components `8 * p` to `8 * p + 7` of the block's row `r`,
lowest bit first. So a row owns whole bytes, and a writer that fills a row of a published block
touches no byte of another row.

Source: F. Andre, A.-M. Kermarrec, N. Le Scouarnec, *Cache locality is not enough: high-performance
nearest neighbor search with product quantization fast scan* (2015).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["BLOCK_ROWS", "MAX_CODED", "encode", "new_codes", "plane_count"]

BLOCK_ROWS = 64

MAX_CODED = 128
"""Components beyond this are left out: the weights of more would not fit one byte's sum."""


def plane_count(dim: int) -> int:
    """Say how many bytes the code of a row of `dim` projected components has."""
    return (min(dim, MAX_CODED) + 7) // 8


def new_codes(capacity: int, dim: int) -> npt.NDArray[np.uint8]:
    """Make room for codes: shape `(blocks, planes, 64)`."""
    return np.empty((-(-capacity // BLOCK_ROWS), plane_count(dim), BLOCK_ROWS), np.uint8)


def encode(low: npt.NDArray[np.float32], codes: npt.NDArray[np.uint8], start: int) -> None:
    """Write the codes of some rows.

    Args:
        low: Shape `(n, dim)`: projected rows, of any length.
        codes: From `new_codes`; rows `start` to `start + n - 1` are written, no byte else.
        start: The first row's number.
    """
    packed = np.packbits(low[:, :MAX_CODED] > 0.0, axis=1, bitorder="little")
    rows = np.arange(start, start + len(low))
    codes[rows // BLOCK_ROWS, :, rows % BLOCK_ROWS] = packed
