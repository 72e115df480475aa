"""A stream that is read by several tasks of one event loop while it comes from its source once.

The phases are those of `stream_buffer`; here a task of the stream's own, the *pump*, does the
pulling:

- It is started by the first reader that wants a chunk, takes one chunk from the source whenever
  some reader waits at the end of the buffer, and parks in between: nothing is read that nobody
  asked for.
- A reader that is cancelled in the middle of a pull leaves the pump alone. The chunk arrives in the
  buffer, for the others and for itself should it read on.
- One task runs the source from beginning to end, closing included, in the context in which the
  stream was made. So the source may use `asyncio.timeout` or a task group around a `yield`.
- The last reader to leave a live stream runs `on_abandon` and has the pump cancelled; the pump
  closes the source. `aclose` waits for that. Where nobody can wait, in a finalizer, the pump goes
  on by itself.
- The pump that meets the end awaits `on_complete` before anyone sees the end.
- A pump that is cancelled by others, as when `asyncio.run` ends, fails the stream.

All is done on the loop's own thread, so nothing is locked; a finalizer in another thread hands
over.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from asyncio import events
from typing import TYPE_CHECKING, Generic, TypeVar

from prism.cache._flights.stream_buffer import Phase, StreamBuffer
from prism.cache._flights.stream_ends import closers, log_failure
from prism.cache.errors import PrismCacheError

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
    from types import TracebackType

__all__ = ["AsyncSharedStream", "AsyncStreamReader"]

C = TypeVar("C")

_feeding: contextvars.ContextVar[tuple[object, ...]] = contextvars.ContextVar(
    "prism.cache.feeding", default=()
)
# Pumps that outlive their readers: the loop itself refers to tasks weakly.
_closing: set[asyncio.Task[None]] = set()


class AsyncSharedStream(Generic[C]):
    """Let any number of tasks of the running event loop read one source from its first chunk.

    Not thread-safe: make, attach and read on one loop. Memory as for `SharedStream`.

    Args:
        source: Iterated once. Its iterator's `aclose()` or `close()`, and its own, if any, are
            called when the last reader leaves early or the source raises; not after its regular
            end.
        on_complete: Called once with all chunks after the last one; what it returns is awaited if
            it can be. It keeps the loop busy unless it is async.
        on_abandon: Called once instead if there will be no complete answer: with the source's
            error, or with None if all readers left. Not async. On a loop that is closed it may run
            in any thread.
        on_error: Gets what `on_complete`, `on_abandon` and the closing raise; readers never do.
            Must not raise. Logs a warning if not given.
    """

    def __init__(
        self,
        source: AsyncIterable[C],
        on_complete: Callable[[tuple[C, ...]], Awaitable[object] | object],
        on_abandon: Callable[[BaseException | None], object],
        *,
        on_error: Callable[[Exception], object] = log_failure,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._source: AsyncIterable[C] | None = source
        self._iterator: AsyncIterator[C] | None = None
        self._on_complete: Callable[[tuple[C, ...]], Awaitable[object] | object] | None = (
            on_complete
        )
        # A list, because taking its only item is one step even where two threads try.
        self._on_abandon = [on_abandon]
        self._on_error = on_error
        self._mark = object()
        self._context = contextvars.copy_context()
        self._context.run(_feeding.set, (*_feeding.get(), self._mark))
        self._buffer: StreamBuffer[C] = StreamBuffer()
        self._waiting: list[asyncio.Future[None]] = []
        self._pump: asyncio.Task[None] | None = None
        self._parked: asyncio.Future[None] | None = None
        self._in_source = False

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop whose tasks can read this stream."""
        return self._loop

    def attach(self) -> AsyncStreamReader[C] | None:
        """Open a reader at the first chunk.

        None if all readers had left and the source was closed, or if the caller is not on `loop`.
        """
        if events._get_running_loop() is not self._loop:
            return None
        number = self._buffer.attach()
        return None if number is None else AsyncStreamReader(self, number)

    async def _read(self, position: int) -> C:
        """Chunk number `position`. StopAsyncIteration after the last one."""
        buffer = self._buffer
        while position >= len(buffer.chunks):
            buffer.raise_error()
            if buffer.phase in (Phase.COMPLETE, Phase.ABANDONED):
                raise StopAsyncIteration
            if self._mark in _feeding.get():
                raise PrismCacheError("the source of a shared stream reads that stream itself")
            moved = self._loop.create_future()
            self._waiting.append(moved)
            self._start_pump()
            if self._parked is not None and not self._parked.done():
                self._parked.set_result(None)
            await moved
        return buffer.chunks[position]

    def _start_pump(self) -> asyncio.Task[None]:
        if self._pump is None:
            self._pump = self._loop.create_task(self._run(), context=self._context)
            self._pump.add_done_callback(self._pump_ended)
        return self._pump

    async def _run(self) -> None:
        try:
            while self._buffer.phase is Phase.LIVE:
                if self._waiting:
                    await self._pull()
                    self._let_look()
                else:
                    self._parked = self._loop.create_future()
                    await self._parked
                    self._parked = None
        finally:
            if self._buffer.phase is Phase.LIVE:
                self._fail(asyncio.CancelledError("the shared stream's task was cancelled"))
            if self._buffer.phase is not Phase.COMPLETE:
                await self._close_source()

    async def _pull(self) -> None:
        """Move the stream by one chunk, its end or its error."""
        source = self._source
        if source is None:
            return
        self._in_source = True
        try:
            if self._iterator is None:
                self._iterator = aiter(source)
            chunk = await anext(self._iterator)
        except StopAsyncIteration:
            self._in_source = False
            await self._complete()
        except asyncio.CancelledError as error:
            pump = asyncio.current_task()
            if self._buffer.phase is Phase.ABANDONED and pump is not None:
                pump.uncancel()
            self._fail(error)
            if pump is not None and pump.cancelling():
                raise
        except Exception as error:  # noqa: BLE001 - goes to the readers
            if not self._fail(error):
                self._on_error(error)
        except BaseException as error:
            self._fail(error)
            raise
        else:
            self._buffer.append(chunk)
        finally:
            self._in_source = False

    async def _complete(self) -> None:
        store = self._buffer.end()
        on_complete, self._on_complete = self._on_complete, None
        try:
            if store and on_complete is not None:
                outcome = on_complete(tuple(self._buffer.chunks))
                if inspect.isawaitable(outcome):
                    await outcome
        except Exception as error:  # noqa: BLE001 - a failing store is not the reader's concern
            self._on_error(error)
        finally:
            self._buffer.complete()
            self._on_abandon.clear()
            self._iterator = self._source = None

    def _fail(self, error: BaseException) -> bool:
        if not self._buffer.fail(error):
            return False
        self._abandon(error)
        self._let_look()
        return True

    def _let_look(self) -> None:
        waiting, self._waiting = self._waiting, []
        for moved in waiting:
            if not moved.done():
                moved.set_result(None)

    def _pump_ended(self, pump: asyncio.Task[None]) -> None:
        _closing.discard(pump)
        if not pump.cancelled():
            pump.exception()  # an interrupt, which the loop has raised already
        # A pump that was cancelled before its first step has run nothing of `_run`.
        self._fail(asyncio.CancelledError("the shared stream's task was cancelled"))
        self._let_look()

    def _leave(self, number: int) -> None:
        """Take a reader off, on the loop."""
        if not self._buffer.leave(number):
            return
        self._abandon(None)
        pump = self._start_pump()
        if pump.done():
            return
        for other in list(_closing):
            if other.get_loop().is_closed():
                _closing.discard(other)
        _closing.add(pump)
        if self._in_source:
            pump.cancel()
        elif self._parked is not None and not self._parked.done():
            self._parked.set_result(None)

    def _lose(self, number: int) -> None:
        """Take a reader off, from a finalizer in any thread."""
        try:
            self._loop.call_soon_threadsafe(self._leave, number)
        except RuntimeError:
            # The loop is closed: its tasks are gone, and the source can only be let go.
            if self._buffer.leave(number):
                self._abandon(None)

    async def _gone(self) -> None:
        """Wait until the source is closed or the answer stored, if nobody reads any more."""
        pump = self._pump
        if pump is None or pump.done() or self._buffer.is_read or self._mark in _feeding.get():
            return
        await asyncio.wait([pump])

    def _abandon(self, error: BaseException | None) -> None:
        self._on_complete = None
        while self._on_abandon:
            try:
                self._on_abandon.pop()(error)
            except Exception as failure:  # noqa: BLE001 - as in _complete
                self._on_error(failure)

    async def _close_source(self) -> None:
        iterator, source = self._iterator, self._source
        self._iterator = self._source = None
        for close in closers(iterator, source, "aclose", "close"):
            try:
                closed = close()
                if inspect.isawaitable(closed):
                    await closed
            except Exception as error:  # noqa: BLE001 - as in _complete
                self._on_error(error)


