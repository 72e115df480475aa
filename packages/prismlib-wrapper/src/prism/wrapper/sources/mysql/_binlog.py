"""Events of a binary log: header, checksum, and those that are not about rows. Pure.

The two dialects share the first nineteen bytes and most numbers of events below 160; above are
MariaDB's own. All integers are little-endian unless said otherwise.

Source: MySQL internals manual, "Binary Log Event"; MariaDB knowledge base, "Binlog Event Header",
"GTID_EVENT", "GTID_LIST_EVENT", "QUERY_COMPRESSED_EVENT".
"""

from __future__ import annotations

import struct
import uuid
import zlib
from enum import IntEnum
from typing import Final, NamedTuple

from prism.wrapper.sources.errors import SourceProtocolError

__all__ = [
    "HEADER_SIZE",
    "Event",
    "EventType",
    "FormatDescription",
    "Gtid",
    "Query",
    "checked",
    "inflate",
    "parse_event",
    "parse_format",
    "parse_mariadb_gtid",
    "parse_mariadb_gtid_list",
    "parse_mysql_gtid",
    "parse_query",
    "parse_rotate",
]

HEADER_SIZE: Final = 19
_HEADER: Final = struct.Struct("<IBIIIH")
_QUERY: Final = struct.Struct("<IIBHH")
_CRC_SIZE: Final = 4
_CRC32: Final = 1
_LARGEST: Final = 1 << 30


class EventType(IntEnum):
    """Numbers of events that mean something to us, and those that must not be passed over."""

    QUERY = 2
    STOP = 3
    ROTATE = 4
    FORMAT_DESCRIPTION = 15
    XID = 16
    TABLE_MAP = 19
    WRITE_ROWS_V0 = 20
    UPDATE_ROWS_V0 = 21
    DELETE_ROWS_V0 = 22
    WRITE_ROWS_V1 = 23
    UPDATE_ROWS_V1 = 24
    DELETE_ROWS_V1 = 25
    INCIDENT = 26
    HEARTBEAT = 27
    WRITE_ROWS_V2 = 30
    UPDATE_ROWS_V2 = 31
    DELETE_ROWS_V2 = 32
    MYSQL_GTID = 33
    MYSQL_ANONYMOUS_GTID = 34
    MYSQL_PREVIOUS_GTIDS = 35
    XA_PREPARE = 38
    PARTIAL_UPDATE_ROWS = 39
    TRANSACTION_PAYLOAD = 40
    HEARTBEAT_V2 = 41
    MYSQL_TAGGED_GTID = 42
    MARIADB_GTID = 162
    MARIADB_GTID_LIST = 163
    MARIADB_QUERY_COMPRESSED = 165
    MARIADB_WRITE_ROWS_COMPRESSED = 166
    MARIADB_UPDATE_ROWS_COMPRESSED = 167
    MARIADB_DELETE_ROWS_COMPRESSED = 168


class Event(NamedTuple):
    """An event without its checksum.

    Attributes:
        type: See `EventType`; others are passed over.
        timestamp: Seconds since 1970 by the server's clock.
        server_id: Whose event it is.
        end: Where the next begins in the file; 0 for events that are in no file.
        flags: 0x20 marks an event that was made up for the connection and is in no file.
        body: What follows the header.
    """

    type: int
    timestamp: int
    server_id: int
    end: int
    flags: int
    body: bytes


class FormatDescription(NamedTuple):
    """What FORMAT_DESCRIPTION_EVENT says of the events to come.

    Attributes:
        server: The server's version, such as `10.11.18-MariaDB-log`.
        has_checksum: Whether each event ends with a CRC32.
        post_headers: Sizes of the fixed parts, by event number from 1.
    """

    server: str
    has_checksum: bool
    post_headers: bytes


class Gtid(NamedTuple):
    """The name of the transaction that follows.

    Attributes:
        source: MySQL: the server's UUID. MariaDB: the domain and the server, `0-11`.
        number: Its number there.
        is_alone: Whether one statement follows that is a transaction of its own (DDL).
        is_xa: Whether an XA transaction is prepared or completed by it.
    """

    source: str
    number: int
    is_alone: bool
    is_xa: bool


class Query(NamedTuple):
    """A statement: DDL, or what begins and ends a transaction."""

    database: str
    sql: str
    error: int


def parse_event(packet: bytes, *, has_checksum: bool) -> Event:
    """Take an event apart, and verify its checksum.

    Raises:
        SourceProtocolError: It is shorter or longer than it says, or its checksum is wrong.
    """
    if len(packet) < HEADER_SIZE:
        raise SourceProtocolError(f"a binary log event of {len(packet)} bytes has no header")
    timestamp, kind, server_id, size, end, flags = _HEADER.unpack_from(packet)
    if size != len(packet):
        raise SourceProtocolError(
            f"a binary log event of type {kind} says {size} bytes and has {len(packet)}"
        )
    if kind == EventType.FORMAT_DESCRIPTION:
        # Says itself, in its last five bytes, whether it has a checksum; it always has the room.
        has_checksum = len(packet) > HEADER_SIZE + 5 and packet[-5] == _CRC32
        body = packet[HEADER_SIZE:]
        if has_checksum:
            _verify(packet)
        return Event(kind, timestamp, server_id, end, flags, body)
    if kind == EventType.ROTATE and not has_checksum:
        # Comes before the event that tells of checksums, and has one if the others have.
        has_checksum = len(packet) > HEADER_SIZE + 12 and _fits(packet)
    if not has_checksum:
        return Event(kind, timestamp, server_id, end, flags, packet[HEADER_SIZE:])
    if len(packet) < HEADER_SIZE + _CRC_SIZE:
        raise SourceProtocolError(f"a binary log event of type {kind} has no checksum")
    _verify(packet)
    return Event(kind, timestamp, server_id, end, flags, packet[HEADER_SIZE:-_CRC_SIZE])


