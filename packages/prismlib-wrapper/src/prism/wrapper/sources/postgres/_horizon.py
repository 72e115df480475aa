"""Commits that the stream told before other sessions can see them.

The server sends a commit once it is in its log on disk, and makes it visible to others afterwards:
microseconds later, or minutes, if it has to wait for a synchronous standby. Whoever reads a row
again because of a change has to wait for that. Else the row is not there, or is an older one, and
nothing in the stream would ever say otherwise.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from prism.wrapper.sources.errors import SourceClosedError
from prism.wrapper.sources.postgres._session import Session

__all__ = ["Horizon", "is_visible"]

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.0005, 0.1
_HALF: Final = 1 << 31


def is_visible(xid: int, snapshot: str) -> bool:
    """Whether a snapshot sees what a committed transaction did.

    Args:
        xid: The transaction, 32 bits, as the stream tells it.
        snapshot: What `pg_current_snapshot()` says: `xmin:xmax:in,progress`, of 64 bits each.
    """
    _, end, running = snapshot.split(":")
    xmax = int(end)
    # The number of 64 bits that is nearest.
    full = xmax + (xid - xmax + _HALF) % (2 * _HALF) - _HALF
    return full < xmax and str(full) not in running.split(",")


class Horizon:
    """Remembers what was told until it can be seen. Safe for threads.

    Args:
        pause: Waits some seconds; says whether to give up.
    """

    def __init__(self, pause: Callable[[float], bool]) -> None:
        self._pause = pause
        self._lock = threading.Lock()
        self._told: set[int] = set()

    def __len__(self) -> int:
        return len(self._told)

    def told(self, xid: int) -> None:
        """Remember a transaction whose changes are told."""
        with self._lock:
            self._told.add(xid)

    def forget(self) -> None:
        """Forget all: the server is another, or its rows are read anew."""
        with self._lock:
            self._told.clear()

    def look(self, session: Session) -> bool:
        """Say whether a statement that begins now sees all that was told."""
        with self._lock:
            asked = set(self._told)
        if not asked:
            return True
        snapshot = str(session.rows("SELECT pg_current_snapshot()::text")[0][0])
        seen = {xid for xid in asked if is_visible(xid, snapshot)}
        with self._lock:
            self._told -= seen
        return seen == asked

    def reach(self, session: Session) -> None:
        """Wait until a statement that begins now sees all that was told.

        Raises:
            SourceClosedError: The source was closed meanwhile.
            SourceError: The database does not answer.
        """
        wait_s = _FIRST_WAIT_S
        while not self.look(session):
            if self._pause(wait_s):
                raise SourceClosedError("the source was closed")
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
