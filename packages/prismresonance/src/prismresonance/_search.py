"""From a question to its matches: estimate all rows, score the promising ones, rank.

Two scans share one procedure. The scan of sign codes reads a bit for each projected component and
errs as `agreement_bar` says; the scan at full width reads the rows and errs by float32 rounding.
Either way the final score is the exact one, and the bar that an estimate must reach follows from
the score that a row must have to matter: the threshold, or the score of the k-th best row so far.

Compiled kernels do all of it in one call with sharper estimates, see `_kernels.find`; what is here
step by step is numpy's way, and the short way for few admitted rows.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from prismresonance._bar import agreement_bar, full_width_bar
from prismresonance._kernels import plain
from prismresonance._kernels.codes import MAX_CODED
from prismresonance._kernels.places import ROW_BITS, ROW_MASK
from prismresonance._records import Match
from prismresonance._vectors import refuse, unit_row

if TYPE_CHECKING:
    from prismresonance._admission import Admission
    from prismresonance._directory import Directory
    from prismresonance._kernels.interface import Find, Kernels
    from prismresonance._projector import PrismProjector
    from prismresonance._snapshot import Snapshot

__all__ = ["TOP_K_SIGMAS", "Question", "Tally", "search", "search_many"]

THRESHOLD_SIGMAS = 3.5
"""A row exactly at the threshold is missed with a probability of about 3e-4."""

TOP_K_SIGMAS = 2.0
"""A row exactly as good as the k-th best is missed with a probability of about 2e-2, at most 3e-2,
the better ones with less: the best of ten, say, hardly ever. As `recall=0.97`."""

_FIRST_ROUND = 128
_LIST_ROWS = 256
_GATHER_COST = 4  # scoring a chosen row costs as much as estimating this many at full width
_SIGNS_COST = 8  # estimating a row by its signs costs as much as this many components of it
_HIDDEN = np.float32(-4.0)
_UNIT = 32767.0
_MANY_ROOM = 1 << 16  # matches to make room for in one call of many queries
_NO_MASK = np.empty(0, np.uint8)

_Floats = npt.NDArray[np.float32]
_Scores = npt.NDArray[np.float64]
_Positions = npt.NDArray[np.int64]


Question: TypeAlias = "tuple[_Floats, int, float, Admission | None, bool, float]"
"""One checked query: the vector, float32, of any length; how many matches at most; the least score,
-2 for any; the rows that `where` admits, `None` for all; whether to look at every row at full
width; and the standard deviations allowed at the k-th best score. A plain tuple: a query should not
spend its time on making one."""


class Tally:
    """Counts what one thread's queries did: written by that thread alone, so no count is lost.

    Attributes:
        queries: Queries answered.
        scanned: Rows estimated.
        rescored: Rows scored exactly.
    """

    __slots__ = ("queries", "rescored", "scanned")

    def __init__(self) -> None:
        self.queries = 0
        self.scanned = 0
        self.rescored = 0


def search(
    snapshot: Snapshot,
    question: Question,
    projector: PrismProjector,
    kernels: Kernels,
    tally: Tally,
) -> list[Match]:
    """Find the best rows of a snapshot.

    Args:
        snapshot: Where to look.
        question: What to look for.
        projector: Projects the question as the rows were.
        kernels: The inner loops.
        tally: Counts what was done, written.

    Returns:
        At most `top_k` matches of at least the threshold, best first; of equals the older first.

    Raises:
        InvalidVectorError: The vector is not finite or zero.
    """
    if not snapshot.live_rows:
        unit_row(question[0])
        return []
    admission = question[3]
    if kernels.find is not None:
        if admission is None:
            return _found(snapshot, question, projector, kernels.find, tally, _NO_MASK)
        mask = snapshot.directory.masks.get(admission.key)
        if mask is not None:
            return _found(snapshot, question, projector, kernels.find, tally, mask)
    return _Search(snapshot, question, projector, kernels, tally).matches()


def search_many(
    snapshot: Snapshot,
    vectors: _Floats,
    question: Question,
    projector: PrismProjector,
    kernels: Kernels,
    tally: Tally,
) -> list[list[Match]]:
    """As `search` for each of several vectors, shape `(n, width)`, that have a direction.

    The vector of the question does not count.
    """
    _, top_k, threshold, allowed, exact, sigmas = question
    find_many = kernels.find_many
    if find_many is None or allowed is not None or not snapshot.live_rows:
        return [
            search(snapshot, (vector, *question[1:]), projector, kernels, tally)
            for vector in vectors
        ]
    directory, table, matrix, room = _ground(
        snapshot, projector, vectors.shape[1], top_k, exact=exact
    )
    answers: list[list[Match]] = []
    step = max(1, _MANY_ROOM // room)
    for start in range(0, len(vectors), step):
        some = vectors[start : start + step]
        places = np.empty((len(some), room), np.int64)
        scores = np.empty((len(some), room), np.float64)
        counts = np.empty(len(some), np.int64)
        scored, scanned = find_many(
            some, matrix, table, directory.row_bytes, snapshot.epoch, threshold,
            THRESHOLD_SIGMAS, sigmas, _NO_MASK, places, scores, counts,
        )  # fmt: skip
        tally.scanned += scanned
        tally.rescored += scored
        for found, own_places, own_scores in zip(counts.tolist(), places, scores, strict=True):
            answers.append(_matches(snapshot, own_places[:found], own_scores[:found]))
    return answers


def _found(
    snapshot: Snapshot,
    question: Question,
    projector: PrismProjector,
    find: Find,
    tally: Tally,
    admitted: npt.NDArray[np.uint8],
) -> list[Match]:
    """Find the best rows in one compiled call; `admitted` has a byte a row, or none at all."""
    vector, top_k, threshold, _, exact, sigmas = question
    directory, table, matrix, room = _ground(snapshot, projector, len(vector), top_k, exact=exact)
    places, scores = np.empty(room, np.int64), np.empty(room, np.float64)
    found, scored, scanned = find(
        vector,
        matrix,
        table,
        directory.rows,
        directory.row_bytes,
        snapshot.epoch,
        threshold,
        THRESHOLD_SIGMAS,
        sigmas,
        admitted,
        places,
        scores,
    )
    if found < 0:
        raise refuse(vector, "the vector")
    tally.scanned += scanned
    tally.rescored += scored
    return _matches(snapshot, places[:found], scores[:found]) if found else []


def _ground(
    snapshot: Snapshot, projector: PrismProjector, width: int, top_k: int, *, exact: bool
) -> tuple[Directory, npt.NDArray[np.int64], _Floats, int]:
    """Give what a compiled query stands on.

    Returns:
        The directory; its table; the matrix, of no line to score every row; and how many matches
        there can be.
    """
    directory = snapshot.directory
    table = directory.table(snapshot)
    coded = snapshot.projected and not exact
    matrix = projector.matrix(width) if coded else _no_matrix(width)
    return directory, table, matrix, top_k if top_k < snapshot.live_rows else snapshot.live_rows


def _matches(snapshot: Snapshot, places: _Positions, scores: _Scores) -> list[Match]:
    chunks = snapshot.chunks
    matches: list[Match] = []
    for place, score in zip(places.tolist(), scores.tolist(), strict=True):
        chunk = chunks[place >> ROW_BITS]
        row = chunk.row_at(place & ROW_MASK)
        matches.append(Match(chunk.ids[row], score, chunk.payloads[row]))
    return matches


@functools.lru_cache(maxsize=64)
def _no_matrix(width: int) -> _Floats:
    """Give the matrix of no projection, typed as the projector's are."""
    matrix = np.empty((0, width), np.float32)
    matrix.flags.writeable = False
    return matrix


