"""How a stream ends behind its readers: the source is closed, and failures are told."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["closers", "log_failure"]

_log = logging.getLogger("prism.cache")


def closers(iterator: object, source: object, *names: str) -> Iterator[Callable[[], object]]:
    """Find what closes an iterator and, where it is another, the object it was made of.

    Args:
        iterator: What was pulled; None if nothing ever was.
        source: What it was made of.
        names: The methods to look for, in order of preference.
    """
    for closing in (iterator, source if source is not iterator else None):
        for name in names:
            close = getattr(closing, name, None)
            if callable(close):
                yield close
                break


def log_failure(error: Exception) -> None:
    """Log what a callback or the closing of a source raised; the default of `on_error`."""
    _log.warning("a shared stream could not be stored or closed", exc_info=error)
