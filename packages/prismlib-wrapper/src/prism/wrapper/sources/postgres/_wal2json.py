"""Messages of the output plugin wal2json, format version 2, become events. Pure.

For servers that have no publication and whose owner offers wal2json. Compared with pgoutput: no
streaming of large transactions, no partitioned tables, and columns are taken from the catalogue as
it is now, since a row that lacks one may have lost it or have a large value there, left unchanged.

JSON has no NaN and no Infinity, and wal2json writes null for them. So a null of a FLOAT or NUMERIC
column may be either: such rows are read again by key (`reread`), and are then as new as the table.

Source: the README of https://github.com/eulerto/wal2json.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Final

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
from prism.wrapper.sources.postgres._reread import Reread, complete

__all__ = ["OPTIONS", "JSONAssembler"]

OPTIONS: Final = {
    "format-version": "2",
    "include-lsn": "true",
    "include-xids": "true",
    "include-timestamp": "true",
    "include-transaction": "true",
}
_NUMBERS: Final = (ColumnKind.FLOAT, ColumnKind.NUMERIC)
_Json = dict[str, object]


class JSONAssembler:
    """Makes events of messages. One for each time the stream is started.

    Args:
        schemas: The tables we follow.
        told: The schema of each table that was told last; kept up to date.
        current: Tells the schema a table has now; asked when a row has other columns.
        position: Makes a position of a log sequence number.
        reread: Reads rows of a table by key, as they are now.
        began: Told the number of each transaction before its changes.
        part_rows: How many changes of a transaction are told at once.
    """

    def __init__(
        self,
        *,
        schemas: Iterable[TableSchema],
        told: dict[TableId, TableSchema],
        current: Callable[[TableSchema], TableSchema],
        position: Callable[[int], str],
        reread: Reread,
        began: Callable[[int], object] = lambda _xid: None,
        part_rows: int = 1000,
    ) -> None:
        self._schemas = {(s.table.schema, s.table.name): s for s in schemas}
        self._told = told
        self._current = current
        self._known: set[tuple[tuple[str, str], frozenset[str]]] = set()
        self._position = position
        self._reread = reread
        self._began = began
        self._part_rows = part_rows
        self._part: list[Change] = []
        self._doubtful: list[int] = []
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
                # Numbers stay the digits that the server wrote.
                message = json.loads(payload, parse_int=str, parse_float=str)
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
            self._began(int(str(message["xid"])))
        elif action == "M":
            return
        elif not self._in_transaction:
            raise SourceProtocolError("wal2json sent a change outside a transaction")
        elif action == "C":
            if self._part:
                yield from self._take()
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
                    yield from self._take()

    def _change(self, action: str, name: tuple[str, str], message: _Json) -> Iterator[SourceEvent]:
        schema = self._schemas[name]
        if action in ("I", "U"):
            schema = self._schema_of(name, _cells(message, "columns"))
        if self._told.get(schema.table) != schema:
            if self._part:
                yield from self._take()
            self._told[schema.table] = schema
            yield SchemaChanged(schema=schema)
        if action == "T":
            self._part.append(Change(Op.TRUNCATE, schema))
        elif action == "D":
            self._part.append(Change(Op.DELETE, schema, _key(schema, _texts(message, "identity"))))
        elif action in ("I", "U"):
            self._upsert(schema, message, missing=None if action == "I" else UNCHANGED)
        else:
            raise SourceProtocolError(f"wal2json sent an unknown action {action!r}")

    def _schema_of(self, name: tuple[str, str], cells: list[_Json]) -> TableSchema:
        """The schema of a row with these cells: asks once for each new set of them."""
        schema = self._schemas[name]
        cell_names = frozenset(str(cell["name"]) for cell in cells)
        if (name, cell_names) not in self._known:
            if cell_names != {column.name for column in schema.columns}:
                now = self._current(schema)
                if now != schema:
                    self._known.clear()
                    schema = self._schemas[name] = now
            self._known.add((name, cell_names))
        return schema

    def _upsert(self, schema: TableSchema, message: _Json, *, missing: Value) -> None:
        texts = _texts(message, "columns")
        before = _texts(message, "identity") if "identity" in message else {}
        values: tuple[Value, ...] = tuple(
            texts[column.name] if column.name in texts else before.get(column.name, missing)
            for column in schema.columns
        )
        key = _key(schema, before | texts)
        if before and (old_key := _key(schema, before)) != key:
            self._part.append(Change(Op.DELETE, schema, old_key))
        moved = self._part and self._part[-1].op is Op.DELETE and before and old_key != key
        if (moved and UNCHANGED in values) or any(
            value is None and column.kind in _NUMBERS
            for column, value in zip(schema.columns, values, strict=True)
        ):
            self._doubtful.append(len(self._part))
        self._part.append(Change(Op.UPSERT, schema, key, values))

    def _take(self) -> Iterator[Changes]:
        part, self._part = self._part, []
        places, self._doubtful = self._doubtful, []
        if places:
            part = complete(part, places, self._reread, _is_doubtful)
        if part:
            yield Changes(changes=part)


def _is_doubtful(column: Column, value: Value) -> bool:
    return value is UNCHANGED or (value is None and column.kind in _NUMBERS)


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
        raise TypeError(type_name)
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


def _nanoseconds(text: str) -> int:
    """Read a timestamp of the server's ISO form, such as `2026-01-02 03:04:05.123456+00`."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(text)
    return int(moment.timestamp()) * 10**9 + moment.microsecond * 1000
