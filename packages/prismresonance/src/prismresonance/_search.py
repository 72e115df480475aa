"""From a question to its matches: estimate all rows, score the promising ones, rank.

Two scans share one procedure. The scan of projected rows reads `dim` numbers a row and errs as
`projected_bar` says; the scan at full width reads `width` numbers and errs by float32 rounding.
Either way the final score is the exact one, and the bar that an estimate must reach follows from
the score that a row must have to matter: the threshold, or the score of the k-th best row so far.

Compiled kernels do all of it in one call and scan sign codes first, see `_kernels.find`; what is
here step by step is numpy's way, and the short way for few admitted rows.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from prismresonance._bar import full_width_bar, projected_bar
from prismresonance._records import Match

if TYPE_CHECKING:
    from prismresonance._kernels.interface import Find, Kernels
    from prismresonance._projector import PrismProjector
    from prismresonance._snapshot import Snapshot

__all__ = ["Question", "Work", "search"]

THRESHOLD_SIGMAS = 4.0
"""A row exactly at the threshold is missed with a probability of about 3e-5."""

TOP_K_SIGMAS = 3.0
"""A row exactly as good as the k-th best is missed with a probability of about 1.5e-3."""

_FIRST_ROUND = 128
_LIST_ROWS = 256
_GATHER_COST = 4  # scoring a chosen row costs as much as estimating this many at full width
_HIDDEN = np.float32(-4.0)
_NO_MASK = np.empty(0, np.uint8)

_Floats = npt.NDArray[np.float32]
_Scores = npt.NDArray[np.float64]
_Positions = npt.NDArray[np.int64]


class Question(NamedTuple):
    """One checked query.

    Attributes:
        unit: Shape `(width,)`: the unit vector on the grid.
        squared_norm: Its exact squared length.
        top_k: How many matches at most.
        threshold: The least score; `-inf` for none.
        allowed: Ascending numbers of the rows that `where` admits; `None` for all.
        exact: Whether to look at every row at full width.
    """

    unit: _Floats
    squared_norm: float
    top_k: int
    threshold: float
    allowed: npt.NDArray[np.int64] | None
    exact: bool


@dataclass(slots=True)
class Work:
    """What a query did: rows estimated and rows scored exactly."""

    scanned: int = 0
    rescored: int = 0


def search(
    snapshot: Snapshot, question: Question, projector: PrismProjector, kernels: Kernels, work: Work
) -> list[Match]:
    """Find the best rows of a snapshot.

    Args:
        snapshot: Where to look.
        question: What to look for.
        projector: Projects the question as the rows were.
        kernels: The inner loops.
        work: Counts what was done, written.

    Returns:
        At most `top_k` matches of at least the threshold, best first; of equals the older first.
    """
    if not snapshot.live_rows:
        return []
    if kernels.find is not None and question.allowed is None:
        return _found(snapshot, question, projector, kernels.find, work, _NO_MASK)
    return _Search(snapshot, question, projector, kernels, work).matches()


def _found(
    snapshot: Snapshot,
    question: Question,
    projector: PrismProjector,
    find: Find,
    work: Work,
    admitted: npt.NDArray[np.uint8],
) -> list[Match]:
    """Find the best rows in one compiled call; `admitted` has a byte a row, or none at all."""
    directory = snapshot.directory
    table = directory.table(snapshot)
    room = min(question.top_k, snapshot.live_rows)
    places, scores = np.empty(room, np.int64), np.empty(room, np.float64)
    width = len(question.unit)
    coded = snapshot.projected and not question.exact
    found, scored = find(
        question.unit,
        question.squared_norm,
        projector.matrix(width) if coded else _no_matrix(width),
        table,
        directory.rows,
        snapshot.epoch,
        max(question.threshold, -2.0),
        THRESHOLD_SIGMAS,
        TOP_K_SIGMAS,
        admitted,
        places,
        scores,
    )
    work.scanned += directory.rows
    work.rescored += scored
    if not found:
        return []
    chunks = snapshot.chunks
    matches: list[Match] = []
    for place, score in zip(places[:found].tolist(), scores[:found].tolist(), strict=True):
        chunk, row = chunks[place >> 32], place & 0xFFFFFFFF
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
        work: Work,
    ) -> None:
        self._snapshot = snapshot
        self._question = question
        self._projector = projector
        self._kernels = kernels
        self._work = work
        self._wide = question.unit.astype(np.float64)
        self._parts = list(snapshot.parts())
        self._offsets = [0]
        for _, length in self._parts:
            self._offsets.append(self._offsets[-1] + length)
        self._admitted: npt.NDArray[np.bool_] | None = None

    def matches(self) -> list[Match]:
        """Run the query."""
        question, rows = self._question, self._offsets[-1]
        if question.allowed is not None:
            positions = self._positions_of(question.allowed)
            most = max(_LIST_ROWS, rows * self._projector.dim // (_GATHER_COST * len(self._wide)))
            if len(positions) <= most:
                return self._ranked(positions, self._scores(positions))
            self._admitted = np.zeros(rows, np.bool_)
            self._admitted[positions] = True
            if self._kernels.find is not None:
                mask = self._admitted.view(np.uint8)
                find, snapshot = self._kernels.find, self._snapshot
                return _found(snapshot, question, self._projector, find, self._work, mask)
        projected = self._snapshot.projected and not question.exact
        return self._ranked(*self._scored(projected=projected))

    def _scored(self, *, projected: bool) -> tuple[_Positions, _Scores]:
        """Scan and score the promising rows; all rows at full width when too many promise."""
        question = self._question
        query = question.unit
        if projected:
            query = self._projector.project_units(query[np.newaxis, :])[0]
        if question.threshold > -1.0:
            bar = self._bar(question.threshold, THRESHOLD_SIGMAS, projected=projected)
            positions, estimates = self._collect(query, bar, projected=projected)
        else:
            positions, estimates = self._estimate(query, projected=projected)
        self._work.scanned += self._offsets[-1]
        most = self._offsets[-1] // _GATHER_COST if projected else len(estimates)
        first_round = max(_FIRST_ROUND, 4 * question.top_k)
        if len(estimates) <= first_round:
            return positions, self._scores(positions)
        cut = np.partition(estimates, len(estimates) - first_round)[len(estimates) - first_round]
        first = np.flatnonzero(estimates >= cut)
        if len(first) > max(most, first_round):
            return self._scored(projected=False)
        scores = self._scores(positions[first])
        kth = float(np.partition(scores, len(scores) - question.top_k)[-question.top_k])
        sigmas = TOP_K_SIGMAS if kth > question.threshold else THRESHOLD_SIGMAS
        bar = self._bar(max(kth, question.threshold), sigmas, projected=projected)
        second = np.flatnonzero((estimates >= np.float32(bar)) & (estimates < cut))
        if len(first) + len(second) > max(most, first_round):
            return self._scored(projected=False)
        chosen = np.concatenate([first, second])
        order = np.argsort(chosen)
        scores = np.concatenate([scores, self._scores(positions[second])])
        return positions[chosen[order]], scores[order]

    def _bar(self, score: float, sigmas: float, *, projected: bool) -> float:
        if projected:
            return projected_bar(score, dim=self._projector.dim, sigmas=sigmas)
        return full_width_bar(score, width=len(self._wide))

    def _estimate(self, query: _Floats, *, projected: bool) -> tuple[_Positions, _Floats]:
        estimates = np.empty(self._offsets[-1], np.float32)
        hidden = False
        for (chunk, length), start in zip(self._parts, self._offsets, strict=False):
            part = estimates[start : start + length]
            rows = chunk.low if projected and chunk.low is not None else chunk.full
            self._kernels.estimate(rows, length, query, part)
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

    def _collect(
        self, query: _Floats, bar: float, *, projected: bool
    ) -> tuple[_Positions, _Floats]:
        found: list[_Positions] = []
        values: list[_Floats] = []
        for (chunk, length), start in zip(self._parts, self._offsets, strict=False):
            source = chunk.low if projected and chunk.low is not None else chunk.full
            rows, estimates = self._kernels.collect(source, length, query, bar)
            if not len(rows):
                continue
            if self._admitted is not None:
                keep = self._admitted[rows + start]
            else:
                keep = chunk.died_at[rows] > self._snapshot.epoch
            found.append(rows[keep] + start)
            values.append(estimates[keep])
        if not found:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        return np.concatenate(found), np.concatenate(values)

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
                products = self._kernels.exact(chunk.full, rows, self._wide)
                # A vector's product with itself over the root of its own square is exactly 1.
                scale = np.sqrt(chunk.squared_norms[rows] * self._question.squared_norm)
                np.divide(products, scale, out=scores[begin:end])
                begin = end
        self._work.rescored += len(positions)
        return np.clip(scores, -1.0, 1.0, out=scores)

    def _ranked(self, positions: _Positions, scores: _Scores) -> list[Match]:
        keep = np.flatnonzero(scores >= self._question.threshold)
        # Stable: rows of equal score stay in order of insertion.
        best = keep[np.argsort(-scores[keep], kind="stable")[: self._question.top_k]]
        matches: list[Match] = []
        for position, score in zip(positions[best].tolist(), scores[best].tolist(), strict=True):
            place = next(p for p, end in enumerate(self._offsets[1:]) if position < end)
            chunk, row = self._parts[place][0], position - self._offsets[place]
            matches.append(Match(chunk.ids[row], score, chunk.payloads[row]))
        return matches
