"""Where streams come from besides the model: stored chunks, and iterators that block.

`ThreadedSource` makes an async iterator of a blocking one. Its rules:

- one pull at a time, each in a worker thread, all in the one context in which the source was made;
- a pull that is cancelled closes the source, as it would an async generator: its chunk is lost to
  nobody, since `AsyncSharedStream` cancels a pull only when the last reader has left;
- a thread cannot be interrupted: if one is in the iterator when the source is closed, that thread
  closes it when the iterator comes back, and `aclose` does not wait for it.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import TYPE_CHECKING, Generic, TypeVar

from prism.cache._flights.stream_ends import closers
from prism.cache.errors import PrismCacheError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Iterable, Iterator
    from concurrent.futures import Executor

__all__ = ["ThreadedSource", "areplay", "iterate_in_threads", "replay"]

C = TypeVar("C")


def replay(chunks: Iterable[C]) -> Generator[C, None, None]:
    """Iterate over stored chunks as over a model's stream."""
    yield from chunks


async def areplay(chunks: Iterable[C]) -> AsyncGenerator[C, None]:
    """Iterate over stored chunks as over a model's async stream."""
    for chunk in chunks:
        yield chunk


class ThreadedSource(Generic[C]):
    """Read a blocking iterable from tasks; an async iterator with `aclose()`.

    For one task at a time.

    Args:
        source: Iterated once. Its iterator's `close()`, and its own, if any, are called by
            `aclose`.
        executor: Where the pulls run; None is the loop's default executor.
    """

    def __init__(self, source: Iterable[C], *, executor: Executor | None = None) -> None:
        self._source: Iterable[C] | None = source
        self._iterator: Iterator[C] | None = None
        self._executor = executor
        self._context = contextvars.copy_context()
        self._lock = threading.Lock()
        self._awaited = False
        self._pulling = False
        self._closed = False

    def __aiter__(self) -> ThreadedSource[C]:
        return self

    async def __anext__(self) -> C:
        """Return the next chunk.

        Raises:
            PrismCacheError: Another task is reading.
            Exception: Whatever the source raised.
        """
        if self._awaited:
            raise PrismCacheError("a threaded source is read by one task at a time")
        self._awaited = True
        loop = asyncio.get_running_loop()
        try:
            chunks = await loop.run_in_executor(self._executor, self._pull)
        except BaseException:
            self._closed = True
            raise
        finally:
            self._awaited = False
        if not chunks:
            raise StopAsyncIteration
        return chunks[0]

    async def aclose(self) -> None:
        """Close the source, in a worker thread; if one is in it, that one does. Idempotent."""
        with self._lock:
            self._closed = True
            if self._pulling or self._source is None:
                return
        await asyncio.get_running_loop().run_in_executor(self._executor, self._close)

    def _pull(self) -> tuple[C, ...]:
        """The next chunk, or nothing at the end: a future cannot carry StopIteration."""
        with self._lock:
            source = self._source
            if self._closed or source is None:
                return ()
            self._pulling = True
        chunks: tuple[C, ...] = ()
        try:
            chunks = self._context.run(self._next, source)
        finally:
            with self._lock:
                self._pulling = False
                closed = self._closed
            if closed:
                self._close()
        if not chunks:
            self._iterator = self._source = None
        return chunks

    def _next(self, source: Iterable[C]) -> tuple[C, ...]:
        if self._iterator is None:
            self._iterator = iter(source)
        for chunk in self._iterator:
            return (chunk,)
        return ()

    def _close(self) -> None:
        with self._lock:
            iterator, source = self._iterator, self._source
            self._iterator = self._source = None
        for close in closers(iterator, source, "close"):
            self._context.run(close)


def iterate_in_threads(
    source: Iterable[C], *, executor: Executor | None = None
) -> ThreadedSource[C]:
    """Read a blocking iterable from tasks; see `ThreadedSource`."""
    return ThreadedSource(source, executor=executor)
