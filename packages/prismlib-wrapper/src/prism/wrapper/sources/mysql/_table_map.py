"""TABLE_MAP_EVENT: what the rows that follow look like. Pure.

The types alone do not tell names, signs, character sets, and labels of ENUM and SET. Those are
optional parts, which a server writes with `binlog_row_metadata = FULL`.

Two dialects count differently which columns have a character set: to MariaDB GEOMETRY is one.

Source: MySQL source documentation, "Table_map_event", "Optional metadata fields"; MariaDB knowledge
base, "TABLE_MAP_EVENT".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import Final, NamedTuple

from prism.wrapper.sources.errors import SourceProtocolError

__all__ = ["FieldType", "MapColumn", "TableMap", "parse_table_map", "take_length"]


class FieldType(IntEnum):
    """Numbers of column types in the binary log."""

    DECIMAL = 0
    TINY = 1
    SHORT = 2
    LONG = 3
    FLOAT = 4
    DOUBLE = 5
    NULL = 6
    TIMESTAMP = 7
    LONGLONG = 8
    INT24 = 9
    DATE = 10
    TIME = 11
    DATETIME = 12
    YEAR = 13
    NEWDATE = 14
    VARCHAR = 15
    BIT = 16
    TIMESTAMP2 = 17
    DATETIME2 = 18
    TIME2 = 19
    BLOB_COMPRESSED = 140
    VARCHAR_COMPRESSED = 141
    VECTOR = 242
    JSON = 245
    NEWDECIMAL = 246
    ENUM = 247
    SET = 248
    TINY_BLOB = 249
    MEDIUM_BLOB = 250
    LONG_BLOB = 251
    BLOB = 252
    VAR_STRING = 253
    STRING = 254
    GEOMETRY = 255


_F = FieldType
_META_SIZE: Final[dict[int, int]] = {
    **dict.fromkeys(
        (_F.FLOAT, _F.DOUBLE, _F.TIMESTAMP2, _F.DATETIME2, _F.TIME2, _F.BLOB, _F.JSON), 1
    ),
    **dict.fromkeys((_F.GEOMETRY, _F.BLOB_COMPRESSED, _F.VECTOR), 1),
    **dict.fromkeys((_F.TINY_BLOB, _F.MEDIUM_BLOB, _F.LONG_BLOB), 1),
    **dict.fromkeys((_F.VARCHAR, _F.VARCHAR_COMPRESSED, _F.BIT, _F.NEWDECIMAL), 2),
    **dict.fromkeys((_F.STRING, _F.VAR_STRING, _F.ENUM, _F.SET), 2),
}
_KNOWN: Final = frozenset(FieldType)
_NUMERIC: Final = frozenset(
    (_F.TINY, _F.SHORT, _F.INT24, _F.LONG, _F.LONGLONG, _F.NEWDECIMAL, _F.FLOAT, _F.DOUBLE, _F.YEAR)
)
_CHARACTER: Final = frozenset(
    (_F.STRING, _F.VAR_STRING, _F.VARCHAR, _F.BLOB, _F.BLOB_COMPRESSED, _F.VARCHAR_COMPRESSED)
)
_LABELLED: Final = frozenset((_F.ENUM, _F.SET))
_BINARY: Final = 63
_SIGNEDNESS, _DEFAULT_CHARSET, _COLUMN_CHARSET, _NAMES, _SET_LABELS, _ENUM_LABELS = range(1, 7)
_GEOMETRY, _KEY, _PREFIX_KEY, _LABEL_DEFAULT_CHARSET, _LABEL_CHARSET = range(7, 12)


class MapColumn(NamedTuple):
    """A column as the event describes it.

    Attributes:
        type: See `FieldType`.
        meta: Two bytes at most, whose meaning is the type's.
        name: "" where the server does not write names.
        is_unsigned: Of numbers.
        collation: The character set's collation; 63 is bytes.
        labels: Of ENUM and SET, in the column's character set.
    """

    type: int
    meta: int
    name: str
    is_unsigned: bool
    collation: int
    labels: tuple[bytes, ...] = ()


class TableMap(NamedTuple):
    """A table at one moment.

    Attributes:
        number: By which rows name it, until the next table map.
        key: Positions of the primary key; empty if there is none or it is not told.
        is_complete: Whether names and all that values need are told.
    """

    number: int
    database: str
    name: str
    columns: tuple[MapColumn, ...]
    key: tuple[int, ...]
    is_complete: bool


def take_length(data: bytes, at: int) -> tuple[int, int]:
    """A length-encoded integer, and where the next thing begins.

    Raises:
        SourceProtocolError: There is none.
    """
    if at < len(data):
        first = data[at]
        if first < 251:
            return first, at + 1
        width = {252: 2, 253: 3, 254: 8}.get(first, 0)
        if width and at + 1 + width <= len(data):
            return int.from_bytes(data[at + 1 : at + 1 + width], "little"), at + 1 + width
    raise SourceProtocolError("a length in the binary log is cut off")


def _take(data: bytes, at: int, size: int) -> tuple[bytes, int]:
    if size < 0 or at + size > len(data):
        raise SourceProtocolError("TABLE_MAP_EVENT is cut off")
    return data[at : at + size], at + size


def _take_text(data: bytes, at: int) -> tuple[str, int]:
    size, at = take_length(data, at)
    raw, at = _take(data, at, size)
    return raw.decode(errors="backslashreplace"), at


def parse_table_map(body: bytes, *, is_mariadb: bool, number_size: int = 6) -> TableMap:
    """Read the event.

    Raises:
        SourceProtocolError: It is not one, or names a type that is not known.
    """
    number_bytes, at = _take(body, 0, number_size)
    _, at = _take(body, at, 2)
    # Names are written with a length of one byte and a zero at the end.
    database, at = _take_text(body, at)
    name, at = _take_text(body, at + 1)
    count, at = take_length(body, at + 1)
    types, at = _take(body, at, count)
    meta_size, at = take_length(body, at)
    meta, at = _take(body, at, meta_size)
    nulls, at = _take(body, at, (count + 7) // 8)
    del nulls
    described = _described(types, meta)
    optional = _Optional(described, body[at:], is_mariadb=is_mariadb)
    return TableMap(
        int.from_bytes(number_bytes, "little"),
        database,
        name,
        optional.columns,
        optional.key,
        optional.is_complete,
    )


def _described(types: bytes, meta: bytes) -> list[tuple[int, int]]:
    """Types and their metadata, with ENUM and SET as what they are: they come as STRING."""
    described: list[tuple[int, int]] = []
    at = 0
    for kind in types:
        if kind not in _KNOWN:
            raise SourceProtocolError(f"column type {kind} of the binary log is not known")
        size = _META_SIZE.get(kind, 0)
        raw, at = _take(meta, at, size)
        value = int.from_bytes(raw, "little")
        if kind == FieldType.STRING:
            # The first byte is the real type, in which two bits of a long CHAR are folded.
            first, second = raw
            if first & 0x30 != 0x30:
                kind, value = first | 0x30, second | (((first & 0x30) ^ 0x30) << 4)
            else:
                kind, value = first, second
            if kind not in (FieldType.STRING, *_LABELLED):
                raise SourceProtocolError(f"column type {kind} of the binary log is not known")
        elif kind == FieldType.NEWDECIMAL:
            value = raw[0] << 8 | raw[1]
            if not (0 < raw[0] <= 65 and raw[1] <= min(38, raw[0])):
                raise SourceProtocolError(f"DECIMAL({raw[0]},{raw[1]}) is no type")
        elif kind == FieldType.BIT:
            if not 0 < raw[1] * 8 + raw[0] <= 64 or raw[0] > 7:
                raise SourceProtocolError("BIT of no size")
        elif kind in (FieldType.TIMESTAMP2, FieldType.DATETIME2, FieldType.TIME2):
            if value > 6:
                raise SourceProtocolError(f"{value} digits of a second are not known")
        elif kind in _LENGTH_PREFIXED and not 1 <= value <= 4:
            raise SourceProtocolError(f"a length of {value} bytes is not known")
        described.append((kind, value))
    if at != len(meta):
        raise SourceProtocolError("TABLE_MAP_EVENT has metadata of no column")
    return described


_LENGTH_PREFIXED: Final = frozenset((_F.BLOB, _F.JSON, _F.GEOMETRY, _F.BLOB_COMPRESSED, _F.VECTOR))


class _Optional:
    """The optional parts, joined with the columns."""

    def __init__(
        self, described: Sequence[tuple[int, int]], data: bytes, *, is_mariadb: bool
    ) -> None:
        kinds = [kind for kind, _ in described]
        character = _CHARACTER | ({FieldType.GEOMETRY} if is_mariadb else set())
        numeric = [i for i, kind in enumerate(kinds) if kind in _NUMERIC]
        lettered = [i for i, kind in enumerate(kinds) if kind in character]
        labelled = [i for i, kind in enumerate(kinds) if kind in _LABELLED]
        unsigned: set[int] = set()
        collations: dict[int, int] = {}
        names: list[str] = []
        labels: dict[int, tuple[bytes, ...]] = {}
        key: tuple[int, ...] = ()
        told: set[int] = set()
        for part, value in _parts(data):
            told.add(part)
            if part == _SIGNEDNESS:
                bits = _bits(value)
                unsigned = {i for i, bit in zip(numeric, bits, strict=False) if bit}
            elif part in (_DEFAULT_CHARSET, _LABEL_DEFAULT_CHARSET):
                which = lettered if part == _DEFAULT_CHARSET else labelled
                numbers = list(_integers(value))
                if len(numbers) % 2 == 0:
                    raise SourceProtocolError("TABLE_MAP_EVENT has no default character set")
                collations |= dict.fromkeys(which, numbers[0])
                for place, collation in zip(numbers[1::2], numbers[2::2], strict=True):
                    if place >= len(which):
                        raise SourceProtocolError("TABLE_MAP_EVENT names no such text column")
                    collations[which[place]] = collation
            elif part in (_COLUMN_CHARSET, _LABEL_CHARSET):
                which = lettered if part == _COLUMN_CHARSET else labelled
                collations |= dict(zip(which, _integers(value), strict=False))
            elif part == _NAMES:
                names = [raw.decode(errors="backslashreplace") for raw in _strings(value)]
            elif part in (_SET_LABELS, _ENUM_LABELS):
                kind = FieldType.SET if part == _SET_LABELS else FieldType.ENUM
                which = [i for i in labelled if kinds[i] == kind]
                labels |= dict(zip(which, _label_lists(value), strict=False))
            elif part == _KEY:
                key = tuple(_integers(value))
            elif part == _PREFIX_KEY:
                key = tuple(list(_integers(value))[::2])
        if any(place >= len(kinds) for place in key):
            raise SourceProtocolError("TABLE_MAP_EVENT has a key of no column")
        if names and len(names) != len(kinds):
            raise SourceProtocolError("TABLE_MAP_EVENT has names of other columns")
        self.key = tuple(sorted(key))
        self.is_complete = (
            bool(names)
            and (not numeric or _SIGNEDNESS in told)
            and all(i in collations for i in (*lettered, *labelled))
            and all(i in labels for i in labelled)
        )
        self.columns = tuple(
            MapColumn(
                kind,
                meta,
                names[i] if names else "",
                i in unsigned,
                collations.get(i, _BINARY),
                labels.get(i, ()),
            )
            for i, (kind, meta) in enumerate(described)
        )


def _parts(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        part = data[at]
        size, at = take_length(data, at + 1)
        value, at = _take(data, at, size)
        yield part, value


def _bits(value: bytes) -> Iterator[bool]:
    for byte in value:
        for bit in range(7, -1, -1):
            yield bool(byte >> bit & 1)


def _integers(value: bytes) -> Iterator[int]:
    at = 0
    while at < len(value):
        number, at = take_length(value, at)
        yield number


def _strings(value: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(value):
        size, at = take_length(value, at)
        raw, at = _take(value, at, size)
        yield raw


def _label_lists(value: bytes) -> Iterator[tuple[bytes, ...]]:
    at = 0
    while at < len(value):
        count, at = take_length(value, at)
        found = []
        if count > len(value):
            raise SourceProtocolError("TABLE_MAP_EVENT has more labels than bytes")
        for _ in range(count):
            size, at = take_length(value, at)
            raw, at = _take(value, at, size)
            found.append(raw)
        yield tuple(found)
