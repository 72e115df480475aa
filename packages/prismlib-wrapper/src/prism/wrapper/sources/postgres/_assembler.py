"""Messages of pgoutput become events: whole, committed transactions in order. Pure.

Two kinds of transaction arrive. A plain one comes after its commit, between Begin and Commit, and
is told as it comes. A streamed one comes in pieces before anyone knows how it will end: its
messages wait in a spool until Stream Commit, and are dropped on Stream Abort.

What always holds:

- A change is told only if its transaction is committed and its subtransaction was not rolled back.
- Transactions are told in the order of their commits, each followed by its `Committed`.
- A row is read with the last Relation message before it. That of a streamed transaction counts when
  the transaction is told, also if it came in a subtransaction that was rolled back: the server
  sends it once for the whole transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple, Protocol

from prism.wrapper.sources._events import Changes, Committed, SchemaChanged, SourceEvent
from prism.wrapper.sources._types import (
    UNCHANGED,
    Change,
    Column,
    Op,
    TableId,
    TableSchema,
    Value,
)
from prism.wrapper.sources.errors import SourceProtocolError
from prism.wrapper.sources.postgres import _pgoutput as wire
from prism.wrapper.sources.postgres._inserts import FEWEST_TOGETHER, end_of_run, read_inserts
from prism.wrapper.sources.postgres._reread import Reread, complete

__all__ = ["Assembler", "Resolved", "SpoolFactory", "TransactionSpool"]

_ROWS: Final = frozenset(b"IUD")
_INSERT, _RELATION, _TYPE, _TRUNCATE, _STREAM_STOP = b"IRYTE"


class TransactionSpool(Protocol):
    """Keeps the messages of one transaction."""

    def append(self, payload: bytes) -> None:
        """Add a message."""
        ...

    def payloads(self) -> Iterator[bytes]:
        """Read all messages, from the first."""
        ...

    def close(self) -> None:
        """Drop all messages."""
        ...


SpoolFactory = Callable[[], TransactionSpool]


class Resolved(NamedTuple):
    """A relation as a table we follow."""

    schema: TableSchema
    type_oids: tuple[int, ...]


class _Streamed:
    """A transaction that has not ended."""

    __slots__ = ("aborted", "spool")

    def __init__(self, spool: TransactionSpool) -> None:
        self.spool = spool
        self.aborted: set[int] = set()


class Assembler:
    """Makes events of messages. One for each time the stream is started.

    Args:
        resolve: Tells which of our tables a relation is, or None.
        told: The schema of each table that was told last; kept up to date.
        position: Makes a position of a log sequence number.
        reread: Reads rows of a table by key, as they are now.
        open_spool: Makes an empty spool.
        began: Told the number of each transaction before its changes.
        part_rows: How many changes of a transaction are told at once. Raising it makes fewer and
            larger events.
    """

    def __init__(
        self,
        *,
        resolve: Callable[[wire.Relation], Resolved | None],
        told: dict[TableId, TableSchema],
        position: Callable[[int], str],
        reread: Reread,
        open_spool: SpoolFactory,
        began: Callable[[int], object] = lambda _xid: None,
        part_rows: int = 1000,
    ) -> None:
        self._resolve = resolve
        self._position = position
        self._reread = reread
        self._open_spool = open_spool
        self._began = began
        self._part_rows = part_rows
        self._readers: dict[int, wire.RowReader | None] = {}
        self._told = told
        self._part: list[Change] = []
        self._moved: list[int] = []
        self._in_transaction = False
        self._streamed: dict[int, _Streamed] = {}
        self._stream: _Streamed | None = None

    @property
    def is_idle(self) -> bool:
        """Whether all that was fed is told, so that any later position may be told too."""
        return not self._in_transaction

    def feed(self, payloads: Sequence[bytes]) -> Iterator[SourceEvent]:
        """Take messages and tell what is certain by now.

        Raises:
            SourceProtocolError: A message is malformed, or comes where it may not.
        """
        readers = self._readers
        done = alone = 0  # messages before these were read together, are read one by one
        for place, payload in enumerate(payloads):
            if place < done:
                continue
            if not payload:
                raise SourceProtocolError("pgoutput sent an empty message")
            kind = payload[0]
            if self._stream is not None:
                if kind == _STREAM_STOP:
                    wire.parse(payload)
                    self._stream = None
                else:
                    self._stream.spool.append(payload)
            elif kind in _ROWS:
                if not self._in_transaction:
                    raise SourceProtocolError("pgoutput sent a row outside a transaction")
                oid = int.from_bytes(payload[1:5])
                reader = readers.get(oid)
                if reader is not None:
                    if kind == _INSERT and place >= alone:
                        alone = end_of_run(payloads, place, self._part_rows)
                        if alone - place >= FEWEST_TOGETHER:
                            batch = read_inserts(payloads[place:alone], reader.schema)
                            if batch is not None:
                                yield from self._take()
                                yield Changes(changes=batch)
                                done = alone
                                continue
                    reader.read(payload, 1, self._part)
                    if len(self._part) >= self._part_rows:
                        yield from self._take()
                elif oid not in readers:
                    raise SourceProtocolError(f"pgoutput sent a row of relation {oid} unannounced")
            else:
                yield from self._control(payload)

    def _control(self, payload: bytes) -> Iterator[SourceEvent]:
        message = wire.parse(payload)
        if isinstance(message, wire.Begin):
            if self._in_transaction:
                raise SourceProtocolError("pgoutput began a transaction inside another")
            self._in_transaction = True
            self._began(message.xid)
        elif isinstance(message, wire.Commit):
            if not self._in_transaction:
                raise SourceProtocolError("pgoutput committed a transaction that was not begun")
            yield from self._commit(message.end_lsn, message.commit_ns)
        elif isinstance(message, wire.StreamStart):
            if self._in_transaction:
                raise SourceProtocolError("pgoutput began a stream inside a transaction")
            self._stream = self._streamed.get(message.xid)
            if self._stream is None:
                self._stream = self._streamed[message.xid] = _Streamed(self._open_spool())
        elif isinstance(message, wire.StreamAbort):
            self._abort(message)
        elif isinstance(message, wire.StreamCommit):
            yield from self._commit_streamed(message)
        elif isinstance(message, wire.StreamStop):
            raise SourceProtocolError("pgoutput ended a stream that was not begun")
        else:
            yield from self._apply(message)

    def _apply(self, message: wire.Message) -> Iterator[SourceEvent]:
        """What may also come inside a stream, but for rows."""
        if isinstance(message, wire.Relation):
            yield from self._describe(message)
        elif isinstance(message, wire.Truncate):
            for oid in message.relations:
                reader = self._readers.get(oid)
                if reader is not None:
                    self._part.append(Change(Op.TRUNCATE, reader.schema))
                elif oid not in self._readers:
                    raise SourceProtocolError(f"pgoutput emptied relation {oid} unannounced")

    def _describe(self, relation: wire.Relation) -> Iterator[SourceEvent]:
        resolved = self._resolve(relation)
        if resolved is None:
            self._readers[relation.oid] = None
            return
        schema = resolved.schema
        table = schema.table
        if self._told.get(table) == schema:
            schema = self._told[table]
        else:
            if self._part:
                yield from self._take()
            self._told[table] = schema
            yield SchemaChanged(schema=schema)
        self._readers[relation.oid] = wire.RowReader(schema, resolved.type_oids, self._moved)

    def _abort(self, message: wire.StreamAbort) -> None:
        streamed = self._streamed.get(message.xid)
        if streamed is None:
            return  # nothing of it was ever sent
        if message.xid == message.subxid:
            del self._streamed[message.xid]
            streamed.spool.close()
        else:
            streamed.aborted.add(message.subxid)

    def _commit_streamed(self, message: wire.StreamCommit) -> Iterator[SourceEvent]:
        streamed = self._streamed.pop(message.xid, None)
        self._began(message.xid)
        if streamed is None:
            raise SourceProtocolError("pgoutput committed a stream that was not begun")
        self._in_transaction = True
        try:
            for payload in streamed.spool.payloads():
                kind = payload[0]
                aborted = int.from_bytes(payload[1:5]) in streamed.aborted
                if kind in _ROWS:
                    if not aborted:
                        self._row_of_stream(payload)
                        if len(self._part) >= self._part_rows:
                            yield from self._take()
                elif kind in (_RELATION, _TYPE) or (kind == _TRUNCATE and not aborted):
                    yield from self._apply(wire.parse(payload, 5))
        finally:
            streamed.spool.close()
        yield from self._commit(message.end_lsn, message.commit_ns)

    def _row_of_stream(self, payload: bytes) -> None:
        oid = int.from_bytes(payload[5:9])
        reader = self._readers.get(oid)
        if reader is not None:
            reader.read(payload, 5, self._part)
        elif oid not in self._readers:
            raise SourceProtocolError(f"pgoutput sent a row of relation {oid} unannounced")

    def _commit(self, end_lsn: int, commit_ns: int) -> Iterator[SourceEvent]:
        if self._part:
            yield from self._take()
        self._in_transaction = False
        yield Committed(position=self._position(end_lsn), committed_ns=commit_ns)

    def _take(self) -> Iterator[Changes]:
        part, self._part = self._part, []
        if self._moved:
            part = complete(part, self._moved, self._reread, _is_unchanged)
            self._moved.clear()
        if part:
            yield Changes(changes=part)


def _is_unchanged(_column: Column, value: Value) -> bool:
    return value is UNCHANGED
