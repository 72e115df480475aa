"""One query from beginning to end in one compiled call.

Importing this module imports numba; only `compiled` does.

The call walks the chunks of a snapshot by the addresses in its directory, see `_directory`. It
goes over the sign codes once and collects the rows of the highest estimates that reach the
threshold's bar; when many do, a histogram of the estimates raises that bar. Then it scores them
exactly, the most promising first, so that the k-th best score is a bar for the rest. Only if rows
above that bar did not fit the collection are the codes gone over again.

A row that can matter is missed if its estimate from signs falls below the bar of `signs`, or its
projected cosine below that of `scores.low_bar`. Each has at most about the probability of the
normal tail at the given sigmas; simulated for width 384 and 64 dimensions, one or the other
happens to 1.5e-3 of the rows exactly at the bar at 3 sigmas and to 1.4e-5 at 4.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from prismresonance._kernels import lanes
from prismresonance._kernels.codes import MAX_CODED
from prismresonance._kernels.collect import collect, is_admitted, shown_at
from prismresonance._kernels.parts import part, summing_part
from prismresonance._kernels.places import (
    CODES,
    DIED,
    LENGTH,
    NORMS,
    RANKS,
    ROW_BITS,
    ROWS,
    START,
)
from prismresonance._kernels.ranges import fetch_range, fill_reach, ranges_of, reach_in
from prismresonance._kernels.ranking import offer, settle
from prismresonance._kernels.rows import quantise
from prismresonance._kernels.scores import (
    UNIT,
    cosine,
    least_square,
    low_bar,
    offer_all,
    product,
    reaches,
)
from prismresonance._kernels.signs import fill_tables, next_block, quantised_weights, sign_bar

__all__ = [
    "all_rows", "collect", "fill_reach", "find", "find_many", "offer_all", "rest", "sign_bar",
]  # fmt: skip

_Floats = npt.NDArray[np.float32]
_Integers = npt.NDArray[np.int16]
_Scores = npt.NDArray[np.float64]
_Places = npt.NDArray[np.int64]
_Directory = npt.NDArray[np.int64]

# Rows to collect at least: each costs some nanoseconds, too few cost a second scan. A query without
# a threshold needs that one anyway, with the bar that the first rows give.
_COLLECTED = 128
_COLLECTED_AT_BAR = 2048
_FIRST = 64  # rows to score before the k-th best score is taken for a bar
_BATCH = 128  # rows between two looks at the k-th best score
_DENSE_FROM = 4096  # rows to visit before asking whether reading all in order would be faster
_TOP = int(UNIT)


@summing_part
def _project(matrix: npt.NDArray[np.float32], query: _Floats, projected: _Floats) -> None:
    width = query.shape[0]
    for line in range(projected.shape[0]):
        total = np.float32(0.0)
        for column in range(width):
            total += matrix[line, column] * query[column]
        projected[line] = total


@part
def all_rows(
    query: _Integers,
    squared_norm: float,
    row_bytes: int,
    directory: _Directory,
    epoch: int,
    threshold: float,
    goal: float,
    admitted: npt.NDArray[np.uint8],
    places: _Places,
    scores: _Scores,
) -> tuple[int, int]:
    """Go over every row at full width; gives how many the heap holds and how many were scored.

    Rows below `goal` cannot matter; it rises with the k-th best score.
    """
    width, top_k = query.shape[0], scores.shape[0]
    query_at, line_bytes = query.ctypes.data, row_bytes * width
    held, scored = 0, 0
    least = least_square(max(goal, -2.0), squared_norm)
    for chunk in range(directory.shape[0]):
        rows, norms = directory[chunk, ROWS], directory[chunk, NORMS]
        ranks = directory[chunk, RANKS]
        died, shown = directory[chunk, DIED], shown_at(directory, chunk, admitted)
        for row in range(directory[chunk, LENGTH]):
            multiplied = float(product(rows + line_bytes * row, query_at, width, row_bytes))
            own = float(lanes.int32_at(norms, row))
            if not reaches(multiplied, least, own):
                continue
            if is_admitted(died, row, epoch, shown):
                scored += 1
                score = cosine(multiplied, squared_norm, own)
                if score >= threshold:
                    rank = row if ranks == 0 else int(lanes.int32_at(ranks, row))
                    held = offer(scores, places, held, score, (chunk << ROW_BITS) | rank)
                    if held == top_k:
                        least = max(least, least_square(scores[0], squared_norm))
    return held, scored


@part
def rest(
    query: _Integers,
    squared_norm: float,
    row_bytes: int,
    projected: _Floats,
    direction: _Integers,
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
) -> tuple[int, int, int]:
    """Score what the first round left, as far as it can still matter.

    Where that is a good part of all rows, because they are all alike or none is like the query,
    the full rows are read in order.

    Args:
        query: The query in integers.
        squared_norm: Its squared length.
        row_bytes: Bytes of a stored component.
        projected: Shape `(dim,)`: the projected query.
        direction: Shape `(dim,)`: the same in integers.
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
        How many rows it holds now, how many were scored, and how many were scanned again.
    """
    dim, width, top_k = projected.shape[0], query.shape[0], scores.shape[0]
    planes = weights.shape[0] // 8
    batch = np.empty(_BATCH + 64, np.int64)
    goal, sigmas, bar, scored, waiting = threshold, threshold_sigmas, least, 0, 0
    if held == top_k and scores[0] > goal:
        goal, sigmas = scores[0], top_k_sigmas
        bar = max(least, sign_bar(goal, sigmas, projected, weights, width))
    for number in range(collected.shape[0] + 1):
        if number < collected.shape[0]:
            if bar <= sums[number] < cut:
                batch[waiting] = collected[number]
                waiting += 1
            if waiting < _BATCH:
                continue
        held, more = offer_all(
            query, squared_norm, row_bytes, direction, directory, batch, waiting,
            low_bar(goal, dim, sigmas), threshold, places, scores, held,
        )  # fmt: skip
        scored, waiting = scored + more, 0
        if held == top_k and scores[0] > goal:
            goal, sigmas = scores[0], top_k_sigmas
            bar = max(bar, sign_bar(goal, sigmas, projected, weights, width))
    if bar >= level:
        return held, scored, 0

    block_sums = np.empty(72, np.uint8)
    sums_at, tables_at = block_sums.ctypes.data, tables.ctypes.data
    reach = reach_in(directory, goal, sigmas, dim)
    last, visited, offered, known = directory.shape[0] - 1, 0, 0, scored
    for chunk in range(directory.shape[0]):
        length, codes = directory[chunk, LENGTH], directory[chunk, CODES]
        died, shown = directory[chunk, DIED], shown_at(directory, chunk, admitted)
        ranges = ranges_of(directory, chunk, direction, reach)
        for number in range(ranges.shape[0]):
            block, blocks = ranges[number, 0] - 1, ranges[number, 1]
            fetch_range(ranges, number + 1, codes, 64 * planes)
            final = chunk == last and number == ranges.shape[0] - 1
            while block < blocks:
                before = block
                block = next_block(codes, tables_at, planes, bar, block + 1, blocks, sums_at)
                visited += 64 * (block - before)
                if block < blocks:
                    mask = np.uint64(lanes.int64_at(sums_at, 8))
                    while mask != 0:
                        bit = lanes.lowest_bit(mask)
                        mask &= mask - np.uint64(1)
                        row = 64 * block + bit
                        if block_sums[bit] >= level or row >= length:
                            continue  # it was collected, or is not published
                        if is_admitted(died, row, epoch, shown):
                            batch[waiting] = (chunk << ROW_BITS) | row
                            waiting += 1
                if waiting < _BATCH and (block < blocks or not final):
                    continue
                held, more = offer_all(
                    query, squared_norm, row_bytes, direction, directory, batch, waiting,
                    low_bar(goal, dim, sigmas), threshold, places, scores, held,
                )  # fmt: skip
                scored, offered, waiting = scored + more, offered + waiting, 0
                if held == top_k and scores[0] > goal:
                    goal, sigmas = scores[0], top_k_sigmas
                    bar = max(bar, sign_bar(goal, sigmas, projected, weights, width))
                    if bar >= level:
                        return held, scored, visited
                # A jump to a row costs as much as reading three in order, to its bytes half one.
                if visited > _DENSE_FROM and offered // 2 + 3 * (scored - known) > visited:
                    held, scored = all_rows(
                        query, squared_norm, row_bytes, directory, epoch, threshold, goal, admitted,
                        places, scores,
                    )  # fmt: skip
                    return held, scored, visited
    return held, scored, visited


@part
def find(
    vector: _Floats,
    matrix: npt.NDArray[np.float32],
    directory: _Directory,
    row_bytes: int,
    epoch: int,
    threshold: float,
    threshold_sigmas: float,
    top_k_sigmas: float,
    admitted: npt.NDArray[np.uint8],
    places: _Places,
    scores: _Scores,
) -> tuple[int, int, int]:
    """Find the best rows of a snapshot.

    Args:
        vector: Shape `(width,)`: the query, of any length.
        matrix: Shape `(dim, width)`: the projection; of no line to score every row.
        directory: The snapshot's chunks.
        row_bytes: Bytes of a stored component, 1 or 2.
        epoch: The snapshot's.
        threshold: The least score; -1 and less for any.
        threshold_sigmas: Bounds the misses at the threshold.
        top_k_sigmas: Bounds the misses at the k-th best score.
        admitted: A byte for each row, 0 for one that `where` shuts out; empty for no `where`.
        places: Shape `(k,)`, written: chunk and row of the best, best first.
        scores: Shape `(k,)`, written: their scores.

    Returns:
        How many were found, how many rows were scored exactly, and how many were scanned; -1 for
        the first when the query is not finite or zero.
    """
    dim, width = matrix.shape
    query = np.empty(width, np.int16)
    norms = np.empty(1, np.int32)
    if quantise(vector.reshape((1, width)), query.reshape((1, width)), norms, _TOP) >= 0:
        return -1, 0, 0
    squared_norm = float(norms[0])
    if dim == 0:
        held, scored = all_rows(
            query, squared_norm, row_bytes, directory, epoch, threshold, threshold, admitted,
            places, scores,
        )  # fmt: skip
        settle(scores, places, held)
        last = directory.shape[0] - 1
        return held, scored, directory[last, START] + directory[last, LENGTH]

    top_k = scores.shape[0]
    coded = (min(dim, MAX_CODED) + 7) // 8 * 8
    unit = np.empty(width, np.float32)
    for column in range(width):
        unit[column] = np.float32(query[column]) * np.float32(1.0 / UNIT)
    projected = np.empty(dim, np.float32)
    direction = np.empty(dim, np.int16)
    weights = np.empty(coded, np.int64)
    tables = np.empty(coded // 4 * 16, np.uint8)
    _project(matrix, unit, projected)
    if quantise(projected.reshape((1, dim)), direction.reshape((1, dim)), norms, _TOP) >= 0:
        direction[:] = 0  # the matrix sends the query to zero
    quantised_weights(projected, weights)
    fill_tables(projected, weights, tables)
    least = sign_bar(threshold, threshold_sigmas, projected, weights, width)

    last = directory.shape[0] - 1
    rows = directory[last, START] + directory[last, LENGTH]
    wanted = max(_COLLECTED if least == 0 else _COLLECTED_AT_BAR, 8 * top_k)
    room = 3 * wanted
    if room > rows:
        room = wanted = rows + 1
    collected = np.empty(room, np.int64)
    sums = np.empty(room, np.uint8)
    histogram = np.empty(257, np.int64)
    reach = reach_in(directory, threshold, threshold_sigmas, dim)
    count, level, scanned = collect(
        directory,
        direction,
        reach,
        tables,
        least,
        wanted,
        epoch,
        admitted,
        collected,
        sums,
        histogram,
    )

    # The most promising first: their k-th best score is the bar for all others.
    cut, first = min(level, 255), 0
    for estimate in range(255, level, -1):
        first += histogram[estimate]
        if first >= max(_FIRST, 4 * top_k):
            cut = estimate
            break
    best, chosen = np.empty(count, np.int64), 0
    for number in range(count):
        if sums[number] >= cut:
            best[chosen] = collected[number]
            chosen += 1
    held, scored = offer_all(
        query, squared_norm, row_bytes, direction, directory, best, chosen,
        low_bar(threshold, dim, threshold_sigmas), threshold, places, scores, 0,
    )  # fmt: skip
    if cut > level or level > least:
        held, more, again = rest(
            query, squared_norm, row_bytes, projected, direction, weights, tables, directory, epoch,
            threshold, threshold_sigmas, top_k_sigmas, admitted, least, level, cut,
            collected[:count], sums, places, scores, held,
        )  # fmt: skip
        scored, scanned = scored + more, scanned + again
    settle(scores, places, held)
    return held, scored, scanned


@part
def find_many(
    vectors: npt.NDArray[np.float32],
    matrix: npt.NDArray[np.float32],
    directory: _Directory,
    row_bytes: int,
    epoch: int,
    threshold: float,
    threshold_sigmas: float,
    top_k_sigmas: float,
    admitted: npt.NDArray[np.uint8],
    places: _Places,
    scores: _Scores,
    counts: npt.NDArray[np.int64],
) -> tuple[int, int]:
    """Find the best rows for each of several queries, all of which have a direction.

    Args:
        vectors: Shape `(n, width)`: the queries.
        matrix: As in `find`.
        directory: As in `find`.
        row_bytes: As in `find`.
        epoch: As in `find`.
        threshold: As in `find`.
        threshold_sigmas: As in `find`.
        top_k_sigmas: As in `find`.
        admitted: As in `find`.
        places: Shape `(n, k)`, written.
        scores: Shape `(n, k)`, written.
        counts: Shape `(n,)`, written: how many were found for each.

    Returns:
        How many rows were scored exactly, and how many were scanned.
    """
    scored, scanned = 0, 0
    for number in range(vectors.shape[0]):
        found, more_scored, more_scanned = find(
            vectors[number], matrix, directory, row_bytes, epoch, threshold, threshold_sigmas,
            top_k_sigmas, admitted, places[number], scores[number],
        )  # fmt: skip
        counts[number] = found
        scored, scanned = scored + more_scored, scanned + more_scanned
    return scored, scanned
