"""A stream that is read by several threads while it comes from its source once.

The phases are those of `stream_buffer`; this module adds the pulling, by the readers themselves:

- A reader that is at the end of the buffer becomes the *puller* if there is none: it takes one
  chunk from the source. Who comes meanwhile waits for that chunk, then looks again. So the source
  is never pulled by two, and no reader waits for another to read on.
- The source runs in the context (`contextvars`) in which the stream was made, whoever pulls.
- The puller that meets the end runs `on_complete` before anyone sees the end: who has seen it may
  count on the answer being stored.
- The last reader to leave a live stream runs `on_abandon`, then closes the source; if another
  thread is in the source at that moment, that one closes it when the source comes back.
- A source that reads its own stream gets an error rather than waiting for itself.

Callbacks and the source run outside the gate. Callbacks are dropped once one has run, and with
them what they hold on to.
"""

from __future__ import annotations

import contextvars
import threading
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from prism.cache._flights.async_streams import AsyncSharedStream, AsyncStreamReader
from prism.cache._flights.gate import Gate
from prism.cache._flights.stream_buffer import Phase, StreamBuffer
from prism.cache._flights.stream_ends import closers, log_failure
from prism.cache._flights.stream_sources import areplay, iterate_in_threads, replay
from prism.cache.errors import PrismCacheError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType

__all__ = [
    "AsyncSharedStream",
    "AsyncStreamReader",
    "SharedStream",
    "StreamReader",
    "areplay",
    "iterate_in_threads",
    "replay",
]

C = TypeVar("C")


