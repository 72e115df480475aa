"""Values in PostgreSQL's binary form as the texts the server would write. Pure.

We ask for texts; this is for those who read a stream that somebody asked to be binary. Only types
whose text does not depend on a setting are here.

Source: PostgreSQL's `src/backend/utils/adt/*send` functions, by their documented wire format.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable
from typing import Final

from prism.wrapper.sources.errors import SourceProtocolError

__all__ = ["text_of_binary"]


def _boolean(raw: bytes) -> str:
    return {b"\0": "f", b"\1": "t"}[raw]


def _integer(size: int, *, signed: bool = True) -> Callable[[bytes], str]:
    def read(raw: bytes) -> str:
        if len(raw) != size:
            raise ValueError(size)
        return str(int.from_bytes(raw, signed=signed))

    return read


def _double(raw: bytes) -> str:
    (number,) = struct.unpack(">d", raw)
    text = repr(number)
    named = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
    if text in named:
        return named[text]
    # Both write the shortest digits. The server has no ".0", and an exponent from 1e15 on.
    text = text.removesuffix(".0")
    if "e" not in text and abs(number) >= 1e15:
        digits = text.lstrip("-").rstrip("0")
        fraction = "." + digits[1:] if len(digits) > 1 else ""
        sign = "-" if number < 0 else ""
        return f"{sign}{digits[0]}{fraction}e+15"
    return text


def _jsonb(raw: bytes) -> str:
    if raw[:1] != b"\1":
        raise ValueError("version")
    return raw[1:].decode()


def _uuid(raw: bytes) -> str:
    return str(uuid.UUID(bytes=raw))


_READERS: Final[dict[int, Callable[[bytes], str]]] = {
    16: _boolean,
    17: lambda raw: "\\x" + raw.hex(),
    20: _integer(8),
    21: _integer(2),
    23: _integer(4),
    26: _integer(4, signed=False),
    701: _double,
    2950: _uuid,
    3802: _jsonb,
}
_AS_THEY_ARE: Final = frozenset({18, 19, 25, 114, 142, 1042, 1043})  # char name text json xml ...


def text_of_binary(type_oid: int, raw: bytes) -> str:
    """Make the text of a binary value.

    Raises:
        SourceProtocolError: The value is malformed, or of a type we read as text only.
    """
    try:
        if type_oid in _AS_THEY_ARE:
            return raw.decode()
        reader = _READERS.get(type_oid)
        if reader is not None:
            return reader(raw)
    except (ValueError, KeyError, struct.error) as error:
        raise SourceProtocolError(f"a binary value of type {type_oid} is malformed") from error
    raise SourceProtocolError(
        f"a value of type {type_oid} came in binary form, which is read as text only; "
        "leave the option binary off"
    )
