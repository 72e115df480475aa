"""One query from beginning to end in one compiled call.

Importing this module imports numba; only `compiled` does.

The call walks the chunks of a snapshot by the addresses in its directory, see `_directory`. It
goes over the sign codes once and collects the rows of the highest estimates that reach the
threshold's bar; when many do, a histogram of the estimates raises that bar. Then it scores them
exactly, the most promising first, so that the k-th best score is a bar for the rest. Only if rows
above that bar did not fit the collection are the codes gone over again.

A row that can matter is missed if its estimate from signs falls below the bar of `signs`, or its
projected cosine below that of `_bar.projected_bar`. Each has at most about the probability of the
normal tail at the given sigmas; simulated for width 384 and 64 dimensions, one or the other
happens to 1.5e-3 of the rows exactly at the bar at 3 sigmas and to 1.4e-5 at 4.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from prismresonance._kernels import lanes
from prismresonance._kernels.codes import MAX_CODED
from prismresonance._kernels.parts import part, summing_part
from prismresonance._kernels.ranking import offer, settle
from prismresonance._kernels.signs import (
    code_step_plain,
    code_step_shuffled,
    fill_tables,
    quantised_weights,
    sign_bar,
)

__all__ = ["all_rows", "collect", "find", "rest", "sign_bar"]

_Floats = npt.NDArray[np.float32]
_Scores = npt.NDArray[np.float64]
_Places = npt.NDArray[np.int64]
_Directory = npt.NDArray[np.int64]

# Columns of the directory.
_CODES, _LOW, _FULL, _NORMS, _DIED, _LENGTH, _START = range(7)

_ROW_BITS = 32
_ROW_MASK = (1 << _ROW_BITS) - 1

_COLLECTED = 512  # rows to collect at least: each costs some nanoseconds, too few a second scan
_DENSE_ROWS = 256  # more, and a quarter of all: then reading every full row in order is faster
_EVERY = np.uint64(2**64 - 1)
_AHEAD = 6  # rows between asking for one from memory and its use
_FIRST = 64  # rows to score before the k-th best score is taken for a bar

_step = code_step_shuffled if lanes.HAS_SHUFFLE else code_step_plain


@summing_part
def _product(row: int, query: _Floats) -> float:
    total = 0.0
    for column in range(query.shape[0]):
        total += np.float64(lanes.float32_at(row, column)) * np.float64(query[column])
    return total


@summing_part
def _estimate(row: int, query: _Floats) -> np.float32:
    total = np.float32(0.0)
    for column in range(query.shape[0]):
        total += lanes.float32_at(row, column) * query[column]
    return total


@summing_part
def _project(matrix: npt.NDArray[np.float32], query: _Floats, projected: _Floats) -> None:
    width = query.shape[0]
    for line in range(projected.shape[0]):
        total = np.float32(0.0)
        for column in range(width):
            total += matrix[line, column] * query[column]
        projected[line] = total


@part
def _fetch_low(directory: _Directory, place: int, dim: int) -> None:
    low = directory[place >> _ROW_BITS, _LOW] + 4 * dim * (place & _ROW_MASK)
    for line in range(0, 4 * dim, 64):
        lanes.fetch(low + line)


@part
def _score(directory: _Directory, place: int, query: _Floats, squared_norm: float) -> float:
    chunk, row = place >> _ROW_BITS, place & _ROW_MASK
    address = directory[chunk, _FULL] + 4 * row * query.shape[0]
    own = lanes.float64_at(directory[chunk, _NORMS], row)
    score = _product(address, query) / math.sqrt(own * squared_norm)
    return min(max(score, -1.0), 1.0)


@part
def _is_admitted(
    directory: _Directory, chunk: int, row: int, epoch: int, admitted: npt.NDArray[np.uint8]
) -> bool:
    if admitted.shape[0]:
        return bool(admitted[directory[chunk, _START] + row])
    return bool(lanes.int64_at(directory[chunk, _DIED], row) > epoch)


@part
def _compacted(
    places: _Places, sums: npt.NDArray[np.uint8], count: int, level: int, most_at_level: int
) -> int:
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
    directory: _Directory,
    tables: npt.NDArray[np.uint8],
    bar: int,
    wanted: int,
    epoch: int,
    admitted: npt.NDArray[np.uint8],
    places: _Places,
    sums: npt.NDArray[np.uint8],
    histogram: npt.NDArray[np.int64],
) -> tuple[int, int]:
    """Collect the rows of the highest estimates, in order of insertion.

    Args:
        directory: The chunks.
        tables: From `fill_tables`.
        bar: The least estimate that matters.
        wanted: How many rows to collect at least, if there are so many.
        epoch: The snapshot's.
        admitted: A byte for each row, 0 for one that `where` shuts out; empty for no `where`.
        places: Shape `(room,)`, at least `2 * wanted`, written: the rows.
        sums: Shape `(room,)`, written: their estimates.
        histogram: Shape `(257,)`, written: how many rows have each estimate, from the level on.

    Returns:
        How many were collected, and the level: every row with an estimate of at least it was.
    """
    histogram[:] = 0
    block_sums = np.empty(64, np.uint8)
    sums_at, tables_at = block_sums.ctypes.data, tables.ctypes.data
    planes = tables.shape[0] // 32
    room = places.shape[0]
    level, count, above, closed = bar, 0, 0, 0
    for chunk in range(directory.shape[0]):
        length = directory[chunk, _LENGTH]
        for block in range((length + 63) // 64):
            codes = directory[chunk, _CODES] + 64 * planes * block
            mask = _step(codes, tables_at, planes, min(level + closed, 255), sums_at)
            while mask != 0:
                bit = lanes.lowest_bit(mask)
                mask &= mask - np.uint64(1)
                estimate = np.int64(block_sums[bit])
                row = 64 * block + bit
                if estimate < level + closed or row >= length:
                    continue
                if not _is_admitted(directory, chunk, row, epoch, admitted):
                    continue
                if count == room:
                    count = _compacted(places, sums, count, level, room)
                    if count == room:  # more rows of one estimate than can be told apart
                        count = _compacted(places, sums, count, level, wanted)
                        closed = 1
                        if estimate == level:
                            continue
                places[count] = (chunk << _ROW_BITS) | row
                sums[count] = estimate
                count += 1
                histogram[estimate] += 1
                above += 1
                while above - histogram[level] >= wanted:
                    above -= histogram[level]
                    level += 1
                    closed = 0
    count = _compacted(places, sums, count, level, room)
    return count, level + closed


@part
def _projected_bar(score: float, dim: int, sigmas: float) -> float:
    """As `_bar.projected_bar`."""
    if score <= -1.0:
        return -2.0
    if score >= 1.0:
        return 1.0 - 2e-5
    return math.tanh(math.atanh(score) - sigmas / math.sqrt(dim - 2)) - 2e-5


@part
def all_rows(
    query: _Floats,
    squared_norm: float,
    directory: _Directory,
    epoch: int,
    threshold: float,
    admitted: npt.NDArray[np.uint8],
    places: _Places,
    scores: _Scores,
) -> tuple[int, int]:
    """Go over every row at full width; gives how many the heap holds and how many were scored.

    A float32 product decides whether a row can matter, as `_bar.full_width_bar`: no row is missed.
    """
    width, top_k = query.shape[0], scores.shape[0]
    slack = (width + 16) * 2.0**-23
    held, scored, goal = 0, 0, threshold
    for chunk in range(directory.shape[0]):
        full = directory[chunk, _FULL]
        for row in range(directory[chunk, _LENGTH]):
            if _estimate(full + 4 * width * row, query) < goal - slack:
                continue
            if _is_admitted(directory, chunk, row, epoch, admitted):
                place = (chunk << _ROW_BITS) | row
                score = _score(directory, place, query, squared_norm)
                scored += 1
                if score >= threshold:
                    held = offer(scores, places, held, score, place)
                    if scored >= _FIRST and held == top_k and scores[0] > goal:
                        goal = scores[0]
    return held, scored


@part
def rest(
    query: _Floats,
    squared_norm: float,
    projected: _Floats,
    direction: _Floats,
    weights: npt.NDArray[np.int64],
    tables: npt.NDArray[np.uint8],
    directory: _Directory,
    epoch: int,
    threshold: float,
    threshold_sigmas: float,
    top_k_sigmas: float,
    admitted: npt.NDArray[np.uint8],
    least: int,
    level: int,
    cut: int,
    collected: _Places,
    sums: npt.NDArray[np.uint8],
    places: _Places,
    scores: _Scores,
    held: int,
) -> tuple[int, int]:
    """Score what the first round left, as far as it can still matter.

    The projected rows sort out most of it: they are shorter than the full ones. Where they do not,
    because the rows are all alike or none is like the query, the full rows are read in order.

    Args:
        query: As in `find`.
        squared_norm: As in `find`.
        projected: Shape `(dim,)`: the projected query.
        direction: Shape `(dim,)`: the same, of length 1.
        weights: From `quantised_weights`.
        tables: From `fill_tables`.
        directory: As in `find`.
        epoch: As in `find`.
        threshold: As in `find`.
        threshold_sigmas: As in `find`.
        top_k_sigmas: As in `find`.
        admitted: As in `find`.
        least: The threshold's bar for estimates.
        level: From `collect`.
        cut: The least estimate of the first round.
        collected: Shape `(count,)`: from `collect`.
        sums: Their estimates.
        places: The heap's rows.
        scores: The heap's scores.
        held: How many rows it holds.

    Returns:
        How many rows it holds now, and how many were scored.
    """
    dim, width, top_k = projected.shape[0], query.shape[0], scores.shape[0]
    planes = weights.shape[0] // 8
    goal, sigmas, bar = threshold, threshold_sigmas, least
    if held == top_k and scores[0] > goal:
        goal, sigmas = scores[0], top_k_sigmas
        bar = max(least, sign_bar(goal, sigmas, projected, weights, width))
    low_bar = _projected_bar(goal, dim, sigmas)
    scored = 0
    for number in range(collected.shape[0]):
        ahead = number + _AHEAD
        if ahead < collected.shape[0] and bar <= sums[ahead] < cut:
            _fetch_low(directory, collected[ahead], dim)
        if sums[number] >= cut or sums[number] < bar:
            continue
        place = collected[number]
        low = directory[place >> _ROW_BITS, _LOW] + 4 * dim * (place & _ROW_MASK)
        if _estimate(low, direction) < low_bar:
            continue
        score = _score(directory, place, query, squared_norm)
        scored += 1
        if score >= threshold:
            held = offer(scores, places, held, score, place)
            if held == top_k and scores[0] > goal:
                goal, sigmas = scores[0], top_k_sigmas
                low_bar = _projected_bar(goal, dim, sigmas)
    if goal > threshold:
        bar = max(least, sign_bar(goal, sigmas, projected, weights, width))
    if bar >= level:
        return held, scored

    block_sums = np.empty(64, np.uint8)
    sums_at, tables_at = block_sums.ctypes.data, tables.ctypes.data
    known, update_at, bar_goal = 0, scored + _FIRST, goal
    slack = (width + 16) * 2.0**-23  # as `_bar.full_width_bar`
    visited, promising, dense = 0, 0, False
    for chunk in range(directory.shape[0]):
        length = directory[chunk, _LENGTH]
        for block in range((length + 63) // 64):
            visited += 64
            dense = dense or (promising > _DENSE_ROWS and 4 * promising > visited)
            if scored >= update_at and goal > bar_goal:
                bar = max(least, sign_bar(goal, sigmas, projected, weights, width))
                if bar >= level:
                    return held, scored
                update_at, bar_goal = 2 * scored, goal
            codes = directory[chunk, _CODES] + 64 * planes * block
            mask = _step(codes, tables_at, planes, bar, sums_at)
            if dense:
                mask = _EVERY
            coming = np.uint64(0) if dense else mask
            while coming != 0:
                row = 64 * block + lanes.lowest_bit(coming)
                coming &= coming - np.uint64(1)
                if row < length:
                    _fetch_low(directory, (chunk << _ROW_BITS) | row, dim)
            while mask != 0:
                bit = lanes.lowest_bit(mask)
                mask &= mask - np.uint64(1)
                row = 64 * block + bit
                if row >= length or not _is_admitted(directory, chunk, row, epoch, admitted):
                    continue
                place = (chunk << _ROW_BITS) | row
                while known < collected.shape[0] and collected[known] < place:
                    known += 1
                if known < collected.shape[0] and collected[known] == place:
                    continue
                if dense:
                    full = directory[chunk, _FULL] + 4 * width * row
                    if _estimate(full, query) < goal - slack:
                        continue
                elif _estimate(directory[chunk, _LOW] + 4 * dim * row, direction) < low_bar:
                    continue
                promising += 1
                score = _score(directory, place, query, squared_norm)
                scored += 1
                if score >= threshold:
                    held = offer(scores, places, held, score, place)
                    if held == top_k and scores[0] > goal:
                        goal, sigmas = scores[0], top_k_sigmas
                        low_bar = _projected_bar(goal, dim, sigmas)
    return held, scored


@part
def find(
    query: _Floats,
    squared_norm: float,
    matrix: npt.NDArray[np.float32],
    directory: _Directory,
    epoch: int,
    threshold: float,
    threshold_sigmas: float,
    top_k_sigmas: float,
    admitted: npt.NDArray[np.uint8],
    places: _Places,
    scores: _Scores,
) -> tuple[int, int]:
    """Find the best rows of a snapshot.

    Args:
        query: Shape `(width,)`: the unit vector on the grid.
        squared_norm: Its exact squared length.
        matrix: Shape `(dim, width)`: the projection; of no line to score every row.
        directory: The snapshot's chunks.
        epoch: The snapshot's.
        threshold: The least score; -1 and less for any.
        threshold_sigmas: Bounds the misses at the threshold.
        top_k_sigmas: Bounds the misses at the k-th best score.
        admitted: A byte for each row, 0 for one that `where` shuts out; empty for no `where`.
        places: Shape `(k,)`, written: chunk and row of the best, best first.
        scores: Shape `(k,)`, written: their scores.

    Returns:
        How many were found, and how many rows were scored exactly.
    """
    dim, width = matrix.shape
    if dim == 0:
        held, scored = all_rows(
            query, squared_norm, directory, epoch, threshold, admitted, places, scores
        )
        settle(scores, places, held)
        return held, scored

    top_k = scores.shape[0]
    coded = (min(dim, MAX_CODED) + 7) // 8 * 8
    projected = np.empty(dim, np.float32)
    weights = np.empty(coded, np.int64)
    tables = np.empty(coded // 4 * 16, np.uint8)
    _project(matrix, query, projected)
    quantised_weights(projected, weights)
    fill_tables(projected, weights, tables)
    least = sign_bar(threshold, threshold_sigmas, projected, weights, width)
    length = math.sqrt(_estimate(projected.ctypes.data, projected))
    direction = projected / np.float32(length if length > 0.0 else 1.0)

    last = directory.shape[0] - 1
    rows = directory[last, _START] + directory[last, _LENGTH]
    wanted = max(_COLLECTED if least == 0 else 4 * _COLLECTED, 8 * top_k)
    room = 3 * wanted
    if room > rows:
        room = wanted = rows + 1
    places_found = np.empty(room, np.int64)
    sums = np.empty(room, np.uint8)
    histogram = np.empty(257, np.int64)
    count, level = collect(
        directory, tables, least, wanted, epoch, admitted, places_found, sums, histogram
    )

    # The most promising first: their k-th best score is the bar for all others.
    cut, first = min(level, 255), 0
    for estimate in range(255, level, -1):
        first += histogram[estimate]
        if first >= max(_FIRST, 4 * top_k):
            cut = estimate
            break
    low_bar = _projected_bar(threshold, dim, threshold_sigmas)
    held, scored = 0, 0
    for number in range(count):
        if sums[number] >= cut:
            place = places_found[number]
            low = directory[place >> _ROW_BITS, _LOW] + 4 * dim * (place & _ROW_MASK)
            if low_bar > -1.0 and _estimate(low, direction) < low_bar:
                continue
            score = _score(directory, place, query, squared_norm)
            scored += 1
            if score >= threshold:
                held = offer(scores, places, held, score, place)
    if cut > level or level > least:
        held, more = rest(
            query, squared_norm, projected, direction, weights, tables, directory, epoch,
            threshold, threshold_sigmas, top_k_sigmas, admitted, least, level, cut,
            places_found[:count], sums, places, scores, held,
        )  # fmt: skip
        scored += more
    settle(scores, places, held)
    return held, scored
