"""Cells: rows that lie close together in the projected space, so that a query can pass over most.

A chunk's rows are sorted by the cell whose centre is nearest, within a cell by falling cosine with
the centre, and cut into blocks of 64, which is what a scan reads at a time. The rows that do not
fill a block of their cell, the farthest from its centre, come last and belong to none. A query
multiplies itself with the centres and scans, in each cell, only the blocks whose rows are loose
enough for a match to lie so far from the centre; see `_kernels.ranges` for that bound.

Source: J. Sivic, A. Zisserman, *Video Google* (2003), for inverted lists of k-means cells;
I. S. Dhillon, D. S. Modha, *Concept decompositions for large sparse text data using clustering*
(2001), for k-means by cosine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from prismresonance._kernels.codes import BLOCK_ROWS

__all__ = ["CELL_ROWS", "Cells", "arrange"]

CELL_ROWS = 256
"""Rows in a cell on average: four blocks, of which a query scans one on average, or none."""

_SAMPLE = 48  # rows in the sample for each cell
_ROUNDS = 8
_TURNS = 2
_BLOCK = 8192  # rows to assign between two looks at whether to go on
_UNIT = 32767.0

_Floats = npt.NDArray[np.float32]


class Cells(NamedTuple):
    """Where the cells of a chunk lie.

    Attributes:
        centres: Shape `(cells, dim)`, int16: unit vectors times 32767.
        starts: Shape `(cells + 1,)`, int32: first block of each cell, and the end of the last.
        floors: Shape `(blocks,)`, uint8: 255 times the least cosine of a row in each block with its
            cell's centre, rounded down; 0 for negative ones and for the blocks of no cell.
    """

    centres: npt.NDArray[np.int16]
    starts: npt.NDArray[np.int32]
    floors: npt.NDArray[np.uint8]


def arrange(
    rows: _Floats, *, go_on: Callable[[], bool], seed: int = 1
) -> tuple[npt.NDArray[np.int64], Cells] | None:
    """Sort rows into cells.

    Args:
        rows: Shape `(n, dim)`, of length 1.
        go_on: Asked every few milliseconds; `False` gives up.
        seed: Draws the sample and the first centres.

    Returns:
        The order, old row numbers in their new places, and the cells; `None` when given up. Costs
        about 6 us a row.
    """
    random = np.random.default_rng(seed)
    left = np.arange(len(rows))
    orders: list[npt.NDArray[np.int64]] = []
    centres: list[_Floats] = []
    sizes: list[npt.NDArray[np.int64]] = []
    floors: list[npt.NDArray[np.uint8]] = []
    for turn in range(_TURNS):  # what fills no block of its cell gets another choice of cells
        if turn and len(left) < BLOCK_ROWS:
            break
        sorted_ = _sorted(rows[left], random, go_on)
        if sorted_ is None:
            return None
        order, kept, cell_centres, cell_sizes, cell_floors = sorted_
        orders.append(left[order[:kept]])
        centres.append(cell_centres)
        sizes.append(cell_sizes)
        floors.append(cell_floors)
        left = np.sort(left[order[kept:]])
    blocks = np.concatenate(sizes) // BLOCK_ROWS
    starts = np.zeros(len(blocks) + 1, np.int32)
    np.cumsum(blocks, out=starts[1:])
    rest = np.zeros(-(-len(rows) // BLOCK_ROWS) - int(starts[-1]), np.uint8)
    cells = Cells(
        np.rint(_UNIT * np.concatenate(centres)).astype(np.int16),
        starts,
        np.concatenate([*floors, rest]),
    )
    return np.concatenate([*orders, left]), cells


def _sorted(
    rows: _Floats, random: np.random.Generator, go_on: Callable[[], bool]
) -> (
    tuple[npt.NDArray[np.int64], int, _Floats, npt.NDArray[np.int64], npt.NDArray[np.uint8]] | None
):
    """Find centres, and sort rows by cell.

    Returns:
        The order, of which the first so many rows fill blocks of their cells; that number; the
        centres; how many rows of each cell are among them; and each block's floor.
    """
    cells = max(1, len(rows) // CELL_ROWS)
    sample = rows[random.permutation(len(rows))[: _SAMPLE * cells]]
    centres = sample[:cells].copy()
    for _ in range(_ROUNDS):
        assigned = _assigned(sample, centres, go_on)
        if assigned is None:
            return None
        centres = _recentred(sample, assigned[0], centres)
    assigned = _assigned(rows, centres, go_on)
    if assigned is None:
        return None
    cell, cosine = assigned
    order = np.lexsort((-cosine, cell))
    sizes = np.bincount(cell, minlength=cells)
    rank = np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    whole = sizes // BLOCK_ROWS * BLOCK_ROWS
    in_block = rank < whole[cell[order]]
    kept = int(whole.sum())
    order = np.concatenate([order[in_block], order[~in_block]])
    least = cosine[order[BLOCK_ROWS - 1 : kept : BLOCK_ROWS]]
    floors = np.clip(np.floor(255.0 * least), 0.0, 255.0).astype(np.uint8)
    return order, kept, centres, whole, floors


def _assigned(
    rows: _Floats, centres: _Floats, go_on: Callable[[], bool]
) -> tuple[npt.NDArray[np.int64], _Floats] | None:
    """Give each row's nearest centre and its cosine with it."""
    cell = np.empty(len(rows), np.int64)
    cosine = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), _BLOCK):
        if not go_on():
            return None
        some = slice(start, start + _BLOCK)
        products = rows[some] @ centres.T
        cell[some] = products.argmax(axis=1)
        cosine[some] = products.max(axis=1)
    return cell, cosine


def _recentred(rows: _Floats, cell: npt.NDArray[np.int64], centres: _Floats) -> _Floats:
    """Move each centre to the mean direction of its rows; one without stays."""
    order = np.argsort(cell, kind="stable")
    used, first = np.unique(cell[order], return_index=True)
    sums = np.add.reduceat(rows[order], first, axis=0)
    lengths = np.sqrt(np.vecdot(sums, sums))
    moved = centres.copy()
    sound = lengths > 0.0
    moved[used[sound]] = sums[sound] / lengths[sound, np.newaxis]
    return moved
