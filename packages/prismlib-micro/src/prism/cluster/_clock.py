"""A hybrid logical clock: stamps that follow causes, and stay near the time of day.

A stamp is physical milliseconds, a counter and the node's name, compared in this order. What a node
stamps after it has seen another stamp is later than that stamp, also when its own clock is behind.
So the last writer is the one who knew of the others, and not the one whose clock runs ahead.

Source: Kulkarni et al., "Logical Physical Clocks", OPODIS 2014.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["ZERO", "HybridClock", "Stamp"]


class Stamp(NamedTuple):
    """A moment, unique in the cluster; a later one compares greater."""

    millis: int
    ticks: int
    node: str


ZERO = Stamp(0, 0, "")
"""Before every stamp."""


class HybridClock:
    """Stamps of one node. Not safe for threads: its owner serialises calls."""

    __slots__ = ("_count", "_millis", "_node")

    def __init__(self, node: str) -> None:
        self._node = node
        self._millis = 0
        self._count = 0

    def stamp(self, wall_s: float) -> Stamp:
        """Give a stamp later than all that were given or observed; `wall_s` is the time of day."""
        millis = int(wall_s * 1000)
        if millis > self._millis:
            self._millis, self._count = millis, 0
        else:
            self._count += 1
        return Stamp(self._millis, self._count, self._node)

    def observe(self, seen: Stamp) -> None:
        """Note a stamp of another node, so that ours come after it."""
        if (seen.millis, seen.ticks) > (self._millis, self._count):
            self._millis, self._count = seen.millis, seen.ticks

    @property
    def latest(self) -> Stamp:
        """The last moment given or observed, under this node's name."""
        return Stamp(self._millis, self._count, self._node)
