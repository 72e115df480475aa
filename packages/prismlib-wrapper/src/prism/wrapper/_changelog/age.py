"""How long ago the log held all that its source had committed. Pure but for the clock."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["SourceAge"]


class SourceAge:
    """Counts from the last moment at which nothing was missing.

    Args:
        clock: Seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._up_to_date_at: float | None = None
        self._is_behind = True

    def set_behind(self, *, behind: bool) -> None:
        """Say whether something may be missing now."""
        if not behind or not self._is_behind:
            self._up_to_date_at = self._clock()
        self._is_behind = behind

    def now_s(self, committed_ns: int | None) -> float | None:
        """Give the age, `None` if unknown; at the start it counts from the last known commit."""
        if not self._is_behind:
            return 0.0
        since = self._up_to_date_at
        if since is None and committed_ns is not None:
            since = committed_ns / 1e9
        return None if since is None else max(0.0, self._clock() - since)
