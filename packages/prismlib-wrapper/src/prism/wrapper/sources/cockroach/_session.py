"""Connections to CockroachDB by psycopg 3: plain statements, and the rows of a changefeed."""

from __future__ import annotations

import contextlib
import os
import re
import select
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import ConnStatus, DiagnosticField, ExecStatus
from psycopg.pq.abc import PGresult

from prism.wrapper.sources._types import TableId
from prism.wrapper.sources.cockroach import _catalogue as catalogue
from prism.wrapper.sources.errors import (
    SourceAccessError,
    SourceConfigurationError,
    SourceError,
    SourceUnavailableError,
)

__all__ = ["FeedConnection", "FeedRefusedError", "Session", "explain"]

_SECRET: Final = re.compile(
    r"(password\s*=\s*)('[^']*'|\S+)|(://[^:/@\s]*:)[^@\s]*@", re.IGNORECASE
)
_SCHEME: Final = re.compile(r"^cockroach(?:db)?://")
_VERSION: Final = re.compile(r"CockroachDB\D*v(\d+)\.(\d+)")
_CREDENTIALS: Final = ("28000", "28P01")
_NO_DATABASE: Final = "3D000"
_NO_RIGHT: Final = "42501"
# Connections, resources, conflicts and operators come and go; CockroachDB tells most failures of a
# changefeed that it may repeat without a state of their own (XXUUU), or as 40001.
_PASSING: Final = ("08", "53", "40", "55", "57", "58", "XX", "42703", "42P01")


