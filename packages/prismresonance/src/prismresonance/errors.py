"""What can go wrong, split by what the caller does next.

    PrismResonanceError
    ├── InvalidVectorError (ValueError)       fix the vector: NaN, infinite, zero, width, type
    ├── InvalidArgumentError (ValueError)     fix the argument: a bad threshold, filter or setting
    ├── InvalidTextError (TypeError)          pass texts as a sequence of `str`
    ├── DuplicateIdError (ValueError)         choose another id, or use `upsert`
    ├── EmbedderConfigurationError            install the extra, set the key, repair the model file
    │   └── ModelFileError                    a model file is missing or is not the expected one
    └── EmbeddingError                        the provider failed
        ├── TransientEmbeddingError           retry later, after `retry_after_s` if it is known
        └── EmbeddingTimeoutError (TimeoutError)   the provider did not answer in time

An error leaves the index or embedder it came from unchanged.
"""

from __future__ import annotations

__all__ = [
    "DuplicateIdError",
    "EmbedderConfigurationError",
    "EmbeddingError",
    "EmbeddingTimeoutError",
    "InvalidArgumentError",
    "InvalidTextError",
    "InvalidVectorError",
    "ModelFileError",
    "PrismResonanceError",
    "TransientEmbeddingError",
]


class PrismResonanceError(Exception):
    """Anything that prismresonance raises on purpose."""


class InvalidVectorError(PrismResonanceError, ValueError):
    """A vector cannot be stored or searched; nothing was changed."""


class InvalidArgumentError(PrismResonanceError, ValueError):
    """An argument is outside what the call accepts; nothing was changed."""


class InvalidTextError(PrismResonanceError, TypeError):
    """Something to embed is not a string; nothing was embedded."""


class DuplicateIdError(PrismResonanceError, ValueError):
    """An id is already in the index, or twice in one batch; nothing was changed.

    Attributes:
        id: The id in question.
    """

    def __init__(self, message: str, *, id: int | str) -> None:  # noqa: A002  the index's own word
        super().__init__(message)
        self.id = id


class EmbedderConfigurationError(PrismResonanceError):
    """An embedder cannot be built here: an extra, a key or a setting is missing."""


class ModelFileError(EmbedderConfigurationError):
    """A model file is missing, unreadable, or not the one whose hash is pinned."""


class EmbeddingError(PrismResonanceError):
    """A provider refused or failed to embed the texts."""


class TransientEmbeddingError(EmbeddingError):
    """A provider failed after all retries, in a way that may pass.

    Attributes:
        retry_after_s: Seconds the provider asked to wait; `None` when it did not say.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class EmbeddingTimeoutError(EmbeddingError, TimeoutError):
    """A provider did not answer within the timeout, retries included."""