def _fits(packet: bytes) -> bool:
    told = int.from_bytes(packet[-_CRC_SIZE:], "little")
    return zlib.crc32(memoryview(packet)[:-_CRC_SIZE]) == told


def _verify(packet: bytes) -> None:
    if not _fits(packet):
        raise SourceProtocolError(
            f"the checksum of a binary log event of type {packet[4]} is wrong: it was damaged on "
            "the server's disk or on the way"
        )


def checked(body: bytes, size: int, what: str) -> bytes:
    """The body, which must have this many bytes at least.

    Raises:
        SourceProtocolError: It has fewer.
    """
    if len(body) < size:
        raise SourceProtocolError(f"{what} of {len(body)} bytes is too short")
    return body


def parse_rotate(body: bytes) -> tuple[str, int]:
    """The next file and where in it to go on."""
    checked(body, 8, "ROTATE_EVENT")
    return body[8:].decode(errors="backslashreplace"), int.from_bytes(body[:8], "little")


def parse_format(body: bytes) -> FormatDescription:
    """What the events to come look like.

    Raises:
        SourceProtocolError: It is not binary log version 4, which all servers since 5.0 write.
    """
    checked(body, 62, "FORMAT_DESCRIPTION_EVENT")
    version, name, _, header = struct.unpack_from("<H50sIB", body)
    if version != 4 or header != HEADER_SIZE:
        raise SourceProtocolError(f"binary log version {version} is not known; 4 is")
    server = name.rstrip(b"\0").decode(errors="backslashreplace")
    algorithm = body[-5]
    if algorithm > _CRC32:
        raise SourceProtocolError(f"checksum algorithm {algorithm} of the binary log is not known")
    return FormatDescription(server, algorithm == _CRC32, body[57:-5])


def parse_mysql_gtid(body: bytes) -> Gtid:
    """MySQL's GTID_LOG_EVENT."""
    checked(body, 25, "GTID_LOG_EVENT")
    source = str(uuid.UUID(bytes=body[1:17]))
    number = int.from_bytes(body[17:25], "little")
    if not number:
        raise SourceProtocolError("GTID_LOG_EVENT has the number 0")
    return Gtid(source, number, is_alone=False, is_xa=False)


_STANDALONE, _PREPARED_XA, _COMPLETED_XA = 1, 64, 128


def parse_mariadb_gtid(body: bytes, server_id: int) -> Gtid:
    """MariaDB's GTID_EVENT; the server is that of the event's header."""
    checked(body, 13, "GTID_EVENT")
    number, domain, flags = struct.unpack_from("<QIB", body)
    if not number:
        raise SourceProtocolError("GTID_EVENT has the number 0")
    return Gtid(
        f"{domain}-{server_id}",
        number,
        is_alone=bool(flags & _STANDALONE),
        is_xa=bool(flags & (_PREPARED_XA | _COMPLETED_XA)),
    )


def parse_mariadb_gtid_list(body: bytes) -> tuple[tuple[int, int, int], ...]:
    """(domain, server, number) of the last transactions before a file."""
    checked(body, 4, "GTID_LIST_EVENT")
    count = int.from_bytes(body[:4], "little") & 0x0FFFFFFF
    checked(body, 4 + 16 * count, "GTID_LIST_EVENT")
    return tuple(struct.unpack_from("<IIQ", body, 4 + 16 * i) for i in range(count))


def parse_query(body: bytes, *, is_compressed: bool = False) -> Query:
    """A statement. Its text is UTF-8 for all that we look for in it."""
    checked(body, _QUERY.size, "QUERY_EVENT")
    _, _, database_size, error, status_size = _QUERY.unpack_from(body)
    at = _QUERY.size + status_size
    checked(body, at + database_size + 1, "QUERY_EVENT")
    database = body[at : at + database_size].decode(errors="backslashreplace")
    sql = body[at + database_size + 1 :]
    if is_compressed:
        sql = inflate(sql)
    return Query(database, sql.decode(errors="backslashreplace"), error)


def inflate(packed: bytes) -> bytes:
    """Undo MariaDB's compression of an event: a byte, the size (big-endian), zlib's format.

    Raises:
        SourceProtocolError: It is not that.
    """
    if len(packed) < 2 or packed[0] & 0x80 == 0:
        raise SourceProtocolError("a compressed event does not say how it is compressed")
    width = packed[0] & 7
    size = int.from_bytes(packed[1 : 1 + width], "big")
    if packed[0] & 0x70 or not 1 <= width <= 4 or size > _LARGEST:
        raise SourceProtocolError("the compression of an event is not known")
    try:
        stream = zlib.decompressobj()
        plain = stream.decompress(packed[1 + width :], size + 1)
    except zlib.error as error:
        raise SourceProtocolError(f"a compressed event is damaged: {error}") from None
    if len(plain) != size:
        raise SourceProtocolError(f"a compressed event says {size} bytes and has {len(plain)}")
    return plain
