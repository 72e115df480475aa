"""Messages of the output plugin pgoutput, protocol versions 1 to 4. Pure.

`parse` reads any message but rows into a value. Rows are the hot path: `RowReader` reads them
straight into changes, with one reader per relation as the database last described it.

In a streamed transaction (protocol 2 and later) each message but those that begin, end or abort a
stream carries the id of its subtransaction after the type byte; `at` is where the rest begins.

Source: PostgreSQL manual, "Logical Replication Message Formats".
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias, cast

from prism.wrapper.sources._types import UNCHANGED, Change, Op, TableSchema, Value
from prism.wrapper.sources.errors import SourceProtocolError
from prism.wrapper.sources.postgres._binary import text_of_binary

__all__ = [
    "Begin",
    "Commit",
    "Ignored",
    "Message",
    "Relation",
    "RelationColumn",
    "RowReader",
    "StreamAbort",
    "StreamCommit",
    "StreamStart",
    "StreamStop",
    "Truncate",
    "TypeNamed",
    "parse",
]

# Microseconds from 1970 to 2000, PostgreSQL's own epoch.
_EPOCH_US: Final = 946_684_800_000_000
_TEXT, _NULL, _UNCHANGED, _BINARY = b"tnub"
_NEW, _OLD, _KEY = b"NOK"
_ROW: Final = struct.Struct(">IcH")
_TUPLE: Final = struct.Struct(">cH")
_VALUE: Final = struct.Struct(">BI")
_BEGIN: Final = struct.Struct(">QqI")
_COMMIT: Final = struct.Struct(">BQQq")
_STREAM_COMMIT: Final = struct.Struct(">IBQQq")
_RELATION_COLUMN: Final = struct.Struct(">Ii")


class Begin(NamedTuple):
    """A transaction begins. `final_lsn` is where its commit record lies."""

    final_lsn: int
    commit_ns: int
    xid: int


class Commit(NamedTuple):
    """A transaction is whole. `end_lsn` is where the next record may begin."""

    lsn: int
    end_lsn: int
    commit_ns: int


class RelationColumn(NamedTuple):
    """A column as a Relation message describes it."""

    name: str
    type_oid: int
    type_modifier: int
    in_key: bool


class Relation(NamedTuple):
    """What the rows of a table look like from here on. `identity` is d, n, f or i."""

    oid: int
    schema: str
    name: str
    identity: str
    columns: tuple[RelationColumn, ...]


class TypeNamed(NamedTuple):
    """The name of a type that is not built in (of a domain: its base type's)."""

    oid: int
    schema: str
    name: str


class Truncate(NamedTuple):
    """Tables are emptied, all at once."""

    relations: tuple[int, ...]
    cascade: bool
    restart_identity: bool


class StreamStart(NamedTuple):
    """Messages of a transaction that has not ended follow."""

    xid: int
    first: bool


class StreamStop(NamedTuple):
    """No more of it for now."""


class StreamCommit(NamedTuple):
    """A streamed transaction is whole."""

    xid: int
    lsn: int
    end_lsn: int
    commit_ns: int


class StreamAbort(NamedTuple):
    """A streamed transaction (both ids equal) or a subtransaction of it was rolled back."""

    xid: int
    subxid: int


class Ignored(NamedTuple):
    """A message without meaning to us: origins and messages that applications put in the log."""

    kind: str


Message: TypeAlias = (
    Begin
    | Commit
    | Relation
    | TypeNamed
    | Truncate
    | StreamStart
    | StreamStop
    | StreamCommit
    | StreamAbort
    | Ignored
)


def parse(payload: bytes, at: int = 1) -> Message:
    """Read a message that is not a row.

    Raises:
        SourceProtocolError: It is not one, or is cut short, or longer than it says.
    """
    try:
        reader = _READERS[payload[0]]
        message, end = reader(payload, at)
    except (IndexError, KeyError, struct.error, UnicodeDecodeError, OverflowError) as error:
        raise _broken(payload) from error
    if end != len(payload):
        raise _broken(payload)
    return message


def _broken(payload: bytes) -> SourceProtocolError:
    kind = chr(payload[0]) if payload else ""
    return SourceProtocolError(
        f"a message of pgoutput of kind {kind!r} and {len(payload)} bytes is not well formed"
    )


def _ns(microseconds: int) -> int:
    return (microseconds + _EPOCH_US) * 1000


def _string(payload: bytes, at: int) -> tuple[str, int]:
    end = payload.find(b"\0", at)
    if end < 0:
        raise IndexError
    return payload[at:end].decode(errors="backslashreplace"), end + 1


def _begin(payload: bytes, at: int) -> tuple[Begin, int]:
    final, time, xid = _BEGIN.unpack_from(payload, at)
    return Begin(final, _ns(time), xid), at + _BEGIN.size


def _commit(payload: bytes, at: int) -> tuple[Commit, int]:
    _, lsn, end, time = _COMMIT.unpack_from(payload, at)
    return Commit(lsn, end, _ns(time)), at + _COMMIT.size


def _relation(payload: bytes, at: int) -> tuple[Relation, int]:
    oid = int.from_bytes(_exactly(payload, at, 4))
    schema, at = _string(payload, at + 4)
    name, at = _string(payload, at)
    identity = chr(payload[at])
    count = int.from_bytes(_exactly(payload, at + 1, 2))
    at += 3
    columns = []
    for _ in range(count):
        in_key = bool(payload[at] & 1)
        column, at = _string(payload, at + 1)
        type_oid, modifier = _RELATION_COLUMN.unpack_from(payload, at)
        at += _RELATION_COLUMN.size
        columns.append(RelationColumn(column, type_oid, modifier, in_key))
    # An empty schema name stands for pg_catalog.
    return Relation(oid, schema or "pg_catalog", name, identity, tuple(columns)), at


def _type(payload: bytes, at: int) -> tuple[TypeNamed, int]:
    oid = int.from_bytes(_exactly(payload, at, 4))
    schema, at = _string(payload, at + 4)
    name, at = _string(payload, at)
    return TypeNamed(oid, schema or "pg_catalog", name), at


def _truncate(payload: bytes, at: int) -> tuple[Truncate, int]:
    count = int.from_bytes(_exactly(payload, at, 4))
    flags = payload[at + 4]
    at += 5
    if count * 4 > len(payload) - at:
        raise IndexError
    relations = struct.unpack_from(f">{count}I", payload, at)
    return Truncate(relations, bool(flags & 1), bool(flags & 2)), at + 4 * count


def _stream_start(payload: bytes, at: int) -> tuple[StreamStart, int]:
    return StreamStart(int.from_bytes(_exactly(payload, at, 4)), bool(payload[at + 4])), at + 5


def _stream_stop(_payload: bytes, at: int) -> tuple[StreamStop, int]:
    return StreamStop(), at


def _stream_commit(payload: bytes, at: int) -> tuple[StreamCommit, int]:
    xid, _, lsn, end, time = _STREAM_COMMIT.unpack_from(payload, at)
    return StreamCommit(xid, lsn, end, _ns(time)), at + _STREAM_COMMIT.size


def _stream_abort(payload: bytes, at: int) -> tuple[StreamAbort, int]:
    xid, subxid = struct.unpack_from(">II", payload, at)
    end = at + 8
    if len(payload) == end + 16:  # protocol 4 adds the place and time of the abort
        end += 16
    return StreamAbort(xid, subxid), end


def _ignored(payload: bytes, _at: int) -> tuple[Ignored, int]:
    return Ignored(chr(payload[0])), len(payload)


def _exactly(payload: bytes, at: int, size: int) -> bytes:
    piece = payload[at : at + size]
    if len(piece) != size:
        raise IndexError
    return piece


_READERS: Final[dict[int, Callable[[bytes, int], tuple[Message, int]]]] = {
    ord("B"): _begin,
    ord("C"): _commit,
    ord("R"): _relation,
    ord("Y"): _type,
    ord("T"): _truncate,
    ord("S"): _stream_start,
    ord("E"): _stream_stop,
    ord("c"): _stream_commit,
    ord("A"): _stream_abort,
    ord("O"): _ignored,
    ord("M"): _ignored,
}


class RowReader:
    """Reads the rows of one relation into changes.

    Args:
        schema: The table, its columns in the relation's order.
        type_oids: The columns' types, for values in binary form.
        moved: Takes the places of rows that moved to another key and are not told wholly: nobody
            holds the new key's row, from which to take what is unchanged.
    """

    __slots__ = ("_count", "_key", "_moved", "_one_key", "_type_oids", "schema")

    def __init__(
        self, schema: TableSchema, type_oids: tuple[int, ...], moved: list[int] | None = None
    ) -> None:
        self.schema = schema
        self._moved = [] if moved is None else moved
        self._type_oids = type_oids
        self._key = schema.key
        self._one_key = schema.key[0] if len(schema.key) == 1 else -1
        self._count = len(schema.columns)

    def read(self, payload: bytes, at: int, into: list[Change]) -> None:
        """Append what a message of kind I, U or D says: two changes if the key became another.

        Args:
            payload: The message.
            at: Where its relation id begins.
            into: Takes the changes.

        Raises:
            SourceProtocolError: It is not well formed, or lacks the key.
        """
        try:
            kind = payload[0]
            if kind == 73:  # I
                values, end = self._values(payload, at + 5)
                if payload[at + 4] != _NEW or end != len(payload):
                    raise _broken(payload)
                one = self._one_key
                part = values[one]
                key = (part,) if one >= 0 and type(part) is str else self._key_of(values)
                into.append(tuple.__new__(Change, (Op.UPSERT, self.schema, key, values)))
            elif kind == 85:  # U
                self._update(payload, at + 4, into)
            elif kind == 68:  # D
                values, end = self._values(payload, at + 5)
                if payload[at + 4] not in (_KEY, _OLD) or end != len(payload):
                    raise _broken(payload)
                into.append(Change(Op.DELETE, self.schema, self._key_of(values)))
            else:
                raise _broken(payload)
        except (IndexError, struct.error, OverflowError) as error:
            raise _broken(payload) from error

    def _update(self, payload: bytes, at: int, into: list[Change]) -> None:
        before: tuple[Value, ...] | None = None
        full = payload[at] == _OLD
        if full or payload[at] == _KEY:
            before, at = self._values(payload, at + 1)
        if payload[at] != _NEW:
            raise _broken(payload)
        values, end = self._values(payload, at + 1)
        if end != len(payload):
            raise _broken(payload)
        if before is not None:
            if UNCHANGED in values:
                # A key alone says nothing of the other columns: they are NULL in it.
                known = range(self._count) if full else self._key
                filled = list(values)
                for i in known:
                    if filled[i] is UNCHANGED:
                        filled[i] = before[i]
                values = tuple(filled)
            old_key = self._key_of(before)
            if old_key != self._key_of(values):
                into.append(Change(Op.DELETE, self.schema, old_key))
                if UNCHANGED in values:
                    self._moved.append(len(into))
        into.append(Change(Op.UPSERT, self.schema, self._key_of(values), values))

    def _key_of(self, values: tuple[Value, ...]) -> tuple[str, ...]:
        key = tuple([values[i] for i in self._key])
        for part in key:
            if type(part) is not str:
                raise SourceProtocolError(f"a row of {self.schema.table} came without its key")
        return cast("tuple[str, ...]", key)

    def _values(self, payload: bytes, at: int) -> tuple[tuple[Value, ...], int]:
        """The values of a tuple whose column count is at `at`, and where it ends."""
        count = payload[at] << 8 | payload[at + 1]
        if count != self._count:
            raise _broken(payload)
        at += 2
        values: list[Value] = []
        append, unpack = values.append, _VALUE.unpack_from
        size = len(payload)
        # Nearly all rows are texts alone: a loop for those, and the whole one for the others.
        begin = at
        try:
            for _ in range(count):
                kind, length = unpack(payload, at)
                if kind != 116:  # t
                    break
                at += 5
                end = at + length
                append(payload[at:end].decode())
                at = end
            else:
                if at > size:
                    raise _broken(payload)
                return tuple(values), at
        except (struct.error, UnicodeDecodeError):
            pass
        values.clear()
        at = begin
        for _ in range(count):
            kind = payload[at]
            if kind == 116:  # t
                kind, length = unpack(payload, at)
                at += 5
                end = at + length
                if end > size:
                    raise _broken(payload)
                try:
                    append(payload[at:end].decode())
                except UnicodeDecodeError:
                    # Only a database without an encoding (SQL_ASCII) sends this.
                    append(payload[at:end].decode(errors="backslashreplace"))
                at = end
            elif kind == _NULL:
                append(None)
                at += 1
            elif kind == _UNCHANGED:
                append(UNCHANGED)
                at += 1
            elif kind == _BINARY:
                kind, length = unpack(payload, at)
                at += 5
                end = at + length
                if end > size:
                    raise _broken(payload)
                append(text_of_binary(self._type_oids[len(values)], payload[at:end]))
                at = end
            else:
                raise _broken(payload)
        return tuple(values), at
