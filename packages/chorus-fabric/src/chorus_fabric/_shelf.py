"""The sessions of a service, each with what keeps its users from meeting in it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from chorus_fabric.errors import SessionExpiredError

if TYPE_CHECKING:
    from chorus_fabric._handshake import Session

__all__ = ["SessionShelf", "ShelvedSession"]


class ShelvedSession:
    """A session and its lock: frames are sealed in threads, renewals answered in the event loop.

    Attributes:
        session: The session; to be used with the lock held.
        lock: The lock.
        is_proven: Whether a certificate or secret stands behind the peer's name.
        is_used: Whether a request was opened in it, so that it is not a replayed hello's.
        is_streaming: Whether a feed runs in it; at most one may.
    """

    __slots__ = ("is_proven", "is_streaming", "is_used", "lock", "session")

    def __init__(self, session: Session, *, is_proven: bool) -> None:
        self.session = session
        self.lock = threading.Lock()
        self.is_proven = is_proven
        self.is_used = False
        self.is_streaming = False


class SessionShelf:
    """Sessions by their ids, not more than a number of them. Used by one event loop.

    When it is full, a session goes that nobody has used, else the one whose last use is longest
    ago; those with a feed stay.

    Args:
        most: How many sessions are held.
    """

    def __init__(self, *, most: int) -> None:
        self._most = most
        self._sessions: OrderedDict[bytes, ShelvedSession] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sessions)

    def put(self, shelved: ShelvedSession) -> None:
        """Add a session."""
        if len(self._sessions) >= self._most:
            idle = [
                (one.is_used, place, name)
                for place, (name, one) in enumerate(self._sessions.items())
                if not one.is_streaming
            ]
            if idle:
                self._sessions.pop(min(idle)[2])
        self._sessions[shelved.session.id] = shelved

    def find(self, session_id: bytes) -> ShelvedSession:
        """Find a session.

        Raises:
            SessionExpiredError: It is not here, or no more.
        """
        shelved = self._sessions.get(session_id)
        if shelved is None:
            raise SessionExpiredError("no such session here: say hello again")
        self._sessions.move_to_end(session_id)
        return shelved

    def tick(self, now: float) -> None:
        """Forget old keys, and sessions that ended."""
        for name, shelved in list(self._sessions.items()):
            with shelved.lock:
                shelved.session.retire(now)
                if not shelved.session.is_open:
                    del self._sessions[name]