class _Search:
    """The state of one query: positions count a snapshot's rows from the first chunk on."""

    def __init__(
        self,
        snapshot: Snapshot,
        question: Question,
        projector: PrismProjector,
        kernels: Kernels,
        tally: Tally,
    ) -> None:
        self._snapshot = snapshot
        self._vector, self._top_k, self._threshold, self._admission, self._exact, self._sigmas = (
            question
        )
        self._question = question
        self._projector = projector
        self._kernels = kernels
        self._tally = tally
        unit = unit_row(self._vector)
        self._unit = unit.rows[0]
        self._squared_norm = int(unit.squared_norms[0])
        self._projected = np.empty(0, np.float32)
        if snapshot.projected:  # a projector's matrix is made at its first use
            self._projected = projector.products(unit.rows)[0, :MAX_CODED] / np.float32(_UNIT)
        self._parts = list(snapshot.parts())
        self._offsets = [0]
        for _, length in self._parts:
            self._offsets.append(self._offsets[-1] + length)
        self._admitted: npt.NDArray[np.bool_] | None = None

    def matches(self) -> list[Match]:
        """Run the query."""
        rows = self._offsets[-1]
        if self._admission is not None:
            positions = self._positions_of(self._admission.seqs)
            most = max(_LIST_ROWS, rows * _SIGNS_COST // (_GATHER_COST * len(self._unit)))
            if len(positions) <= most:
                return self._ranked(positions, self._scores(positions))
            self._admitted = np.zeros(rows, np.bool_)
            self._admitted[positions] = True
            if self._kernels.find is not None:
                mask = self._admitted.view(np.uint8)
                find, snapshot = self._kernels.find, self._snapshot
                if self._admission.key is not None:
                    snapshot.directory.keep(self._admission.key, mask)
                return _found(snapshot, self._question, self._projector, find, self._tally, mask)
        projected = self._snapshot.projected and not self._exact
        return self._ranked(*self._scored(projected=projected))

    def _scored(self, *, projected: bool) -> tuple[_Positions, _Scores]:
        """Scan and score the promising rows; all rows at full width when too many promise."""
        positions, estimates = self._estimate(projected=projected)
        if self._threshold > -1.0:
            bar = self._bar(self._threshold, THRESHOLD_SIGMAS, projected=projected)
            promising = np.flatnonzero(estimates >= np.float32(bar))
            positions, estimates = positions[promising], estimates[promising]
        self._tally.scanned += self._offsets[-1]
        most = self._offsets[-1] // _GATHER_COST if projected else len(estimates)
        first_round = max(_FIRST_ROUND, 4 * self._top_k)
        if len(estimates) <= first_round:
            return positions, self._scores(positions)
        cut = np.partition(estimates, len(estimates) - first_round)[len(estimates) - first_round]
        first = np.flatnonzero(estimates >= cut)
        if len(first) > max(most, first_round):
            return self._scored(projected=False)
        scores = self._scores(positions[first])
        kth = float(np.partition(scores, len(scores) - self._top_k)[-self._top_k])
        sigmas = self._sigmas if kth > self._threshold else THRESHOLD_SIGMAS
        bar = self._bar(max(kth, self._threshold), sigmas, projected=projected)
        second = np.flatnonzero((estimates >= np.float32(bar)) & (estimates < cut))
        if len(first) + len(second) > max(most, first_round):
            return self._scored(projected=False)
        chosen = np.concatenate([first, second])
        order = np.argsort(chosen)
        scores = np.concatenate([scores, self._scores(positions[second])])
        return positions[chosen[order]], scores[order]

    def _bar(self, score: float, sigmas: float, *, projected: bool) -> float:
        width = len(self._unit)
        if projected:
            return agreement_bar(score, projected=self._projected, width=width, sigmas=sigmas)
        return full_width_bar(score, width=width)

    def _estimate(self, *, projected: bool) -> tuple[_Positions, _Floats]:
        """Estimate every row: the signs that agree, or the cosine rounded to float32."""
        estimates = np.empty(self._offsets[-1], np.float32)
        signs = np.packbits(self._projected > 0.0, bitorder="little")
        query = self._unit.astype(np.float32)
        hidden = False
        for (chunk, length), start in zip(self._parts, self._offsets, strict=False):
            part = estimates[start : start + length]
            if projected and chunk.codes is not None:
                differing = plain.disagreements(chunk.codes, length, signs)
                np.subtract(len(self._projected), differing, out=part)
            else:
                # A row that was dead when it was saved is all zeros.
                norms = np.maximum(chunk.squared_norms[:length], 1)
                scale = np.sqrt(norms * np.float64(self._squared_norm))
                np.divide(plain.estimate(chunk.rows, length, query), scale, out=part)
            if chunk.dead and self._admitted is None:
                part[~chunk.living(length, self._snapshot.epoch)] = _HIDDEN
                hidden = True
        if self._admitted is not None:
            positions = np.flatnonzero(self._admitted)
        elif hidden:
            positions = np.flatnonzero(estimates > _HIDDEN)
        else:
            return np.arange(len(estimates)), estimates
        return positions, estimates[positions]

    def _positions_of(self, seqs: npt.NDArray[np.int64]) -> _Positions:
        parts = [rows + self._offsets[place] for place, _, rows in self._snapshot.locate(seqs)]
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def _scores(self, positions: _Positions) -> _Scores:
        """Score rows exactly; positions ascend."""
        scores = np.empty(len(positions), np.float64)
        ends = np.searchsorted(positions, self._offsets[1:]).tolist()
        begin = 0
        for (chunk, _), start, end in zip(self._parts, self._offsets, ends, strict=False):
            if end > begin:
                rows = positions[begin:end] - start
                products = self._kernels.exact(chunk.rows, rows, self._unit)
                # A row's product with itself over the root of its own square is exactly 1.
                scale = np.sqrt(chunk.squared_norms[rows].astype(np.float64) * self._squared_norm)
                np.divide(products, scale, out=scores[begin:end])
                begin = end
        self._tally.rescored += len(positions)
        return np.clip(scores, -1.0, 1.0, out=scores)

    def _ranked(self, positions: _Positions, scores: _Scores) -> list[Match]:
        keep = np.flatnonzero(scores >= self._threshold)
        # Of rows of equal score the one that was inserted first comes first.
        best = keep[np.lexsort((self._inserted(positions[keep]), -scores[keep]))[: self._top_k]]
        matches: list[Match] = []
        for position, score in zip(positions[best].tolist(), scores[best].tolist(), strict=True):
            place = next(p for p, end in enumerate(self._offsets[1:]) if position < end)
            chunk, row = self._parts[place][0], position - self._offsets[place]
            matches.append(Match(chunk.ids[row], score, chunk.payloads[row]))
        return matches

    def _inserted(self, positions: _Positions) -> _Positions:
        """Give numbers that ascend as rows were inserted; positions ascend."""
        if not any(chunk.arranged for chunk, _ in self._parts):
            return positions
        numbers = np.empty(len(positions), np.int64)
        ends = np.searchsorted(positions, self._offsets[1:]).tolist()
        begin = 0
        for (chunk, _), start, end in zip(self._parts, self._offsets, ends, strict=False):
            numbers[begin:end] = chunk.seqs_of(positions[begin:end] - start)
            begin = end
        return numbers
