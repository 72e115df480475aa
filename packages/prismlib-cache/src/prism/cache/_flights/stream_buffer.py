"""What all readers of one shared stream have in common: the chunks so far, and how it goes on.

    LIVE       the source may have more
    STORING    the source has ended; the completion callback has not yet
    COMPLETE   nothing more will come, and the chunks are stored
    FAILED     the source raised `error`, which each reader meets after the last chunk
    ABANDONED  the last open reader left while LIVE; the source is to be closed

    LIVE -> STORING -> COMPLETE · LIVE -> FAILED · LIVE -> ABANDONED, and no other way.

Invariants: chunks only ever grow, and only while LIVE. While LIVE there is an open reader, once
there was one. Of completion and abandonment (a failure counts as one) exactly one happens, once.
An abandoned stream takes no readers; every other takes new ones, who begin at the first chunk.

Nothing here locks or calls anything; moves must not overlap, reading `chunks` may overlap with
anything.
"""

from __future__ import annotations

import enum
import itertools
from typing import TYPE_CHECKING, Generic, TypeVar

from prism.cache.errors import PrismCacheError

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Phase", "StreamBuffer"]

C = TypeVar("C")


class Phase(enum.Enum):
    """How far the stream is; see the module."""

    LIVE = "live"
    STORING = "storing"
    COMPLETE = "complete"
    FAILED = "failed"
    ABANDONED = "abandoned"


class StreamBuffer(Generic[C]):
    """Chunks, phase and open readers of one stream."""

    __slots__ = ("_error", "_numbers", "_open", "_traceback", "chunks", "phase")

    def __init__(self) -> None:
        self.chunks: list[C] = []
        self.phase = Phase.LIVE
        self._open: set[int] = set()
        self._numbers = itertools.count()
        self._error: BaseException | None = None
        self._traceback: TracebackType | None = None

    def attach(self) -> int | None:
        """Number a new reader; None if the stream was abandoned."""
        if self.phase is Phase.ABANDONED:
            return None
        number = next(self._numbers)
        self._open.add(number)
        return number

    def leave(self, number: int) -> bool:
        """Take a reader off; True if the stream is abandoned by that."""
        if number not in self._open:
            return False
        self._open.discard(number)
        if self._open or self.phase is not Phase.LIVE:
            return False
        self.phase = Phase.ABANDONED
        return True

    def append(self, chunk: C) -> bool:
        """Take a chunk from the source; False if it came too late."""
        if self.phase is not Phase.LIVE:
            return False
        self.chunks.append(chunk)
        return True

    def end(self) -> bool:
        """Take the end of the source; True if the chunks are now to be stored."""
        if self.phase is not Phase.LIVE:
            return False
        self.phase = Phase.STORING
        return True

    def complete(self) -> bool:
        """Take note that the chunks were stored, or that storing them failed."""
        if self.phase is not Phase.STORING:
            return False
        self.phase = Phase.COMPLETE
        return True

    def fail(self, error: BaseException) -> bool:
        """Take an error of the source; False if it came too late."""
        if self.phase is not Phase.LIVE:
            return False
        self._error, self._traceback = error, error.__traceback__
        self.phase = Phase.FAILED
        return True

    def raise_error(self) -> None:
        """Raise the source's error if there was one.

        What is no `Exception` (an interrupt, a cancellation) was meant for the reader that pulled
        only; all others get a `PrismCacheError`.
        """
        if self._error is None:
            return
        if isinstance(self._error, Exception):
            # Without this each raise would hang the traceback of one more reader to it.
            raise self._error.with_traceback(self._traceback)
        raise PrismCacheError(
            "the shared stream was interrupted where another caller was reading it; ask again"
        ) from self._error

    @property
    def is_read(self) -> bool:
        """Whether anyone still has it open."""
        return bool(self._open)
