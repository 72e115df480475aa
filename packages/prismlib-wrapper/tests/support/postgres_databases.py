"""A database of its own for each test, on a server that all tests share."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg2

from prism.wrapper._local_postgres import LocalPostgres
from prism.wrapper.sources._batch import RowBatch
from prism.wrapper.sources._types import Column, ColumnKind, TableId, TableSchema
from prism.wrapper.sources.postgres import PostgresSettings
from prism.wrapper.sources.postgres._session import Session

_numbers = itertools.count(1)


@dataclass
class Database:
    """A database, and a slot name that nobody else uses."""

    server: LocalPostgres
    name: str
    slot: str
    role: str = "postgres"
    password: str | None = None
    _sessions: list[Session] = field(default_factory=list)

    @property
    def dsn(self) -> str:
        return self.server.dsn(database=self.name, user=self.role, password=self.password)

    @property
    def admin_dsn(self) -> str:
        return self.server.dsn(database=self.name)

    def settings(self, *tables: str, **changes: Any) -> PostgresSettings:
        quick = {"idle_interval_s": 0.2, "longest_backoff_s": 0.5, "slot_timeout_s": 20.0}
        return PostgresSettings(
            **{
                "dsn": self.dsn,
                "tables": tables,
                "slot": self.slot,
                "publication": self.slot,
                **quick,
                **changes,
            }
        )

    def connect(self) -> Any:
        return psycopg2.connect(self.admin_dsn)

    def execute(self, *statements: str, rollback: bool = False) -> None:
        """Run statements in one transaction."""
        connection = self.connect()
        try:
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
            if rollback:
                connection.rollback()
            else:
                connection.commit()
        finally:
            connection.close()

    def alone(self, statement: str) -> list[tuple[Any, ...]]:
        """Run one statement outside a transaction block."""
        connection = self.connect()
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def read(
        self, table: str, *, where: str = "true", columns: Sequence[str] = ()
    ) -> dict[tuple[str, ...], dict[str, str | None]]:
        """The table's rows by primary key, as texts of the settings that sources use."""
        session = Session(self.admin_dsn, connect_timeout_s=10)
        try:
            oid = session.rows("SELECT %s::regclass::oid::bigint", (table,))[0][0]
            facts = session.describe([oid])[0]
            names = list(columns) or [
                c.name for c in facts.columns if not c.generated or session.server_version >= 180000
            ]
            primary = next(i for i in facts.indexes if i.primary or i.identity)
            schema = TableSchema(
                TableId(self.name, "", table),
                tuple(Column(name, "", ColumnKind.OTHER) for name in names),
                tuple(sorted(names.index(name) for name in primary.columns)),
            )
            wanted = ", ".join('"' + name.replace('"', '""') + '"' for name in names)
            blob = session.copy(f"COPY (SELECT {wanted} FROM {table} WHERE {where}) TO STDOUT")
        finally:
            session.close()
        return {
            change.key: dict(zip(names, change.values, strict=True))
            for change in RowBatch.from_copy_text(schema, blob)
        }

    def slot_row(self, *columns: str) -> tuple[Any, ...] | None:
        rows = self.alone(
            f"SELECT {', '.join(columns)} FROM pg_replication_slots WHERE slot_name = '{self.slot}'"
        )
        return rows[0] if rows else None


@contextmanager
def database(server: LocalPostgres) -> Iterator[Database]:
    number = next(_numbers)
    made = Database(server, f"test_{number}", f"prism_test_{number}")
    admin = psycopg2.connect(server.dsn())
    admin.autocommit = True
    with admin.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {made.name} TEMPLATE template0 STRATEGY wal_log")
    admin.close()
    try:
        yield made
    finally:
        if server.pid is None:
            server.start()
        admin = psycopg2.connect(server.dsn())
        admin.autocommit = True
        with admin.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                f"WHERE datname = '{made.name}' AND pid <> pg_backend_pid()"
            )
            # A walsender that was told to end needs a moment to leave its slot.
            for _ in range(1000):
                cursor.execute(
                    "SELECT count(*) FROM pg_replication_slots "
                    f"WHERE database = '{made.name}' AND active"
                )
                if cursor.fetchone()[0] == 0:
                    break
            cursor.execute(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots "
                f"WHERE database = '{made.name}'"
            )
            cursor.execute(f"DROP DATABASE {made.name} WITH (FORCE)")
        admin.close()
