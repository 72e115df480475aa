"""A queue between two threads that is bounded by weight: bytes, roughly.

The bound is what keeps memory in bounds and the database in check: a full channel stops the thread
that fills it, in the end the one that reads the database's stream, and the database waits.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

__all__ = ["Channel", "ChannelClosed"]

T = TypeVar("T")


class ChannelClosed(Exception):  # noqa: N818 - not an error: the end of a conversation
    """The channel was closed; nothing more comes."""


class Channel(Generic[T]):
    """First in, first out, for any number of threads.

    Args:
        capacity: Weight at which `put` begins to wait. One item always fits.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._items: deque[tuple[T, int]] = deque()
        self._weight = 0
        self._is_closed = False
        self._changed = threading.Condition()

    def put(self, item: T, *, weight: int = 1) -> None:
        """Add an item, waiting for room.

        Raises:
            ChannelClosed: It was closed, before or while waiting.
        """
        with self._changed:
            while self._items and self._weight + weight > self._capacity and not self._is_closed:
                self._changed.wait()
            if self._is_closed:
                raise ChannelClosed
            self._items.append((item, weight))
            self._weight += weight
            self._changed.notify_all()

    def get(self, *, timeout_s: float) -> T | None:
        """Take the next item, or `None` if none comes in time.

        Raises:
            ChannelClosed: It was closed and is empty.
        """
        with self._changed:
            if not self._items and not self._is_closed:
                self._changed.wait(timeout_s)
            if not self._items:
                if self._is_closed:
                    raise ChannelClosed
                return None
            item, weight = self._items.popleft()
            self._weight -= weight
            self._changed.notify_all()
            return item

    def close(self, *, discard: bool = False) -> None:
        """Take no more items; those that are in it can still be taken, unless `discard`."""
        with self._changed:
            self._is_closed = True
            if discard:
                self._items.clear()
                self._weight = 0
            self._changed.notify_all()

    def is_empty(self) -> bool:
        """Say whether nothing waits in it."""
        return not self._items

    @property
    def weight(self) -> int:
        """Weight of what waits in it."""
        return self._weight
