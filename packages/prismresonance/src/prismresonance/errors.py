"""What can go wrong, split by what the caller does next.

    PrismResonanceError
    ├── InvalidVectorError (ValueError)       fix the vector: NaN, infinite, zero, width, type
    ├── InvalidArgumentError (ValueError)     fix the argument: a bad threshold, filter or setting
    ├── InvalidTextError (TypeError)          pass texts as a sequence of `str`
    ├── DuplicateIdError (ValueError)         choose another id, or use `upsert`
    ├── UnsavablePayloadError (TypeError)     store what JSON can hold
    ├── IndexFileError                        no index there, or not one to read or to save over
    │   ├── IndexDamagedError                 open a copy: what is there is not what was saved
    │   └── IndexBusyError                    retry: another index is being saved there
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
    "IndexBusyError",
    "IndexDamagedError",
    "IndexFileError",
    "InvalidArgumentError",
    "InvalidTextError",
    "InvalidVectorError",
    "ModelFileError",
    "PrismResonanceError",
    "TransientEmbeddingError",
    "UnsavablePayloadError",
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


class UnsavablePayloadError(PrismResonanceError, TypeError):
    """A payload holds what a saved index cannot; nothing was written.

    Attributes:
        id: The id of the row.
        field: The payload's field; empty when it is not about one.
    """

    def __init__(self, message: str, *, id: int | str, field: str) -> None:  # noqa: A002  as above
        super().__init__(message)
        self.id = id
        self.field = field


class IndexFileError(PrismResonanceError):
    """A folder holds no index, or not one that can be read or saved over; it was not changed.

    Attributes:
        path: The folder, or the file in it.
    """

    def __init__(self, message: str, *, path: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path


class IndexDamagedError(IndexFileError):
    """A file of a saved index is missing, cut off, or holds other bytes than were saved."""


class IndexBusyError(IndexFileError):
    """Another process, or another index of this one, is saving to the folder at the moment."""


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
