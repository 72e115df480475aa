"""Which entry to give up when room is short: the one whose loss costs least per byte.

GreedyDual-Size with frequency: an entry is worth `hits * cost / size` above the level at which the
last one was evicted, so that what was once popular sinks as others are evicted.
Source: L. Cherkasova, "Improving WWW proxies performance with Greedy-Dual-Size-Frequency caching
policy", HP Laboratories 1998.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["GreedyDual"]

Key = TypeVar("Key")


class GreedyDual(Generic[Key]):
    """Ranks entries by worth. Pure; not safe for threads.

    Hits are read from the owner when a victim is sought, so that serving a hit costs nothing here.
    """

    def __init__(self, hits_of: Callable[[Key], int]) -> None:
        self._hits_of = hits_of
        self._level = 0.0
        self._values: dict[Key, tuple[float, float]] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._pushes = 0

    def __len__(self) -> int:
        return len(self._values)

    def add(self, key: Key, *, size_bytes: int, cost: float) -> None:
        """Rank a new entry. `cost` is what it takes to get it again, in any unit, above 0."""
        self._values[key] = (cost / size_bytes, self._level)
        self._push(key)

    def discard(self, key: Key) -> None:
        """Forget an entry; unknown ones too. Its place in the heap goes when it is met."""
        self._values.pop(key, None)
        if len(self._heap) > 64 and len(self._heap) > 2 * len(self._values):
            self._heap = [(self._worth(key), i, key) for i, key in enumerate(self._values)]
            self._pushes = len(self._heap)
            heapq.heapify(self._heap)

    def pop(self) -> Key:
        """Take the entry of least worth.

        Cost: O(log n), amortised over the hits since the last call.

        Raises:
            KeyError: There is none.
        """
        while self._heap:
            worth, _, key = heapq.heappop(self._heap)
            if key not in self._values:
                continue
            if self._worth(key) > worth:
                self._push(key)
                continue
            self._level = max(self._level, worth)
            del self._values[key]
            return key
        raise KeyError("nothing to evict")

    def _worth(self, key: Key) -> float:
        cost_per_byte, level = self._values[key]
        return level + (1 + self._hits_of(key)) * cost_per_byte

    def _push(self, key: Key) -> None:
        self._pushes += 1
        heapq.heappush(self._heap, (self._worth(key), self._pushes, key))
