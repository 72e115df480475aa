"""Vectors of texts, by the model that made the rows' vectors."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, cast

from prism.ffi.errors import ModelMismatchError
from prismresonance.embed import MiniLMEmbedder, StaticEmbedder

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from prismresonance.embed import Embedder
    from prismresonance.embed._static import StaticDim

__all__ = ["TextEmbedder"]

_MINILM = "minilm-l6-int8"
_STATIC = "wordllama-l2-supercat-"


class TextEmbedder:
    """Embed with the one model that fits, or not at all. Safe to share between threads.

    Args:
        embedder: The user's; `None` takes a local one by its name.
    """

    def __init__(self, embedder: Embedder | None) -> None:
        self._embedder = embedder
        self._is_given = embedder is not None
        self._lock = threading.Lock()

    def check(self, model_id: str) -> None:
        """Refuse another model than the user's, if there is one.

        Raises:
            ModelMismatchError: They differ.
        """
        own = self._embedder
        if self._is_given and own is not None and model_id and own.model_id != model_id:
            raise ModelMismatchError(
                f"the wrapper embeds with {model_id!r}, the given embedder is {own.model_id!r}: "
                "vectors of different models do not compare; give the same one to both"
            )

    def embed(self, text: str, model_id: str) -> npt.NDArray[np.float32]:
        """Give the vector of a text.

        Raises:
            ModelMismatchError: The rows' model is not announced, or not to be had here.
            prismresonance.PrismResonanceError: The embedder cannot be built or fails.
        """
        if not model_id:
            raise ModelMismatchError(
                "the wrapper does not say which model made its vectors: pass embedding= instead"
            )
        self.check(model_id)
        vector: npt.NDArray[np.float32] = self._of(model_id).embed([text])[0]
        if not vector.any():
            raise ModelMismatchError(f"the model {model_id!r} sees nothing in this text")
        return vector

    def _of(self, model_id: str) -> Embedder:
        with self._lock:
            own = self._embedder
            if own is not None and own.model_id == model_id:
                return own
            if model_id == _MINILM:
                own = MiniLMEmbedder()
            elif model_id.startswith(_STATIC) and model_id.removeprefix(_STATIC).isdecimal():
                own = StaticEmbedder(dim=cast("StaticDim", int(model_id.removeprefix(_STATIC))))
            else:
                raise ModelMismatchError(
                    f"the wrapper embeds with {model_id!r}: give an embedder of that model_id as "
                    "DriverConfig(embedder=...), or pass embedding= instead of text="
                )
            self._embedder = own
            return own
