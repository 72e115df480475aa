"""Events in the order of their commits, each once. Pure.

TiCDC sends at least once, and orders the events of a row but not those of different tables. What it
does promise: after a resolved mark W of a partition, everything committed before W was sent there.
So the rules are:

1. An event is held until every partition has a mark above its timestamp; the lowest of these marks
   is the sequencer's.
2. What is released comes in rising order of timestamps, all events of one timestamp (one
   transaction) together; in them, statements first, then deletes, then rows that are there. A row
   that moves to a key that another left would otherwise be deleted after it came.
3. An event below the floor (all that was released) was told before, and is dropped. So is the
   second of two that say the same of one timestamp.
4. A mark that is lower than the partition's last one is old news.

What always holds: whatever is repeated, held back or mixed between marks, the transactions released
are those that were committed, each once and whole, in order.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from prism.wrapper.sources.tidb._messages import DdlEvent, Event, ResolvedMark, RowEvent

__all__ = ["Sequencer", "Transaction"]

_Held: TypeAlias = RowEvent | DdlEvent
_OVERHEAD = 400  # of an event and its place, beside the characters


@dataclass(frozen=True, slots=True)
class Transaction:
    """All events of one timestamp."""

    ts: int
    ddl: tuple[DdlEvent, ...]
    deletes: tuple[RowEvent, ...]
    upserts: tuple[RowEvent, ...]


class Sequencer:
    """See the module for its rules.

    Args:
        floor: Where to begin: everything below was told.
        partitions: How many partitions push, numbered from 0.
    """

    def __init__(self, *, floor: int, partitions: int = 1) -> None:
        self._floor = floor
        self._marks = [floor] * partitions
        self._seen = [False] * partitions
        self._held: dict[int, dict[object, _Held]] = {}
        self._order: list[int] = []
        self._size = 0
        self._duplicates = 0

    @property
    def floor(self) -> int:
        """Everything committed before was released."""
        return self._floor

    @property
    def mark(self) -> int:
        """Everything committed before has come, from every partition."""
        return min(self._marks)

    @property
    def is_marked(self) -> bool:
        """Whether every partition has sent a mark since the start."""
        return all(self._seen)

    @property
    def size_bytes(self) -> int:
        """What is held, roughly."""
        return self._size

    @property
    def duplicates(self) -> int:
        """How many events were dropped because they had come before."""
        return self._duplicates

    @property
    def has_released(self) -> bool:
        """Whether `take` would give something."""
        return self._floor < self.mark

    def add(self, partition: int, events: Iterable[Event]) -> None:
        """Take events of one partition, in the order in which it sent them."""
        for event in events:
            if isinstance(event, ResolvedMark):
                self._marks[partition] = max(self._marks[partition], event.ts)
                self._seen[partition] = True
            elif event.ts < self._floor:
                self._duplicates += 1
            else:
                self._hold(event)

    def take(self, limit_bytes: int) -> tuple[list[Transaction], int]:
        """Release transactions, at least one and then up to a size.

        Returns:
            The transactions, and the floor after them.
        """
        mark = self.mark
        taken: list[Transaction] = []
        size = 0
        while self._order and self._order[0] < mark and (not taken or size < limit_bytes):
            ts = heapq.heappop(self._order)
            events = self._held.pop(ts).values()
            size += sum(_size(event) for event in events)
            taken.append(_transaction(ts, events))
            self._floor = ts + 1
        self._size -= size
        if not self._order or self._order[0] >= mark:
            self._floor = max(self._floor, mark)
        return taken, self._floor

    def skip_to(self, floor: int) -> None:
        """Forget what was committed before: a snapshot told it."""
        while self._order and self._order[0] < floor:
            events = self._held.pop(heapq.heappop(self._order)).values()
            self._size -= sum(_size(event) for event in events)
        self._floor = max(self._floor, floor)

    def _hold(self, event: _Held) -> None:
        group = self._held.get(event.ts)
        if group is None:
            group = self._held[event.ts] = {}
            heapq.heappush(self._order, event.ts)
        name = _name(event)
        if name in group:
            self._duplicates += 1
        else:
            group[name] = event
            self._size += _size(event)


def _name(event: _Held) -> object:
    if isinstance(event, DdlEvent):
        return event.schema, event.table, event.query
    # Two events of one timestamp that differ in anything are two changes.
    before, after = event.before, event.after
    return (
        event.schema,
        event.table,
        None if before is None else frozenset(before.items()),
        None if after is None else frozenset(after.items()),
    )


def _size(event: _Held) -> int:
    if isinstance(event, DdlEvent):
        return _OVERHEAD + len(event.query)
    return _OVERHEAD + sum(
        len(value) for row in (event.before, event.after) if row for value in row.values() if value
    )


def _transaction(ts: int, events: Iterable[_Held]) -> Transaction:
    ddl: list[DdlEvent] = []
    deletes: list[RowEvent] = []
    upserts: list[RowEvent] = []
    for event in events:
        if isinstance(event, DdlEvent):
            ddl.append(event)
        elif event.after is None:
            deletes.append(event)
        else:
            upserts.append(event)
    return Transaction(ts, tuple(ddl), tuple(deletes), tuple(upserts))
