"""Counting that makes nobody wait.

A lock around `counts[what] += 1` is held for a tenth of a microsecond, but a thread that loses the
interpreter meanwhile keeps it for as long as all others take their turns, and these then queue for
the lock one after the other: sixteen threads answered a third as many questions as one. Appending
to a deque is a single step of the interpreter, and needs none.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from typing import Any, Generic, TypeVar

__all__ = ["Tally"]

Thing = TypeVar("Thing")

# Things that may wait to be added up. The one who brings the last of them adds up all, which takes
# some fifty microseconds.
_MANY = 512


class Tally(Generic[Thing]):
    """How often each thing came. Safe for threads, and for finalizers that interrupt one.

    Attributes:
        lock: Held while things are added up; `add` never waits for it.
    """

    def __init__(self) -> None:
        self._came: deque[Thing] = deque()
        self._counts: Counter[Thing] = Counter()
        # Re-entrant: a finalizer that counts may interrupt its own thread while it adds up.
        self.lock: Any = threading.RLock()
        self._is_adding_up = False

    def add(self, thing: Thing) -> None:
        """Count one more. Well under a microsecond."""
        self._came.append(thing)
        if len(self._came) >= _MANY and self.lock.acquire(blocking=False):
            try:
                self._add_up()
            finally:
                self.lock.release()

    def add_many(self, thing: Thing, times: int) -> None:
        """Count so many more; for what is rare."""
        with self.lock:
            self._counts[thing] += times

    def counts(self) -> Counter[Thing]:
        """Give a copy of all counts. What came before what is counted is counted too."""
        with self.lock:
            self._add_up()
            return self._counts.copy()

    def take(self) -> Counter[Thing]:
        """Give all counts, and begin anew."""
        with self.lock:
            self._add_up()
            counts, self._counts = self._counts, Counter()
            return counts

    @property
    def kinds(self) -> int:
        """How many different things there are, but for those not added up yet."""
        return len(self._counts)

    def _add_up(self) -> None:
        if self._is_adding_up:
            # A finalizer on the thread that does it.
            return
        self._is_adding_up = True
        came, counts = self._came, self._counts
        for _ in range(len(came)):
            counts[came.popleft()] += 1
        self._is_adding_up = False
