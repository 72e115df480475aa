"""The decoder: whatever order, repeats and breaks, each commit tells the tables as they were."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence

import pytest
from cockroach_history import LAYOUTS, History, Row, State, table
from hypothesis import given
from hypothesis import strategies as st

from prism.wrapper.sources import (
    Change,
    Changes,
    Committed,
    Op,
    SchemaChanged,
    SnapshotDone,
    SnapshotRows,
    SourceEvent,
    SourceProtocolError,
    TableRefusedError,
)
from prism.wrapper.sources.cockroach._backlog import Backlog, Message
from prism.wrapper.sources.cockroach._catalogue import Layout, layout_of
from prism.wrapper.sources.cockroach._changefeed import Changefeed, SchemaMoved
from prism.wrapper.sources.cockroach._position import Moment

START = Moment(1_600_000_000_000_000_000, 0)


def no_layout(table: str, names: tuple[str, ...]) -> Layout:
    raise AssertionError(f"{table} has no columns {names}")


def changefeed(
    start: Moment = START,
    *,
    make: type[Changefeed] = Changefeed,
    room: Backlog | None = None,
    in_snapshot: bool = False,
    layouts: dict[str, Layout] = LAYOUTS,
    resolve: Callable[[str, tuple[str, ...]], Layout] = no_layout,
    position: Callable[[Moment], str] = str,
) -> Changefeed:
    return make(
        layouts,
        start=start,
        in_snapshot=in_snapshot,
        room=Backlog(memory_bytes=1 << 20) if room is None else room,
        resolve=resolve,
        told={name: layout.schema for name, layout in layouts.items()},
        position=position,
        snapshot_rows=3,
        part_rows=3,
    )


class Follower:
    """Tables as events tell them; goes on from the last position, as from a disk."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.rows: State = {"items": {}, "pairs": {}}
        self.kept: State | None = None
        self.position: str | None = None
        self.checks = 0

    def reconnect(self) -> None:
        if self.kept is None:
            self.rows = {"items": {}, "pairs": {}}
        else:
            self.rows = {name: dict(rows) for name, rows in self.kept.items()}

    def apply(self, event: SourceEvent) -> None:
        match event:
            case SnapshotRows(changes=changes) | Changes(changes=changes):
                for change in changes:
                    self._change(change)
            case SnapshotDone(position=position) | Committed(position=position):
                moment = Moment.parse(position)
                before = None if self.position is None else Moment.parse(self.position)
                assert before is None or moment > before, "a position that goes back"
                assert self.rows == self.history.at(moment), f"the tables at {moment}"
                self.position = position
                self.kept = {name: dict(rows) for name, rows in self.rows.items()}
                self.checks += 1
            case _:
                raise AssertionError(event)

    def _change(self, change: Change) -> None:
        rows = self.rows[change.schema.table.name]
        if change.op is Op.DELETE:
            rows.pop(change.key, None)
        else:
            rows[change.key] = tuple(v if isinstance(v, str) else None for v in change.values)


def simulate(
    seed: int,
    *,
    make: type[Changefeed] = Changefeed,
    room: type[Backlog] = Backlog,
    position: Callable[[Changefeed, Moment], str] | None = None,
) -> int:
    """Follow a history through disorder and breaks; returns how often the tables were compared."""
    history, chance = History(seed), random.Random(seed)
    follower = Follower(history)
    snapshot_at = chance.choice(history.moments)
    breaks = chance.randint(0, 6)
    while True:
        follower.reconnect()
        start = snapshot_at if follower.position is None else Moment.parse(follower.position)
        scan = follower.position is None
        backlog = room(memory_bytes=chance.choice((0, 300, 1 << 20)))
        feed = changefeed(
            start,
            make=make,
            room=backlog,
            in_snapshot=scan,
            position=(lambda m: str(m)) if position is None else (lambda m: position(feed, m)),  # noqa: B023  # used in this turn alone
        )
        messages = list(history.feed(start, scan=scan, chance=chance))
        is_cut = breaks > 0
        breaks -= 1
        if is_cut:
            messages = messages[: chance.randint(0, len(messages))]
        try:
            for message in messages:
                for event in feed.receive(*message):
                    follower.apply(event)
        finally:
            backlog.close()
        if not is_cut:
            break
    assert follower.rows == history.at(history.moments[-1]), "the tables at the end"
    return follower.checks


@given(st.integers(0, 2**32))
def test_every_commit_tells_the_tables_as_they_were(seed: int) -> None:
    assert simulate(seed) > 0


class _Unsorted(Backlog):
    def take(self, until: Moment) -> Iterator[Message]:
        yield from sorted(super().take(until), key=lambda message: message.key)


class _Eager(Backlog):
    def take(self, until: Moment) -> Iterator[Message]:
        return super().take(Moment(2**63, 0))


