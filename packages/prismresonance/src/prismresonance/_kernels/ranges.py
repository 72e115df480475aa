"""Which blocks of a chunk a scan must read.

A chunk without cells is read whole. In one with cells, let `m` be a cell's centre, `v` a row of it
and `q` the query, all projected and of length 1, `r` the cosine of `v` and `m`, and `c` the true
cosine that must not be missed. Then `q . m` is about `c * r`; around that it varies, because the
projection moves the cosine of `q` and `v` by `(1 - c*c) / sqrt(dim)` or so, and because the parts
of `q` and `m` across `v` point where they will, which makes a product of
`sqrt((1 - c*c) * (1 - r*r) / dim)` or so. A row is passed over when `q . m` is further below than

    need(r) = c*r - (sigmas + 1) * sqrt((r * (1 - c*c))**2 + (1 - c*c) * (1 - r*r)) / sqrt(dim - 2)

for the least `r` of its block. The second of the two errors is taken for that of random directions.
That is an assumption about the data, and the only one of its kind in a query: real rows lie along
fewer directions, which spreads that product wider. Hence one deviation more. Of 834 matches at .85
among a million sentences 2 were missed without it at 3.5 sigmas, 1 with it; the scan reads 41 % of
the rows in place of 31 %.

Importing this module imports numba; only `compiled` does.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from prismresonance._kernels import lanes
from prismresonance._kernels.parts import part
from prismresonance._kernels.places import CELL_COUNT, CENTRES, FLOORS, LENGTH, STARTS
from prismresonance._kernels.scores import UNIT, product

__all__ = ["NO_REACH", "fetch_range", "fill_reach", "ranges_of", "reach_in"]

NO_REACH = 0
"""Length of a reach table that passes over nothing."""

_STEPS = 256
_AHEAD_BLOCKS = 2
_MARGIN = 1.0
_LEAST_GOAL = 0.2  # below it nearly every block must be read


@part
def fill_reach(goal: float, sigmas: float, dim: int) -> npt.NDArray[np.int64]:
    """Say for each product of query and centre which rows of the cell it leaves in question.

    Args:
        goal: The true cosine that must not be missed.
        sigmas: Standard deviations allowed, to which one is added.
        dim: Width of the projected space.

    Returns:
        Shape `(256,)`: for products from -1 to 1 the greatest `r`, times 255, with
        `need(r) <= product`; -1 for none. Of length `NO_REACH` when every row is in question.
    """
    if goal < _LEAST_GOAL:
        return np.empty(NO_REACH, np.int64)
    reach = np.empty(_STEPS, np.int64)
    away = max(0.0, 1.0 - goal * goal)
    scale = (sigmas + _MARGIN) / math.sqrt(dim - 2)
    at = -1
    for step in range(_STEPS):
        most = 2.0 * (step + 1) / _STEPS - 1.0
        while at < 255:
            r = (at + 1) / 255.0
            spread = math.sqrt(r * r * away * away + away * (1.0 - r * r))
            if goal * r - scale * spread > most:
                break
            at += 1
        reach[step] = at
    return reach


@part
def reach_in(
    directory: npt.NDArray[np.int64], goal: float, sigmas: float, dim: int
) -> npt.NDArray[np.int64]:
    """As `fill_reach` if there is a chunk with cells; the table takes two microseconds to make."""
    for chunk in range(directory.shape[0]):
        if directory[chunk, CENTRES] != 0:
            return fill_reach(goal, sigmas, dim)
    return np.empty(NO_REACH, np.int64)


@part
def ranges_of(
    directory: npt.NDArray[np.int64],
    chunk: int,
    direction: npt.NDArray[np.int16],
    reach: npt.NDArray[np.int64],
) -> npt.NDArray[np.int64]:
    """List the blocks of a chunk to read.

    Args:
        directory: The chunks.
        chunk: Which.
        direction: Shape `(dim,)`: the projected query in integers.
        reach: From `fill_reach`.

    Returns:
        Shape `(n, 2)`: first block and end of each range, ascending.
    """
    blocks = (directory[chunk, LENGTH] + 63) // 64
    cells, centres = directory[chunk, CELL_COUNT], directory[chunk, CENTRES]
    if centres == 0 or reach.shape[0] == NO_REACH:
        whole = np.empty((1, 2), np.int64)
        whole[0, 0], whole[0, 1] = 0, blocks
        return whole
    starts, floors = directory[chunk, STARTS], directory[chunk, FLOORS]
    dim, direction_at = direction.shape[0], direction.ctypes.data
    scale = 0.5 * _STEPS / (UNIT * UNIT)
    ranges = np.empty((cells + 1, 2), np.int64)
    count = 0
    for cell in range(cells):
        multiplied = product(centres + 2 * dim * cell, direction_at, dim, 2)
        step = int(multiplied * scale + 0.5 * _STEPS)
        most = reach[min(max(step, 0), _STEPS - 1)]
        start = int(lanes.int32_at(starts, cell))
        end = int(lanes.int32_at(starts, cell + 1))
        first = end  # the loosest rows are in the last block
        while first > start and int(lanes.uint8_at(floors, first - 1)) <= most:
            first -= 1
        if first < end:
            if count and ranges[count - 1, 1] == first:
                ranges[count - 1, 1] = end
            else:
                ranges[count, 0], ranges[count, 1] = first, end
                count += 1
    first = int(lanes.int32_at(starts, cells))
    if first < blocks:
        ranges[count, 0], ranges[count, 1] = first, blocks
        count += 1
    return ranges[:count]


@part
def fetch_range(ranges: npt.NDArray[np.int64], number: int, codes: int, block_bytes: int) -> None:
    """Ask for the beginning of a range ahead of its scan: the processor foresees none of the jumps.

    Args:
        ranges: From `ranges_of`.
        number: Which; nothing happens when there is none of that number.
        codes: Address of the chunk's codes.
        block_bytes: Bytes of a block of codes.
    """
    if number < ranges.shape[0]:
        first = codes + block_bytes * ranges[number, 0]
        most = min(ranges[number, 1] - ranges[number, 0], _AHEAD_BLOCKS)
        for line in range(0, block_bytes * most, 64):
            lanes.fetch(first + line)
