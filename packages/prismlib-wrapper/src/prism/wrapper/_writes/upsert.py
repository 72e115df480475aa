"""The transaction of a write. Values are parameters; names come from the catalogue, quoted.

First an UPDATE, then an INSERT if there is no such row: a write may name some columns only, and an
INSERT ... ON CONFLICT would refuse it for the others, though the row is there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - its name in psycopg2

from prism.wrapper._writes.values import TargetColumn, TargetTable
from prism.wrapper.errors import WriteRefusedError
from prism.wrapper.sources.postgres._position import parse_lsn
from prism.wrapper.sources.postgres._session import conninfo

__all__ = ["connect", "describe", "upsert"]

_CONNECT_S = 5.0

# Domains are followed to the type they are made of.
_COLUMNS = """
WITH RECURSIVE base AS (
    SELECT oid, oid AS at, typbasetype FROM pg_type
    UNION ALL
    SELECT base.oid, t.oid, t.typbasetype FROM base JOIN pg_type t ON t.oid = base.typbasetype
    WHERE base.typbasetype <> 0
)
SELECT a.attname, t.typname, format_type(a.atttypid, a.atttypmod), NOT a.attnotnull,
       a.attgenerated = '' AND a.attidentity <> 'a', a.atthasdef OR a.attidentity <> ''
FROM pg_attribute a
JOIN base ON base.oid = a.atttypid AND base.typbasetype = 0
JOIN pg_type t ON t.oid = base.at
WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""


def connect(dsn: str) -> Connection:
    """Open a connection whose texts are those of the feed."""
    return psycopg2.connect(conninfo(dsn, connect_timeout_s=_CONNECT_S, replication=False))


def describe(
    connection: Connection, *, schema: str, name: str, key: tuple[str, ...]
) -> TargetTable:
    """Read a table's columns from the catalogue."""
    with connection.cursor() as cursor:
        quoted = sql.Identifier(schema, name).as_string(connection)
        cursor.execute(_COLUMNS, (quoted,))
        columns = {
            row[0]: TargetColumn(
                name=row[0],
                base_type=row[1],
                type_name=row[2],
                nullable=row[3],
                writable=row[4],
                has_default=row[5],
            )
            for row in cursor.fetchall()
        }
    connection.rollback()
    return TargetTable(schema=schema, name=name, columns=columns, key=key)


def upsert(
    connection: Connection,
    table: TargetTable,
    values: Mapping[str, str | None],
    *,
    timeout_s: float,
    before_commit: Callable[[tuple[str, ...], int], None],
) -> None:
    """Write a row and commit.

    Args:
        connection: Without an open transaction.
        table: Where.
        values: By column, checked.
        timeout_s: For each statement.
        before_commit: Called with the row's key, as the database writes it, and a place in its log:
            every commit to this row before ours is before that place, ours is after it.
    """
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT set_config('statement_timeout', %s, true)", (str(int(timeout_s * 1000)),)
            )
            key = None
            if all(values.get(column) is not None for column in table.key):
                cursor.execute(_update(table, values), dict(_numbered(table, values)))
                key = cursor.fetchone()
            if key is None:
                cursor.execute(_insert(table, values), dict(_numbered(table, values)))
                key = cursor.fetchone()
            if key is None:
                raise _not_written(table)  # noqa: TRY301 - rolls back
            # The row is locked by us: others that wrote it have committed.
            cursor.execute("SELECT pg_current_wal_insert_lsn()::text")
            place = cursor.fetchone()
            before_commit(tuple(key), parse_lsn(place[0]) if place else 0)
        connection.commit()
    except BaseException:
        with contextlib.suppress(psycopg2.Error):
            connection.rollback()
        raise


def _not_written(table: TargetTable) -> WriteRefusedError:
    return WriteRefusedError(f"{table.name}: a rule or a trigger of the table kept the row back")


def _numbered(table: TargetTable, values: Mapping[str, str | None]) -> list[tuple[str, str | None]]:
    # Column names may hold what a parameter's name must not.
    order = list(table.columns)
    return [(f"v{order.index(name)}", value) for name, value in values.items()]


def _parameter(table: TargetTable, name: str) -> sql.Composed:
    """The value of a column, read as the column's type by the database itself."""
    number = list(table.columns).index(name)
    # The type's name is the catalogue's own, written by format_type.
    return sql.SQL("{}::{}").format(
        sql.Placeholder(f"v{number}"),
        sql.SQL(table.columns[name].type_name),
    )


def _assignments(table: TargetTable, values: Mapping[str, str | None]) -> sql.Composed:
    # Without others the key is written over itself: that locks the row and sends it anew.
    names = [name for name in values if name not in table.key] or list(table.key)
    return sql.SQL(", ").join(
        sql.SQL("{} = {}").format(sql.Identifier(name), _parameter(table, name)) for name in names
    )


def _key_texts(table: TargetTable) -> sql.Composed:
    return sql.SQL(", ").join(
        sql.SQL("{}::text").format(sql.Identifier(table.schema, table.name, column))
        for column in table.key
    )


def _update(table: TargetTable, values: Mapping[str, str | None]) -> sql.Composed:
    return sql.SQL("UPDATE {} SET {} WHERE {} RETURNING {}").format(
        sql.Identifier(table.schema, table.name),
        _assignments(table, values),
        sql.SQL(" AND ").join(
            sql.SQL("{} = {}").format(
                sql.Identifier(table.schema, table.name, column), _parameter(table, column)
            )
            for column in table.key
        ),
        _key_texts(table),
    )


def _insert(table: TargetTable, values: Mapping[str, str | None]) -> sql.Composed:
    return sql.SQL(
        "INSERT INTO {} ({}) VALUES ({}) ON CONFLICT ({}) DO UPDATE SET {} RETURNING {}"
    ).format(
        sql.Identifier(table.schema, table.name),
        sql.SQL(", ").join(map(sql.Identifier, values)),
        sql.SQL(", ").join(_parameter(table, name) for name in values),
        sql.SQL(", ").join(map(sql.Identifier, table.key)),
        _assignments(table, values),
        _key_texts(table),
    )
