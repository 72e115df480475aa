"""The parts between source and log: the channel, folding, and who waits for a row."""

from __future__ import annotations

import itertools
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prism.wrapper._pipeline.channel import Channel, ChannelClosed
from prism.wrapper._pipeline.folding import Folded
from prism.wrapper._pipeline.sightings import Expectation, Sightings
from prism.wrapper.sources import (
    UNCHANGED,
    Change,
    Column,
    ColumnKind,
    Op,
    TableId,
    TableSchema,
    Value,
)

# The channel.


def drain(channel: Channel[int], taken: list[int]) -> None:
    try:
        while True:
            item = channel.get(timeout_s=5)
            if item is not None:
                taken.append(item)
    except ChannelClosed:
        pass


def test_a_channel_keeps_order_and_bound() -> None:
    channel: Channel[int] = Channel(10)
    taken: list[int] = []
    heaviest: list[int] = []

    def put() -> None:
        for number in range(500):
            weight = 1 + number % 7
            channel.put(number, weight=weight)
            heaviest.append(channel.weight)
        channel.close()

    putter = threading.Thread(target=put)
    putter.start()
    drain(channel, taken)
    putter.join(5)
    assert taken == list(range(500))
    assert max(heaviest) <= 10
    assert channel.weight == 0


def test_an_item_heavier_than_the_channel_passes_alone() -> None:
    channel: Channel[int] = Channel(10)
    channel.put(1, weight=1000)
    late = threading.Thread(target=lambda: channel.put(2, weight=1))
    late.start()
    late.join(0.05)
    assert late.is_alive(), "there was no room"
    assert channel.get(timeout_s=1) == 1
    late.join(5)
    assert channel.get(timeout_s=1) == 2
    assert channel.get(timeout_s=0) is None


@pytest.mark.parametrize("discard", [False, True])
def test_a_closed_channel(discard: bool) -> None:
    channel: Channel[int] = Channel(1)
    channel.put(1)
    ended = threading.Event()

    def put() -> None:
        with pytest.raises(ChannelClosed):
            channel.put(2)
        ended.set()

    waiting = threading.Thread(target=put)
    waiting.start()
    channel.close(discard=discard)
    assert ended.wait(5), "who waits for room is told"
    waiting.join(5)
    if not discard:
        assert channel.get(timeout_s=0) == 1
    with pytest.raises(ChannelClosed):
        channel.get(timeout_s=0)


# Folding.

SCHEMA = TableSchema(
    TableId("db", "public", "t"),
    tuple(Column(name, "text", ColumnKind.TEXT) for name in ("id", "a", "b")),
    (0,),
)
VALUES: st.SearchStrategy[Value] = st.sampled_from(["x", "y", None, UNCHANGED])
CHANGES = st.lists(
    st.tuples(st.sampled_from([1, 2]), st.sampled_from(Op), st.sampled_from("pq"), VALUES, VALUES),
    max_size=12,
)


@given(CHANGES, st.integers(0, 12))
def test_folded_changes_do_what_all_would_do(
    changes: list[tuple[int, Op, str, Value, Value]], already: int
) -> None:
    """On any rows that the log may hold; those before `already` are applied one by one."""

    def apply(
        rows: dict[tuple[int, str], list[Value]], key: tuple[int, str], values: tuple[Value, ...]
    ) -> None:
        before = rows.get(key, [None] * len(values))
        rows[key] = [
            old if new is UNCHANGED else new for new, old in zip(values, before, strict=True)
        ]

    expected: dict[tuple[int, str], list[Value]] = {}
    found: dict[tuple[int, str], list[Value]] = {}
    folded = Folded()
    for place, (stream, op, row, a, b) in enumerate(changes):
        if (stream, row) not in expected:
            # A database says UNCHANGED only of a row that is there.
            a, b = ("z" if value is UNCHANGED else value for value in (a, b))
        values = (row, a, b)
        change = Change(op, SCHEMA, (row,), values if op is Op.UPSERT else ())
        for rows in (expected, found) if place < already else (expected,):
            if op is Op.TRUNCATE:
                for key in [key for key in rows if key[0] == stream]:
                    del rows[key]
            elif op is Op.DELETE:
                rows.pop((stream, row), None)
            else:
                apply(rows, (stream, row), values)
        if place >= already:
            touched = folded.add([change], stream)
            assert touched == ([] if op is Op.TRUNCATE else [(stream, row)])
    for stream in folded.clears:
        for key in [key for key in found if key[0] == stream]:
            del found[key]
    for key, now in folded.rows.items():
        if now is None:
            found.pop(key, None)
        else:
            apply(found, key, now)
    assert found == expected
    assert folded.is_empty() == (len(changes) <= already)


# Sightings.


@given(st.lists(st.tuples(st.sampled_from("pq"), st.integers(0, 5)), max_size=6), st.data())
def test_each_is_told_once_at_the_first_commit_it_waits_for(
    waits: list[tuple[str, int]], data: st.DataObject
) -> None:
    sightings = Sightings()
    waiting = []
    for row, least in waits:
        one = Expectation((1, row), lambda position, least=least: int(position) >= least)  # type: ignore[misc]
        sightings.expect(one)
        waiting.append((row, least, one))
    told: dict[int, int] = {}
    commits = data.draw(st.lists(st.sampled_from("pq"), max_size=8))
    for at, row in enumerate(commits):
        watched = sightings.watched([(1, row), (2, row)])
        assert watched == (
            [(1, row)] if any(r == row and id(one) not in told for r, _, one in waiting) else []
        )
        for one in sightings.reached((1, row), str(at)):
            assert id(one) not in told
            told[id(one)] = at
            one.fulfil(epoch=3, seq=at)
    for row, least, one in waiting:
        first = next((at for at, r in enumerate(commits) if r == row and at >= least), None)
        assert told.get(id(one)) == first
        assert one.wait(0) == (first is not None)
        assert (one.epoch, one.seq) == ((3, first) if first is not None else (0, 0))


def test_who_gives_up_is_forgotten() -> None:
    sightings = Sightings()
    gone, stays = (Expectation((1, "p"), lambda _: True) for _ in range(2))
    for one in (gone, stays):
        sightings.expect(one)
    for _ in range(2):
        sightings.forget(gone)
    assert sightings.reached((1, "p"), "0") == [stays]
    assert sightings.watched([(1, "p")]) == []


def test_many_threads_wait() -> None:
    sightings = Sightings()
    counter = itertools.count()
    done = []

    def wait() -> None:
        one = Expectation((1, f"r{next(counter)}"), lambda _: True)
        sightings.expect(one)
        done.append(one.wait(10))

    threads = [threading.Thread(target=wait) for _ in range(8)]
    for thread in threads:
        thread.start()
    while len(done) < 8:
        for number in range(8):
            for one in sightings.reached((1, f"r{number}"), "1"):
                one.fulfil(epoch=1, seq=1)
    for thread in threads:
        thread.join(5)
    assert done == [True] * 8
