"""A connection to TiDB by the MySQL protocol: what is asked, and what errors mean."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import pymysql
import pymysql.converters
import pymysql.cursors

from prism.wrapper.sources.errors import (
    SourceAccessError,
    SourceConfigurationError,
    SourceError,
    SourceProtocolError,
    SourceUnavailableError,
)
from prism.wrapper.sources.tidb._catalogue import COLUMNS_SQL, INDEXES_SQL, TableFacts, gather
from prism.wrapper.sources.tidb._messages import RawValue
from prism.wrapper.sources.tidb._settings import TidbAddress

__all__ = ["Session"]

# Wrong password, no such database for the role, no right on a database, a table or a column.
_REFUSALS: Final = frozenset((1044, 1045, 1142, 1143, 1227, 1698, 8121))
_NO_DATABASE: Final = 1049
_ANSWER_S: Final = 60.0
# The text of the statement is never part of a message: it may hold a key's values.


class Session:
    """One connection; for one thread. Rows come as texts and bytes, as the server wrote them.

    Args:
        address: Where, and who.
        time_zone: For TIMESTAMP columns.
        connect_timeout_s: For the attempt to connect.

    Raises:
        SourceUnavailableError: It does not answer.
        SourceAccessError: It refuses.
        SourceConfigurationError: There is no such database.
    """

    def __init__(self, address: TidbAddress, *, time_zone: str, connect_timeout_s: float) -> None:
        self._address = address
        with self._told():
            self._connection: pymysql.Connection[Any] = pymysql.connect(
                host=address.host,
                port=address.port,
                user=address.user,
                password=address.password,
                database=address.database,
                charset="utf8mb4",
                connect_timeout=max(1, round(connect_timeout_s)),
                read_timeout=_ANSWER_S,
                write_timeout=_ANSWER_S,
                # Texts as they come: what PyMySQL makes of them loses digits and zeros.
                conv=dict(pymysql.converters.encoders),  # type: ignore[arg-type]  # stubs ask for both kinds
                autocommit=True,
                ssl=ssl.create_default_context() if address.tls else None,
            )
        self.execute(f"SET time_zone = '{time_zone}'")

    @property
    def version(self) -> str:
        """The server's version, such as `8.0.11-TiDB-v8.5.1`."""
        return str(self._connection.get_server_info())  # type: ignore[no-untyped-call]

    @property
    def is_tidb(self) -> bool:
        """Whether it says that it is TiDB."""
        return "tidb" in self.version.lower()

    def execute(self, sql: str) -> None:
        """Run a statement that answers nothing of interest."""
        self.rows(sql)

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[tuple[RawValue, ...]]:
        """Run a query and read all of its answer."""
        with self._told(), self._connection.cursor() as cursor:
            cursor.execute(sql, tuple(values) or None)
            return list(cursor.fetchall())

    def stream(self, sql: str, *, at_once: int) -> Iterator[list[tuple[RawValue, ...]]]:
        """Run a query and read its answer piece by piece."""
        with self._told(), self._connection.cursor(pymysql.cursors.SSCursor) as cursor:
            cursor.execute(sql)
            while rows := cursor.fetchmany(at_once):
                yield list(rows)

    def tables(self, schemas: Sequence[str], *, ts: int | None = None) -> dict[str, TableFacts]:
        """What the catalogue says of some databases' tables, now or as of a timestamp.

        Raises:
            SourceError: Among others, if that timestamp's data were collected as garbage.
        """
        if ts is not None:
            self.execute(f"SET tidb_snapshot = '{ts}'")
        try:
            places = ", ".join(["%s"] * len(schemas))
            columns = self.rows(COLUMNS_SQL.format(schemas=places), schemas)
            indexes = self.rows(INDEXES_SQL.format(schemas=places), schemas)
        finally:
            if ts is not None:
                self.execute("SET tidb_snapshot = ''")
        return gather(_texts(columns), _texts(indexes))

    def begin_snapshot(self) -> int:
        """Begin to read everything as of one moment; returns its timestamp."""
        self.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT")
        text = self.rows("SELECT @@tidb_current_ts")[0][0]
        ts = int(text or 0)
        if not ts:
            raise SourceProtocolError("the server gave no @@tidb_current_ts: is it a TiDB?")
        return ts

    def now(self) -> int:
        """The cluster's present timestamp."""
        ts = self.begin_snapshot()
        self.end_snapshot()
        return ts

    def end_snapshot(self) -> None:
        """End what `begin_snapshot` began."""
        self.execute("ROLLBACK")

    def rows_estimate(self, schemas: Sequence[str]) -> Mapping[str, int]:
        """How many rows tables have, roughly, by full name."""
        places = ", ".join(["%s"] * len(schemas))
        found = self.rows(
            "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_ROWS FROM information_schema.tables "  # noqa: S608 - places for values, no values
            f"WHERE TABLE_SCHEMA IN ({places})",
            schemas,
        )
        return {f"{schema!s}.{name!s}": int(rows or 0) for schema, name, rows in found}

    def close(self) -> None:
        """Close the connection. May be called more than once."""
        with contextlib.suppress(pymysql.Error):
            self._connection.close()

    def abort(self) -> None:
        """End a wait of another thread for an answer."""
        # Its `close` would send a farewell into what the other thread reads.
        with contextlib.suppress(OSError, AttributeError):
            self._connection._force_close()  # type: ignore[attr-defined]  # not in its stubs

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        place = f"{self._address.host}:{self._address.port}"
        try:
            yield
        except pymysql.Error as error:
            code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
            raise _refusal(code, error, self._address, place) from None
        except (OSError, AttributeError, ValueError) as error:
            # A connection that another thread closed fails in whichever way it was used last.
            raise SourceUnavailableError(f"{place}: the connection was lost ({error})") from None


def _refusal(code: int, error: pymysql.Error, address: TidbAddress, place: str) -> SourceError:
    if code in _REFUSALS:
        return SourceAccessError(
            f"{place}: {address.user} may not do this (error {code})",
            remedy=f"GRANT SELECT ON {address.database}.* TO '{address.user}'@'%';",
        )
    if code == _NO_DATABASE:
        return SourceConfigurationError(f"{place}: there is no database {address.database}")
    if isinstance(error, (pymysql.OperationalError, pymysql.InterfaceError)) and (
        code == 0 or 2000 <= code < 3000 or code in (1040, 1053, 1105, 1152, 1158, 1159, 1161)
    ):
        return SourceUnavailableError(f"{place}: does not answer (error {code})")
    return SourceProtocolError(f"{place}: the server refused a statement (error {code})")


def _texts(rows: Sequence[Sequence[RawValue]]) -> list[list[str | None]]:
    return [
        [value.decode() if isinstance(value, bytes) else value for value in row] for row in rows
    ]