class _Wasteful(Backlog):
    """Keeps the first of what came twice, and takes each key once in all."""

    def take(self, until: Moment) -> Iterator[Message]:
        yield from {(m.table, m.key): m for m in super().take(until)}.values()


class _Credulous(Changefeed):
    def receive(
        self, table: bytes | None, key: bytes | None, value: bytes | None
    ) -> Iterator[SourceEvent]:
        repeated = self.repeated
        yield from super().receive(table, key, value)
        if self.repeated > repeated and table is not None and key and value:
            moment = Moment.parse(json.loads(value)["updated"])
            self._room.add(Message(moment, table.decode(), key, value))


def _ahead(feed: Changefeed, moment: Moment) -> str:
    """A position that claims the next nanoseconds as well."""
    return str(Moment(moment.wall_ns + 10**9, 0)) if feed else ""


@pytest.mark.parametrize(
    "mutant",
    [
        {"room": _Unsorted},
        {"room": _Eager},
        {"room": _Wasteful},
        {"make": _Credulous},
        {"position": _ahead},
    ],
    ids=["unsorted", "before the mark", "transactions merged", "repeats told", "position ahead"],
)
def test_the_simulation_finds_mistakes(mutant: dict[str, type]) -> None:
    found = 0
    for seed in range(30):
        try:
            simulate(seed, **mutant)  # type: ignore[arg-type]  # one of its own parameters
        except AssertionError:
            found += 1
    assert found > 10


def receive(feed: Changefeed, rows: Sequence[Row]) -> list[SourceEvent]:
    return [event for row in rows for event in feed.receive(*row)]


def message(name: str, key: str, value: str) -> Row:
    return name.encode(), key.encode(), value.encode()


def mark(moment: str) -> Row:
    return None, None, f'{{"resolved":"{moment}"}}'.encode()


# As printed in the manual, "Changefeed Messages", v25.2: per-key ordering, then at-least-once
# delivery, whose messages come again behind a pause.
EMPLOYEES = [
    (f"[{number}]", f'{{"after": {after}, "key": [{number}], "updated": "{updated}.0000000000"}}')
    for number, updated, after in (
        (1, 1701102296662969433, '{"id": 1, "name": "Terry", "office": "new york city"}'),
        (1, 1701102311425045162, '{"id": 1, "name": "Terri", "office": "new york city"}'),
        (2, 1701102305519323705, '{"id": 2, "name": "Alex", "office": "los angeles"}'),
        (3, 1701102316388801052, '{"id": 3, "name": "Ash", "office": "london"}'),
        (1, 1701102320607990564, '{"id": 1, "name": "Terrence", "office": "new york city"}'),
        (2, 1701102325724272373, '{"id": 2, "name": "Alex", "office": "new york city"}'),
        (5, 1701102330377135318, '{"id": 5, "name": "Robbie", "office": "london"}'),
        (4, 1701102561022789676, '{"id": 4, "name": "Danny", "office": "los angeles"}'),
    )
]
# "Changefeed Examples", v25.2: a message with the compact spacing of the webhook sink.
VEHICLE = (
    '{"after":{"city":"rome","creation_time":"2019-01-02T03:04:05","current_location":'
    '"39141 Travis Curve Suite 87","ext":{"brand":"Schwinn","color":"red"},"id":'
    '"d7b18299-c0c4-4304-9ef7-05ae46fd5ee1","dog_owner_id":"5d0c85b5-8866-47cf-a6bc-d032f198e48f",'
    '"status":"in_use","type":"bike"},"key":["rome","d7b18299-c0c4-4304-9ef7-05ae46fd5ee1"],'
    '"topic":"vehicles","updated":"1629813621680097993.0000000000"}'
)


def test_recorded_messages_come_in_the_order_of_their_commits() -> None:
    employees = table(
        "employees", ("id", "INT8"), ("name", "STRING"), ("office", "STRING"), key=("id",)
    )
    feed = changefeed(layouts={"employees": layout_of(employees)})
    rows = [message("employees", key, value) for key, value in EMPLOYEES]
    assert receive(feed, rows) == []
    # What was sent before the pause comes again.
    assert receive(feed, rows[3:6]) == []
    events = receive(feed, [mark("1701102561022789676.0000000000")])
    told = [e.changes[0].values[1:] for e in events if isinstance(e, Changes)]
    assert told == [
        ("Terry", "new york city"),
        ("Alex", "los angeles"),
        ("Terri", "new york city"),
        ("Ash", "london"),
        ("Terrence", "new york city"),
        ("Alex", "new york city"),
        ("Robbie", "london"),
        ("Danny", "los angeles"),
    ]
    commits = [event for event in events if isinstance(event, Committed)]
    assert commits[0].committed_ns == 1701102296662969433
    assert len(commits) == 8
    assert receive(feed, [*rows, mark("1701102561022789676.0000000000")]) == []
    assert feed.repeated == 8


