"""What each column's bytes are: where they end, and the text they mean. Pure.

A value is either of a fixed size or has its length in front of it, in one to four bytes; that is
all that finding the values of a row takes (`_locate`). The text is made when it is asked for.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from typing import Final, TypeAlias
from uuid import UUID

from prism.wrapper.sources._types import ColumnKind
from prism.wrapper.sources.errors import SourceProtocolError
from prism.wrapper.sources.mysql import _temporal as temporal
from prism.wrapper.sources.mysql._charsets import UTF8, codec_of, text_reader
from prism.wrapper.sources.mysql._decimal import decimal_size, decimal_text
from prism.wrapper.sources.mysql._json import json_text
from prism.wrapper.sources.mysql._numbers import double_text, float_text
from prism.wrapper.sources.mysql._table_map import FieldType, MapColumn

__all__ = ["Form", "Layout", "ValueReader", "is_readable", "layout_of"]

ValueReader: TypeAlias = Callable[[bytes], str]
_F = FieldType
_BINARY: Final = 63
_INTEGERS: Final = {
    _F.TINY: ("tinyint", 1),
    _F.SHORT: ("smallint", 2),
    _F.INT24: ("mediumint", 3),
    _F.LONG: ("int", 4),
    _F.LONGLONG: ("bigint", 8),
}
_BLOBS: Final = {1: "tiny", 2: "", 3: "medium", 4: "long"}
_LARGEST: Final = 1 << 32


class Form:
    """How texts of a whole column are made fastest; `PLAIN` calls the reader for each value."""

    PLAIN, UTF8, SIGNED, UNSIGNED, DOUBLE = range(5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A column.

    Attributes:
        type_name: As the event tells it: `int unsigned`, `decimal(10,2)`, `varchar(100)`.
        kind: What its texts mean.
        prefix: Bytes of the length in front of a value; 0 where it has a fixed size.
        size: The fixed size in bytes; 0 where it has a length.
        read: Makes the text of a value's bytes.
        form: See `Form`.
    """

    type_name: str
    kind: ColumnKind
    prefix: int
    size: int
    read: ValueReader
    form: int = Form.PLAIN


def layout_of(column: MapColumn, charsets: Mapping[int, str], told_type: str = "") -> Layout:
    """How to read a column.

    Args:
        column: As the table map has it.
        charsets: Names of character sets by collation.
        told_type: The type's name in the catalogue, for what the table map does not tell: UUID and
            INET of MariaDB come as bytes, its JSON as text.

    Raises:
        SourceProtocolError: The type or its character set is not known.
    """
    kind, meta = column.type, column.meta
    if kind in _INTEGERS:
        return _integer(column)
    if kind in (_F.FLOAT, _F.DOUBLE):
        return _fixed(
            *(("float", 4, float_text) if kind == _F.FLOAT else ("double", 8, double_text)),
            kind=ColumnKind.FLOAT,
            form=Form.DOUBLE if kind == _F.DOUBLE else Form.PLAIN,
        )
    if kind == _F.NEWDECIMAL:
        precision, scale = meta >> 8, meta & 255
        sign = " unsigned" if column.is_unsigned else ""
        return _fixed(
            f"decimal({precision},{scale}){sign}",
            decimal_size(precision, scale),
            partial(decimal_text, precision=precision, scale=scale),
            kind=ColumnKind.NUMERIC,
        )
    if kind in (_F.TIMESTAMP, _F.DATETIME, _F.TIME) and "(" in told_type:
        raise SourceProtocolError(
            f"column {column.name} has fractions of a second in a format that the log does not "
            "describe; set mysql56_temporal_format = ON and run ALTER TABLE ... FORCE"
        )
    if kind in _TIMES:
        name, size, read = _TIMES[kind](meta)
        return _fixed(name, size, read, kind=ColumnKind.TEMPORAL)
    if kind == _F.BIT:
        bits = (meta >> 8) * 8 + (meta & 255)
        return _fixed(
            f"bit({bits})", (bits + 7) // 8, partial(_bits, bits=bits), kind=ColumnKind.INTEGER
        )
    if kind in (_F.ENUM, _F.SET):
        return _labelled(column, charsets)
    if kind in (_F.JSON, _F.GEOMETRY, _F.VECTOR):
        name = {_F.JSON: "json", _F.GEOMETRY: "geometry"}.get(FieldType(kind), "vector")
        read = json_text if kind == _F.JSON else _hex
        what = ColumnKind.JSON if kind == _F.JSON else ColumnKind.BYTES
        return Layout(type_name=name, kind=what, prefix=meta, size=0, read=read)
    if kind in (_F.STRING, _F.VARCHAR, _F.VAR_STRING, _F.BLOB, *_COMPRESSED):
        return _string(column, charsets, told_type)
    raise SourceProtocolError(
        f"column {column.name} has the type {kind}, whose values this version does not read"
    )


