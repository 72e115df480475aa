"""How long to wait before the next attempt."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Backoff"]


class Backoff:
    """Waits that double from `first_s` to `most_s`, each shortened by chance by up to a half.

    Chance keeps many nodes that lost the same peer from coming back in step.

    Args:
        first_s: The first wait, in seconds.
        most_s: The longest.
        rng: Gives numbers from 0 to 1.
    """

    def __init__(self, *, first_s: float, most_s: float, rng: Callable[[], float]) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._rng = rng
        self._attempts = 0

    def next_s(self) -> float:
        """Give the next wait."""
        whole = min(self._most_s, self._first_s * 2.0 ** min(self._attempts, 32))
        self._attempts += 1
        return whole * (0.5 + 0.5 * self._rng())

    def reset(self) -> None:
        """Begin with the shortest again, after a success."""
        self._attempts = 0
