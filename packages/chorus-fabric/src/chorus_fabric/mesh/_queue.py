"""A queue of frames, bounded in bytes, that knows which may make room for which.

    first out    HEARTBEAT, LEASE, SIGNAL, INVALIDATE, CONFIG, REPLY, REQUEST, HEALTH, TOKEN_SYNC;
                 the oldest first within each
    full         a frame that may be superseded (HEARTBEAT, LEASE, HEALTH, TOKEN_SYNC) takes the
                 place of the oldest of its own kind; any other kind, and these if that is not
                 enough, that of the oldest TOKEN_SYNC
    still full   it is not queued, and nothing was dropped for it

The bytes in the queue never exceed the bound.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from chorus_fabric._frame import FrameKind
from chorus_fabric.mesh._message import COALESCABLE

if TYPE_CHECKING:
    from collections.abc import Container

__all__ = ["FrameQueue"]

Item = TypeVar("Item")

_ORDER: Final = (
    FrameKind.HEARTBEAT,
    FrameKind.LEASE,
    FrameKind.SIGNAL,
    FrameKind.INVALIDATE,
    FrameKind.CONFIG,
    FrameKind.REPLY,
    FrameKind.REQUEST,
    FrameKind.HEALTH,
    FrameKind.TOKEN_SYNC,
)


class FrameQueue(Generic[Item]):
    """Frames of one peer and one lane. Not for several threads at once.

    Args:
        most_bytes: The bound.

    Attributes:
        dropped: How many made room, by kind, since the queue was made.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._items: dict[FrameKind, deque[tuple[int, Item]]] = {kind: deque() for kind in _ORDER}
        self._kind_bytes: Counter[FrameKind] = Counter()
        self._bytes = 0
        self.dropped: Counter[FrameKind] = Counter()

    @property
    def size_bytes(self) -> int:
        """What waits."""
        return self._bytes

    def __len__(self) -> int:
        return sum(map(len, self._items.values()))

    def push(self, kind: FrameKind, size_bytes: int, item: Item) -> bool:
        """Queue a frame.

        Returns:
            Whether it was queued; others may have been dropped for it.
        """
        victims = [kind] if kind in COALESCABLE else []
        if kind is not FrameKind.TOKEN_SYNC:
            victims.append(FrameKind.TOKEN_SYNC)
        excess = self._bytes + size_bytes - self._most_bytes
        if excess > sum(self._kind_bytes[victim] for victim in victims):
            return False
        for victim in victims:
            while excess > 0 and self._items[victim]:
                excess -= self._take(victim)[0]
                self.dropped[victim] += 1
        self._items[kind].append((size_bytes, item))
        self._kind_bytes[kind] += size_bytes
        self._bytes += size_bytes
        return True

    def pop(self, *, besides: Container[FrameKind] = ()) -> Item | None:
        """Take the next one; `None` if there is none.

        Args:
            besides: Kinds that are left where they are.
        """
        for kind in _ORDER:
            if self._items[kind] and kind not in besides:
                return self._take(kind)[1]
        return None

    def clear(self) -> int:
        """Forget all; gives how many they were, heartbeats aside."""
        count = len(self) - len(self._items[FrameKind.HEARTBEAT])
        for items in self._items.values():
            items.clear()
        self._kind_bytes.clear()
        self._bytes = 0
        return count

    def _take(self, kind: FrameKind) -> tuple[int, Item]:
        size_bytes, item = self._items[kind].popleft()
        self._kind_bytes[kind] -= size_bytes
        self._bytes -= size_bytes
        return size_bytes, item