def _fixed(
    name: str, size: int, read: ValueReader, *, kind: ColumnKind, form: int = Form.PLAIN
) -> Layout:
    return Layout(type_name=name, kind=kind, prefix=0, size=size, read=read, form=form)


def _integer(column: MapColumn) -> Layout:
    name, size = _INTEGERS[FieldType(column.type)]
    if column.is_unsigned:
        return _fixed(
            f"{name} unsigned", size, _unsigned, kind=ColumnKind.INTEGER, form=Form.UNSIGNED
        )
    return _fixed(name, size, _signed, kind=ColumnKind.INTEGER, form=Form.SIGNED)


def _signed(raw: bytes) -> str:
    return str(int.from_bytes(raw, "little", signed=True))


def _unsigned(raw: bytes) -> str:
    return str(int.from_bytes(raw, "little"))


def _bits(raw: bytes, bits: int) -> str:
    value = int.from_bytes(raw, "big")
    if value >> bits:
        raise SourceProtocolError("a BIT of the binary log is damaged")
    return str(value)


def _year(raw: bytes) -> str:
    return str(1900 + raw[0]) if raw[0] else "0000"


def _digits(digits: int) -> str:
    return f"({digits})" if digits else ""


_TIMES: Final[Mapping[int, Callable[[int], tuple[str, int, ValueReader]]]] = {
    _F.YEAR: lambda _: ("year", 1, _year),
    _F.DATE: lambda _: ("date", 3, temporal.date_text),
    _F.NEWDATE: lambda _: ("date", 3, temporal.date_text),
    _F.TIME2: lambda n: (
        f"time{_digits(n)}", 3 + (n + 1) // 2, partial(temporal.time2_text, digits=n)
    ),
    _F.DATETIME2: lambda n: (
        f"datetime{_digits(n)}", 5 + (n + 1) // 2, partial(temporal.datetime2_text, digits=n)
    ),
    _F.TIMESTAMP2: lambda n: (
        f"timestamp{_digits(n)}", 4 + (n + 1) // 2, partial(temporal.timestamp2_text, digits=n)
    ),
    _F.TIMESTAMP: lambda _: ("timestamp", 4, temporal.timestamp_text),
    _F.DATETIME: lambda _: ("datetime", 8, temporal.datetime_text),
    _F.TIME: lambda _: ("time", 3, temporal.time_text),
}  # fmt: skip
_COMPRESSED: Final = (_F.BLOB_COMPRESSED, _F.VARCHAR_COMPRESSED)


def _hex(raw: bytes) -> str:
    return "\\x" + raw.hex()


def _charset(column: MapColumn, charsets: Mapping[int, str]) -> str:
    name = charsets.get(column.collation)
    if name is None:
        raise SourceProtocolError(
            f"column {column.name} has the collation {column.collation}, which the server does "
            "not name"
        )
    return name


def _labelled(column: MapColumn, charsets: Mapping[int, str]) -> Layout:
    read = text_reader(_charset(column, charsets)) if column.collation != _BINARY else _ascii
    labels = tuple(read(label) for label in column.labels)
    quoted = ",".join("'" + label.replace("'", "''") + "'" for label in labels)
    if column.type == _F.ENUM:
        return _fixed(
            f"enum({quoted})", column.meta, partial(_enum, labels=labels), kind=ColumnKind.TEXT
        )
    return _fixed(f"set({quoted})", column.meta, partial(_set, labels=labels), kind=ColumnKind.TEXT)


def _ascii(raw: bytes) -> str:
    return raw.decode(errors="backslashreplace")


def _enum(raw: bytes, labels: Sequence[str]) -> str:
    number = int.from_bytes(raw, "little")
    if number > len(labels):
        raise SourceProtocolError("an ENUM of the binary log has no such label")
    # 0 stands for what was no label when it was written: the server shows it as empty.
    return labels[number - 1] if number else ""


def _set(raw: bytes, labels: Sequence[str]) -> str:
    bits = int.from_bytes(raw, "little")
    if bits >> len(labels):
        raise SourceProtocolError("a SET of the binary log has no such label")
    return ",".join(label for place, label in enumerate(labels) if bits >> place & 1)


