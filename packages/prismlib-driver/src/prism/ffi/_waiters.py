"""Callers that wait until the replica has come to a position."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError

from chorus_fabric import FeedPosition
from prism.ffi.errors import DriverConfigurationError

__all__ = ["Waiters", "is_done", "parse_event_id"]


def parse_event_id(event_id: str) -> FeedPosition:
    """Read the position that an event's id names.

    Raises:
        DriverConfigurationError: It names none.
    """
    epoch, dash, seq = str(event_id).partition("-")
    if not dash or not epoch.isdecimal() or not seq.isdecimal():
        raise DriverConfigurationError(
            f"{event_id!r} names no position in the feed: pass the event_id of a write that the "
            "feed has shown, such as '1795458-42'"
        )
    return FeedPosition(int(epoch), int(seq))


class Waiters:
    """Futures that are done when the replica has come to their positions. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reached = FeedPosition()
        self._waiting: dict[Future[None], FeedPosition] = {}

    def until(self, position: FeedPosition) -> Future[None]:
        """Give a future for a position; cancel it to wait no more."""
        future: Future[None] = Future()
        with self._lock:
            if _is_past(self._reached, position):
                future.set_result(None)
            else:
                self._waiting[future] = position
                future.add_done_callback(self._forget)
        return future

    def reached(self, position: FeedPosition) -> None:
        """Tell of a position that the replica, as readers see it, has come to."""
        with self._lock:
            self._reached = position
            done = [f for f, wanted in self._waiting.items() if _is_past(position, wanted)]
        for future in done:
            if future.set_running_or_notify_cancel():
                future.set_result(None)

    def _forget(self, future: Future[None]) -> None:
        with self._lock:
            self._waiting.pop(future, None)


def _is_past(reached: FeedPosition, wanted: FeedPosition) -> bool:
    # A later epoch begins with a snapshot, which holds all that earlier ones had.
    return (reached.epoch, reached.seq) >= (wanted.epoch, wanted.seq)


def is_done(future: Future[None], timeout_s: float) -> bool:
    """Wait for a future in this thread; says whether it was done in time."""
    try:
        future.result(timeout_s)
    except FutureTimeoutError:
        future.cancel()
        return False
    return True
