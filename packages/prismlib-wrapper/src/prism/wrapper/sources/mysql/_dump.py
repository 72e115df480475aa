"""The connection on which the server sends its binary log, as it does to a replica.

Semi-synchronous replication is not asked for, so the server waits for nobody. The checksum is what
the server writes. A heartbeat comes while nothing happens: it wakes the reader, and its absence
tells that the link has fallen silent.

Source: MySQL internals manual, "COM_BINLOG_DUMP", "COM_BINLOG_DUMP_GTID"; MariaDB knowledge base,
"Replication Protocol".
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from typing import Any, Final, cast

import pymysql
import pymysql.err

from prism.wrapper.sources.errors import SourceClosedError, SourceError, SourceProtocolError
from prism.wrapper.sources.mysql._gtid import MariaDBState, MySQLSet
from prism.wrapper.sources.mysql._position import Position
from prism.wrapper.sources.mysql._session import Session, explain
from prism.wrapper.sources.mysql._settings import MySQLSettings

__all__ = ["Dump"]

_COM_BINLOG_DUMP, _COM_BINLOG_DUMP_GTID = 0x12, 0x1E
_CAPABILITY: Final = 4  # MariaDB: GTIDs are understood
_FIRST_EVENT: Final = 4
_CHUNK: Final = 1 << 18
_FULL: Final = 0xFFFFFF
_SILENCE_S: Final = 60.0
_OK, _ERROR, _END = 0x00, 0xFF, 0xFE


class Dump:
    """The stream of events after a position. `read` is for one thread, `close` for any.

    Raises:
        LostPositionError: From `read`: the server's log does not hold what comes next.
        SourceError: It does not answer, or refuses.
    """

    def __init__(self, settings: MySQLSettings, position: Position) -> None:
        self._session = Session(settings.dsn, connect_timeout_s=settings.connect_timeout_s)
        self._closed = False
        self._rest = b""
        self._joined = b""
        self._listening = False
        self._heard_at = time.monotonic()
        try:
            self._begin(settings, position)
        except BaseException:
            self._session.close()
            raise

    @property
    def silent_s(self) -> float:
        """For how long we have listened in vain."""
        return max(0.0, time.monotonic() - self._heard_at) if self._listening else 0.0

    def close(self) -> None:
        """Break the connection under whoever reads. May be called more than once."""
        self._closed = True
        self._session.abort()

    def release(self) -> None:
        """Close it; for the thread that reads."""
        self._closed = True
        self._session.close()

    def read(self) -> list[bytes]:
        """Wait for events and take those that are here; a heartbeat is one.

        Raises:
            SourceClosedError: `close` was called.
        """
        connection = cast("Any", self._session._connection)
        while True:
            try:
                self._listening = True
                chunk = connection._rfile.read1(_CHUNK)
            except (OSError, ValueError, AttributeError) as error:
                raise self._failure(error) from None
            finally:
                self._listening = False
            if not chunk:
                raise self._failure(ConnectionError("the server closed the connection"))
            self._heard_at = time.monotonic()
            events = list(self._events(chunk))
            if events:
                return events

    def _failure(self, error: Exception) -> SourceError:
        if self._closed:
            return SourceClosedError("the source was closed")
        return explain(error, "the stream was interrupted")

    def _events(self, chunk: bytes) -> Iterator[bytes]:
        """Packets begin with their length in three bytes and a number; full ones go on."""
        data = self._rest + chunk if self._rest else chunk
        at, end = 0, len(data)
        while end - at >= 4:
            size = data[at] | data[at + 1] << 8 | data[at + 2] << 16
            if end - at - 4 < size:
                break
            payload = data[at + 4 : at + 4 + size]
            at += 4 + size
            if size == _FULL:
                self._joined += payload
                continue
            if self._joined:
                payload, self._joined = self._joined + payload, b""
            yield self._event(payload)
        self._rest = data[at:]

    def _event(self, payload: bytes) -> bytes:
        kind = payload[0] if payload else _END
        if kind == _OK:
            return payload[1:]
        if kind == _ERROR and len(payload) >= 3:
            code = int.from_bytes(payload[1:3], "little")
            text = payload[9:] if payload[3:4] == b"#" else payload[3:]
            error = pymysql.err.OperationalError(code, text.decode(errors="backslashreplace"))
            raise explain(error, "the server refused to send its log")
        if kind == _END and len(payload) < 9:
            raise self._failure(ConnectionError("the server ended the stream"))
        raise SourceProtocolError(f"the server sent a packet of kind {kind} instead of an event")

    def _begin(self, settings: MySQLSettings, position: Position) -> None:
        session = self._session
        session.rows("SET @master_binlog_checksum = @@GLOBAL.binlog_checksum")
        period = int(settings.heartbeat_s * 1e9)
        session.rows(f"SET @master_heartbeat_period = {period}, @rpl_semi_sync_slave = 0")
        done = position.done
        if isinstance(done, MariaDBState):
            session.rows(
                f"SET @mariadb_slave_capability = {_CAPABILITY}, @slave_gtid_strict_mode = 0, "
                "@slave_gtid_ignore_duplicates = 0, @slave_connect_state = "
                + session.literal(str(done))
            )
            command = struct.pack("<BIHI", _COM_BINLOG_DUMP, _FIRST_EVENT, 0, settings.replica_id)
        elif isinstance(done, MySQLSet):
            sets = done.encoded()
            command = struct.pack(
                "<BHIIQI", _COM_BINLOG_DUMP_GTID, 4, settings.replica_id, 0, _FIRST_EVENT, len(sets)
            )
            command += sets
        connection = cast("Any", session._connection)
        try:
            connection._write_bytes(struct.pack("<I", len(command))[:3] + b"\0" + command)
            connection._sock.settimeout(max(_SILENCE_S, 4 * settings.heartbeat_s))
        except (pymysql.Error, OSError) as error:
            raise explain(error, "the stream was interrupted") from None
