"""What was received and waits for its handler, in the event loop of the application.

One frame of each peer and type is handled at a time; requests run beside each other, up to a
number. What waits is bounded for each peer and lane, with the rules of `FrameQueue`.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import threading
from collections import Counter
from typing import TYPE_CHECKING, Final

from chorus_fabric._frame import FrameKind
from chorus_fabric.mesh._queue import FrameQueue
from chorus_fabric.mesh._transport import Lane

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from chorus_fabric.mesh._config import FabricConfig
    from chorus_fabric.mesh._message import MeshMessage

    Handler = Callable[[MeshMessage], bytes | Awaitable[bytes | None] | None]
    Answer = Callable[[bytes | None], None]

__all__ = ["Inbox"]

_log = logging.getLogger("chorus_fabric.mesh")

_AT_ONCE: Final = 64


class _Waiting:
    """One peer's frames."""

    def __init__(self, config: FabricConfig) -> None:
        self.queues: dict[Lane, FrameQueue[tuple[MeshMessage, Answer | None]]] = {
            Lane.URGENT: FrameQueue(config.urgent_queue_bytes),
            Lane.BULK: FrameQueue(config.queue_bytes),
        }
        self.busy: set[FrameKind] = set()
        self.requests = 0


class Inbox:
    """Hand received frames to handlers. `put` belongs to any thread, the rest to the event loop.

    Args:
        peers: Their names.
        config: The bounds.
        handler_of: Gives the handler of a type, or `None`.
    """

    def __init__(
        self,
        peers: Iterable[str],
        *,
        config: FabricConfig,
        handler_of: Callable[[FrameKind], Handler | None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting = {peer: _Waiting(config) for peer in peers}
        self._handler_of = handler_of
        self._most_requests = config.concurrent_requests
        self._lock = threading.Lock()
        self._is_woken = False
        self._is_closed = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._refused: Counter[FrameKind] = Counter()
        self.handler_errors = 0

    @property
    def size_bytes(self) -> int:
        """What waits, of all peers."""
        return sum(
            queue.size_bytes for one in self._waiting.values() for queue in one.queues.values()
        )

    def dropped(self) -> Counter[FrameKind]:
        """Frames that made room or found none, by type."""
        with self._lock:
            total = Counter(self._refused)
            for one in self._waiting.values():
                for queue in one.queues.values():
                    total.update(queue.dropped)
            return total

    def put(self, message: MeshMessage, lane: Lane, answer: Answer | None) -> bool:
        """Have a frame handled.

        Args:
            message: The frame.
            lane: On which it came.
            answer: Takes the answer of a request, `None` if it failed.

        Returns:
            Whether there was room.
        """
        kind = FrameKind.REQUEST if answer is not None else message.frame_type
        size_bytes = 256 + len(message.payload) + message.arrays.nbytes
        with self._lock:
            queue = self._waiting[message.sender].queues[lane]
            if self._is_closed or not queue.push(kind, size_bytes, (message, answer)):
                self._refused[message.frame_type] += 1
                return False
        self._wake()
        return True

    async def close(self) -> None:
        """Give nothing out any more, and end the handlers that run."""
        self._is_closed = True
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _wake(self) -> None:
        with self._lock:
            if self._is_woken or self._is_closed:
                return
            self._is_woken = True
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        with self._lock:
            self._is_woken = False
        for _ in range(_AT_ONCE):
            taken = [one for name in self._waiting if (one := self._take(name)) is not None]
            if not taken:
                return
            for waiting, message, answer in taken:
                self._begin(waiting, message, answer)
        self._wake()

    def _take(self, name: str) -> tuple[_Waiting, MeshMessage, Answer | None] | None:
        waiting = self._waiting[name]
        besides = set(waiting.busy)
        if waiting.requests >= self._most_requests:
            besides.add(FrameKind.REQUEST)
        with self._lock:
            if self._is_closed:
                return None
            for queue in waiting.queues.values():
                found = queue.pop(besides=besides)
                if found is not None:
                    return (waiting, *found)
        return None

    def _begin(self, waiting: _Waiting, message: MeshMessage, answer: Answer | None) -> None:
        handler = self._handler_of(message.frame_type)
        if handler is None:
            if answer is not None:
                answer(None)
            return
        try:
            result = handler(message)
        except Exception:  # noqa: BLE001  a handler may raise anything
            self._failed(message, answer)
            return
        if not inspect.isawaitable(result):
            if answer is not None:
                answer(result or b"")
            return
        if answer is None:
            waiting.busy.add(message.frame_type)
        else:
            waiting.requests += 1
        task = self._loop.create_task(self._finish(waiting, message, result, answer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _finish(
        self,
        waiting: _Waiting,
        message: MeshMessage,
        result: Awaitable[bytes | None],
        answer: Answer | None,
    ) -> None:
        try:
            reply = await result
        except Exception:  # noqa: BLE001  a handler may raise anything
            self._failed(message, answer)
        else:
            if answer is not None:
                answer(reply or b"")
        finally:
            if answer is None:
                waiting.busy.discard(message.frame_type)
            else:
                waiting.requests -= 1
            self._wake()

    def _failed(self, message: MeshMessage, answer: Answer | None) -> None:
        self.handler_errors += 1
        _log.exception("the handler of %s frames failed", message.frame_type.name)
        if answer is not None:
            answer(None)