def test_a_recorded_row_of_several_types() -> None:
    vehicles = table(
        "vehicles",
        ("id", "UUID"),
        ("city", "VARCHAR"),
        ("type", "VARCHAR"),
        ("dog_owner_id", "UUID"),
        ("creation_time", "TIMESTAMP"),
        ("status", "VARCHAR"),
        ("current_location", "VARCHAR"),
        ("ext", "JSONB"),
        key=("city", "id"),
    )
    feed = changefeed(layouts={"vehicles": layout_of(vehicles)})
    key = '["rome", "d7b18299-c0c4-4304-9ef7-05ae46fd5ee1"]'
    changes, committed = receive(
        feed, [message("vehicles", key, VEHICLE), mark("1629813621680097994.0000000000")]
    )
    assert isinstance(changes, Changes)
    assert isinstance(committed, Committed)
    # The key in the order of the columns, not of the index.
    assert changes.changes[0].key == ("d7b18299-c0c4-4304-9ef7-05ae46fd5ee1", "rome")
    assert changes.changes[0].values[4] == "2019-01-02T03:04:05"
    assert changes.changes[0].values[7] == '{"brand": "Schwinn", "color": "red"}'


def test_a_deletion_needs_no_insertion_before_it() -> None:
    feed = changefeed()
    deletion = '{"after": null, "updated": "1700000000000000001.0000000000"}'
    changes, _ = receive(
        feed, [message("pairs", '["x", 5]', deletion), mark("1700000000000000001.0000000000")]
    )
    assert isinstance(changes, Changes)
    assert [(c.op, c.key) for c in changes.changes] == [(Op.DELETE, ("5", "x"))]


def test_a_snapshot_ends_with_the_first_mark_that_covers_it() -> None:
    feed = changefeed(in_snapshot=True)
    before, at, after = (Moment(START.wall_ns + d, 0) for d in (-1, 0, 1))
    row = '{{"after": {{"id": {0}, "name": "n"}}, "updated": "{1}"}}'
    rows = [message("items", f"[{n}]", row.format(n, at)) for n in range(4)]
    later = message("items", "[9]", row.format(9, after))
    events = receive(feed, [rows[0], mark(str(before)), later, *rows[1:], mark(str(after))])
    kinds = [type(event) for event in events]
    assert kinds == [SnapshotRows, SnapshotRows, SnapshotDone, Changes, Committed]
    assert [e.done_rows for e in events if isinstance(e, SnapshotRows)] == [3, 4]
    assert not feed.in_snapshot


def test_other_columns_end_a_snapshot_and_change_the_schema_in_a_stream() -> None:
    wide = table("items", ("id", "INT8"), ("name", "STRING"), ("more", "INT8"), key=("id",))
    row = '{"after": {"id": 1, "more": 7, "name": "n"}, "updated": "%s"}'
    with pytest.raises(SchemaMoved) as moved:
        receive(changefeed(in_snapshot=True), [message("items", "[1]", row % str(START))])
    assert (moved.value.table, set(moved.value.names)) == ("items", {"id", "more", "name"})
    asked: list[tuple[str, ...]] = []

    def resolve(name: str, names: tuple[str, ...]) -> Layout:
        asked.append(names)
        return layout_of(wide, names)

    feed = changefeed(resolve=resolve)
    moments = [Moment(START.wall_ns + n, 0) for n in (1, 2)]
    events = receive(
        feed, [*(message("items", "[1]", row % str(m)) for m in moments), mark(str(moments[1]))]
    )
    assert [type(e) for e in events] == [SchemaChanged, Changes, Committed, Changes, Committed]
    assert len(asked) == 1


@pytest.mark.parametrize(
    "row",
    [
        message("nobody", "[1]", '{"after": null, "updated": "1.0000000000"}'),
        message("items", "[1]", '{"after": null}'),
        message("items", "[1]", '{"updated": "1700000000000000001.0000000000"}'),
        message("items", "[1]", '{"after": 5, "updated": "1700000000000000001.0000000000"}'),
        message("items", "[null]", '{"after": null, "updated": "1700000000000000001.0000000000"}'),
        message("items", "{", '{"after": null, "updated": "1700000000000000001.0000000000"}'),
        message("items", "[1]", '{"after": {secret, "updated": "1700000000000000001.0000000000"}'),
        (b"items", None, b"{}"),
        (None, None, b"{}"),
        (None, None, b'{"resolved": "soon"}'),
    ],
)
def test_what_is_no_message_is_refused_without_its_values(row: Row) -> None:
    with pytest.raises(SourceProtocolError) as refused:
        receive(changefeed(), [row, mark("1800000000000000000.0000000000")])
    assert "secret" not in str(refused.value)


def test_a_key_of_another_width_is_refused() -> None:
    deletion = '{"after": null, "updated": "1700000000000000001.0000000000"}'
    with pytest.raises(TableRefusedError, match="2 columns"):
        receive(
            changefeed(),
            [message("pairs", "[1]", deletion), mark("1800000000000000000.0000000000")],
        )
