"""Messages of the output plugin wal2json, format version 2, become events. Pure.

For servers that have no publication and whose owner offers wal2json. Compared with pgoutput: no
streaming of large transactions, no partitioned tables, and a change of a table's columns is seen
with its next insert, since updates do not send unchanged large values and so look alike.

Source: the README of https://github.com/eulerto/wal2json.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Final

from prism.wrapper.sources._cast import kind_of_type
from prism.wrapper.sources._events import Changes, Committed, SchemaChanged, SourceEvent
from prism.wrapper.sources._types import (
    UNCHANGED,
    Change,
    Column,
    ColumnKind,
    Op,
    TableId,
    TableSchema,
    Value,
)
from prism.wrapper.sources.errors import SourceProtocolError
from prism.wrapper.sources.postgres._position import parse_lsn

__all__ = ["OPTIONS", "JSONAssembler"]

OPTIONS: Final = {
    "format-version": "2",
    "include-lsn": "true",
    "include-timestamp": "true",
    "include-transaction": "true",
    # JSON has no NaN and no Infinity: without this they would arrive as NULL.
    "numeric-data-types-as-string": "true",
}
_Json = dict[str, object]


class JSONAssembler:
    """Makes events of messages. One for each time the stream is started.

    Args:
        schemas: The tables we follow.
        told: The schema of each table that was told last; kept up to date.
        altered: Called when an insert shows that a table's columns are others.
        position: Makes a position of a log sequence number.
        part_rows: How many changes of a transaction are told at once.
    """

    def __init__(
        self,
        *,
        schemas: Iterable[TableSchema],
        told: dict[TableId, TableSchema],
        altered: Callable[[], object],
        position: Callable[[int], str],
        part_rows: int = 1000,
    ) -> None:
        self._schemas = {(s.table.schema, s.table.name): s for s in schemas}
        self._told = told
        self._altered = altered
        self._position = position
        self._part_rows = part_rows
        self._part: list[Change] = []
        self._in_transaction = False

    @property
    def is_idle(self) -> bool:
        """Whether all that was fed is told, so that any later position may be told too."""
        return not self._in_transaction

    def feed(self, payloads: Iterable[bytes]) -> Iterator[SourceEvent]:
        """Take messages and tell what is certain by now.

        Raises:
            SourceProtocolError: A message is malformed, or comes where it may not.
        """
        for payload in payloads:
            try:
                message = json.loads(payload)
                action = message["action"]
                yield from self._take_message(action, message)
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                raise SourceProtocolError(
                    f"a message of wal2json of {len(payload)} bytes is not well formed"
                ) from error

    def _take_message(self, action: str, message: _Json) -> Iterator[SourceEvent]:
        if action == "B":
            if self._in_transaction:
                raise SourceProtocolError("wal2json began a transaction inside another")
            self._in_transaction = True
        elif action == "M":
            return
        elif not self._in_transaction:
            raise SourceProtocolError("wal2json sent a change outside a transaction")
        elif action == "C":
            if self._part:
                yield self._take()
            self._in_transaction = False
            yield Committed(
                position=self._position(parse_lsn(str(message["nextlsn"]))),
                committed_ns=_nanoseconds(str(message["timestamp"])),
            )
        else:
            name = (str(message["schema"]), str(message["table"]))
            if name in self._schemas:
                yield from self._change(action, name, message)
                if len(self._part) >= self._part_rows:
                    yield self._take()

    def _change(self, action: str, name: tuple[str, str], message: _Json) -> Iterator[SourceEvent]:
        schema = self._schemas[name]
        if action == "I":
            described = _described(schema, _cells(message, "columns"))
            if described != schema:
                self._altered()
                self._schemas[name] = schema = described
        if self._told.get(schema.table) != schema:
            if self._part:
                yield self._take()
            self._told[schema.table] = schema
            yield SchemaChanged(schema=schema)
        if action == "T":
            self._part.append(Change(Op.TRUNCATE, schema))
        elif action == "D":
            self._part.append(Change(Op.DELETE, schema, _key(schema, _texts(message, "identity"))))
        elif action in ("I", "U"):
            self._upsert(schema, message)
        else:
            raise SourceProtocolError(f"wal2json sent an unknown action {action!r}")

    def _upsert(self, schema: TableSchema, message: _Json) -> None:
        texts = _texts(message, "columns")
        before = _texts(message, "identity") if "identity" in message else {}
        values: tuple[Value, ...] = tuple(
            texts[column.name] if column.name in texts else before.get(column.name, UNCHANGED)
            for column in schema.columns
        )
        key = _key(schema, before | texts)
        if before and (old_key := _key(schema, before)) != key:
            self._part.append(Change(Op.DELETE, schema, old_key))
        self._part.append(Change(Op.UPSERT, schema, key, values))

    def _take(self) -> Changes:
        part, self._part = self._part, []
        return Changes(changes=part)


def _cells(message: _Json, field: str) -> list[_Json]:
    cells = message[field]
    if not isinstance(cells, list):
        raise TypeError(field)
    return cells


def _texts(message: _Json, field: str) -> dict[str, str | None]:
    return {
        str(cell["name"]): _text(str(cell["type"]), cell["value"])
        for cell in _cells(message, field)
    }


def _text(type_name: str, value: object) -> str | None:
    """The text that the server would write."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "t" if value else "f"
    if not isinstance(value, str):
        return json.dumps(value)
    # wal2json leaves out the mark of hexadecimal bytes.
    return "\\x" + value if type_name == "bytea" else value


def _key(schema: TableSchema, texts: dict[str, str | None]) -> tuple[str, ...]:
    parts = []
    for position in schema.key:
        part = texts.get(schema.columns[position].name)
        if part is None:
            raise SourceProtocolError(f"a row of {schema.table} came without its key")
        parts.append(part)
    return tuple(parts)


def _described(schema: TableSchema, cells: list[_Json]) -> TableSchema:
    """The schema that an insert shows, which has all columns; kinds of known columns are kept."""
    known = {(column.name, column.type_name): column for column in schema.columns}
    columns = []
    for cell in cells:
        name, type_name = str(cell["name"]), str(cell["type"])
        columns.append(known.get((name, type_name)) or Column(name, type_name, _kind(type_name)))
    names = [column.name for column in columns]
    keys = [schema.columns[position].name for position in schema.key]
    if any(key not in names for key in keys):
        raise SourceProtocolError(f"an insert into {schema.table} came without its key")
    return TableSchema(schema.table, tuple(columns), tuple(sorted(map(names.index, keys))))


def _kind(type_name: str) -> ColumnKind:
    return kind_of_type(type_name)


def _nanoseconds(text: str) -> int:
    """Read a timestamp of the server's ISO form, such as `2026-01-02 03:04:05.123456+00`."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(text)
    return int(moment.timestamp()) * 10**9 + moment.microsecond * 1000
