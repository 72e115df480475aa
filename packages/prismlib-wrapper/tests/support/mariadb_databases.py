"""A database of its own for each test, on a MariaDB that all tests of a run share."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import numpy as np
import pymysql.err

from local_mariadb import LocalMariaDB
from prism.wrapper.sources.mysql import MySQLSettings

_DEADLOCK: Final = 1213
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
        """Run statements in one transaction, again if another one stood in the way."""
        with closing(self.server.connect(self.name)) as connection:
            while True:
                try:
                    with connection.cursor() as cursor:
                        cursor.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
                        for statement in statements:
                            cursor.execute(statement)
                    if rollback:
                        connection.rollback()
                    else:
                        connection.commit()
                except pymysql.err.OperationalError as error:
                    if error.args[0] != _DEADLOCK:
                        raise
                else:
                    return

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
        return _shortest(float(value), np.float32 if data_type == "float" else np.float64)
    if data_type.endswith("int"):
        return str(int(value))
    return value.decode() if isinstance(value, bytes) else str(value)


def _shortest(value: float, of: type[np.floating]) -> str:
    """The fewest digits that are read back as the same number, found by trying."""
    with np.errstate(over="ignore"):  # rounded up, the largest number is none
        text = next(t for n in range(1, 18) if of(t := f"{value:.{n}g}") == of(value))
    number = Decimal(text)
    if number == 0 or Decimal("1e-4") <= abs(number) < Decimal("1e16"):
        plain = f"{number:f}"
        return plain.rstrip("0").rstrip(".") if "." in plain else plain
    mantissa, _, exponent = f"{number:e}".partition("e")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{mantissa}e{int(exponent)}"


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
