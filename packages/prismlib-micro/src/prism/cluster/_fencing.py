"""The other end of a fencing token: what is written to refuses who came before."""

from __future__ import annotations

import threading

from prism.cluster.errors import StaleTokenError

__all__ = ["FencingGuard"]


class FencingGuard:
    """Refuse the writes of a GREEN that was replaced, also if it does not know that yet.

    A GREEN may be paused between its last look at the lease and its write. Only what it writes to
    can refuse that write: by keeping the highest token it has seen. Where that is a database, keep
    the token there (`UPDATE ... WHERE token <= ?`); this is the same rule for memory. Safe for
    threads.

    Args:
        highest: The highest token seen before, where that is kept somewhere.
    """

    def __init__(self, *, highest: int = 0) -> None:
        self._highest = highest
        self._lock = threading.Lock()

    @property
    def highest(self) -> int:
        """The highest token seen."""
        return self._highest

    def admit(self, token: int) -> None:
        """Let work with this token through.

        Raises:
            StaleTokenError: A higher one was seen.
        """
        with self._lock:
            if token < self._highest:
                raise StaleTokenError(token=token, highest=self._highest)
            self._highest = token
