"""A TCP link that can be cut, go silent, and be slow: a proxy in a thread of its own."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

__all__ = ["Link"]

_HOST = "127.0.0.1"
_CHUNK = 1 << 16
# Little, so that a slow link soon holds up whoever sends.
_BUFFER_BYTES = 1 << 17


class Link:
    """Carries connections from `port` to another port of loopback.

    Methods may be called from any thread, and have happened when they return.

    Args:
        target: Where connections go.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._rate: float | None = None
        self._is_cut = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="link", daemon=True)
        self._thread.start()
        self._flows = asyncio.Event()
        self._server = self._run(self._open())
        self.port: int = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Reset every connection, and accept none."""
        self._is_cut = True
        self._call(self._abort)

    def silence(self) -> None:
        """Carry nothing, and tell nobody."""
        self._call(self._flows.clear)

    def throttle(self, bytes_per_s: float | None) -> None:
        """Carry no more than that on each connection; `None` for as much as comes."""
        self._rate = bytes_per_s

    def mend(self, *, forget: bool = False) -> None:
        """Carry again.

        Args:
            forget: Reset the connections there were, as a router does that lost its table.
        """
        if forget:
            self._call(self._abort)
        self._is_cut = False
        self._call(self._flows.set)

    def close(self) -> None:
        """End it."""
        self._call(self._server.close)
        self._call(self._abort)
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _call(self, work: Callable[[], object]) -> None:
        async def call() -> None:
            work()

        self._run(call())

    async def _open(self) -> asyncio.Server:
        self._flows.set()
        return await asyncio.start_server(self._joined, _HOST, 0)

    async def _end(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _abort(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            await self._flows.wait()
            if self._is_cut:
                writer.transport.abort()
                return
            far = socket.socket()
            far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
            far.setblocking(False)  # noqa: FBT003
            try:
                await self._loop.sock_connect(far, (_HOST, self._target))
                far_reader, far_writer = await asyncio.open_connection(sock=far)
            except OSError:
                far.close()
                writer.transport.abort()
                return
        finally:
            self._writers.discard(writer)
        for end in (writer, far_writer):
            self._writers.add(end)
            end.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            task = self._loop.create_task(self._carry(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError):
                while piece := await source.read(_CHUNK):
                    if self._rate is not None:
                        await asyncio.sleep(len(piece) / self._rate)
                    await self._flows.wait()
                    sink.write(piece)
                    await sink.drain()
        finally:
            self._writers.discard(sink)
            # What one side broke breaks for the other too, and at once.
            sink.transport.abort() if self._is_cut else sink.close()
