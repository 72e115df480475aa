"""What wakes one who waits, once, from any thread: no message, who is woken looks again."""

from __future__ import annotations

import asyncio
import threading
from asyncio import events

__all__ = ["LoopBell", "ThreadBell"]


class ThreadBell:
    """Wakes one thread, once."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def ring(self) -> bool:
        """Wake the thread; to be called once."""
        self._lock.release()
        return True

    def wait(self, timeout_s: float | None) -> None:
        """Wait for the ring or the end of the time."""
        self._lock.acquire(
            timeout=-1 if timeout_s is None else min(timeout_s, threading.TIMEOUT_MAX)
        )


class LoopBell:
    """Wakes one task, unless its loop is closed. To be made on that loop."""

    __slots__ = ("_heard", "_loop")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._heard: asyncio.Future[None] = self._loop.create_future()

    def ring(self) -> bool:
        """Wake the task; False if its loop is closed."""
        if events._get_running_loop() is self._loop:
            self._hear()
            return True
        try:
            self._loop.call_soon_threadsafe(self._hear)
        except RuntimeError:
            return False
        return True

    async def wait(self, timeout_s: float | None) -> None:
        """Wait for the ring or the end of the time."""
        if timeout_s is None:
            await self._heard
            return
        timer = self._loop.call_later(min(timeout_s, threading.TIMEOUT_MAX), self._hear)
        try:
            await self._heard
        finally:
            timer.cancel()

    def _hear(self) -> None:
        if not self._heard.done():
            self._heard.set_result(None)
