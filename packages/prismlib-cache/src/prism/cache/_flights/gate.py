"""A lock that a finalizer may meet at any moment without harm.

The garbage collector runs `__del__` in whatever thread it likes, also in one that is just now
inside the very critical section the finalizer wants. A plain lock would wait for itself, a
re-entrant one would let the finalizer see half a change. A `Gate` does neither:

- At most one *work* is inside at any time. Whoever comes again in the same thread is told so.
- `run`: inside now; if this thread is inside already, as soon as it has left.
- `post`, for finalizers: never blocks. Inside now if nobody is, else by the one who is, when it
  leaves.
- A work is short, calls no user code and may return its *aftermath*, which runs outside the gate.

Invariant: nothing that was posted is left lying. Either `post` found the gate free and swept, or
the occupant, which looks at the post after it has released the lock, sees it: it was posted
before.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

__all__ = ["Gate", "Work"]

Work: TypeAlias = Callable[[], Callable[[], None] | None]


class Gate:
    """Let one piece of work in at a time; thread-safe, and safe to use from finalizers."""

    __slots__ = ("_lock", "_occupied", "_posted")

    def __init__(self) -> None:
        # Re-entrant: a finalizer must be able to look at `_occupied` where its thread holds it.
        self._lock = threading.RLock()
        self._occupied = False
        self._posted: deque[Work] = deque()

    def enter(self) -> bool:
        """Wait for the gate and occupy it; False, at once, if this thread occupies it already."""
        self._lock.acquire()
        if self._occupied:
            self._lock.release()
            return False
        self._occupied = True
        return True

    def leave(self) -> None:
        """Free the gate, then do what was posted meanwhile."""
        self._occupied = False
        self._lock.release()
        if self._posted:
            self._sweep()

    def run(self, work: Work) -> None:
        """Do `work` inside, then its aftermath; later if this thread is inside already."""
        if not self.enter():
            self._posted.append(work)
            return
        try:
            aftermath = work()
        finally:
            self.leave()
        if aftermath is not None:
            aftermath()

    def post(self, work: Work) -> None:
        """Do `work` without ever waiting: now, or by the thread that is inside, on its way out."""
        self._posted.append(work)
        self._sweep()

    def reset(self) -> None:
        """Forget occupant and post. For the child of a fork, where their threads do not exist."""
        self._lock = threading.RLock()
        self._occupied = False
        self._posted.clear()

    def _sweep(self) -> None:
        while self._posted and self._lock.acquire(blocking=False):
            if self._occupied:
                self._lock.release()
                return
            self._occupied = True
            try:
                aftermath = self._posted.popleft()() if self._posted else None
            finally:
                self._occupied = False
                self._lock.release()
            if aftermath is not None:
                aftermath()
