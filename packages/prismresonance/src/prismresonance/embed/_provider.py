"""What all providers have in common: batches, retries, and no trust in what comes back."""

from __future__ import annotations

import math
import random
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np
import numpy.typing as npt

from prismresonance.embed._answer import UnusableAnswerError, unit_rows
from prismresonance.embed._batches import batches
from prismresonance.embed._retry import Failure, FailureKind, Retry
from prismresonance.embed._texts import well_formed
from prismresonance.errors import (
    EmbedderConfigurationError,
    EmbeddingError,
    EmbeddingTimeoutError,
    InvalidArgumentError,
    TransientEmbeddingError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Answer", "Clock", "ProviderEmbedder", "SystemClock"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a provider sent back, not checked yet.

    Attributes:
        vectors: The vectors in the order they came.
        indices: For each the number of the text it belongs to.
    """

    vectors: Sequence[object]
    indices: Sequence[object]


class Clock(Protocol):
    """Where time comes from, and goes."""

    def now(self) -> float:
        """Return seconds on a clock that never goes back."""

    def sleep(self, seconds: float) -> None:
        """Return after so many seconds."""


class SystemClock:
    """The clock of this machine."""

    def now(self) -> float:
        """Return `time.monotonic()`."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Call `time.sleep`."""
        time.sleep(seconds)


class ProviderEmbedder(ABC):
    """Embeds by asking a server. Its subclasses know how to ask one.

    Retries happen here and nowhere else; the SDKs' own are switched off. They differ from SDK to
    SDK (the one of ollama has none, the one of voyageai ignores `Retry-After`), and none of them
    keeps within one time limit for all attempts.

    Safe to use from several threads at once. Do not carry one through `os.fork`: the SDKs keep
    connections open, and two processes would share them.

    Args:
        model_id: See `Embedder.model_id`.
        dim: Width of the vectors; `None` if only the server knows.
        timeout_s: See `timeout_s` of the subclasses, and so on.
        max_retries: Attempts after the first.
        batch_size: Most texts in a request.
        batch_bytes: Most bytes of UTF-8 in a request of more than one text.
        clock: Another clock than this machine's.

    Raises:
        InvalidArgumentError: A setting is out of its range.
    """

    def __init__(
        self,
        model_id: str,
        *,
        dim: int | None,
        timeout_s: float,
        max_retries: int,
        batch_size: int,
        batch_bytes: int,
        clock: Clock | None,
    ) -> None:
        if not (timeout_s > 0 and math.isfinite(timeout_s)):
            raise InvalidArgumentError(f"timeout_s must be positive and finite, not {timeout_s!r}")
        if max_retries < 0:
            raise InvalidArgumentError(f"max_retries must not be negative, not {max_retries!r}")
        if batch_size < 1:
            raise InvalidArgumentError(f"batch_size must be at least 1, not {batch_size!r}")
        if dim is not None and dim < 1:
            raise InvalidArgumentError(f"dimensions must be at least 1, not {dim!r}")
        self._model_id = model_id
        self._dim = dim
        self._timeout_s = timeout_s
        self._max_retries = max_retries
        self._batch_size = batch_size
        self._batch_bytes = batch_bytes
        self._clock = clock or SystemClock()
        self._closed = False
        self._random = random.Random()  # noqa: S311  spreads retries, guards nothing

    @abstractmethod
    def _request(self, texts: Sequence[str], timeout_s: float) -> Answer | Failure:
        """Ask the server once.

        Failures are returned, not raised: an exception raised while the SDK's is being handled
        would carry that one along, with the request, its key and its texts.

        Args:
            texts: The texts of one request, none of them blank.
            timeout_s: Seconds the attempt may take.
        """

    @abstractmethod
    def _close(self) -> None:
        """Close what this object opened; called once."""

    @property
    def model_id(self) -> str:
        """Provider and model, such as `openai/text-embedding-3-small`, and what was set beside it.

        The server is not part of it: another one that goes by the same model name is taken to have
        the same model.
        """
        return self._model_id

    @property
    def dim(self) -> int:
        """Width of the vectors.

        Known from the start if it was set or the model is a well-known one, otherwise from the
        first answer. Read before that, it embeds one word to find out, which can raise what `embed`
        raises.
        """
        if self._dim is None:
            self._rows(["width"])
        assert self._dim is not None  # noqa: S101  an answer sets it
        return self._dim

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Embed each text.

        Equal texts are sent once, blank ones not at all. Either all rows come back or none.

        Args:
            texts: Any number of texts, also none.

        Returns:
            Shape `(len(texts), dim)`, rows in the order of the texts and of length 1; zeros for
            blank texts.

        Raises:
            InvalidTextError: An item is not a string. Nothing was sent.
            EmbedderConfigurationError: The provider does not accept the key or the model's name.
            TransientEmbeddingError: It failed in a way that may pass, and retrying did not help.
            EmbeddingTimeoutError: It did not answer in time.
            EmbeddingError: It refused the texts, its answer is not one vector a text, or this
                embedder is closed.
        """
        checked = well_formed(texts)
        to_send = list(dict.fromkeys(text for text in checked if text and not text.isspace()))
        found: dict[str, npt.NDArray[np.float32]] = {}
        for batch in batches(to_send, max_texts=self._batch_size, max_bytes=self._batch_bytes):
            found.update(zip(batch, self._rows(batch), strict=True))
        rows = np.zeros((len(checked), self.dim), np.float32)
        for row, text in zip(rows, checked, strict=True):
            if text in found:
                row[:] = found[text]
        return rows

    def close(self) -> None:
        """Close the connections. Does nothing the second time; `embed` raises from then on."""
        if not self._closed:
            self._closed = True
            self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _rows(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Embed the texts of one request, retrying; shape `(len(texts), dim)`."""
        if self._closed:
            raise EmbeddingError(f"{self._model_id}: this embedder is closed")
        retry = Retry(self._clock.now(), timeout_s=self._timeout_s, max_retries=self._max_retries)
        while True:
            # Never 0: to one SDK that means no limit.
            time_left_s = max(retry.time_left_s(self._clock.now()), 0.001)
            outcome = self._request(texts, time_left_s)
            if isinstance(outcome, Answer):
                return self._checked_rows(outcome, len(texts))
            wait_s = retry.wait_s(outcome, self._clock.now(), self._random.random())
            if wait_s is None:
                raise self._error(outcome)
            self._clock.sleep(wait_s)

    def _checked_rows(self, answer: Answer, count: int) -> npt.NDArray[np.float32]:
        try:
            rows = unit_rows(answer.vectors, answer.indices, count=count, dim=self._dim)
        except UnusableAnswerError as error:
            raise EmbeddingError(f"{self._model_id}: the server sent {error}") from None
        self._dim = rows.shape[1]
        return rows

    def _error(self, failure: Failure) -> Exception:
        message = f"{self._model_id}: {failure.reason}"
        if failure.kind is FailureKind.TRANSIENT:
            return TransientEmbeddingError(message, retry_after_s=failure.retry_after_s)
        if failure.kind is FailureKind.TIMEOUT:
            return EmbeddingTimeoutError(f"{message} within {self._timeout_s:g} s")
        if failure.kind is FailureKind.FORBIDDEN:
            return EmbedderConfigurationError(message)
        return EmbeddingError(message)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(model_id={self._model_id!r}, timeout_s={self._timeout_s:g})"
