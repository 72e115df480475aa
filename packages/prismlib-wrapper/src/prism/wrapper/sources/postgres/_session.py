"""A plain connection to the database, its failures in words, and what we ask the catalogue."""

from __future__ import annotations

import contextlib
import io
import os
import re
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import psycopg
import psycopg2
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from prism.wrapper.sources._types import TableId
from prism.wrapper.sources.errors import (
    SourceAccessError,
    SourceConfigurationError,
    SourceError,
    SourceUnavailableError,
)
from prism.wrapper.sources.postgres import _catalogue as catalogue

__all__ = ["Session", "conninfo", "explain"]

# The text of a value must not depend on who reads it, or when. PostgreSQL's own subscribers set the
# first three; the last keeps a policy from silently hiding rows: reading them fails instead.
_OPTIONS: Final = (
    "-c DateStyle=ISO -c IntervalStyle=postgres -c extra_float_digits=3 -c TimeZone=UTC "
    "-c bytea_output=hex -c standard_conforming_strings=on -c lc_monetary=C -c xmlbinary=base64 "
    "-c statement_timeout=0 -c idle_in_transaction_session_timeout=0 -c row_security=off"
)
_SECRET: Final = re.compile(
    r"(password\s*=\s*)('[^']*'|\S+)|(://[^:/@\s]*:)[^@\s]*@", re.IGNORECASE
)
_CREDENTIALS: Final = ("28000", "28P01")
_UNKNOWN_DATABASE: Final = "3D000"
_NO_RIGHT: Final = "42501"
# Connections, resources, conflicts, states and operators come and go; so do a column and a table
# that were there a moment ago.
_PASSING: Final = ("08", "53", "40", "55", "57", "58", "42703", "42P01")


def conninfo(dsn: str, *, connect_timeout_s: float, replication: bool) -> str:
    """The connection string with what we need added; what the DSN says itself is kept.

    Raises:
        SourceConfigurationError: libpq cannot read the DSN. The message does not repeat it.
    """
    try:
        parts = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        # Its text may repeat the DSN.
        raise SourceConfigurationError(
            "dsn: libpq cannot read it; write host=... port=... dbname=... user=... or "
            "postgresql://user@host:port/database"
        ) from None
    mine: dict[str, Any] = {
        "application_name": "prism-wrapper",
        "connect_timeout": str(max(2, round(connect_timeout_s))),
        "keepalives_idle": "30",
        "keepalives_interval": "10",
        "keepalives_count": "3",
        "tcp_user_timeout": "30000",
    }
    mine |= {name: value for name, value in parts.items() if value is not None}
    mine["options"] = f"{parts.get('options') or ''} {_OPTIONS}".strip()
    mine["client_encoding"] = "UTF8"
    if replication:
        mine["replication"] = "database"
    return make_conninfo("", **mine)


def explain(error: Exception, *, sqlstate: str | None, doing: str) -> SourceError:
    """A failure of the database or of libpq as one of ours, without secrets."""
    text = _SECRET.sub(r"\1\3***", str(error).strip().replace("\n", " "))
    message = f"{doing}: {text}"
    if sqlstate in _CREDENTIALS or "password authentication failed" in text or "pg_hba" in text:
        return SourceAccessError(
            f"{message}. Check user and password of the DSN, and pg_hba.conf of the server"
        )
    if "no password supplied" in text:
        return SourceAccessError(f"{message}. Put the password in the DSN, PGPASSWORD or ~/.pgpass")
    if sqlstate == _UNKNOWN_DATABASE or (" database " in text and "does not exist" in text):
        return SourceConfigurationError(f"{message}. Check dbname of the DSN")
    if sqlstate == _NO_RIGHT:
        return SourceAccessError(message)
    if sqlstate is None or sqlstate.startswith(_PASSING):
        return SourceUnavailableError(message)
    return SourceError(f"{message} (SQLSTATE {sqlstate})")


