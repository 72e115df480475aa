"""What a changefeed of `cockroach_double` sends."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from cockroach_store import Event, Moment, Table, written

if TYPE_CHECKING:
    from cockroach_double import CockroachDouble

Message = tuple[str | None, str | None, str]


class RefusedError(Exception):
    """An ErrorResponse."""

    def __init__(self, message: str, sqlstate: str) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


def messages(double: CockroachDouble, user: str, sql: str) -> Iterator[Message | None]:
    """What a changefeed sends; None where it waits."""
    store = double.store
    match = re.match(
        r"(?:EXPERIMENTAL|CREATE) CHANGEFEED FOR (?:TABLE )?(.*?)(?: WITH (.*))?$", sql, re.S
    )
    assert match is not None, sql
    options = {
        name.strip(): value.strip(" '")
        for name, _, value in (part.partition("=") for part in (match[2] or "").split(","))
    }
    if not double.rangefeed:
        raise RefusedError(
            "rangefeeds require the kv.rangefeed.enabled setting. See "
            "https://www.cockroachlabs.com/docs/v25.2/create-and-configure-changefeeds.html"
            "#enable-rangefeeds",
            "XXUUU",
        )
    names = [part.strip().rpartition(".")[2].strip('"') for part in match[1].split(",")]
    tables: dict[str, Table] = {}
    for name in names:
        if name not in store.tables:
            raise RefusedError(f'relation "{name}" does not exist', "42P01")
        if (user, name) in double.blind:
            raise RefusedError(
                f"user {user} does not have SELECT privilege on relation {name}", "42501"
            )
        tables[name] = store.tables[name]
        if tables[name].families > 1:
            raise RefusedError(
                "CHANGEFEED targeting a table with multiple column families requires WITH "
                f"split_column_families and will emit multiple events per row ({name}).",
                "22023",
            )
    if double.recorded is not None:
        yield from double.recorded
        while True:
            yield None
            double.closing.wait(0.02)
    chance = random.Random(double.seed)
    cursor = _moment(options["cursor"]) if "cursor" in options else store.now()
    if cursor < store.gc_threshold:
        raise RefusedError(
            f"batch timestamp {_shown(cursor)} must be after replica GC threshold "
            f"{_shown(store.gc_threshold)}",
            "XXUUU",
        )
    interval_s = float(options.get("resolved", "").removesuffix("ms") or 100) / 1000
    json_null = "encode_json_value_null_as_object" in options
    full = "full_table_name" in options
    spoken: list[Message] = []

    def told(event: Event) -> Message:
        message = _told(
            event, tables[event.table], json_null=json_null, full=full, untold=double.untold
        )
        spoken.append(message)
        del spoken[:-50]
        return message

    def again() -> Iterator[Message]:
        if spoken and chance.random() < double.repeats:
            yield chance.choice(spoken)

    if "initial_scan" in options or "cursor" not in options:
        with store.changed:
            scanned = [
                Event(cursor, name, key, row, table.shape(cursor))
                for name, table in tables.items()
                for key, row in table.at(cursor)
            ]
        chance.shuffle(scanned)
        for event in scanned:
            yield told(event)
            yield from again()
    at = 0
    while True:
        with store.changed:
            if at == len(store.events) and not double.closing.is_set():
                store.changed.wait(interval_s)
            fresh = [e for e in store.events[at:] if e.table in tables and e.moment > cursor]
            at = len(store.events)
            frontier = store.now()
        ends = [event for event in fresh if event.end]
        if ends:
            fresh = [event for event in fresh if event.moment < ends[0].moment]
        for event in _mixed(fresh, chance):
            yield told(event)
            yield from again()
        if ends:
            raise RefusedError(ends[0].end, "XXUUU")
        if fresh and chance.random() < 0.5:
            middle = chance.choice(fresh).moment
            yield None, None, f'{{"resolved":"{written(middle)}"}}'
        yield None, None, f'{{"resolved":"{written(frontier)}"}}'
        yield None


def _mixed(events: Sequence[Event], chance: random.Random) -> Iterator[Event]:
    """The events in an order in which only those of one key keep theirs."""
    if len(events) > 5000:
        # As many places as events would take long: halves are mixed.
        yield from _mixed(events[: len(events) // 2], chance)
        yield from _mixed(events[len(events) // 2 :], chance)
        return
    waiting: dict[tuple[str, Any], list[Event]] = {}
    for event in events:
        waiting.setdefault((event.table, event.key), []).append(event)
    turns = [key for key, queue in waiting.items() for _ in queue]
    chance.shuffle(turns)
    for key in turns:
        yield waiting[key].pop(0)


def _told(event: Event, table: Table, *, json_null: bool, full: bool, untold: set[str]) -> Message:
    columns = {column.name: column for column in event.columns}
    key = ", ".join(
        columns[name].json(value, json_null=json_null)
        for name, value in zip(table.key, event.key, strict=True)
    )
    after = "null"
    if event.row is not None:
        shown = sorted(
            (c for c in event.columns if not c.hidden and c.name not in untold),
            key=lambda c: c.name,
        )
        after = (
            "{"
            + ", ".join(
                f'"{c.name}": {c.json(event.row.get(c.number), json_null=json_null)}' for c in shown
            )
            + "}"
        )
    name = f"defaultdb.public.{table.name}" if full else table.name
    return name, f"[{key}]", f'{{"after": {after}, "updated": "{written(event.moment)}"}}'


def _moment(text: str) -> Moment:
    wall, _, logical = text.partition(".")
    return int(wall), int(logical or 0)


def _shown(moment: Moment) -> str:
    return f"{moment[0] // 10**9}.{moment[0] % 10**9:09d},{moment[1]}"
