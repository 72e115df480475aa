r"""TiCDC's open protocol. Pure.

A message is a key and a value, and holds several events: the key is the version (1) and then each
event's key behind its length, the value each event's value behind its length; both lengths are
64-bit, big-endian. Keys and values are JSON. A resolved mark's value is empty.

A message queue keeps key and value apart; a push body does not. There each message is its key and
its value, each behind a length of 32 bits, big-endian, one message after the other (`frame_open`).

Values are as their MySQL type number says: numbers for numbers, bits, enums, sets and years; base64
for TEXT and BLOB of all sizes; texts for the rest. CHAR and VARCHAR with the binary flag hold
bytes, written as Go writes a quoted string: `\x01`, `\t`, `\\`, and the rest
as it is.

Source: TiDB documentation, "TiCDC Open Protocol" (pingcap/docs, ticdc/ticdc-open-protocol.md);
Go, strconv.Quote.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from prism.wrapper.sources.tidb._messages import (
    DdlEvent,
    DdlKind,
    Event,
    MessageError,
    RawValue,
    ResolvedMark,
    RowEvent,
)

__all__ = ["decode_open", "frame_open", "unquote"]

_VERSION: Final = 1
_LENGTH: Final = struct.Struct(">I")
_LONG: Final = struct.Struct(">Q")
_ROW, _DDL, _RESOLVED = 1, 2, 3
_TRUNCATE_TABLE: Final = 11
_BINARY_FLAG: Final = 1
_TEXT_TYPES: Final = frozenset((15, 253, 254))  # VARCHAR, VAR_STRING, STRING
_BLOB_TYPES: Final = frozenset((249, 250, 251, 252))
_ESCAPE: Final = re.compile(
    rb"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.))", re.DOTALL
)
_PLAIN: Final = {
    b"a": b"\a",
    b"b": b"\b",
    b"f": b"\f",
    b"n": b"\n",
    b"r": b"\r",
    b"t": b"\t",
    b"v": b"\v",
    b"\\": b"\\",
    b'"': b'"',
    b"'": b"'",
}


def frame_open(messages: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Make a push body of keys and values as TiCDC wrote them."""
    return b"".join(_LENGTH.pack(len(part)) + part for message in messages for part in message)


def decode_open(body: bytes) -> list[Event]:
    """Read the events of a body, in order.

    Raises:
        MessageError: It is not made of whole messages of version 1. Says which is not.
    """
    events: list[Event] = []
    parts = list(_parts(body, _LENGTH, "the body"))
    if len(parts) % 2:
        raise MessageError("the body ends with a key that has no value")
    for number, (key, value) in enumerate(zip(parts[::2], parts[1::2], strict=True), 1):
        try:
            _message(key, value, events)
        except MessageError as error:
            raise MessageError(f"message {number}: {error}") from None
    return events


def _message(key: bytes, value: bytes, events: list[Event]) -> None:
    if len(key) < _LONG.size or _LONG.unpack_from(key)[0] != _VERSION:
        raise MessageError("its key does not begin with version 1 of the open protocol")
    keys = list(_parts(key[_LONG.size :], _LONG, "its key"))
    values = list(_parts(value, _LONG, "its value"))
    # Some versions write nothing at all for a mark's value.
    if not values and len(keys) == 1:
        values = [b""]
    if len(keys) != len(values):
        raise MessageError(f"it has {len(keys)} keys and {len(values)} values")
    for event_key, event_value in zip(keys, values, strict=True):
        events.append(_event(_parsed(event_key), event_value))


def _event(key: Mapping[str, object], value: bytes) -> Event:
    ts = _number(key.get("ts"), "ts")
    kind = _number(key.get("t"), "t")
    if kind == _RESOLVED:
        return ResolvedMark(ts)
    schema, table = key.get("scm", ""), key.get("tbl", "")
    if not isinstance(schema, str) or not isinstance(table, str):
        raise MessageError("scm or tbl is no text")
    content = _parsed(value)
    if kind == _DDL:
        query = content.get("q")
        if not isinstance(query, str):
            raise MessageError("a DDL event without its statement")
        is_truncate = _number(content.get("t"), "t") == _TRUNCATE_TABLE
        what = DdlKind.TRUNCATE if is_truncate else DdlKind.OTHER
        return DdlEvent(ts, schema, table, query, what)
    if kind != _ROW:
        raise MessageError(f"an event of type {kind}, which is not known")
    if key.get("ohk") or key.get("ccl"):
        raise MessageError(
            "holds no whole row: set large-message-handle-option to none in the changefeed, and "
            "raise max-message-bytes"
        )
    deleted = content.get("d")
    if deleted is not None:
        return RowEvent(ts, schema, table, _row(deleted), None)
    after = _row(content.get("u"))
    before = content.get("p")
    return RowEvent(ts, schema, table, None if before is None else {**after, **_row(before)}, after)


def _row(columns: object) -> dict[str, RawValue]:
    if not isinstance(columns, dict) or not columns:
        raise MessageError("a row event without columns")
    return {name: _value(name, column) for name, column in columns.items()}


def _value(name: str, column: object) -> RawValue:
    if not isinstance(column, dict) or "v" not in column:
        raise MessageError(f"column {name!r} has no value")
    value = column["v"]
    if value is None:
        return None
    if not isinstance(value, str):
        raise MessageError(f"column {name!r}: its value is neither text, number nor null")
    kind = _number(column.get("t"), "t")
    is_binary = bool(_number(column.get("f", "0"), "f") & _BINARY_FLAG)
    if kind in _TEXT_TYPES:
        return unquote(value) if is_binary else value
    if kind in _BLOB_TYPES:
        try:
            raw = base64.b64decode(value, validate=True)
            return raw if is_binary else raw.decode()
        except (binascii.Error, ValueError):
            raise MessageError(f"column {name!r}: its value is not base64 of text") from None
    return value


def unquote(text: str) -> bytes:
    r"""Read what Go's strconv.Quote wrote, without the quotes around it.

    Raises:
        MessageError: An escape is not one of Go's.
    """

    def plain(match: re.Match[bytes]) -> bytes:
        byte, short, long, octal, letter = match.groups()
        if byte is not None:
            return bytes.fromhex(byte.decode())
        if octal is not None:
            return bytes([int(octal, 8) & 0xFF])
        if short is not None or long is not None:
            return chr(int(short or long, 16)).encode()
        if letter not in _PLAIN:
            raise MessageError("a binary value holds an unknown escape")
        return _PLAIN[letter]

    try:
        return _ESCAPE.sub(plain, text.encode())
    except (ValueError, OverflowError):
        raise MessageError("a binary value holds an unknown escape") from None


def _parts(blob: bytes, length: struct.Struct, what: str) -> Iterator[bytes]:
    at, end = 0, len(blob)
    while at < end:
        if end - at < length.size:
            raise MessageError(f"{what} ends inside a length")
        size = length.unpack_from(blob, at)[0]
        at += length.size
        if size > end - at:
            raise MessageError(f"{what} ends before the {size} bytes that it announces")
        yield blob[at : at + size]
        at += size


def _parsed(text: bytes) -> Mapping[str, object]:
    try:
        # Numbers stay texts: nothing is rounded on the way.
        content = json.loads(text, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        raise MessageError("an event is not JSON in UTF-8") from None
    if not isinstance(content, dict):
        raise MessageError("an event is no JSON object")
    return content


def _number(text: object, what: str) -> int:
    if not isinstance(text, str) or not text.isdecimal() or int(text) >= 1 << 64:
        raise MessageError(f"{what} is no number")
    return int(text)
