"""What can go wrong, split by what the caller does next.

    PrismCacheError
    ├── CacheConfigurationError (ValueError)   fix a setting or an argument; the message names it
    │   └── ScopeError                         a scope part cannot be made into a key
    ├── CacheClosedError                       the cache was closed before this call
    ├── CallError (TypeError)                  `call_fn` is not something this method can call
    └── StoreError                             the store failed; the cache goes on without it
        ├── StoreFileError                     the file is not ours, damaged, or of a newer version
        └── StoreBusyError (TimeoutError)      another process held the file too long

A question never raises any of the store's errors: the cache counts them and calls the model. They
reach the caller only from `build`, `put` and `invalidate`, where silence would hide a loss.
"""

from __future__ import annotations

__all__ = [
    "CacheClosedError",
    "CacheConfigurationError",
    "CallError",
    "PrismCacheError",
    "ScopeError",
    "StoreBusyError",
    "StoreError",
    "StoreFileError",
]


class PrismCacheError(Exception):
    """Anything that prism.cache raises on purpose."""


class CacheConfigurationError(PrismCacheError, ValueError):
    """A setting or an argument is outside what is accepted."""


class ScopeError(CacheConfigurationError):
    """A part of the scope (tools, parameters, history...) cannot be turned into an exact key."""


class CacheClosedError(PrismCacheError):
    """The cache was closed before this call."""


class CallError(PrismCacheError, TypeError):
    """`call_fn` cannot be called here, such as an async one in the sync method."""


class StoreError(PrismCacheError):
    """The store failed to read or write."""


class StoreFileError(StoreError):
    """The file is damaged, belongs to another program or to a newer version. It was not touched.

    Attributes:
        path: The file.
    """

    def __init__(self, message: str, *, path: str) -> None:
        super().__init__(message)
        self.path = path


class StoreBusyError(StoreError, TimeoutError):
    """Another process held the store for longer than the time allowed."""
