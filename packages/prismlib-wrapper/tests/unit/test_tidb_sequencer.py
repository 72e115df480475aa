"""Transactions come out once, whole and in order, whatever is repeated, mixed or held back."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prism.wrapper.sources.tidb._messages import Event, ResolvedMark, RowEvent
from prism.wrapper.sources.tidb._sequencer import Sequencer


def _walk(seed: int, make: Callable[[int], Sequencer]) -> None:
    """Push random commits as badly as TiCDC may, and look at what comes out."""
    chance = random.Random(seed)
    partitions = chance.choice((1, 2, 3))
    sequencer = make(partitions)
    committed: dict[int, set[tuple[str, str]]] = {}
    streams: list[list[Event]] = []
    steps = sorted(chance.sample(range(1, 200), chance.randint(1, 30)))
    rows: list[list[RowEvent]] = [[] for _ in range(partitions)]
    for ts in steps:
        for number in range(chance.randint(1, 3)):
            key = f"{ts}.{number}"
            rows[chance.randrange(partitions)].append(RowEvent(ts, "s", "t", None, {"id": key}))
            committed.setdefault(ts, set()).add(("t", key))
    end = 201
    for own in rows:
        # All below a mark stand before it, in any order; some are sent again later.
        stream: list[Event] = []
        begun = 0
        for mark in sorted([*chance.sample(range(1, 200), 4), end]):
            chunk = [row for row in own if begun <= row.ts < mark]
            early = [row for row in own if row.ts >= mark and chance.random() < 0.3]
            again = [row for row in own if row.ts < mark and chance.random() < 0.2]
            parts = [*chunk, *early, *again]
            chance.shuffle(parts)
            stream += [*parts, ResolvedMark(mark)]
            begun = mark
        streams.append(stream)

    told: list[int] = []
    floor = 0
    marks = [0] * partitions
    while any(streams):
        partition = chance.choice([p for p in range(partitions) if streams[p]])
        size = chance.randint(1, 6)
        batch, streams[partition] = streams[partition][:size], streams[partition][size:]
        for event in batch:
            if isinstance(event, ResolvedMark):
                marks[partition] = max(marks[partition], event.ts)
        sequencer.add(partition, batch)
        if chance.random() < 0.2:
            sequencer.add(partition, batch)
        while chance.random() < 0.5:
            taken, after = sequencer.take(chance.choice((1, 10_000)))
            assert floor <= after <= min(marks)
            floor = after
            for transaction in taken:
                assert transaction.ts < after
                assert {("t", str(e.after["id"])) for e in transaction.upserts if e.after} == (
                    committed[transaction.ts]
                )
                assert len(transaction.upserts) == len(committed[transaction.ts])
                told.append(transaction.ts)
    while sequencer.has_released:
        told += [transaction.ts for transaction in sequencer.take(1)[0]]
    assert told == steps
    assert sequencer.size_bytes == 0


@given(st.integers(0, 1 << 32))
def test_every_commit_comes_once_and_in_order(seed: int) -> None:
    _walk(seed, lambda partitions: Sequencer(floor=0, partitions=partitions))


class _HighestMark(Sequencer):
    @property
    def mark(self) -> int:
        return max(self._marks)


class _MarkIncluded(Sequencer):
    @property
    def mark(self) -> int:
        return min(self._marks) + 1


class _NoFloor(Sequencer):
    def add(self, partition: int, events: list[Event]) -> None:  # type: ignore[override]
        floor, self._floor = self._floor, 0
        super().add(partition, events)
        self._floor = floor


class _NoSet(Sequencer):
    def _hold(self, event: RowEvent) -> None:  # type: ignore[override]
        if event.ts in self._held:
            self._held[event.ts][object()] = event
        else:
            super()._hold(event)


@pytest.mark.parametrize("mutant", [_HighestMark, _MarkIncluded, _NoFloor, _NoSet])
def test_each_rule_is_needed(mutant: type[Sequencer]) -> None:
    for seed in range(200):
        try:
            _walk(seed, lambda partitions: mutant(floor=0, partitions=partitions))
        except (AssertionError, KeyError):
            return
    raise AssertionError(f"nothing noticed {mutant.__name__}")


def test_deletes_come_before_rows() -> None:
    sequencer = Sequencer(floor=0)
    sequencer.add(
        0,
        [
            RowEvent(5, "s", "t", None, {"id": "1"}),
            RowEvent(5, "s", "t", {"id": "1"}, None),
            ResolvedMark(6),
        ],
    )
    ((transaction,), floor) = sequencer.take(1)
    assert floor == 6
    assert len(transaction.deletes) == len(transaction.upserts) == 1


def test_what_a_snapshot_told_is_skipped() -> None:
    sequencer = Sequencer(floor=0)
    sequencer.add(0, [RowEvent(ts, "s", "t", None, {"id": str(ts)}) for ts in (3, 7, 9)])
    sequencer.skip_to(8)
    sequencer.add(0, [RowEvent(7, "s", "t", None, {"id": "7"}), ResolvedMark(20)])
    taken, floor = sequencer.take(1 << 20)
    assert [transaction.ts for transaction in taken] == [9]
    assert floor == 20
