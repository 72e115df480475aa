"""When entries expire: which are due, without looking at the others."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable

__all__ = ["Expiries"]


class Expiries:
    """A heap of times. Pure; not safe for threads, but for `next_at`, which any may read.

    Attributes:
        next_at: The earliest time at which something may be due; infinite if nothing will be.
    """

    def __init__(self) -> None:
        self.next_at = math.inf
        self._heap: list[tuple[float, bytes]] = []
        self._times: dict[bytes, float] = {}

    def __len__(self) -> int:
        return len(self._heap)

    def set(self, key: bytes, at: float) -> None:
        """Let `key` expire at `at`, instead of any earlier time set; infinite for never."""
        self.discard(key)
        if at < math.inf:
            self._times[key] = at
            heapq.heappush(self._heap, (at, key))
            self.next_at = self._heap[0][0]

    def discard(self, key: bytes) -> None:
        """Forget `key`; unknown ones too."""
        if self._times.pop(key, None) is not None and len(self._heap) > 2 * len(self._times) + 64:
            # What was set anew or discarded stays in the heap until it comes up; not for ever.
            self._heap = [(at, key) for key, at in self._times.items()]
            heapq.heapify(self._heap)
            self.next_at = self._heap[0][0] if self._heap else math.inf

    def take_due(self, now: float, take: Callable[[bytes], None]) -> None:
        """Give every key whose time has come to `take`, and forget it."""
        while self._heap and self._heap[0][0] <= now:
            at, key = heapq.heappop(self._heap)
            if self._times.get(key) == at:
                del self._times[key]
                take(key)
        self.next_at = self._heap[0][0] if self._heap else math.inf
