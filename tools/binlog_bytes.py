"""Binary log events made by hand, as MySQL 8 and MariaDB write them: for tests and the fuzzer.

Written from the protocol's public description, apart from what reads them.

Source: MySQL source documentation, "Binlog Event" and the classes Gtid_event, Table_map_event,
Rows_event and Json_diff_vector; MySQL internals manual, "Binary Protocol Value".
"""

from __future__ import annotations

import struct
import uuid
import zlib
from collections.abc import Sequence

__all__ = [
    "event",
    "format_description",
    "json_diff",
    "lenenc",
    "mysql_gtid",
    "query",
    "rows",
    "rows_body",
    "table_map",
    "xid",
]


def lenenc(number: int) -> bytes:
    """A length-encoded integer."""
    if number < 251:
        return bytes((number,))
    if number < 1 << 16:
        return b"\xfc" + struct.pack("<H", number)
    return b"\xfd" + struct.pack("<I", number)[:3]


def event(
    kind: int, body: bytes, *, end: int = 1000, checksum: bool = True, server: int = 1
) -> bytes:
    """An event: header, body, CRC32."""
    size = 19 + len(body) + (4 if checksum else 0)
    head = struct.pack("<IBIIIH", 1_700_000_000, kind, server, size, end, 0)
    whole = head + body
    return whole + struct.pack("<I", zlib.crc32(whole)) if checksum else whole


def format_description(version: bytes = b"8.0.36", *, checksum: bool = True) -> bytes:
    """FORMAT_DESCRIPTION_EVENT of MySQL 8; table numbers have six bytes."""
    sizes = bytearray(41)
    sizes[18] = 8
    body = struct.pack("<H50sIB", 4, version, 0, 19) + bytes(sizes) + bytes((1 if checksum else 0,))
    whole = struct.pack("<IBIIIH", 0, 15, 1, 19 + len(body) + 4, 126, 0) + body
    return whole + struct.pack("<I", zlib.crc32(whole))


def mysql_gtid(source: uuid.UUID, number: int) -> bytes:
    """GTID_LOG_EVENT with logical timestamps, which we do not need."""
    body = b"\x01" + source.bytes + struct.pack("<Q", number) + b"\x02" + struct.pack("<QQ", 0, 1)
    return event(33, body)


def query(sql: str, database: str = "shop") -> bytes:
    """QUERY_EVENT without status variables."""
    name = database.encode()
    body = struct.pack("<IIBHH", 1, 0, len(name), 0, 0) + name + b"\0" + sql.encode()
    return event(2, body)


def xid() -> bytes:
    """XID_EVENT: a transaction is committed."""
    return event(16, struct.pack("<Q", 7))


def table_map(
    number: int,
    table: str,
    columns: Sequence[tuple[str, int, bytes]],
    *,
    database: str = "shop",
    unsigned: bytes = b"",
    collation: int = 255,
    key: Sequence[int] = (0,),
) -> bytes:
    """TABLE_MAP_EVENT with names; columns are (name, type, metadata).

    Args:
        number: The table's number.
        table: Its name.
        columns: Its columns.
        database: Where it is.
        unsigned: Bits of the numeric columns.
        collation: Of all text columns.
        key: Positions of the primary key.
    """
    body = struct.pack("<Q", number)[:6] + b"\x01\x00"
    for name in (database, table):
        body += bytes((len(name.encode()),)) + name.encode() + b"\0"
    body += lenenc(len(columns)) + bytes(kind for _, kind, _ in columns)
    meta = b"".join(meta for _, _, meta in columns)
    body += lenenc(len(meta)) + meta + b"\xff" * ((len(columns) + 7) // 8)
    names = b"".join(lenenc(len(name.encode())) + name.encode() for name, _, _ in columns)
    numeric = sum(kind in (1, 2, 3, 4, 5, 8, 9, 13, 246) for _, kind, _ in columns)
    parts = [(1, unsigned.ljust((numeric + 7) // 8, b"\0")), (2, lenenc(collation)), (4, names)]
    parts.append((8, b"".join(map(lenenc, key))))
    for part, value in parts:
        body += bytes((part,)) + lenenc(len(value)) + value
    return event(19, body)


def rows_body(
    number: int, width: int, images: Sequence[bytes], *, extra: bytes | None = b"", updates: bool
) -> bytes:
    """The body of a row event; `extra` is None for version 1."""
    body = struct.pack("<Q", number)[:6] + b"\x01\x00"
    if extra is not None:
        body += struct.pack("<H", 2 + len(extra)) + extra
    full = b"\xff" * ((width + 7) // 8)
    return body + lenenc(width) + full + (full if updates else b"") + b"".join(images)


def rows(
    kind: int, number: int, width: int, images: Sequence[bytes], *, extra: bytes | None = b""
) -> bytes:
    """A row event; an image is the bitmap of NULLs and the values."""
    updates = kind in (24, 31, 39)
    return event(kind, rows_body(number, width, images, extra=extra, updates=updates))


def json_diff(op: int, path: str, value: bytes | None = None) -> bytes:
    """One change of a partial update: 0 replaces, 1 inserts, 2 removes."""
    diff = bytes((op,)) + lenenc(len(path.encode())) + path.encode()
    return diff if value is None else diff + lenenc(len(value)) + value