def _string(column: MapColumn, charsets: Mapping[int, str], told_type: str) -> Layout:
    kind, meta = column.type, column.meta
    is_blob = kind in (_F.BLOB, _F.BLOB_COMPRESSED)
    prefix = meta if is_blob else 1 if meta < 256 else 2
    if (special := _SPECIAL.get(told_type)) and (kind, meta) == (_F.STRING, special[0]):
        _, read = special
        return Layout(type_name=told_type, kind=ColumnKind.TEXT, prefix=prefix, size=0, read=read)
    charset = "" if column.collation == _BINARY else _charset(column, charsets)
    is_packed = kind in _COMPRESSED
    length = meta - 1 if kind == _F.VARCHAR_COMPRESSED else meta
    if not charset:
        name = f"{_BLOBS[meta]}blob" if is_blob else f"{'' if kind == _F.STRING else 'var'}binary"
        name = name if is_blob else f"{name}({length})"
        pad = meta if kind == _F.STRING else 0
        read = partial(_padded, size=pad) if pad else _hex
        if is_packed:
            read = _unpacked(read)
        return Layout(type_name=name, kind=ColumnKind.BYTES, prefix=prefix, size=0, read=read)
    # The event has the length in bytes of the longest text; the widths of letters are the set's.
    letters = length // _WIDTHS.get(charset, 1)
    name = f"{_BLOBS[meta]}text" if is_blob else f"{'' if kind == _F.STRING else 'var'}char"
    name = name if is_blob else f"{name}({letters})"
    read = text_reader(charset)
    what = ColumnKind.TEXT
    if told_type == "json" and is_blob:
        name, what = "json", ColumnKind.JSON
    return Layout(
        type_name=name,
        kind=what,
        prefix=prefix,
        size=0,
        read=_unpacked(read) if is_packed else read,
        form=Form.UTF8 if charset in UTF8 and not is_packed else Form.PLAIN,
    )


_WIDTHS: Final = {
    **dict.fromkeys(("utf8mb4", "utf16", "utf16le", "utf32", "gb18030"), 4),
    **dict.fromkeys(("utf8mb3", "utf8", "ujis", "eucjpms"), 3),
    **dict.fromkeys(("ucs2", "big5", "gbk", "gb2312", "euckr", "sjis", "cp932"), 2),
}


def _padded(raw: bytes, size: int) -> str:
    # BINARY(n) is logged without the zeros at its end.
    return "\\x" + raw.hex() + "00" * max(0, size - len(raw))


def _uuid(raw: bytes) -> str:
    return str(UUID(bytes=_filled(raw, 16)))


def _inet6(raw: bytes) -> str:
    address = IPv6Address(_filled(raw, 16))
    packed = address.packed
    if packed[:12] == b"\0" * 10 + b"\xff\xff":
        return f"::ffff:{IPv4Address(packed[12:])}"
    # The server writes addresses with an IPv4 part so, unless that part is below 0.1.0.0.
    if packed[:12] == b"\0" * 12 and packed[12:14] != b"\0\0":
        return f"::{IPv4Address(packed[12:])}"
    return str(address)


def _inet4(raw: bytes) -> str:
    return str(IPv4Address(_filled(raw, 4)))


def _filled(raw: bytes, size: int) -> bytes:
    if len(raw) > size:
        raise SourceProtocolError("an address or UUID of the binary log is too long")
    return raw.ljust(size, b"\0")


_SPECIAL: Final[Mapping[str, tuple[int, ValueReader]]] = {
    "uuid": (16, _uuid),
    "inet6": (16, _inet6),
    "inet4": (4, _inet4),
}


def _unpacked(read: ValueReader) -> ValueReader:
    """Undo MariaDB's compression of a column.

    Source: MariaDB knowledge base, "Storage-Engine Independent Column Compression".
    """

    def unpack(raw: bytes) -> str:
        if not raw:
            return read(b"")
        if raw[0] == 0:
            return read(raw[1:])
        width = raw[0] & 7
        size = int.from_bytes(raw[1 : 1 + width], "big")
        if raw[0] >> 4 != 8 or size >= _LARGEST:
            raise SourceProtocolError("the compression of a column is not known")
        try:
            stream = zlib.decompressobj(-zlib.MAX_WBITS if raw[0] & 8 else zlib.MAX_WBITS)
            plain = stream.decompress(raw[1 + width :], size + 1)
        except zlib.error as error:
            raise SourceProtocolError(f"a compressed value is damaged: {error}") from None
        if len(plain) != size:
            raise SourceProtocolError("a compressed value has another size than it says")
        return read(plain)

    return unpack


def is_readable(charset: str) -> bool:
    """Whether texts of a character set can be read."""
    return codec_of(charset) is not None
