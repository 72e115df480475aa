"""The heartbeat thread: calls `tick` on time, whatever else this process does."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Pacer", "steady_s"]

_log = logging.getLogger("chorus_fabric.mesh")

# On Linux CLOCK_MONOTONIC stands still while the machine sleeps, and a lease must not.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", None)


def steady_s() -> float:
    """Give the time in seconds, of a clock that never goes back nor stands still."""
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)


class Pacer:
    """Call a function each `every_s`, and when urged, in a thread of its own.

    Args:
        tick: The function.
        every_s: How often.
    """

    def __init__(self, tick: Callable[[], None], *, every_s: float) -> None:
        self._tick = tick
        self._every_s = every_s
        self._urged = threading.Event()
        self._is_over = False
        self._thread = threading.Thread(target=self._run, name="chorus-heartbeat", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def urge(self) -> None:
        """Have it called at once. From any thread."""
        self._urged.set()

    def stop(self) -> None:
        """End, and wait for a call that runs unless this is it. Safe to repeat."""
        self._is_over = True
        self._urged.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._is_over:
            self._urged.clear()
            try:
                self._tick()
            except Exception:  # noqa: BLE001  whatever it is, the next beat is due
                # A mesh without heartbeats is dead: rather one beat is missing than all.
                _log.exception("a tick of the heartbeat thread failed")
            now = time.monotonic()
            due = max(due + self._every_s, now) if due <= now else due
            self._urged.wait(max(0.0, due - now))