class AsyncStreamReader(Generic[C]):
    """One task's place in an `AsyncSharedStream`: an async iterator and context manager.

    For one task at a time. Cancelling a read loses no chunk: the reader may read on. A reader that
    is dropped closes itself.
    """

    def __init__(self, stream: AsyncSharedStream[C], number: int) -> None:
        self._stream = stream
        self._number = number
        self._position = 0
        self._closed = False

    def __aiter__(self) -> AsyncStreamReader[C]:
        return self

    async def __anext__(self) -> C:
        """Return the next chunk, waiting for the source if need be.

        Raises:
            PrismCacheError: The source reads its own stream, or was cancelled or interrupted.
            Exception: Whatever the source raised, after the chunks before it.
        """
        if self._closed:
            raise StopAsyncIteration
        try:
            chunk = await self._stream._read(self._position)
        except Exception:
            await self.aclose()
            raise
        self._position += 1
        return chunk

    async def aclose(self) -> None:
        """Stop reading. Idempotent.

        The last to do so before the end waits until the source is closed.
        """
        if not self._closed:
            self._closed = True
            self._stream._leave(self._number)
        await self._stream._gone()

    async def __aenter__(self) -> AsyncStreamReader[C]:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if not self._closed:
            self._closed = True
            self._stream._lose(self._number)