class Session:
    """One connection in autocommit mode. Not thread-safe.

    Raises:
        SourceError: From each method, see `explain`.
    """

    def __init__(self, dsn: str, *, connect_timeout_s: float) -> None:
        info = conninfo(dsn, connect_timeout_s=connect_timeout_s, replication=False)
        try:
            self._connection = psycopg2.connect(info)
        except psycopg2.Error as error:
            raise explain(error, sqlstate=error.pgcode, doing="cannot connect") from None
        self._connection.autocommit = True

    @property
    def server_version(self) -> int:
        """Such as 150018 for 15.18."""
        return self._connection.server_version

    @property
    def role(self) -> str:
        """Whom we are to the database."""
        return str(self._connection.info.user)

    @property
    def is_open(self) -> bool:
        """Whether the connection was not lost, as far as we know."""
        return not self._connection.closed

    def close(self) -> None:
        """Close the connection; an open transaction is rolled back."""
        self._connection.close()

    def abort(self) -> None:
        """Break the connection under whoever waits for it. May be called from any thread.

        `close` would wait for the answer that does not come.
        """
        with (
            contextlib.suppress(OSError, psycopg2.Error),
            socket.socket(fileno=os.dup(self._connection.fileno())) as shared,
        ):
            shared.shutdown(socket.SHUT_RDWR)

    @contextlib.contextmanager
    def answering_within(self, seconds: float) -> Iterator[None]:
        """Break the connection if what is done inside takes longer: the server went silent."""
        timer = threading.Timer(seconds, self.abort)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def rows(self, sql: str, parameters: object = None) -> list[tuple[Any, ...]]:
        """Run a statement and take its rows."""
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(sql, parameters)  # type: ignore[arg-type]  # a sequence or mapping
                return cursor.fetchall() if cursor.description else []
        except psycopg2.Error as error:
            raise self._failure(error) from None

    def begin_snapshot(self, name: str) -> None:
        """Begin a read-only transaction that sees what the exported snapshot sees."""
        self.rows("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        self.rows("SET TRANSACTION SNAPSHOT %s", (name,))

    def copy(self, sql: str) -> bytes:
        """Run a COPY to STDOUT and take all it writes."""
        sink = io.BytesIO()
        try:
            with self._connection.cursor() as cursor:
                cursor.copy_expert(sql, sink)
        except psycopg2.Error as error:
            raise self._failure(error) from None
        return sink.getvalue()

    def _failure(self, error: psycopg2.Error) -> SourceError:
        # Only the first line: DETAIL and CONTEXT may quote a row's values.
        primary = error.diag.message_primary
        shown = psycopg2.Error(primary) if primary else error
        return explain(shown, sqlstate=error.pgcode, doing="the database refused")

    def describe(self, oids: Sequence[int]) -> list[catalogue.TableFacts]:
        """What the catalogue says of tables, in the order of `oids`."""
        wanted = list(oids)
        columns: dict[int, list[catalogue.ColumnFacts]] = {oid: [] for oid in wanted}
        for oid, number, name, type_oid, modifier, type_name, generated, filled in self.rows(
            catalogue.COLUMNS_SQL, (wanted,)
        ):
            columns[oid].append(
                catalogue.ColumnFacts(
                    number=number,
                    name=name,
                    type_oid=type_oid,
                    type_modifier=modifier,
                    type_name=type_name,
                    generated=generated != "",
                    filled=filled,
                )
            )
        indexes: dict[int, list[catalogue.IndexFacts]] = {oid: [] for oid in wanted}
        for oid, name, primary, identity, immediate, of, not_null in self.rows(
            catalogue.INDEXES_SQL, (wanted,)
        ):
            indexes[oid].append(
                catalogue.IndexFacts(
                    name=name,
                    primary=primary,
                    identity=identity,
                    immediate=immediate,
                    columns=tuple(of),
                    not_null=not_null,
                )
            )
        tables = {
            row[0]: catalogue.TableFacts(
                oid=row[0],
                table=TableId(row[1], row[2], row[3]),
                form=row[4],
                persistence=row[5],
                identity=row[6],
                owner=row[7],
                readable=row[8],
                owned=row[9],
                row_security=row[10],
                columns=tuple(columns[row[0]]),
                indexes=tuple(indexes[row[0]]),
            )
            for row in self.rows(catalogue.TABLES_SQL, (wanted,))
        }
        return [tables[oid] for oid in wanted if oid in tables]

    def types(self, oids: Iterable[int]) -> dict[int, catalogue.TypeFacts]:
        """What the catalogue says of types."""
        return {
            oid: catalogue.TypeFacts(base_name=name, form=form, category=category)
            for oid, name, form, category in self.rows(catalogue.TYPES_SQL, (sorted(set(oids)),))
        }

    def type_names(self, types: Iterable[tuple[int, int]]) -> Mapping[tuple[int, int], str]:
        """Names of types with their modifiers, such as `numeric(10,2)`."""
        wanted = sorted(set(types))
        rows = self.rows(
            "SELECT o::bigint, m, format_type(o, m) FROM unnest(%s::oid[], %s::int[]) t(o, m)",
            ([oid for oid, _ in wanted], [modifier for _, modifier in wanted]),
        )
        return {(oid, modifier): name for oid, modifier, name in rows}

    def leaves(self, oid: int) -> list[catalogue.Leaf]:
        """The tables that hold a table's rows: itself, or its partitions."""
        return [
            catalogue.Leaf(
                oid=leaf,
                schema=schema,
                name=name,
                filenode=filenode,
                blocks=blocks,
                rows_estimate=rows,
            )
            for leaf, schema, name, filenode, blocks, rows in self.rows(
                catalogue.LEAVES_SQL, {"oid": oid}
            )
        ]
