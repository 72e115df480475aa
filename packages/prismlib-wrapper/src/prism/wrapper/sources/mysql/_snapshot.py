"""All rows of tables as they were at one moment, by SELECT in one transaction.

Also of use where there is no binary log: `begin` is what differs between servers, `read_table` is
not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from prism.wrapper.sources._batch import RowBatch
from prism.wrapper.sources._types import TableSchema
from prism.wrapper.sources.errors import SourceProtocolError
from prism.wrapper.sources.mysql._columns import BinaryValues
from prism.wrapper.sources.mysql._gtid import GtidSet, MariaDBState, MySQLSet
from prism.wrapper.sources.mysql._session import Session, identifier
from prism.wrapper.sources.mysql._table_map import take_length
from prism.wrapper.sources.mysql._types import ColumnFacts, select_layout, select_sql
from prism.wrapper.sources.mysql._values import Layout

__all__ = ["Moment", "begin", "read_table", "select_list"]

_NULL: Final = 0xFB
_ROWS_AT_ONCE: Final = 20_000


class Moment(NamedTuple):
    """When the rows are of.

    Attributes:
        done: What they hold, at least: the stream goes on from here.
        file: Where in the log that is; "" where it is not told.
        offset: The same.
        committed_ns: The server's clock, in nanoseconds since 1970.
    """

    done: GtidSet
    file: str
    offset: int
    committed_ns: int


def begin(session: Session, quoted: Sequence[str]) -> Moment:
    """Begin a transaction that sees one moment, and say which.

    MariaDB tells the place in its log that fits the moment exactly. MySQL does not: there the GTIDs
    are asked for before the transaction begins. What was committed in between is in the rows and
    comes again in the stream, which ends with the same rows. No lock is taken in either.

    Args:
        session: Without a transaction.
        quoted: Tables, which nobody can alter until the transaction ends.
    """
    before = "" if session.is_mariadb else str(session.rows("SELECT @@GLOBAL.gtid_executed")[0][0])
    now = session.rows("SELECT UNIX_TIMESTAMP(NOW(6)) * 1000000")[0][0]
    committed_ns = int(float(now)) * 1000
    session.rows("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    session.rows("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
    for name in quoted:
        session.rows(f"SELECT 1 FROM {name} LIMIT 0")  # noqa: S608  # quoted
    if not session.is_mariadb:
        return Moment(MySQLSet.parse(before), "", 0, committed_ns)
    told = dict(session.rows("SHOW STATUS LIKE 'binlog_snapshot_%'"))
    file, offset = str(told["Binlog_snapshot_file"]), int(told["Binlog_snapshot_position"])
    state = session.rows("SELECT BINLOG_GTID_POS(%s, %s)", (file, offset))[0][0]
    if isinstance(state, bytes):
        state = state.decode()
    return Moment(MariaDBState.parse(state or ""), file, offset, committed_ns)


def select_list(columns: Sequence[ColumnFacts]) -> str:
    """The expressions of a SELECT whose texts are those of the stream."""
    return ", ".join(select_sql(column, identifier(column.name)) for column in columns)


def read_table(
    session: Session,
    schema: TableSchema,
    columns: Sequence[ColumnFacts],
    *,
    batch_bytes: int,
    where: str = "",
) -> Iterator[RowBatch]:
    """The rows of a table, many at once.

    Args:
        session: Sees the rows; may be in a transaction.
        schema: What the rows are told as.
        columns: The same columns, as the catalogue has them.
        batch_bytes: When a batch is full.
        where: A condition as SQL; "" for all rows.
    """
    table = identifier(schema.table.schema, schema.table.name)
    condition = f" WHERE {where}" if where else ""
    layouts = [select_layout(column) for column in columns]
    packets: list[bytes] = []
    size = 0
    sql = f"SELECT {select_list(columns)} FROM {table}{condition}"  # noqa: S608  # quoted
    for packet in session.packets(sql):
        packets.append(packet)
        size += len(packet)
        if size >= batch_bytes or len(packets) >= _ROWS_AT_ONCE:
            yield _batch(schema, packets, layouts)
            packets, size = [], 0
    if packets:
        yield _batch(schema, packets, layouts)


def _batch(schema: TableSchema, packets: list[bytes], layouts: Sequence[Layout]) -> RowBatch:
    width = len(layouts)
    starts: list[int] = []
    ends: list[int] = []
    base = 0
    for packet in packets:
        at = 0
        for _ in range(width):
            first = packet[at] if at < len(packet) else _NULL + 1
            if first == _NULL:
                starts.append(-1)
                ends.append(-1)
                at += 1
                continue
            if first < _NULL:
                size, at = first, at + 1
            else:
                size, at = take_length(packet, at)
            starts.append(base + at)
            at += size
            ends.append(base + at)
        if at != len(packet):
            raise SourceProtocolError(f"a row of {schema.table} does not have {width} values")
        base += len(packet)
    blob = b"".join(packets)
    first_of = np.array(starts, np.int64).reshape(-1, width)
    last_of = np.array(ends, np.int64).reshape(-1, width)
    return RowBatch(
        schema,
        tuple(
            BinaryValues(blob, first_of[:, i], last_of[:, i], first_of[:, i] < 0, layout)
            for i, layout in enumerate(layouts)
        ),
    )
