"""Work that no question waits for, done one piece after the other in a thread of its own."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue

__all__ = ["Worker"]

# Pieces that may wait. A piece takes some ten milliseconds with the default embedder, so a full
# queue is ten seconds behind; what comes then is dropped.
_WAITING = 1024
# A thread that has nothing to do goes; the next piece starts another.
_IDLE_S = 5.0


class Worker:
    """Runs pieces of work in their order. Safe for threads; handing in never waits.

    Args:
        survive: Wraps each piece: keeps its failures from ending the thread.
    """

    def __init__(self, survive: Callable[[], contextlib.AbstractContextManager[None]]) -> None:
        self._survive = survive
        self._queue: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._turn = threading.Lock()
        self._pid = os.getpid()
        self._is_running = False
        self._is_closed = False

    def do(self, piece: Callable[[], None], *, even_if_full: bool = False) -> bool:
        """Have a piece of work done later; tell whether it was taken."""
        if self._pid != os.getpid():
            # The parent's thread and what it was to do stayed with the parent.
            self._queue, self._turn = SimpleQueue(), threading.Lock()
            self._pid, self._is_running = os.getpid(), False
        if self._is_closed or (self._queue.qsize() >= _WAITING and not even_if_full):
            return False
        self._queue.put(piece)
        if not self._is_running:
            self._is_running = True
            try:
                threading.Thread(target=self._run, name="prism-cache-learn", daemon=True).start()
            except RuntimeError:
                # The interpreter is ending and starts no threads any more.
                self._is_running = False
                return False
        return True

    @property
    def is_idle(self) -> bool:
        """Whether no piece waits, beside one that is perhaps being done."""
        return self._queue.empty()

    def settle(self, timeout_s: float) -> bool:
        """Wait until what was handed in before is done; tell whether it is."""
        done = threading.Event()
        return self.do(done.set, even_if_full=True) and done.wait(max(0.0, timeout_s))

    def close(self, timeout_s: float = 2.0) -> None:
        """Drop what waits, and wait for the piece that is being done."""
        self._is_closed = True
        with contextlib.suppress(Empty):
            while True:
                self._queue.get_nowait()
        if self._turn.acquire(timeout=timeout_s):
            self._turn.release()

    def _run(self) -> None:
        idle_since = time.monotonic()
        while not self._is_closed:
            try:
                piece = self._queue.get(timeout=_IDLE_S)
            except Empty:
                if time.monotonic() - idle_since < _IDLE_S:
                    continue
                self._is_running = False
                # Handed in between the last look and now.
                if self._queue.empty() or self._is_running:
                    return
                self._is_running = True
                continue
            with self._turn, self._survive():
                if not self._is_closed:
                    piece()
            idle_since = time.monotonic()
