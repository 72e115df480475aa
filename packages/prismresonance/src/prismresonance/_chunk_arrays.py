"""The arrays in which a chunk keeps its vectors, by name.

What is added here is written to files and read back without further ado.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from prismresonance._kernels.codes import BLOCK_ROWS, copy_codes, new_codes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "ARRANGEMENT", "ARRAYS", "Array", "Arrays", "first_rows", "gathered_arrays", "new_arrays",
    "projected_arrays", "unlike", "without_rows",
]  # fmt: skip

_PER_ROW = ("rows", "squared_norms", "low")
_PER_BLOCK = ("codes",)
_PROJECTED = ("low", "codes")

ARRAYS = (*_PER_ROW, *_PER_BLOCK)
"""Names of all arrays that a chunk can have; they are its attributes too."""

ARRANGEMENT = ("ranks", "by_rank", "centres", "starts", "floors")
"""Names of those that say how a chunk is arranged in cells; it has all of them or none."""

Array: TypeAlias = npt.NDArray[np.generic]
Arrays: TypeAlias = "Mapping[str, Array]"


def new_arrays(capacity: int, width: int, *, precision: str, dim: int | None) -> Arrays:
    """Make room for rows, for projected ones too unless `dim` is `None`."""
    arrays: dict[str, Array] = {
        "rows": np.empty((capacity, width), precision),
        "squared_norms": np.empty(capacity, np.int32),
    }
    if dim is not None:
        arrays |= projected_arrays(capacity, width, arrays["rows"].itemsize, dim)
    return arrays


def projected_arrays(capacity: int, width: int, itemsize: int, dim: int) -> Arrays:
    """Make room for projected rows of rows that are so wide, each component of so many bytes."""
    arrays: dict[str, Array] = {"codes": new_codes(capacity, dim)}
    # Bytes that are hardly fewer than those of the row itself would sort out nothing sooner.
    if width * itemsize > 2 * dim:
        arrays["low"] = np.empty((capacity, dim), np.int8)
    return arrays


def gathered_arrays(
    picks: Sequence[tuple[Arrays, npt.NDArray[np.int64]]], *, capacity: int | None = None
) -> Arrays:
    """Copy chosen rows into new arrays.

    Args:
        picks: At least one chunk's arrays and ascending rows of them. Those of the first say what
            is copied; a chunk that lacks one leaves its rows of it as they come.
        capacity: Room in the new arrays; just enough when `None`.

    Returns:
        The new arrays. Costs O(rows * width).
    """
    total = sum(len(rows) for _, rows in picks)
    new: dict[str, Array] = {}
    for name, model in picks[0][0].items():
        room = capacity or total
        if name in _PER_BLOCK:
            room = -(-room // BLOCK_ROWS)
        new[name] = np.empty((room, *model.shape[1:]), model.dtype)
    start = 0
    for arrays, rows in picks:
        stop = start + len(rows)
        for name in new.keys() & arrays.keys():
            if name in _PER_ROW:
                # mode="clip" lets numpy write straight into `out`; the rows are in range.
                np.take(arrays[name], rows, axis=0, out=new[name][start:stop], mode="clip")
            else:
                source, target = (
                    cast("npt.NDArray[np.uint8]", some[name]) for some in (arrays, new)
                )
                copy_codes(source, rows, target, start)
        start = stop
    return new


def first_rows(arrays: Arrays, count: int, *, projected: bool) -> dict[str, Array]:
    """Give the arrays of the first rows, as they are written to a file.

    Args:
        arrays: A chunk's.
        count: How many rows, all of them published.
        projected: Whether projected rows are wanted; they are there in a snapshot that says so.

    Returns:
        Views; copies where rows that are not published share a block.
    """
    firsts: dict[str, Array] = {}
    for name, array in arrays.items():
        if name in _PROJECTED and not projected:
            continue
        if name in _PER_ROW:
            firsts[name] = array[:count]
        elif count % BLOCK_ROWS:
            blocks = array[: count // BLOCK_ROWS + 1].copy()
            blocks[-1, :, count % BLOCK_ROWS :] = 0
            firsts[name] = blocks
        else:
            firsts[name] = array[: count // BLOCK_ROWS]
    return firsts


def without_rows(arrays: Arrays, rows: npt.NDArray[np.int64]) -> dict[str, Array]:
    """Copy the arrays of as many rows as there are places, with zeros for some rows."""
    new: dict[str, Array] = {}
    for name, array in arrays.items():
        new[name] = array.copy()
        if name in _PER_ROW:
            new[name][rows] = 0
        else:
            new[name][rows // BLOCK_ROWS, :, rows % BLOCK_ROWS] = 0
    return new


def unlike(arrays: Arrays, model: Arrays) -> str | None:
    """Name an array that differs in shape or type from the model's; `None` if none does."""
    for name in sorted(arrays.keys() | model.keys()):
        ours, given = model.get(name), arrays.get(name)
        if ours is None or given is None:
            return name
        if (ours.shape, ours.dtype) != (given.shape, given.dtype):
            return name
    return None
