"""What kernels know of a snapshot: its directory, and how a place names a row."""

from __future__ import annotations

__all__ = ["CODES", "COLUMNS", "DIED", "LENGTH", "LOW", "NORMS", "ROWS", "ROW_BITS", "ROW_MASK",
           "START"]  # fmt: skip

COLUMNS = 7
CODES, LOW, ROWS, NORMS, DIED, LENGTH, START = range(COLUMNS)
"""Columns of the directory, a line a chunk: addresses of its arrays (0 for none), its published
rows, and the rows of the chunks before it."""

ROW_BITS = 32
ROW_MASK = (1 << ROW_BITS) - 1
"""A place is `chunk << ROW_BITS | row`: places ascend in order of insertion."""
