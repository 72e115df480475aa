"""A database of its own for each test, on a MariaDB that all tests of a run share."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from local_mariadb import LocalMariaDB
from prism.wrapper.sources.mysql import MySQLSettings

_numbers = itertools.count(1)
Rows = dict[tuple[str, ...], dict[str, str | None]]


@dataclass
class MariaDatabase:
    """A database of a server."""

    server: LocalMariaDB
    name: str

    @property
    def dsn(self) -> str:
        return self.server.dsn(database=self.name)

    def settings(self, *tables: str, **changes: Any) -> MySQLSettings:
        quick = {"idle_interval_s": 0.2, "longest_backoff_s": 0.5, "heartbeat_s": 0.1}
        return MySQLSettings(
            **{"dsn": self.dsn, "tables": tables, "name": self.name, **quick, **changes}
        )

    def execute(self, *statements: str, rollback: bool = False) -> None:
        """Run statements in one transaction."""
        with closing(self.server.connect(self.name)) as connection:
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
            if rollback:
                connection.rollback()
            else:
                connection.commit()

    def rows(self, sql: str) -> Sequence[tuple[Any, ...]]:
        with closing(self.server.connect(self.name)) as connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall()

    def read(self, table: str) -> Rows:
        """The table's rows by primary key, as texts, by another way than the source's."""
        with closing(self.server.connect(self.name)) as connection, connection.cursor() as cursor:
            cursor.execute("SET time_zone = '+00:00'")
            cursor.execute(
                "SELECT column_name, data_type, column_type FROM information_schema.columns "
                "WHERE table_schema = %s AND table_name = %s "
                "AND extra NOT LIKE '%%VIRTUAL GENERATED%%' ORDER BY ordinal_position",
                (self.name, table),
            )
            columns = cursor.fetchall()
            cursor.execute(
                "SELECT column_name FROM information_schema.key_column_usage WHERE table_schema = "
                "%s AND table_name = %s AND constraint_name = 'PRIMARY'",
                (self.name, table),
            )
            primary = {row[0] for row in cursor.fetchall()}
            cursor.execute(
                f"SELECT {', '.join(_select(*column) for column in columns)} FROM `{table}`"
            )
            found: Rows = {}
            for row in cursor.fetchall():
                texts = {
                    name: None if value is None else _text(data_type, value)
                    for (name, data_type, _), value in zip(columns, row, strict=True)
                }
                key = tuple(str(texts[name]) for name, *_ in columns if name in primary)
                found[key] = texts
            return found


_BYTES: Final = "binary varbinary tinyblob blob mediumblob longblob geometry point".split()


def _select(name: str, data_type: str, _: str) -> str:
    if data_type in ("date", "datetime", "timestamp", "time", "year", "decimal"):
        return f"CAST(`{name}` AS CHAR)"
    if data_type == "float":
        return f"CAST(`{name}` AS DOUBLE)"
    return f"`{name}`"


def _text(data_type: str, value: Any) -> str:
    if data_type in _BYTES:
        return "\\x" + bytes(value).hex()
    if data_type == "bit":
        return str(int.from_bytes(value, "big"))
    if data_type in ("float", "double"):
        # The same number by the same rule of fewest digits; numpy finds those of 32 bits.
        shortest = repr(value) if data_type == "double" else str(np.float32(value))
        return _plain(shortest)
    if data_type.endswith("int"):
        return str(int(value))
    return value.decode() if isinstance(value, bytes) else str(value)


def _plain(text: str) -> str:
    mantissa, mark, exponent = text.partition("e")
    mantissa = mantissa.removesuffix(".0")
    return f"{mantissa}e{int(exponent)}" if mark else mantissa


@contextmanager
def maria_database(server: LocalMariaDB) -> Iterator[MariaDatabase]:
    made = MariaDatabase(server, f"test_{next(_numbers)}")
    server.execute(f"CREATE DATABASE {made.name} CHARACTER SET utf8mb4")
    try:
        yield made
    finally:
        if server.pid is None:
            server.start()
        server.execute(f"DROP DATABASE {made.name}")
