"""The scan: which rows have the highest estimates.

Importing this module imports numba; only `compiled` does.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from prismresonance._kernels import lanes
from prismresonance._kernels.parts import part
from prismresonance._kernels.places import CODES, DIED, LENGTH, ROW_BITS, START
from prismresonance._kernels.ranges import fetch_range, ranges_of
from prismresonance._kernels.signs import next_block

__all__ = ["collect", "is_admitted", "shown_at"]

_Bytes = npt.NDArray[np.uint8]
_Places = npt.NDArray[np.int64]


@part
def shown_at(directory: npt.NDArray[np.int64], chunk: int, admitted: _Bytes) -> int:
    """Give the address of a chunk's part of the bytes that say what `where` admits.

    Args:
        directory: The chunks.
        chunk: Which.
        admitted: A byte for each row of all chunks; empty for no `where`.

    Returns:
        The address; 0 for no `where`.
    """
    if admitted.shape[0] == 0:
        return 0
    return int(admitted.ctypes.data + directory[chunk, START])


@part
def is_admitted(died: int, row: int, epoch: int, admitted: int) -> bool:
    """Say whether a query may see a row.

    Args:
        died: Address of the chunk's `died_at`; 0 when all its rows are alive.
        row: The row.
        epoch: The snapshot's.
        admitted: From `shown_at`.
    """
    if admitted != 0:
        return int(lanes.int8_at(admitted, row)) != 0
    return died == 0 or int(lanes.int64_at(died, row)) > epoch


@part
def _compacted(places: _Places, sums: _Bytes, count: int, level: int, most_at_level: int) -> int:
    kept = 0
    for number in range(count):
        estimate = sums[number]
        if estimate < level or (estimate == level and most_at_level == 0):
            continue
        if estimate == level:
            most_at_level -= 1
        places[kept], sums[kept] = places[number], estimate
        kept += 1
    return kept


@part
def collect(
    directory: npt.NDArray[np.int64],
    direction: npt.NDArray[np.int16],
    reach: npt.NDArray[np.int64],
    tables: _Bytes,
    bar: int,
    wanted: int,
    epoch: int,
    admitted: _Bytes,
    places: _Places,
    sums: _Bytes,
    histogram: npt.NDArray[np.int64],
) -> tuple[int, int, int]:
    """Collect the rows of the highest estimates, in order of insertion.

    Args:
        directory: The chunks.
        direction: Shape `(dim,)`: the projected query in integers.
        reach: From `fill_reach`.
        tables: From `fill_tables`.
        bar: The least estimate that matters.
        wanted: How many rows to collect at least, if there are so many.
        epoch: The snapshot's.
        admitted: A byte for each row, 0 for one that `where` shuts out; empty for no `where`.
        places: Shape `(room,)`, at least `2 * wanted`, written: the rows.
        sums: Shape `(room,)`, written: their estimates.
        histogram: Shape `(257,)`, written: how many rows have each estimate, from the level on.

    Returns:
        How many were collected; the level: of the scanned rows every one with an estimate of at
        least it was; and how many rows were scanned.
    """
    histogram[:] = 0
    block_sums = np.empty(72, np.uint8)
    sums_at, tables_at = block_sums.ctypes.data, tables.ctypes.data
    planes = tables.shape[0] // 32
    room = places.shape[0]
    level, count, above, closed, scanned = bar, 0, 0, 0, 0
    for chunk in range(directory.shape[0]):
        length, codes = directory[chunk, LENGTH], directory[chunk, CODES]
        died, shown = directory[chunk, DIED], shown_at(directory, chunk, admitted)
        ranges = ranges_of(directory, chunk, direction, reach)
        for number in range(ranges.shape[0]):
            block, blocks = ranges[number, 0] - 1, ranges[number, 1]
            fetch_range(ranges, number + 1, codes, 64 * planes)
            scanned += 64 * (blocks - block - 1)
            while True:
                least = min(level + closed, 255)
                block = next_block(codes, tables_at, planes, least, block + 1, blocks, sums_at)
                if block >= blocks:
                    break
                mask = np.uint64(lanes.int64_at(sums_at, 8))
                while mask != 0:
                    bit = lanes.lowest_bit(mask)
                    mask &= mask - np.uint64(1)
                    estimate = np.int64(block_sums[bit])
                    row = 64 * block + bit
                    if estimate < level + closed or row >= length:
                        continue
                    if not is_admitted(died, row, epoch, shown):
                        continue
                    if count == room:
                        count = _compacted(places, sums, count, level, room)
                        if count == room:  # more rows of one estimate than can be told apart
                            count = _compacted(places, sums, count, level, wanted)
                            closed = 1
                            if estimate == level:
                                continue
                    places[count] = (chunk << ROW_BITS) | row
                    sums[count] = estimate
                    count += 1
                    histogram[estimate] += 1
                    above += 1
                    while above - histogram[level] >= wanted:
                        above -= histogram[level]
                        level += 1
                        closed = 0
    level += closed
    return _compacted(places, sums, count, level, room), level, scanned