def _conninfo(dsn: str, *, connect_timeout_s: float) -> str:
    """The connection string with what we need added; what the DSN says itself is kept."""
    # As some drivers write it; libpq knows its own scheme alone.
    dsn = _SCHEME.sub("postgresql://", dsn, count=1)
    try:
        parts = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        # Its text may repeat the DSN.
        raise SourceConfigurationError(
            "dsn: libpq cannot read it; write postgresql://user@host:26257/database"
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
    mine["client_encoding"] = "UTF8"
    return make_conninfo("", **mine)


def explain(text: str, *, sqlstate: str | None, doing: str) -> SourceError:
    """A failure of the database or of libpq as one of ours, without secrets."""
    shown = _SECRET.sub(r"\1\3***", text.strip().replace("\n", " "))
    message = f"{doing}: {shown}"
    if sqlstate in _CREDENTIALS or "password authentication failed" in shown:
        return SourceAccessError(f"{message}. Check user and password of the DSN")
    if "no password supplied" in shown:
        return SourceAccessError(f"{message}. Put the password in the DSN, PGPASSWORD or ~/.pgpass")
    if sqlstate == _NO_DATABASE or (" database " in shown and "does not exist" in shown):
        return SourceConfigurationError(f"{message}. Check the database's name in the DSN")
    if sqlstate == _NO_RIGHT:
        return SourceAccessError(message)
    if sqlstate is None or sqlstate.startswith(_PASSING):
        return SourceUnavailableError(message)
    return SourceError(f"{message} (SQLSTATE {sqlstate})")


def _connect(dsn: str, *, connect_timeout_s: float) -> psycopg.Connection[tuple[Any, ...]]:
    info = _conninfo(dsn, connect_timeout_s=connect_timeout_s)
    try:
        return psycopg.connect(info, autocommit=True, prepare_threshold=None)
    except psycopg.Error as error:
        raise explain(str(error), sqlstate=error.sqlstate, doing="cannot connect") from None


def _abort(connection: psycopg.Connection[Any]) -> None:
    """Break a connection under whoever waits for it; from any thread."""
    with (
        contextlib.suppress(OSError, psycopg.Error, ValueError),
        socket.socket(fileno=os.dup(connection.pgconn.socket)) as shared,
    ):
        shared.shutdown(socket.SHUT_RDWR)


class Session:
    """One connection in autocommit mode. Not thread-safe.

    Raises:
        SourceError: From each method, see `explain`.
    """

    def __init__(self, dsn: str, *, connect_timeout_s: float) -> None:
        self._connection = _connect(dsn, connect_timeout_s=connect_timeout_s)
        # `cluster_logical_timestamp` asks for it, and a cluster may have another default.
        self.rows("SET default_transaction_isolation = 'serializable'")

    @property
    def role(self) -> str:
        """Whom we are to the database."""
        return self._connection.info.user

    @property
    def database(self) -> str:
        """The database we are in."""
        return self._connection.info.dbname

    @property
    def is_open(self) -> bool:
        """Whether the connection was not lost, as far as we know."""
        return not self._connection.closed

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def abort(self) -> None:
        """Break the connection under whoever waits for it. May be called from any thread."""
        _abort(self._connection)

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

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a statement and take its rows."""
        try:
            # Names and literals in it were quoted by us.
            cursor = self._connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []
        except psycopg.Error as error:
            text = error.diag.message_primary or str(error)
            # DETAIL may quote a row's values: the first line alone is shown.
            raise explain(text, sqlstate=error.sqlstate, doing="the database refused") from None

    def version(self) -> tuple[int, int] | None:
        """Such as (23, 1); None if the server is not CockroachDB."""
        text: str = self.rows("SELECT version()")[0][0]
        match = _VERSION.search(text)
        return (int(match[1]), int(match[2])) if match else None

    def cluster(self) -> str:
        """What tells the cluster from others."""
        return str(self.rows("SELECT crdb_internal.cluster_id()::STRING")[0][0])

    def now(self) -> str:
        """The present moment of the cluster."""
        return str(self.rows("SELECT cluster_logical_timestamp()::STRING")[0][0])

    def estimate(self, oids: Sequence[int]) -> int | None:
        """How many rows some tables have, by the cluster's statistics; None if it does not say."""
        wanted = ", ".join(str(int(oid)) for oid in oids)
        try:
            found = self.rows(
                "SELECT estimated_row_count::INT8 "  # noqa: S608  # numbers
                f"FROM crdb_internal.table_row_statistics WHERE table_id IN ({wanted})"
            )
        except SourceUnavailableError:
            raise
        except SourceError:
            return None
        counts = [row[0] for row in found]
        if len(counts) < len(oids) or None in counts:
            return None
        return sum(int(count) for count in counts)

    def tables(self, schemas: Sequence[str]) -> list[catalogue.TableFacts]:
        """What the catalogue says of the tables of some schemas."""
        found = self.rows(catalogue.tables_sql(schemas))
        oids = [int(row[0]) for row in found]
        columns: dict[int, list[catalogue.ColumnFacts]] = {oid: [] for oid in oids}
        keys: dict[int, list[str]] = {oid: [] for oid in oids}
        if oids:
            for oid, number, name, type_name, hidden, generated in self.rows(
                catalogue.columns_sql(oids)
            ):
                columns[int(oid)].append(
                    catalogue.ColumnFacts(
                        number=int(number),
                        name=name,
                        type_name=type_name,
                        hidden=hidden == "YES",
                        virtual=generated == "v",
                    )
                )
            for oid, name in self.rows(catalogue.keys_sql(oids)):
                keys[int(oid)].append(name)
        return [
            catalogue.TableFacts(
                oid=int(oid),
                table=TableId(self.database, schema, name),
                form=form,
                readable=bool(readable),
                columns=tuple(columns[int(oid)]),
                key=tuple(keys[int(oid)]),
            )
            for oid, schema, name, form, readable in found
        ]


class FeedRefusedError(SourceError):
    """The server refused the changefeed, or ended it.

    Attributes:
        sqlstate: As the server says.
        text: The server's first line.
    """

    def __init__(self, text: str, *, sqlstate: str) -> None:
        super().__init__(text)
        self.text = text
        self.sqlstate = sqlstate


class FeedConnection:
    """A connection that runs a changefeed: its statement never ends by itself.

    Rows come one by one as the server sends them (libpq's single-row mode). `close` from another
    thread ends a wait.
    """

    def __init__(self, dsn: str, *, connect_timeout_s: float) -> None:
        self._connection = _connect(dsn, connect_timeout_s=connect_timeout_s)
        self._silent_s = 0.0
        self._refusal: FeedRefusedError | None = None

    @property
    def silent_s(self) -> float:
        """For how long nothing came while it was waited for: a slow reader is no silent server."""
        return self._silent_s

    def start(self, sql: str) -> None:
        """Send the statement. Its refusal comes from `read`."""
        pgconn = self._connection.pgconn
        try:
            pgconn.send_query(sql.encode())
            pgconn.set_single_row_mode()
        except psycopg.Error as error:
            raise explain(str(error), sqlstate=None, doing="the changefeed") from None

    def read(self, wait_s: float) -> list[tuple[bytes | None, bytes | None, bytes | None]]:
        """Take the rows that came: table, key, value. Waits for one at most `wait_s`.

        Raises:
            FeedRefusedError: The server ended the changefeed.
            SourceUnavailableError: The connection is lost.
        """
        if self._refusal is not None:
            raise self._refusal
        pgconn = self._connection.pgconn
        try:
            if pgconn.is_busy():
                since = time.monotonic()
                ready, _, _ = select.select([pgconn.socket], [], [], wait_s)
                if not ready:
                    self._silent_s += time.monotonic() - since
                    return []
                pgconn.consume_input()
            self._silent_s = 0.0
            rows: list[tuple[bytes | None, bytes | None, bytes | None]] = []
            while not pgconn.is_busy():
                result = pgconn.get_result()
                if result is None:
                    raise SourceUnavailableError("the changefeed ended")
                if result.status == ExecStatus.SINGLE_TUPLE:
                    rows.append(
                        (
                            result.get_value(0, 0),
                            _bytes(result.get_value(0, 1)),
                            _bytes(result.get_value(0, 2)),
                        )
                    )
                elif result.status == ExecStatus.FATAL_ERROR:
                    self._refusal = _refusal(result)
                    break
                else:
                    raise SourceUnavailableError("the changefeed ended")
        except (psycopg.Error, OSError, ValueError) as error:
            raise self._lost(error) from None
        # What came before the refusal is told first.
        if self._refusal is not None and not rows:
            raise self._refusal
        return rows

    def close(self) -> None:
        """End the changefeed; a read that waits raises. May be called from any thread."""
        _abort(self._connection)

    def release(self) -> None:
        """Close the connection; for the thread that reads."""
        with contextlib.suppress(psycopg.Error):
            self._connection.close()

    def _lost(self, error: Exception) -> SourceError:
        is_bad = self._connection.pgconn.status == ConnStatus.BAD
        text = str(error) if is_bad or str(error) else "the connection is closed"
        return explain(text, sqlstate=None, doing="the changefeed's connection is lost")


def _refusal(result: PGresult) -> FeedRefusedError:
    primary = result.error_field(DiagnosticField.MESSAGE_PRIMARY) or b"the changefeed was ended"
    state = result.error_field(DiagnosticField.SQLSTATE) or b""
    return FeedRefusedError(primary.decode(errors="replace"), sqlstate=state.decode())


def _bytes(text: bytes | None) -> bytes | None:
    """BYTES in text form: hexadecimal digits behind a mark."""
    if text is None or not text.startswith(b"\\x"):
        return text
    return bytes.fromhex(text[2:].decode())
