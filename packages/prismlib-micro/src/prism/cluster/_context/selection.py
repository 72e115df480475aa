"""Which units are kept within a budget of tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from prism.cluster._context.units import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from prism.cluster._context.chunk import ReadChunk

__all__ = ["select_units"]

# Vectors of one sentence with another comma are this near; those of another fact are nearer than
# one would like, so numbers and negations have to agree as well.
_SAME_COSINE = 0.97


def select_units(
    chunks: Sequence[ReadChunk],
    scores: Sequence[npt.NDArray[np.float64]],
    *,
    budget: int,
) -> list[list[int]]:
    """Give the numbers of the units to keep of each chunk, in their order.

    The best units that fit are taken, with the headers they stand under; what says the same as one
    that was taken is left out. The best unit of all is taken even if it alone is over the budget: a
    context that is not empty never becomes empty.

    Args:
        chunks: The chunks, read.
        scores: Of their units, for each chunk shape `(units,)`.
        budget: The most tokens.
    """
    kept: list[set[int]] = [set() for _ in chunks]
    seen = _Seen(chunks)
    left = budget
    for at, number in _ranked(chunks, scores):
        chunk = chunks[at]
        unit = chunk.units[number]
        wanted = [one for one in (*unit.headers, number) if one not in kept[at]]
        cost = sum(chunk.tokens[one] for one in wanted)
        if cost > left and any(kept):
            continue
        if seen.says_nothing_new(at, number):
            continue
        kept[at].update(wanted)
        left -= cost
    return [sorted(numbers) for numbers in kept]


def _ranked(
    chunks: Sequence[ReadChunk], scores: Sequence[npt.NDArray[np.float64]]
) -> list[tuple[int, int]]:
    """Give chunk and number of all units that can be chosen, the best first, ties in order."""
    places = [
        (at, number)
        for at, chunk in enumerate(chunks)
        for number, unit in enumerate(chunk.units)
        if unit.kind is not Kind.HEADER
    ]
    if not places:  # headers alone
        places = [
            (at, number) for at, chunk in enumerate(chunks) for number in range(len(chunk.units))
        ]
    return sorted(places, key=lambda place: -scores[place[0]][place[1]])


class _Seen:
    """What the units that were taken say."""

    def __init__(self, chunks: Sequence[ReadChunk]) -> None:
        self._chunks = chunks
        self._wordings: set[str] = set()
        width = chunks[0].vectors.shape[1]
        self._vectors = np.empty((sum(len(chunk.units) for chunk in chunks), width), np.float32)
        self._facts: list[tuple[str, ...]] = []

    def says_nothing_new(self, at: int, number: int) -> bool:
        """Tell whether a unit says what one before it said; if not, it counts as said."""
        chunk = self._chunks[at]
        if chunk.wordings[number] in self._wordings:
            return True
        if chunk.units[number].kind is Kind.SENTENCE:
            vector, facts = chunk.vectors[number], chunk.facts[number]
            near = np.einsum("ij,j->i", self._vectors[: len(self._facts)], vector) > _SAME_COSINE
            if any(self._facts[one] == facts for one in np.flatnonzero(near)):
                return True
            self._vectors[len(self._facts)] = vector
            self._facts.append(facts)
        self._wordings.add(chunk.wordings[number])
        return False
