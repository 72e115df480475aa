"""The best rows so far: a heap with the worst of them on top."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from prismresonance._kernels.parts import part

__all__ = ["offer", "settle"]

_Scores = npt.NDArray[np.float64]
_Places = npt.NDArray[np.int64]


@part
def _worse(scores: _Scores, places: _Places, a: int, b: int) -> bool:
    """Say whether entry `a` ranks behind entry `b`: by score, of equals the later row."""
    if scores[a] == scores[b]:
        return bool(places[a] > places[b])
    return bool(scores[a] < scores[b])


@part
def _swap(scores: _Scores, places: _Places, a: int, b: int) -> None:
    scores[a], scores[b] = scores[b], scores[a]
    places[a], places[b] = places[b], places[a]


@part
def _sink(scores: _Scores, places: _Places, count: int) -> None:
    at = 0
    while True:
        child = 2 * at + 1
        if child >= count:
            return
        if child + 1 < count and _worse(scores, places, child + 1, child):
            child += 1
        if _worse(scores, places, at, child):
            return
        _swap(scores, places, at, child)
        at = child


@part
def offer(scores: _Scores, places: _Places, held: int, score: float, place: int) -> int:
    """Keep a row if it is among the best; O(log k).

    Args:
        scores: Shape `(k,)`: the heap's scores, of which the first `held` count.
        places: Shape `(k,)`: and rows, whose order is that of insertion into the index.
        held: How many rows the heap holds.
        score: The row's score.
        place: The row.

    Returns:
        How many rows it holds now.
    """
    if held < scores.shape[0]:
        scores[held], places[held] = score, place
        at = held
        while at > 0 and _worse(scores, places, at, (at - 1) // 2):
            _swap(scores, places, at, (at - 1) // 2)
            at = (at - 1) // 2
        return held + 1
    if score > scores[0] or (score == scores[0] and place < places[0]):
        scores[0], places[0] = score, place
        _sink(scores, places, held)
    return held


@part
def settle(scores: _Scores, places: _Places, held: int) -> None:
    """Sort the heap, best first; it is no heap any more."""
    for last in range(held - 1, 0, -1):
        _swap(scores, places, 0, last)
        _sink(scores, places, last)
