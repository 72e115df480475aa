"""Who waits for a row to come back through the feed.

A write knows a place in the database's log that lies before its commit and after everything that
others did to its row before (it holds the row's lock there). So the first change of the row that is
committed after that place is the write's own, or a later one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from prism.wrapper._changelog.entries import RowKey

__all__ = ["Expectation", "Sightings"]


@dataclass(eq=False)
class Expectation:
    """One who waits.

    Attributes:
        key: The row.
        is_reached: Says of a position whether it is the write's commit or later.
    """

    key: RowKey
    is_reached: Callable[[str], bool]
    epoch: int = 0
    seq: int = 0
    _seen: threading.Event = field(default_factory=threading.Event)

    def wait(self, timeout_s: float) -> bool:
        """Wait until it is in the log; `epoch` and `seq` tell where."""
        return self._seen.wait(timeout_s)

    def fulfil(self, *, epoch: int, seq: int) -> None:
        """Tell that it is in the log."""
        self.epoch, self.seq = epoch, seq
        self._seen.set()


class Sightings:
    """Matches changes of rows with those who wait for them. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._expected: dict[RowKey, list[Expectation]] = {}

    def expect(self, expectation: Expectation) -> None:
        """Begin to watch; call it before the write is committed."""
        with self._lock:
            self._expected.setdefault(expectation.key, []).append(expectation)

    def forget(self, expectation: Expectation) -> None:
        """Watch no more."""
        with self._lock:
            waiting = self._expected.get(expectation.key, [])
            if expectation in waiting:
                waiting.remove(expectation)
            if not waiting:
                self._expected.pop(expectation.key, None)

    def watched(self, keys: list[RowKey]) -> list[RowKey]:
        """Which of these rows somebody waits for. Cheap while nobody does."""
        if not self._expected:
            return []
        with self._lock:
            return [key for key in keys if key in self._expected]

    def reached(self, key: RowKey, position: str) -> list[Expectation]:
        """Take out those whom a change of this row, committed at this position, fulfils."""
        with self._lock:
            waiting = self._expected.get(key, [])
            fulfilled = [one for one in waiting if one.is_reached(position)]
        for one in fulfilled:
            self.forget(one)
        return fulfilled
