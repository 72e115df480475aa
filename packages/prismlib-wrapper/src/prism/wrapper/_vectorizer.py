"""Texts of rows to the vectors that travel."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from prism.wrapper.errors import VectorizeError, WrapperConfigurationError
from prismresonance import PrismProjector, PrismResonanceError
from prismresonance.embed import Embedder
from prismresonance.errors import (
    EmbedderConfigurationError,
    EmbeddingTimeoutError,
    TransientEmbeddingError,
)

__all__ = ["RowVectorizer", "Vectors"]

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Vectors:
    """What became of some texts.

    Attributes:
        rows: Shape `(texts, dim)`, float32. Zeros where a text says nothing to the model, and where
            no vector could be made.
        faults: Position of a text to the reason why it has none.
    """

    rows: npt.NDArray[np.float32]
    faults: dict[int, str]


class RowVectorizer:
    """Make vectors of the texts of rows: in batches, each distinct text once.

    A text that the embedder refuses does not stop the others: it gets zeros and its reason is told.
    A provider that is away is asked again until it answers. Safe for threads if the embedder is.

    Args:
        embedder: What turns text into vectors.
        batch_size: Texts in one call of the embedder. Local models are quickest at 64 to 256;
            larger batches cost memory, smaller ones calls.
        projector: If given, vectors travel in the space of this tenant instead of at full width.
        pause: Called with the seconds to wait before asking a provider again; returns whether to go
            on. For shutdowns, and tests.

    Raises:
        WrapperConfigurationError: `batch_size` is below 1.
    """

    def __init__(
        self,
        embedder: Embedder,
        *,
        batch_size: int = 128,
        projector: PrismProjector | None = None,
        pause: Callable[[float], bool] | None = None,
    ) -> None:
        if batch_size < 1:
            raise WrapperConfigurationError(f"batch_size must be at least 1, not {batch_size}")
        self._embedder = embedder
        self._batch_size = batch_size
        self._projector = projector
        self._pause = pause or _sleep
        self.last_error: str | None = None

    @property
    def model_id(self) -> str:
        """The embedder's model."""
        return self._embedder.model_id

    @property
    def embedder(self) -> Embedder:
        """What turns text into vectors; queries need the same."""
        return self._embedder

    @property
    def dim(self) -> int:
        """Width of the vectors as they travel."""
        return self._projector.dim if self._projector else self._embedder.dim

    def vectorize(self, texts: Sequence[str]) -> Vectors:
        """Make a vector of each text.

        Blocks while a provider is away. Cost: that of the embedder for the distinct texts.

        Raises:
            VectorizeError: The embedder cannot work at all (a wrong key, a missing model), or
                `pause` said to stop.
        """
        places: dict[str, int] = {}
        for text in texts:
            places.setdefault(text, len(places))
        distinct = list(places)
        made = np.zeros((len(distinct), self._embedder.dim), np.float32)
        faults: dict[int, str] = {}
        for start in range(0, len(distinct), self._batch_size):
            some = slice(start, start + self._batch_size)
            self._fill(made[some], distinct[some], faults, offset=start)
        if self._projector is not None:
            made = self._project(made)
        rows = made[[places[text] for text in texts]] if len(texts) else made
        told = {
            place: faults[places[text]]
            for place, text in enumerate(texts)
            if places[text] in faults
        }
        return Vectors(rows=np.ascontiguousarray(rows, "<f4"), faults=told)

    def _project(self, vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        assert self._projector is not None  # noqa: S101 - the caller looked
        projected = np.zeros((len(vectors), self._projector.dim), np.float32)
        seen = np.flatnonzero(np.any(vectors, axis=1))
        if len(seen):
            projected[seen] = self._projector.project(vectors[seen])
        return projected

    def _fill(
        self,
        target: npt.NDArray[np.float32],
        texts: Sequence[str],
        faults: dict[int, str],
        *,
        offset: int,
    ) -> None:
        """Embed into `target`; halve what is refused until the texts at fault stand alone."""
        try:
            vectors = self._embed(texts)
        except VectorizeError:
            raise
        except (PrismResonanceError, ValueError, RuntimeError) as error:
            if len(texts) == 1:
                if self._wait_until_healthy():
                    self._fill(target, texts, faults, offset=offset)
                    return
                # Only the kind: messages of providers may quote the text.
                faults[offset] = f"the embedder refused it ({type(error).__name__})"
                return
            middle = len(texts) // 2
            self._fill(target[:middle], texts[:middle], faults, offset=offset)
            self._fill(target[middle:], texts[middle:], faults, offset=offset + middle)
            return
        bad = np.logical_not(np.isfinite(vectors).all(axis=1, keepdims=True))
        for place in np.flatnonzero(bad).tolist():
            faults[offset + place] = "the embedder gave a vector that is not finite"
        target[:] = np.where(bad, np.float32(0), vectors)

    def _wait_until_healthy(self) -> bool:
        """Return once the embedder takes a harmless text; say whether that took waiting.

        Before that no text is at fault.
        """
        wait_s = _FIRST_WAIT_S
        waited = False
        while True:
            try:
                self._embed(["a"])
            except VectorizeError:
                raise
            except (PrismResonanceError, ValueError, RuntimeError) as error:
                self.last_error = f"{self.model_id} refuses all texts ({type(error).__name__})"
                if not self._pause(wait_s):
                    raise VectorizeError("stopped while the embedder refused") from None
                wait_s = min(wait_s * 2, _LONGEST_WAIT_S)
                waited = True
            else:
                return waited

    def _embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        wait_s = _FIRST_WAIT_S
        while True:
            try:
                vectors = self._embedder.embed(texts)
            except (TransientEmbeddingError, EmbeddingTimeoutError) as error:
                self.last_error = f"{self.model_id} does not answer ({type(error).__name__})"
                asked = getattr(error, "retry_after_s", None)
                if not self._pause(min(asked or wait_s, _LONGEST_WAIT_S)):
                    raise VectorizeError("stopped while the embedder was away") from None
                wait_s = min(wait_s * 2, _LONGEST_WAIT_S)
            except EmbedderConfigurationError as error:
                raise VectorizeError(f"{self.model_id} cannot work: {error}") from error
            else:
                self.last_error = None
                if vectors.shape != (len(texts), self._embedder.dim):
                    raise VectorizeError(
                        f"{self.model_id} gave vectors of shape {vectors.shape} for {len(texts)} "
                        f"texts, not {self._embedder.dim} wide ones"
                    )
                return vectors


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return True
