"""What one node holds: items, and the invalidations it knows of. Values in, values out.

- Items of one key are ordered by their stamps: the last writer wins, in whatever order they arrive.
- An item carries what its writer had heard of invalidations (`seen`: for each origin the last one).
  An invalidation removes what it matches and what was written without knowing of it. So no clock
  decides whether an answer is older than its invalidation, however wrong clocks are.
- Invalidations of one origin are known without gaps. The log is bounded; of an item that was
  written before the log begins nobody can tell whether it is still good, so it is refused.
- Room is bounded in bytes. The oldest stamps go first, the same on each node, and nothing older
  than what went is taken back in.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from prism.cluster._clock import ZERO, HybridClock, Stamp

__all__ = ["BUCKETS", "Invalidation", "Item", "Replica"]

BUCKETS = 256

Vector = Mapping[str, Stamp]


class Item(NamedTuple):
    """An answer under its key.

    Attributes:
        key: 32 bytes.
        stamp: When it was written.
        seen: The last invalidation of each origin that its writer knew.
        tags: Labels by which it can be invalidated.
        size: What it counts for, in bytes.
        body: Its content; nothing here looks into it.
    """

    key: bytes
    stamp: Stamp
    seen: tuple[tuple[str, Stamp], ...]
    tags: tuple[str, ...]
    size: int
    body: Any


class Invalidation(NamedTuple):
    """Answers that are no longer good: one key's, all with a tag, or all.

    Attributes:
        stamp: When, and by whom.
        previous: The last one of the same origin before it.
        key: The key; empty for none.
        tag: The tag; empty for none. With neither, everything.
    """

    stamp: Stamp
    previous: Stamp
    key: bytes
    tag: str

    @property
    def origin(self) -> str:
        """Who said so."""
        return self.stamp.node

    def matches(self, item: Item) -> bool:
        """Tell whether an item is meant."""
        if self.key:
            return item.key == self.key
        return not self.tag or self.tag in item.tags


class Replica:
    """The items and invalidations of one node.

    Args:
        node: Its name.
        max_bytes: How much room items have.
        most_invalidations: How many are kept of each origin.
    """

    def __init__(self, node: str, *, max_bytes: int, most_invalidations: int = 10_000) -> None:
        self.clock = HybridClock(node)
        self.items: dict[bytes, Item] = {}
        self.size_bytes = 0
        self.forgotten = ZERO
        self._max_bytes = max_bytes
        self._most = most_invalidations
        self._log: dict[str, deque[Invalidation]] = {}
        self._known: dict[str, Stamp] = {}
        self._floor: dict[str, Stamp] = {}
        self._digest = [0] * BUCKETS

    # -- items

    def write(
        self, key: bytes, body: Any, *, tags: Iterable[str], size: int, wall_s: float
    ) -> tuple[Item, list[bytes]]:
        """Write an item here; gives it, and the keys that made room for it."""
        item = Item(
            key,
            self.clock.stamp(wall_s),
            tuple(sorted(self._known.items())),
            tuple(tags),
            size,
            body,
        )
        _, gone = self.take(item)
        return item, gone

    def take(self, item: Item) -> tuple[bool, list[bytes]]:
        """Take an item of any node; tells whether it is new here, and which keys made room."""
        self.clock.observe(item.stamp)
        held = self.items.get(item.key)
        if not self._is_later(item, held) or self.is_invalid(item):
            return False, []
        if held is not None:
            self._remove(held)
        self.items[item.key] = item
        self.size_bytes += item.size
        self._mark(item)
        gone = self._make_room()
        return item.key in self.items, gone

    def is_invalid(self, item: Item) -> bool:
        """Tell whether an item was, or may have been, invalidated unknown to its writer."""
        if item.stamp <= self.forgotten:
            return True
        seen = dict(item.seen)
        for origin, known in self._known.items():
            before = seen.get(origin, ZERO)
            if before >= known:
                continue
            if before < self._floor.get(origin, ZERO):
                return True
            for one in reversed(self._log[origin]):
                if one.stamp <= before:
                    break
                if one.matches(item):
                    return True
        return False

    def in_buckets(self, buckets: Iterable[int]) -> list[Item]:
        """Give the items of some buckets, the oldest first."""
        wanted = set(buckets)
        return sorted(
            (item for item in self.items.values() if item.key[0] in wanted),
            key=lambda item: item.stamp,
        )

    # -- invalidations

    @property
    def known(self) -> dict[str, Stamp]:
        """The last invalidation known of each origin."""
        return dict(self._known)

    @property
    def floors(self) -> dict[str, Stamp]:
        """Before which stamp invalidations of each origin are no longer told apart."""
        return dict(self._floor)

    def invalidate(
        self, *, key: bytes = b"", tag: str = "", wall_s: float
    ) -> tuple[Invalidation, list[bytes]]:
        """Invalidate what is here and, once it is told there, anywhere; gives the keys removed."""
        stamp = self.clock.stamp(wall_s)
        one = Invalidation(stamp, self._known.get(stamp.node, ZERO), key, tag)
        return one, self._append(one)

    def learn(self, log: Iterable[Invalidation]) -> tuple[bool, list[bytes]]:
        """Take invalidations of any node; tells whether none is missing, and the keys removed."""
        is_whole, gone = True, list[bytes]()
        for one in sorted(log):
            self.clock.observe(one.stamp)
            known = self._known.get(one.origin, ZERO)
            if one.stamp <= known:
                continue
            if one.previous > known:
                is_whole = False
                continue
            gone += self._append(one)
        return is_whole, gone

    def since(self, known: Vector) -> tuple[dict[str, Stamp], list[Invalidation]]:
        """Give what another node lacks: floors above what it knows, and invalidations."""
        floors: dict[str, Stamp] = {}
        log: list[Invalidation] = []
        for origin, last in self._known.items():
            theirs = known.get(origin, ZERO)
            if theirs >= last:
                continue
            if theirs < self._floor.get(origin, ZERO):
                floors[origin] = self._floor[origin]
            log += [one for one in self._log[origin] if one.stamp > theirs]
        return floors, log

    def raise_floors(self, floors: Vector, forgotten: Stamp = ZERO) -> list[bytes]:
        """Learn that older things are not told apart any more; gives the keys removed."""
        for origin, floor in floors.items():
            if floor > self._known.get(origin, ZERO):
                self._known[origin] = self._floor[origin] = floor
                self._log[origin] = deque()
                self.clock.observe(floor)
        if forgotten > self.forgotten:
            self.forgotten = forgotten
            self.clock.observe(forgotten)
        return self._remove_all([item for item in self.items.values() if self.is_invalid(item)])

    # -- digests

    @property
    def digest(self) -> tuple[int, ...]:
        """64 bits for each bucket; equal where two nodes hold the same items."""
        return tuple(self._digest)

    def differs(self, digest: Iterable[int]) -> list[int]:
        """Give the buckets in which another node holds something else."""
        return [
            number
            for number, (own, other) in enumerate(zip(self._digest, digest, strict=True))
            if own != other
        ]

    def _is_later(self, item: Item, held: Item | None) -> bool:
        return held is None or item.stamp > held.stamp

    def _append(self, one: Invalidation) -> list[bytes]:
        log = self._log.setdefault(one.origin, deque())
        log.append(one)
        self._known[one.origin] = one.stamp
        gone = []
        if len(log) > self._most:
            floor = self._floor[one.origin] = log.popleft().stamp
            # Whether these were meant by what is forgotten now, nobody can tell any more.
            gone = self._remove_all(
                [
                    item
                    for item in self.items.values()
                    if dict(item.seen).get(one.origin, ZERO) < floor
                ]
            )
        held = self.items.get(one.key)
        meant = self.items.values() if not one.key else () if held is None else (held,)
        return gone + self._remove_all(
            [
                item
                for item in meant
                if one.matches(item) and dict(item.seen).get(one.origin, ZERO) < one.stamp
            ]
        )

    def _make_room(self) -> list[bytes]:
        if self.size_bytes <= self._max_bytes:
            return []
        gone = []
        # A tenth at once: sorting for each item would cost more than what it frees.
        for item in sorted(self.items.values(), key=lambda item: item.stamp):
            if self.size_bytes <= self._max_bytes * 0.9:
                break
            self.forgotten = max(self.forgotten, item.stamp)
            gone.append(item)
            self._remove(item)
        return [item.key for item in gone]

    def _remove_all(self, items: list[Item]) -> list[bytes]:
        for item in items:
            self._remove(item)
        return [item.key for item in items]

    def _remove(self, item: Item) -> None:
        del self.items[item.key]
        self.size_bytes -= item.size
        self._mark(item)

    def _mark(self, item: Item) -> None:
        text = repr((item.key, tuple(item.stamp))).encode()
        mark = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
        self._digest[item.key[0]] ^= mark