class SharedStream(Generic[C]):
    """Let any number of readers, in any thread, read one source from its first chunk.

    Thread-safe. Memory: all chunks, while the stream or a reader is held.

    Args:
        source: Iterated once. Its iterator's `close()`, and its own, if any, are called when the
            last reader leaves early or the source raises; not after its regular end.
        on_complete: Called once with all chunks after the last one, in the thread of a reader.
        on_abandon: Called once instead if there will be no complete answer: with the source's
            error, or with None if all readers left. May be called from a finalizer. Comes before
            the closing.
        on_error: Gets what `on_complete`, `on_abandon` and the closing raise; readers never do.
            Must not raise. Logs a warning if not given.
    """

    def __init__(
        self,
        source: Iterable[C],
        on_complete: Callable[[tuple[C, ...]], object],
        on_abandon: Callable[[BaseException | None], object],
        *,
        on_error: Callable[[Exception], object] = log_failure,
    ) -> None:
        self._source: Iterable[C] | None = source
        self._iterator: Iterator[C] | None = None
        self._on_complete: Callable[[tuple[C, ...]], object] | None = on_complete
        self._on_abandon: Callable[[BaseException | None], object] | None = on_abandon
        self._on_error = on_error
        self._context = contextvars.copy_context()
        self._buffer: StreamBuffer[C] = StreamBuffer()
        self._gate = Gate()
        self._puller: int | None = None
        self._waiting: list[threading.Lock] = []

    def attach(self) -> StreamReader[C] | None:
        """Open a reader at the first chunk; None if all readers had left and the source was closed.

        The maker of the stream attaches before it shows the stream to others.
        """
        if not self._gate.enter():
            return None
        try:
            number = self._buffer.attach()
        finally:
            self._gate.leave()
        return None if number is None else StreamReader(self, number)

    def _read(self, position: int) -> C:
        """Chunk number `position`. StopIteration after the last one."""
        buffer = self._buffer
        while position >= len(buffer.chunks):
            turn = self._take_turn(position)
            if turn is not None:
                turn.acquire()
            elif self._puller == threading.get_ident():
                self._pull()
        return buffer.chunks[position]

    def _take_turn(self, position: int) -> threading.Lock | None:
        """Become the puller, or get a lock that is released when there may be news."""
        buffer, me = self._buffer, threading.get_ident()
        if not self._gate.enter():
            raise PrismCacheError("a finalizer cannot read the shared stream it interrupted")
        try:
            if position < len(buffer.chunks):
                return None
            if self._puller == me:
                raise PrismCacheError("the source of a shared stream reads that stream itself")
            if self._puller is not None:
                turn = threading.Lock()
                turn.acquire()
                self._waiting.append(turn)
                return turn
            buffer.raise_error()
            if buffer.phase is not Phase.LIVE:
                raise StopIteration
            self._puller = me
            return None
        finally:
            self._gate.leave()

    def _pull(self) -> None:
        """Move the stream by one chunk, its end or its error; the caller is the puller."""
        nothing: Any = _NOTHING
        try:
            chunk = self._context.run(self._next, nothing)
        except BaseException as error:
            self._fail(error)
            if not isinstance(error, Exception):
                raise
            return
        if chunk is nothing:
            self._complete()
        elif not self._step(lambda: self._buffer.append(chunk)):
            self._close_source()

    def _next(self, nothing: C) -> C:
        if self._iterator is None:
            if self._source is None:
                return nothing
            self._iterator = iter(self._source)
        return next(self._iterator, nothing)

    def _step(self, move: Callable[[], bool], *, over: bool = True) -> bool:
        """Make a move of the buffer; if the pull is `over`, pull no more and let everyone look."""
        waiting: list[threading.Lock] = []
        self._gate.enter()
        try:
            moved = move()
            if over:
                self._puller = None
                waiting, self._waiting = self._waiting, []
        finally:
            self._gate.leave()
        for turn in waiting:
            turn.release()
        return moved

    def _complete(self) -> None:
        store = self._step(self._buffer.end, over=False)
        try:
            if store:
                on_complete, self._on_complete, self._on_abandon = self._on_complete, None, None
                if on_complete is not None:
                    on_complete(tuple(self._buffer.chunks))
        except Exception as error:  # noqa: BLE001 - a failing store is not the reader's concern
            self._on_error(error)
        finally:
            self._iterator = self._source = None
            self._step(self._buffer.complete)

    def _fail(self, error: BaseException) -> None:
        failed = self._step(lambda: self._buffer.fail(error), over=False)
        try:
            if failed:
                self._abandon(error)
            elif isinstance(error, Exception):
                self._on_error(error)
            self._close_source()
        finally:
            self._step(lambda: True)

    def _leave(self, number: int) -> Callable[[], None] | None:
        """Take a reader off; a work for the gate."""
        if not self._buffer.leave(number):
            return None
        return self._left if self._puller is None else self._abandon

    def _left(self) -> None:
        self._abandon()
        self._close_source()

    def _abandon(self, error: BaseException | None = None) -> None:
        on_abandon, self._on_abandon, self._on_complete = self._on_abandon, None, None
        try:
            if on_abandon is not None:
                on_abandon(error)
        except Exception as failure:  # noqa: BLE001 - as in _complete
            self._on_error(failure)

    def _close_source(self) -> None:
        iterator, source = self._iterator, self._source
        self._iterator = self._source = None
        for close in closers(iterator, source, "close"):
            try:
                self._context.run(close)
            except Exception as error:  # noqa: BLE001 - as in _complete
                self._on_error(error)


class StreamReader(Generic[C]):
    """One reader's place in a `SharedStream`: an iterator and a context manager.

    For one thread at a time; `close` from any, at any time. A reader that is dropped closes itself.
    """

    def __init__(self, stream: SharedStream[C], number: int) -> None:
        self._stream = stream
        self._number = number
        self._position = 0
        self._closed = False

    def __iter__(self) -> StreamReader[C]:
        return self

    def __next__(self) -> C:
        """Return the next chunk, waiting for the source if need be.

        Raises:
            PrismCacheError: The source reads its own stream, or was interrupted in another reader.
            Exception: Whatever the source raised, after the chunks before it.
        """
        if self._closed:
            raise StopIteration
        try:
            chunk = self._stream._read(self._position)
        except Exception:
            self.close()
            raise
        self._position += 1
        return chunk

    def close(self) -> None:
        """Stop reading. The last to do so before the end closes the source. Idempotent."""
        if not self._closed:
            self._closed = True
            self._stream._gate.run(lambda: self._stream._leave(self._number))

    def __enter__(self) -> StreamReader[C]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if not self._closed:
            self._closed = True
            self._stream._gate.post(lambda: self._stream._leave(self._number))


_NOTHING = object()
