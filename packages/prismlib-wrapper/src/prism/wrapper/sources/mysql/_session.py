"""A plain connection to the server, and its failures in words."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Final, cast

import pymysql
import pymysql.cursors

from prism.wrapper.sources.errors import (
    SourceAccessError,
    SourceConfigurationError,
    SourceError,
    SourceUnavailableError,
)
from prism.wrapper.sources.mysql._settings import connect_arguments

__all__ = ["LostPositionError", "Session", "explain", "identifier"]

# The text of a value must not depend on who reads it, or when. A snapshot may stand still for long.
_SETTINGS: Final = (
    "SET NAMES utf8mb4",
    "SET SESSION sql_mode = '', time_zone = '+00:00'",
    "SET SESSION net_write_timeout = 86400, net_read_timeout = 86400, wait_timeout = 2147483",
)
_CREDENTIALS: Final = (1045, 1698, 1862, 3118, 1251)
_NO_RIGHT: Final = (1044, 1142, 1143, 1227, 1370)
_UNKNOWN_DATABASE: Final = 1049
_LOST: Final = 1236
# What the client library finds, resources, locks, a shutdown; and tables and columns that were
# there a moment ago.
_PASSING: Final = (
    *(1040, 1053, 1054, 1129, 1130, 1146, 1158, 1159, 1160, 1161, 1184, 1203, 1205, 1213, 1226),
    *(1290, 1317, 1412, 1594, 1836, 1927, 1969, 3024),
)


class LostPositionError(SourceError):
    """The server's log does not hold what comes after our position."""


def identifier(*names: str) -> str:
    """Names quoted as MySQL does."""
    return ".".join("`" + name.replace("`", "``") + "`" for name in names)


def explain(error: Exception, doing: str) -> SourceError:
    """A failure of the server or of the library as one of ours, without secrets."""
    code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    text = str(error.args[1] if len(error.args) > 1 else error).strip().replace("\n", " ")
    message = f"{doing}: {text}"
    if code in _CREDENTIALS:
        return SourceAccessError(f"{message}. Check user and password of the DSN, and its host")
    if code == _UNKNOWN_DATABASE:
        return SourceConfigurationError(f"{message}. Check the database of the DSN")
    if code in _NO_RIGHT:
        return SourceAccessError(message)
    if code == _LOST:
        return LostPositionError(text)
    if code in _PASSING or code >= 2000 or not isinstance(error, pymysql.Error):
        return SourceUnavailableError(message)
    if not code:
        # The library's own: the connection is closed, or packets came out of order.
        return SourceUnavailableError(f"{doing}: {text or 'the connection was closed'}")
    return SourceError(f"{message} (error {code})")


class Session:
    """One connection in autocommit mode. Not thread-safe, but for `abort`.

    Raises:
        SourceError: From each method, see `explain`.
    """

    def __init__(self, dsn: str, *, connect_timeout_s: float) -> None:
        arguments = connect_arguments(dsn)
        self.user = str(arguments["user"])
        self._closed = False
        try:
            # Without converters values stay what the server sent.
            self._connection = pymysql.connect(
                **arguments,
                charset="utf8mb4",
                autocommit=True,
                connect_timeout=max(1, round(connect_timeout_s)),
                conv={},
                program_name="prism-wrapper",
            )
        except (pymysql.Error, OSError, RuntimeError) as error:
            raise explain(error, "cannot connect") from None
        try:
            for statement in _SETTINGS:
                self.rows(statement)
            self.version = str(self.rows("SELECT VERSION()")[0][0])
        except BaseException:
            self.close()
            raise

    @property
    def is_mariadb(self) -> bool:
        """Which of the two dialects it speaks."""
        return "mariadb" in self.version.lower()

    @property
    def is_open(self) -> bool:
        """Whether the connection was not lost, as far as we know."""
        return not self._closed and bool(self._connection.open)

    def close(self) -> None:
        """Close the connection; an open transaction is rolled back."""
        self._closed = True
        with contextlib.suppress(pymysql.Error, OSError, ValueError):
            self._connection._force_close()  # type: ignore[attr-defined]  # not in the stubs

    def abort(self) -> None:
        """Break the connection under whoever waits for it. May be called from any thread."""
        sock = getattr(self._connection, "_sock", None)
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

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

    def rows(self, sql: str, parameters: Sequence[str | int] = ()) -> list[tuple[Any, ...]]:
        """Run a statement and take its rows; values are texts, bytes or None."""
        if parameters:
            sql %= tuple(p if isinstance(p, int) else self.literal(p) for p in parameters)
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(sql)
                return list(cursor.fetchall()) if cursor.description else []
        except (pymysql.Error, OSError, ValueError, AttributeError) as error:
            raise explain(error, "the database refused") from None

    def variables(self, *names: str) -> dict[str, str]:
        """Server variables by name; those that the server lacks are missing."""
        wanted = ", ".join(self.literal(name) for name in names)
        return {
            str(name).lower(): str(value)
            for name, value in self.rows(f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ({wanted})")
        }

    def literal(self, text: str) -> str:
        """A text as SQL; our sql_mode takes backslashes as escapes, and the letters are UTF-8."""
        return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"

    def packets(self, sql: str) -> Iterator[bytes]:
        """Run a SELECT and take its rows as the server packs them: texts with their lengths.

        To be read to its end, or the connection must be closed.
        """
        connection = cast("Any", self._connection)
        try:
            with connection.cursor(pymysql.cursors.SSCursor) as cursor:
                cursor.execute(sql)
                result = cursor._result
                read = connection._read_packet
                while True:
                    packet = read()
                    if result._check_packet_is_eof(packet):
                        result.unbuffered_active = False
                        result.connection = None
                        return
                    yield packet.get_all_data()
        except (pymysql.Error, OSError, ValueError, AttributeError) as error:
            raise explain(error, "the snapshot was interrupted") from None
