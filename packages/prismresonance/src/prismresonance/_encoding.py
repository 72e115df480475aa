"""Payloads and ids as bytes, exactly or not at all.

A payload becomes JSON, and only what JSON gives back as it was is taken: texts, integers, floats,
truth values, `None`, and lists and dictionaries of these. NaN and the infinities are written as
Python's `json` writes them, and read back. No bytes at all are a row without a payload.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

from prismresonance._no_payload import NO_PAYLOAD
from prismresonance.errors import UnsavablePayloadError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prismresonance._records import Payload, RowId

__all__ = ["decoded_id", "decoded_payload", "encoded_id", "encoded_payload"]

_PLAIN = frozenset({str, int, float, bool, type(None)})
_write = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def encoded_payload(payload: Payload, row_id: RowId, indexed_fields: Sequence[str]) -> bytes:
    """Give a payload's bytes.

    Args:
        payload: Any mapping.
        row_id: Its row, for the error.
        indexed_fields: Fields whose values must be hashable when they are read again.

    Raises:
        UnsavablePayloadError: It holds something that would not be read back as it is.
    """
    if payload is NO_PAYLOAD:
        return b""
    try:
        fields = dict(payload)
        for field, value in fields.items():
            if type(field) is not str:
                raise _refusal(row_id, "", f"a field is named by {_kind(field)}, not by a text")
            if type(value) not in _PLAIN:
                _check(value, row_id, field)
                if field in indexed_fields:
                    raise _refusal(row_id, field, f"holds {_kind(value)} but is indexed")
        return _write(fields).encode("utf-8", "surrogatepass")
    except RecursionError:
        raise _refusal(row_id, "", "it is nested too deeply, or holds itself") from None
    except (RuntimeError, ValueError) as error:  # a field came or went; an integer too long
        raise _refusal(row_id, "", str(error)) from None


def decoded_payload(encoded: bytes) -> Payload:
    """Read a payload's bytes."""
    if not encoded:
        return NO_PAYLOAD
    return cast("Payload", json.loads(encoded.decode("utf-8", "surrogatepass")))


def encoded_id(row_id: RowId) -> bytes:
    """Give an id's bytes: a letter for its kind, and UTF-8 or a big-endian integer."""
    if isinstance(row_id, str):
        return b"t" + row_id.encode("utf-8", "surrogatepass")
    return b"i" + row_id.to_bytes(row_id.bit_length() // 8 + 1, "big", signed=True)


def decoded_id(encoded: bytes) -> RowId:
    """Read an id's bytes."""
    if encoded[:1] == b"t":
        return encoded[1:].decode("utf-8", "surrogatepass")
    return int.from_bytes(encoded[1:], "big", signed=True)


def _check(value: object, row_id: RowId, field: str) -> None:
    if type(value) is list:
        for item in value:
            if type(item) not in _PLAIN:
                _check(item, row_id, field)
    elif type(value) is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise _refusal(row_id, field, f"holds a dictionary with {_kind(key)} for a key")
            if type(item) not in _PLAIN:
                _check(item, row_id, field)
    else:
        raise _refusal(row_id, field, f"holds {_kind(value)}")


def _kind(value: object) -> str:
    kind = type(value)
    name = kind.__qualname__
    return name if kind.__module__ == "builtins" else f"{kind.__module__}.{name}"


def _refusal(row_id: RowId, field: str, what: str) -> UnsavablePayloadError:
    place = f"the payload of row {row_id!r}" + (f", field {field!r}" if field else "")
    return UnsavablePayloadError(
        f"{place}: {what}; a saved index holds texts, integers, floats, truth values, None, and "
        "lists and dictionaries (with texts for keys) of these, no types derived from them",
        id=row_id,
        field=field,
    )
