"""Events of the log to what a source tells. Pure: it asks nobody and waits for nothing.

The log is written when a transaction commits, one after the other, so what comes is committed:

    group = gtid (statement | table-map | rows)* commit        a transaction
          | gtid statement                                     DDL, which commits by itself

Three things are not so, and each makes the rows that were told void (`StaleError`): a transaction
with tables that cannot roll back may end with ROLLBACK, all the same; XA transactions are logged
when they are prepared, and decided later; and a statement may change rows that are not logged.

Rows of one table that follow each other are joined over events before they are taken apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from prism.wrapper.sources._batch import RowBatch
from prism.wrapper.sources._events import Changes, Committed, SchemaChanged, SourceEvent
from prism.wrapper.sources._types import Change, Op, TableId, TableSchema
from prism.wrapper.sources.errors import SourceAccessError, SourceError, SourceProtocolError
from prism.wrapper.sources.mysql import _binlog as binlog
from prism.wrapper.sources.mysql._binlog import Event, EventType, Gtid
from prism.wrapper.sources.mysql._ddl import Statement, effect_of
from prism.wrapper.sources.mysql._gtid import GtidSet
from prism.wrapper.sources.mysql._rows import (
    IncompleteRowError,
    RowsEvent,
    RowsPlan,
    parse_rows,
)
from prism.wrapper.sources.mysql._table_map import TableMap, parse_table_map

__all__ = ["Assembler", "MakePlan", "StaleError"]

MakePlan = Callable[[TableMap], "RowsPlan | None"]

_ROWS: Final = frozenset(
    number
    for name, number in EventType.__members__.items()
    if "_ROWS" in name and not name.endswith("V0")
)
_OLD_ROWS: Final = frozenset(
    (EventType.WRITE_ROWS_V0, EventType.UPDATE_ROWS_V0, EventType.DELETE_ROWS_V0)
)
_JOINED_BYTES: Final = 1 << 18
_LARGE_BATCH: Final = 64
_PLANS: Final = 4096


class StaleError(SourceError):
    """The stream cannot go on; a new snapshot is needed. The text says why."""


class Assembler:
    """Takes events, gives what a source tells; keeps a transaction's state in between.

    Args:
        is_mariadb: Which dialect the log is of.
        followed: Databases and tables that we follow.
        plan: Makes a plan of a table map; None for a table that is not followed.
        told: The schema told last for each table; changed here.
        known: Schemas of the catalogue, for a table that is emptied before it was told.
        done: GTIDs of all before.
        position: Makes a position of a GTID state, a file and an offset.
        part_rows: Changes in one `Changes`.
    """

    def __init__(
        self,
        *,
        is_mariadb: bool,
        followed: Sequence[tuple[str, str]],
        plan: MakePlan,
        told: dict[TableId, TableSchema],
        known: Callable[[TableId], TableSchema | None],
        done: GtidSet,
        position: Callable[[GtidSet, str, int], str],
        part_rows: int,
    ) -> None:
        self._is_mariadb = is_mariadb
        self._followed = {(d.lower(), t.lower()): (d, t) for d, t in followed}
        self._plan = plan
        self._told = told
        self._known = known
        self._done = done
        self._position = position
        self._part_rows = part_rows
        self._has_checksum = False
        self._number_size = 6
        self._file = ""
        self._gtid: Gtid | None = None
        self._is_open = False  # inside BEGIN
        self._has_rows = False  # of ours, in this transaction
        self._prepared: set[str] = set()
        self._plans: dict[bytes, RowsPlan | None] = {}
        self._maps: dict[int, RowsPlan | None] = {}
        self._joined: tuple[RowsPlan, list[RowsEvent], int] | None = None
        self._part: list[Change] = []
        self.file_offset = 0

    @property
    def is_idle(self) -> bool:
        """Whether no transaction is open."""
        return self._gtid is None

    @property
    def file(self) -> str:
        """The file that events come from."""
        return self._file

    def feed(self, packet: bytes) -> Iterator[SourceEvent]:
        """Take an event.

        Raises:
            StaleError: A new snapshot is needed.
            SourceProtocolError: It is not understood.
        """
        event = binlog.parse_event(packet, has_checksum=self._has_checksum)
        kind = event.type
        if kind in _ROWS:
            yield from self._rows(event)
        elif kind == EventType.TABLE_MAP:
            yield from self._table(event)
        elif kind in (EventType.XID, EventType.QUERY, EventType.MARIADB_QUERY_COMPRESSED):
            if event.end:
                self.file_offset = event.end
            if kind == EventType.XID:
                yield from self._commit(event)
            else:
                yield from self._query(event)
        else:
            self._other(event)
        if event.end and not event.flags & 0x20:
            self.file_offset = event.end

    def _other(self, event: Event) -> None:
        kind = event.type
        if kind in (EventType.MARIADB_GTID, EventType.MYSQL_GTID) and self._is_mariadb != (
            kind == EventType.MARIADB_GTID
        ):
            raise SourceProtocolError("a GTID of the other dialect came in the binary log")
        if kind == EventType.MARIADB_GTID:
            self._begin(binlog.parse_mariadb_gtid(event.body, event.server_id))
        elif kind == EventType.MYSQL_GTID:
            self._begin(binlog.parse_mysql_gtid(event.body))
        elif kind == EventType.FORMAT_DESCRIPTION:
            described = binlog.parse_format(event.body)
            self._has_checksum = described.has_checksum
            # Table numbers had four bytes before MySQL 5.1.4.
            sizes = described.post_headers
            number = EventType.TABLE_MAP - 1
            self._number_size = 4 if len(sizes) > number and sizes[number] == 6 else 6
            self._maps.clear()
        elif kind == EventType.ROTATE:
            self._file, self.file_offset = binlog.parse_rotate(event.body)
        elif kind == EventType.INCIDENT:
            raise StaleError("the server says that its log lacks events (INCIDENT)")
        elif kind == EventType.XA_PREPARE:
            self._prepare()
        elif kind in _OLD_ROWS:
            raise SourceProtocolError("row events of MySQL before 5.1.18 are not known")
        elif kind == EventType.TRANSACTION_PAYLOAD:
            raise SourceAccessError(
                "the server compresses transactions, which this version does not read",
                remedy="SET PERSIST binlog_transaction_compression = OFF;",
            )
        elif kind in (EventType.MYSQL_ANONYMOUS_GTID, EventType.MYSQL_TAGGED_GTID):
            what = "without a GTID" if kind == EventType.MYSQL_ANONYMOUS_GTID else "with a tag"
            raise StaleError(f"a transaction {what} came; the stream could not be resumed after it")

    def _begin(self, gtid: Gtid) -> None:
        if self._gtid is not None:
            raise SourceProtocolError("a transaction began inside another in the binary log")
        self._gtid = gtid
        # MariaDB writes no BEGIN.
        self._is_open = self._is_mariadb and not gtid.is_alone
        self._has_rows = False

    # -- rows

    def _table(self, event: Event) -> Iterator[SourceEvent]:
        number = int.from_bytes(event.body[: self._number_size], "little")
        known = event.body[self._number_size :]
        if known not in self._plans:
            yield from self._split()
            table = parse_table_map(
                event.body, is_mariadb=self._is_mariadb, number_size=self._number_size
            )
            place = self._followed.get((table.database.lower(), table.name.lower()))
            if len(self._plans) > _PLANS:
                self._plans.clear()
            self._plans[known] = None if place is None else self._planned(table)
        self._maps[number] = self._plans[known]

    def _planned(self, table: TableMap) -> RowsPlan | None:
        try:
            return self._plan(table)
        except IncompleteRowError as error:
            raise StaleError(str(error)) from error
        except KeyError:
            raise StaleError(f"the key of {table.database}.{table.name} is another one") from None

    def _rows(self, event: Event) -> Iterator[SourceEvent]:
        rows = parse_rows(event.type, event.body, number_size=self._number_size)
        if self._gtid is None:
            raise SourceProtocolError("rows came outside a transaction of the binary log")
        if rows.number not in self._maps:
            raise SourceProtocolError("rows came of a table that the binary log did not announce")
        plan = self._maps[rows.number]
        if plan is None:
            return
        self._has_rows = True
        if self._gtid.is_xa:
            return
        if self._joined is not None:
            joined, events, size = self._joined
            if joined is plan and rows.continues(events[0]) and size < _JOINED_BYTES:
                events.append(rows)
                self._joined = joined, events, size + len(rows.rows)
                return
            yield from self._split()
        self._joined = plan, [rows], len(rows.rows)

    def _split(self) -> Iterator[SourceEvent]:
        """Take the rows apart that were joined."""
        if self._joined is None:
            return
        plan, events, _ = self._joined
        self._joined = None
        schema = plan.schema
        told = self._told.get(schema.table)
        if told is not schema:
            if told != schema:
                yield from self._take()
                yield SchemaChanged(schema=schema)
                self._told[schema.table] = schema
            else:
                plan.schema = told
        whole = events[0]
        if len(events) > 1:
            whole = whole._replace(rows=b"".join([one.rows for one in events]))
        try:
            changes = plan.read(whole)
        except IncompleteRowError as error:
            raise StaleError(str(error)) from error
        if isinstance(changes, RowBatch) and len(changes) >= _LARGE_BATCH:
            yield from self._take()
            yield Changes(changes=changes)
            return
        self._part.extend(changes)
        if len(self._part) >= self._part_rows:
            yield from self._take()

    def _take(self) -> Iterator[SourceEvent]:
        part, self._part = self._part, []
        if part:
            yield Changes(changes=part)

    # -- statements and ends

    def _query(self, event: Event) -> Iterator[SourceEvent]:
        query = binlog.parse_query(
            event.body, is_compressed=event.type == EventType.MARIADB_QUERY_COMPRESSED
        )
        effect = effect_of(query.sql, query.database, tuple(self._followed.values()))
        what = effect.statement
        if what is Statement.BEGIN:
            self._is_open = True
            return
        if what is Statement.COMMIT:
            yield from self._commit(event)
            return
        if what is Statement.SAVEPOINT:
            return
        if what in (Statement.ROLLBACK, Statement.ROLLBACK_TO):
            if self._has_rows:
                raise StaleError("a transaction with tables of several engines was rolled back")
            if what is Statement.ROLLBACK:
                yield from self._commit(event)
            return
        if what is Statement.XA:
            yield from self._decide(query.sql, event)
            return
        if what is Statement.STALE and not query.error:
            raise StaleError(effect.why)
        yield from self._split()
        if what is Statement.TRUNCATE:
            yield from self._truncate(effect.tables)
        if not self._is_open:
            yield from self._commit(event)

    def _truncate(self, tables: Sequence[tuple[str, str]]) -> Iterator[SourceEvent]:
        for database, name in tables:
            table = TableId(database, database, name)
            schema = self._told.get(table)
            if schema is None:
                schema = self._known(table)
                if schema is None:
                    raise StaleError(f"{table} was emptied before anything was told of it")
                yield from self._take()
                yield SchemaChanged(schema=schema)
                self._told[table] = schema
            self._part.append(Change(Op.TRUNCATE, schema))
            self._has_rows = True

    def _prepare(self) -> None:
        """MySQL: an XA transaction ends here, prepared."""
        if self._has_rows:
            raise StaleError("an XA transaction was prepared: what becomes of it is told elsewhere")
        self._end()

    def _decide(self, sql: str, event: Event) -> Iterator[SourceEvent]:
        words = sql.upper().split()
        verb = words[1] if len(words) > 1 else ""
        name = " ".join(words[2:3])
        if verb in ("START", "BEGIN"):
            self._is_open = True
        elif verb == "PREPARE":
            if self._has_rows:
                self._prepared.add(name)
            self._end()
        elif verb == "COMMIT":
            # Its rows came when it was prepared, maybe before our time.
            raise StaleError("an XA transaction was committed; its rows are read anew")
        elif verb == "ROLLBACK":
            self._prepared.discard(name)
            self._end()
        yield from ()
        del event

    def _commit(self, event: Event) -> Iterator[SourceEvent]:
        if self._gtid is None:
            raise SourceProtocolError("a transaction ended in the binary log that was not begun")
        yield from self._split()
        yield from self._take()
        self._end()
        yield Committed(
            position=self._position(self._done, self._file, event.end or self.file_offset),
            committed_ns=event.timestamp * 1_000_000_000,
        )

    def _end(self) -> None:
        if self._gtid is not None:
            self._done = self._done.added(self._gtid)
        self._gtid = None
        self._is_open = False
