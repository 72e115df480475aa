"""A changefeed's messages to events. Pure: messages in, events out.

A changefeed promises little by itself: a message may come again at any time, and only messages of
one key come in order, when they come first. With a resolved mark of moment R it promises that
nothing unseen from R or before is still to come. So:

- In the snapshot, rows of the moment at which it is read are told as they come. What was committed
  later waits. The first mark at or after that moment ends the snapshot.
- Later, what comes waits for the mark that covers it. Then it is told by moment: all that was
  committed at one moment is one transaction, each key once.
- What comes from before the last mark was told already, and is dropped.

Invariant: after the `Committed` of moment M, what was told is the tables' rows as they were at M.

Source: CockroachDB manual, "Changefeed Messages": ordering and delivery guarantees.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol

from prism.wrapper.sources._events import (
    Changes,
    Committed,
    SchemaChanged,
    SnapshotDone,
    SnapshotRows,
    SourceEvent,
)
from prism.wrapper.sources._types import Change, Op, TableSchema
from prism.wrapper.sources.cockroach._backlog import Message
from prism.wrapper.sources.cockroach._catalogue import Layout
from prism.wrapper.sources.cockroach._position import Moment
from prism.wrapper.sources.cockroach._values import identity, parse_json, text_of
from prism.wrapper.sources.errors import SourceProtocolError, TableRefusedError

__all__ = ["Changefeed", "Room", "SchemaMoved"]

# `updated` is the last member of an envelope, whose names are sorted.
_UPDATED: Final = re.compile(rb'"updated": ?"(\d+)\.(\d{10})"\}$')


class SchemaMoved(Exception):  # noqa: N818  # not an error: the way out of a snapshot
    """A row of the snapshot has other columns than were told for its table.

    Attributes:
        table: As the changefeed names it.
        names: The row's columns.
    """

    def __init__(self, table: str, names: tuple[str, ...]) -> None:
        super().__init__(f"rows of {table} have other columns than the catalogue says")
        self.table = table
        self.names = names


class Room(Protocol):
    """Where messages wait; see `Backlog`."""

    def add(self, message: Message) -> None:
        """Take a message in."""
        ...

    def take(self, until: Moment) -> Iterator[Message]:
        """Take out what was committed up to a moment, ordered, each key once for each moment."""
        ...


class Changefeed:
    """The messages of one changefeed, from its start to its end.

    Args:
        layouts: By the table's name in the changefeed.
        start: The moment it was started at: nothing from there or before is told again, but for the
            rows of the snapshot.
        in_snapshot: Whether it begins with the rows as they were at `start`.
        room: Where messages wait.
        resolve: Told a table and the columns of a row that no layout has; gives the layout.
        told: Schemas that the reader of the events knows. Kept up to date.
        position: Makes the text of a position of a moment.
        snapshot_rows: Rows in one `SnapshotRows`, at most.
        part_rows: Changes in one `Changes`, at most.
    """

    def __init__(
        self,
        layouts: dict[str, Layout],
        *,
        start: Moment,
        in_snapshot: bool,
        room: Room,
        resolve: Callable[[str, tuple[str, ...]], Layout],
        told: dict[str, TableSchema],
        position: Callable[[Moment], str],
        snapshot_rows: int = 1000,
        part_rows: int = 1000,
    ) -> None:
        self._layouts = dict(layouts)
        # One text for all messages of a table, which wait by the thousand.
        self._names = {name.encode(): name for name in layouts}
        self._by_names: dict[tuple[str, tuple[str, ...]], Layout] = {}
        self._start = start
        self._in_snapshot = in_snapshot
        self._frontier = start
        self._room = room
        self._resolve = resolve
        self._told = told
        self._position = position
        self._snapshot_rows = snapshot_rows
        self._part_rows = part_rows
        self._rows: list[Change] = []
        self._done_rows = 0
        self._repeated = 0

    @property
    def frontier(self) -> Moment:
        """The moment up to which all is told."""
        return self._frontier

    @property
    def in_snapshot(self) -> bool:
        """Whether rows of the snapshot may still come."""
        return self._in_snapshot

    @property
    def repeated(self) -> int:
        """How many messages were dropped since they were told already."""
        return self._repeated

    def receive(
        self, table: bytes | None, key: bytes | None, value: bytes | None
    ) -> Iterator[SourceEvent]:
        """Take a row of the changefeed's result: a message, or a mark if it has no table.

        Raises:
            SourceProtocolError: It is neither.
            SchemaMoved: The snapshot must begin again, with the columns named.
        """
        if table is None:
            yield from self._resolved(value)
            return
        if key is None or value is None:
            raise SourceProtocolError("the changefeed sent a message without key or value")
        name = self._names.get(table)
        if name is None:
            raise SourceProtocolError(
                f"the changefeed told of a table {table.decode(errors='replace')} that is not "
                "followed"
            )
        message = Message(_moment(value), name, key, value)
        if self._in_snapshot and message.moment <= self._start:
            # A row that was deleted in the meantime needs no word in a snapshot.
            change = self._change(message)
            if change.op is Op.UPSERT:
                yield from self._snapshot_row(change)
        elif message.moment <= self._frontier:
            self._repeated += 1
        else:
            self._room.add(message)

    def _snapshot_row(self, change: Change) -> Iterator[SourceEvent]:
        full = len(self._rows) >= self._snapshot_rows
        if self._rows and (full or self._rows[0].schema is not change.schema):
            yield self._snapshot_part()
        self._rows.append(change)

    def _snapshot_part(self) -> SnapshotRows:
        rows, self._rows = self._rows, []
        self._done_rows += len(rows)
        return SnapshotRows(changes=rows, done_rows=self._done_rows, total_rows_estimate=None)

    def _resolved(self, value: bytes | None) -> Iterator[SourceEvent]:
        envelope = parse_json(value or b"null")
        mark = envelope.get("resolved") if isinstance(envelope, dict) else None
        if not isinstance(mark, str):
            raise SourceProtocolError("the changefeed sent a row that is neither message nor mark")
        moment = _parsed(mark)
        if self._in_snapshot:
            if moment < self._start:
                return
            if self._rows:
                yield self._snapshot_part()
            self._in_snapshot = False
            yield SnapshotDone(
                position=self._position(self._start), committed_ns=self._start.wall_ns
            )
        if moment > self._frontier:
            yield from self._release(moment)
            self._frontier = moment

    def _release(self, until: Moment) -> Iterator[SourceEvent]:
        """Tell what was committed up to a moment, transaction by transaction."""
        part: list[Change] = []
        open_moment: Moment | None = None
        for message in self._room.take(until):
            if open_moment is not None and message.moment != open_moment:
                yield from self._told_part(part)
                part = []
                yield self._committed(open_moment)
            open_moment = message.moment
            change = self._change(message)
            if self._told.get(message.table) != change.schema:
                yield from self._told_part(part)
                part = []
                self._told[message.table] = change.schema
                yield SchemaChanged(schema=change.schema)
            part.append(change)
            if len(part) >= self._part_rows:
                yield from self._told_part(part)
                part = []
        if open_moment is not None:
            yield from self._told_part(part)
            yield self._committed(open_moment)

    def _told_part(self, part: Sequence[Change]) -> Iterator[SourceEvent]:
        if part:
            yield Changes(changes=part)

    def _committed(self, moment: Moment) -> Committed:
        self._frontier = moment
        return Committed(position=self._position(moment), committed_ns=moment.wall_ns)

    def _change(self, message: Message) -> Change:
        envelope = parse_json(message.value)
        key = parse_json(message.key)
        if not isinstance(envelope, dict) or not isinstance(key, list) or "after" not in envelope:
            raise SourceProtocolError(
                f"the changefeed sent a message of {message.table} that is "
                "not in the wrapped envelope"
            )
        after = envelope["after"]
        if after is None:
            layout = self._layouts[message.table]
        elif isinstance(after, dict):
            layout = self._layout(message.table, tuple(after))
        else:
            raise SourceProtocolError(f"a row of {message.table} is no JSON object")
        schema = layout.schema
        if len(key) != len(layout.key_names):
            raise TableRefusedError(
                f"{schema.table}: its messages have a key of {len(key)} values, the catalogue "
                f"names {len(layout.key_names)} columns",
                table=str(schema.table),
            )
        columns = schema.columns
        parts: list[str] = []
        for place, at in zip(schema.key, layout.key_order, strict=True):
            kind = columns[place].kind
            text = text_of(key[at], kind)
            if text is None:
                raise SourceProtocolError(f"a key of {schema.table} holds NULL")
            parts.append(identity(text, kind))
        if after is None:
            return Change(Op.DELETE, schema, tuple(parts))
        of_key = dict(zip(layout.key_names, key, strict=True))
        values = tuple(
            text_of(after[c.name] if c.name in after else of_key[c.name], c.kind) for c in columns
        )
        return Change(Op.UPSERT, schema, tuple(parts), values)

    def _layout(self, table: str, names: tuple[str, ...]) -> Layout:
        known = self._by_names.get((table, names))
        if known is None:
            current = self._layouts[table]
            columns = {column.name for column in current.schema.columns}
            if columns == set(names) | set(current.key_names):
                known = current
            elif self._in_snapshot:
                raise SchemaMoved(table, names)
            else:
                known = self._resolve(table, names)
            self._by_names[table, names] = known
        # A deletion has no columns: it is told with those of the row before it.
        self._layouts[table] = known
        return known


def _moment(value: bytes) -> Moment:
    found = _UPDATED.search(value)
    if found is not None:
        return Moment(int(found[1]), int(found[2]))
    envelope = parse_json(value)
    updated = envelope.get("updated") if isinstance(envelope, dict) else None
    if not isinstance(updated, str):
        raise SourceProtocolError("the changefeed sent a message without its time")
    return _parsed(updated)


def _parsed(text: str) -> Moment:
    try:
        return Moment.parse(text)
    except ValueError as error:
        raise SourceProtocolError(str(error)) from None
