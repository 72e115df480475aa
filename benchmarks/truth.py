"""The exact answers, and how much of them was found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from contestant import Rows

KEPT = 64
_ROUNDING = 2e-6


class Truth:
    """The best rows of every query by plain float32 products, kept up to date as rows come.

    Args:
        queries: Shape `(q, width)`, unit rows.
    """

    def __init__(self, queries: Rows) -> None:
        self._queries = queries
        self._count = 0
        self._numbers: npt.NDArray[np.int64] = np.empty((len(queries), 0), np.int64)
        self._scores: Rows = np.empty((len(queries), 0), np.float32)

    def add(self, rows: Rows) -> None:
        """Take the next rows into account."""
        numbers = np.arange(self._count, self._count + len(rows))
        self._count += len(rows)
        scores = np.hstack([self._scores, self._queries @ rows.T])
        all_numbers = np.hstack(
            [self._numbers, np.broadcast_to(numbers, (len(self._queries), len(rows)))]
        )
        kept = min(KEPT, scores.shape[1])
        best = np.argpartition(-scores, kept - 1, axis=1)[:, :kept]
        self._scores = np.take_along_axis(scores, best, axis=1)
        self._numbers = np.take_along_axis(all_numbers, best, axis=1)

    def recall(
        self, found: Sequence[Sequence[int]], top_k: int, threshold: float | None
    ) -> float | None:
        """Give the found share of the rows to be found; rows of equal score stand for each other.

        Returns:
            A share summed over all queries; `None` when there was nothing to find.
        """
        wanted = hits = 0
        for numbers, own, scores in zip(found, self._numbers, self._scores, strict=True):
            least = np.sort(scores)[-min(top_k, len(scores))]
            expected = min(top_k, len(scores))
            if threshold is not None:
                expected = min(top_k, int((scores >= threshold).sum()))
                least = max(least, np.float32(threshold))
            right = set(own[scores >= least - _ROUNDING].tolist())
            wanted += expected
            hits += min(expected, len(right.intersection(numbers)))
        return hits / wanted if wanted else None

    def false_share(self, found: Sequence[Sequence[int]], threshold: float) -> float:
        """Give the share of queries answered with at least one row below the threshold."""
        wrong = 0
        for numbers, own, scores in zip(found, self._numbers, self._scores, strict=True):
            right = set(own[scores >= threshold - _ROUNDING].tolist())
            wrong += len(right) < len(own) and not right.issuperset(numbers)
        return wrong / len(found)

    def answered_share(self, threshold: float) -> float:
        """Give the share of queries with at least one row at the threshold or above."""
        return float((self._scores >= threshold).any(axis=1).mean())
