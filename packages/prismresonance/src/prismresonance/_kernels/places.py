"""What kernels know of a snapshot: its directory, and how a place names a row."""

from __future__ import annotations

__all__ = [
    "CELL_COUNT", "CENTRES", "CODES", "COLUMNS", "DIED", "FLOORS", "LENGTH", "LOW", "NORMS",
    "RANKS", "ROWS", "ROW_BITS", "ROW_MASK", "START", "STARTS",
]  # fmt: skip

COLUMNS = 12
(
    CODES, LOW, ROWS, NORMS, RANKS, CENTRES, STARTS, FLOORS, CELL_COUNT, DIED, LENGTH, START
) = range(COLUMNS)  # fmt: skip
"""Columns of the directory, a line a chunk: addresses of its arrays (0 for none), how many cells it
has, its published rows, and the rows of the chunks before it."""

ROW_BITS = 32
ROW_MASK = (1 << ROW_BITS) - 1
"""A place is `chunk << ROW_BITS | row`. Of a found row it is `chunk << ROW_BITS | rank`, where the
rank counts the chunk's rows by insertion, so that places ascend as rows were inserted."""
