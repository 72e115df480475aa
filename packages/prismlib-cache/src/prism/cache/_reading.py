"""Vectors of answers: to compare them with each other, and with the questions they may answer.

Every miss brings an answer of a hundred words. The embedder of questions would take several times
as long for it as for a question, on the same cores, or money if it is a provider's. A table of
token vectors takes a hundredth of that, and tells answers apart as well: of pairs whose facts agree
(`_answers`) it puts the same answers before different ones in .997 to .999 of the cases on the
demo's FAQ, in .989 and .997 on BANKING77 and CLINC150 as the benchmark's mock model words them;
MiniLM in .994 to .999, .920 and .998. The cosines above which answers are the same hold for both.

Where the table is not installed or does not know the script, the embedder of questions is asked.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from prism.cache._answers import readable
from prismresonance.embed import SelectiveEmbedder

if TYPE_CHECKING:
    from prismresonance.embed import Embedder, StaticEmbedder

__all__ = ["AnswerReader"]

_log = logging.getLogger("prism.cache")

# Of the table's own models, whatever their width.
_ITS_FAMILY = "wordllama-l2-supercat"

Vector = npt.NDArray[np.float32]


class AnswerReader:
    """Makes vectors of answers. Safe for threads.

    Vectors of the table and of the embedder differ in width, so that it tells them apart.

    Args:
        embedder: What makes vectors of questions.
    """

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._is_selective = isinstance(embedder, SelectiveEmbedder)
        self._table: StaticEmbedder | None = None
        self._has_looked = False

    def __call__(self, text: str) -> Vector | None:
        """Give the unit vector of an answer; `None` if nothing can read it.

        Cost: 0.1 ms with the table, after half a second for the first text.

        Raises:
            Exception: The embedder failed.
        """
        read = readable(text)
        if not read:
            return None
        table = self._the_table()
        if table is not None and table.reads(read):
            row = table.embed([read])
            width = table.dim
        elif self._is_selective and not self._embedder.reads(read):  # type: ignore[attr-defined]
            return None
        else:
            row, width = np.asarray(self._embedder.embed([read]), dtype=np.float32), self.width
        if row.shape != (1, width) or not np.isfinite(row).all():
            return None
        meaning: Vector = row[0]
        return meaning

    def question(self, text: str) -> Vector | None:
        """Give the vector of a question in the table's space; `None` before it was needed."""
        table = self._table
        return None if table is None else table.embed([text])[0]

    @property
    def width(self) -> int:
        """Width of the embedder's vectors."""
        return self._embedder.dim

    def knows(self, width: int) -> bool:
        """Tell whether a stored vector of this width can be compared with what is made here."""
        table = self._the_table()
        return width == self.width or (table is not None and width == table.dim)

    def _the_table(self) -> StaticEmbedder | None:
        if not self._has_looked:
            # Twice at once does no harm: the table itself is shared.
            self._table = _table_beside(self._embedder)
            self._has_looked = True
        return self._table


def _table_beside(embedder: Embedder) -> StaticEmbedder | None:
    from prismresonance.embed import StaticEmbedder
    from prismresonance.errors import EmbedderConfigurationError

    try:
        table = StaticEmbedder(dim=256 if embedder.dim != 256 else 128)
    except EmbedderConfigurationError as error:
        _log.debug("answers are read by the embedder of questions: %s", error)
        return None
    return None if embedder.model_id.startswith(_ITS_FAMILY) else table
