"""What is known of a chunk once it is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections import Counter

    import numpy as np
    import numpy.typing as npt

    from prism.cluster._context.units import Unit

__all__ = ["ReadChunk"]

# Of a unit beside its vector and text: offsets, counts and the dictionary that holds them.
_UNIT_BYTES = 1_200


@dataclass(frozen=True, slots=True)
class ReadChunk:
    """A chunk, read.

    Attributes:
        units: Its pieces, in order.
        counts: For each, how often each term occurs.
        lengths: For each, its number of terms, shape `(units,)`.
        tokens: For each, its tokens.
        wordings: For each, its text with single spaces, in one case.
        facts: For each, its numbers and negations.
        all_tokens: Of the whole chunk.
        vectors: For each, its unit vector, shape `(units, dim)`; zeros for headers.
    """

    units: tuple[Unit, ...]
    counts: tuple[Counter[str], ...]
    lengths: npt.NDArray[np.float64]
    tokens: tuple[int, ...]
    wordings: tuple[str, ...]
    facts: tuple[tuple[str, ...], ...]
    all_tokens: int
    vectors: npt.NDArray[np.float32]

    @property
    def size_bytes(self) -> int:
        """About what it takes in memory."""
        texts = sum(map(len, self.wordings))
        return self.vectors.nbytes + texts + _UNIT_BYTES * len(self.units)
