"""A record as a row of the file and back, with a checksum over every field.

SQLite notices a broken page but not a flipped bit inside an answer; the checksum does. It is a
CRC: it finds accidents, not forgers. The position is not part of it, since a row is encoded before
it has one; the indexes hold a second copy of it, which the check at opening compares.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Sequence
from typing import Any

from prism.cache.errors import StoreError
from prism.cache.store._protocol import Record

__all__ = ["COLUMNS", "DamagedRowError", "decode", "encode"]

COLUMNS = (
    "tenant",
    "key",
    "scope",
    "question",
    "embedder",
    "vector",
    "answer",
    "encoding",
    "model",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "call_s",
    "created_at",
    "expires_at",
    "tags",
    "checksum",
)
_LENGTHS = struct.Struct(f"<{len(COLUMNS) - 1}Q")
_INT64 = range(-(2**63), 2**63)

Row = tuple[str | bytes | int | float | None, ...]


class DamagedRowError(Exception):
    """A row does not have the checksum it was written with."""


def encode(tenant: bytes, record: Record) -> Row:
    """Give the values for `COLUMNS`.

    Raises:
        StoreError: A text has a lone surrogate, or a number is NaN or beyond what the file holds.
            The message names the field, never its value.
    """
    row = (
        bytes(tenant),
        bytes(record.key),
        bytes(record.scope),
        record.question,
        record.embedder,
        bytes(record.vector),
        bytes(record.answer),
        record.encoding,
        record.model,
        _integer("input_tokens", record.input_tokens),
        _integer("output_tokens", record.output_tokens),
        _integer("cached_tokens", record.cached_tokens),
        _real("call_s", record.call_s),
        _real("created_at", record.created_at),
        None if record.expires_at is None else _real("expires_at", record.expires_at),
        json.dumps(record.tags, ensure_ascii=False, separators=(",", ":")),
    )
    encoded = [
        _utf8(name, value) if isinstance(value, str) else value
        for name, value in zip(COLUMNS, row, strict=False)
    ]
    return (*row, _checksum(encoded))


def decode(row: Sequence[Any]) -> Record:
    """Make the record from the values of `COLUMNS`, the texts among them as UTF-8 bytes.

    Raises:
        DamagedRowError: The values are not those that were written.
    """
    *values, checksum = row
    if _checksum(values) != checksum:
        raise DamagedRowError
    _, key, scope, question, embedder, vector, answer, encoding, model, *numbers, tags = values
    input_tokens, output_tokens, cached_tokens, call_s, created_at, expires_at = numbers
    return Record(
        key=key,
        scope=scope,
        question=question.decode(),
        embedder=embedder.decode(),
        vector=vector,
        answer=answer,
        encoding=encoding.decode(),
        model=model.decode(),
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_tokens=cached_tokens,
        call_s=call_s,
        created_at=created_at,
        expires_at=expires_at,
        tags=() if tags == b"[]" else tuple(json.loads(tags)),
    )


def _checksum(values: Sequence[Any]) -> int:
    """CRC-32 over the fields and their lengths, so that no byte can move to the next field."""
    pieces = [value if isinstance(value, bytes) else repr(value).encode() for value in values]
    return zlib.crc32(b"".join([_LENGTHS.pack(*map(len, pieces)), *pieces]))


def _utf8(name: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        # Without the cause: it carries the whole text.
        raise StoreError(f"{name} has a lone surrogate, which UTF-8 cannot hold") from None


def _integer(name: str, number: int | None) -> int | None:
    if number is None:
        return None
    if int(number) not in _INT64:
        raise StoreError(f"{name} is beyond 64 bits")
    return int(number)


def _real(name: str, number: float) -> float:
    try:
        real = float(number)
    except OverflowError:
        real = math.nan
    if real != number:
        raise StoreError(f"{name} is not a number that 64-bit floating point holds exactly")
    # SQLite gives -0.0 back as 0.0, and the checksum would tell them apart.
    return real + 0.0
