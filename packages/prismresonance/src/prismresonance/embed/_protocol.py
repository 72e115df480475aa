"""What an embedder is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

__all__ = ["Embedder", "SelectiveEmbedder"]


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into unit vectors of one fixed width.

    Two embedders with equal `model_id` give comparable vectors; vectors of different models never
    are, whatever their width. Implementations are safe to call from several threads at once.
    """

    @property
    def model_id(self) -> str:
        """Name of the model and of all that changes its vectors, such as `minilm-l6-int8`."""

    @property
    def dim(self) -> int:
        """Width of the vectors."""

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Embed each text.

        Args:
            texts: Any number of texts, also none.

        Returns:
            Shape `(len(texts), dim)`, rows in the order of the texts and of length 1. A text in
            which the model sees nothing (an empty one, say) gives a row of zeros.
        """


@runtime_checkable
class SelectiveEmbedder(Embedder, Protocol):
    """An embedder that knows which texts it sees only in part.

    Two texts that differ where it does not look have the same vector, so whoever takes near for
    same should ask first.
    """

    def reads(self, text: str) -> bool:
        """Tell whether the vector of `text` rests on all of it, in a language of the model."""
