"""MySQL's binary JSON to the text that MySQL writes for it. Pure.

A document is a tree of values in which containers hold offsets from their own start, of two bytes
or, if they are large, of four. The text is MySQL's: `{"a": 1, "b": [true, null]}`.

Source: MySQL source documentation, `sql-common/json_binary.h`.
"""

from __future__ import annotations

import base64
import json
import math
import re
import struct
from typing import Final, NamedTuple, TypeAlias

from prism.wrapper.sources.errors import SourceProtocolError
from prism.wrapper.sources.mysql import _temporal as temporal
from prism.wrapper.sources.mysql._decimal import decimal_size, decimal_text
from prism.wrapper.sources.mysql._numbers import number_text
from prism.wrapper.sources.mysql._table_map import take_length

__all__ = ["Diff", "DiffOp", "apply_diffs", "json_text", "parse_diffs"]

_DEPTH: Final = 120
_SMALL_OBJECT, _LARGE_OBJECT, _SMALL_ARRAY, _LARGE_ARRAY, _LITERAL = range(5)
_INT16, _UINT16, _INT32, _UINT32, _INT64, _UINT64, _DOUBLE, _STRING = range(5, 13)
_OPAQUE: Final = 15
_LITERALS: Final = {0: None, 1: True, 2: False}
_NUMBERS: Final = {
    _INT16: ("<h", 2),
    _UINT16: ("<H", 2),
    _INT32: ("<i", 4),
    _UINT32: ("<I", 4),
    _INT64: ("<q", 8),
    _UINT64: ("<Q", 8),
    _DOUBLE: ("<d", 8),
}


class _Number(NamedTuple):
    """A number by its text: exact decimals must not become floats."""

    text: str


class _Opaque(NamedTuple):
    """A value of a type that JSON has not, by the text in quotes that MySQL writes for it."""

    text: str


_Node: TypeAlias = (
    "dict[str, _Node] | list[_Node] | str | bool | int | float | _Number | _Opaque | None"
)


def json_text(data: bytes) -> str:
    """The text of a document.

    Raises:
        SourceProtocolError: The bytes are no document.
    """
    return _written(_parsed(data))


def _parsed(data: bytes) -> _Node:
    if not data:
        # What MySQL stores for NULL in a column that was made NOT NULL by force.
        return None
    try:
        # A tree has no more values than bytes; offsets that share values would have.
        return _value(data[0], data, 1, [_DEPTH, len(data)])
    except (IndexError, struct.error, UnicodeDecodeError, ValueError, OverflowError) as error:
        raise SourceProtocolError(
            f"a JSON document of the binary log is damaged: {error}"
        ) from None


def _value(kind: int, data: bytes, at: int, room: list[int]) -> _Node:
    room[1] -= 1
    if room[0] < 0 or room[1] < 0:
        raise ValueError("it is nested too deep, or into itself")
    if kind <= _LARGE_ARRAY:
        room[0] -= 1
        node = _container(kind, data, at, room)
        room[0] += 1
        return node
    if kind == _LITERAL:
        if data[at] not in _LITERALS:
            raise ValueError("it has no such literal")
        return _LITERALS[data[at]]
    if kind in _NUMBERS:
        form, _ = _NUMBERS[kind]
        number: int | float = struct.unpack_from(form, data, at)[0]
        if isinstance(number, float) and not math.isfinite(number):
            raise ValueError("it has a number that is none")
        return number
    if kind == _STRING:
        size, at = _variable(data, at)
        return _slice(data, at, size).decode()
    if kind == _OPAQUE:
        size, start = _variable(data, at + 1)
        return _opaque(data[at], _slice(data, start, size))
    raise ValueError(f"it has a value of type {kind}")


def _slice(data: bytes, at: int, size: int) -> bytes:
    if size < 0 or at < 0 or at + size > len(data):
        raise ValueError("it is cut off")
    return data[at : at + size]


def _variable(data: bytes, at: int) -> tuple[int, int]:
    """A length in steps of seven bits, lowest first."""
    size = 0
    for place in range(5):
        byte = data[at + place]
        size |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return size, at + place + 1
    raise ValueError("it has a length without an end")


def _container(kind: int, data: bytes, start: int, room: list[int]) -> _Node:
    is_large = kind in (_LARGE_OBJECT, _LARGE_ARRAY)
    width = 4 if is_large else 2
    count = int.from_bytes(_slice(data, start, width), "little")
    size = int.from_bytes(_slice(data, start + width, width), "little")
    inside = data[: start + size]
    if size < 2 * width or len(inside) < start + size or count > size:
        raise ValueError("it is cut off")
    at = start + 2 * width
    keys: list[str] = []
    if kind <= _LARGE_OBJECT:
        for _ in range(count):
            offset = int.from_bytes(_slice(inside, at, width), "little")
            key_size = int.from_bytes(_slice(inside, at + width, 2), "little")
            keys.append(_slice(inside, start + offset, key_size).decode())
            at += width + 2
    values: list[_Node] = []
    for _ in range(count):
        inner = inside[at]
        # What fits into the place of an offset stands there itself.
        if inner == _LITERAL or inner in (_INT16, _UINT16) or (is_large and inner in (7, 8)):
            values.append(_value(inner, _slice(inside, 0, at + 1 + width), at + 1, room))
        else:
            offset = int.from_bytes(_slice(inside, at + 1, width), "little")
            if offset < 2 * width:
                raise ValueError("it points into itself")
            values.append(_value(inner, inside, start + offset, room))
        at += 1 + width
    if kind <= _LARGE_OBJECT:
        return dict(zip(keys, values, strict=True))
    return values


def _opaque(kind: int, raw: bytes) -> _Node:
    if kind == 246:
        precision, scale = raw[0], raw[1]
        if not (0 < precision <= 65 and scale <= min(38, precision)):
            raise ValueError("it has a decimal of no size")
        if len(raw) != 2 + decimal_size(precision, scale):
            raise ValueError("it has a decimal that is cut off")
        return _Number(decimal_text(raw[2:], precision, scale))
    if kind in (7, 10, 11, 12) and len(raw) == 8:
        packed = int.from_bytes(raw, "little", signed=True)
        return _Opaque(temporal.packed_text(kind, packed))
    return _Opaque(f"base64:type{kind}:{base64.b64encode(raw).decode()}")


def _written(node: _Node) -> str:
    if isinstance(node, dict):
        inner = ", ".join(f"{_quoted(key)}: {_written(value)}" for key, value in node.items())
        return "{" + inner + "}"
    if isinstance(node, list):
        return "[" + ", ".join(_written(value) for value in node) + "]"
    if isinstance(node, (_Number, _Opaque)):
        return node.text if isinstance(node, _Number) else _quoted(node.text)
    if isinstance(node, str):
        return _quoted(node)
    if isinstance(node, float):
        return number_text(node, whole=".0")
    return json.dumps(node)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


# -- partial updates


class DiffOp:
    """What a diff does at its path."""

    REPLACE, INSERT, REMOVE = range(3)


class Diff(NamedTuple):
    """One change of a document: PARTIAL_UPDATE_ROWS_EVENT has a list of them for a column."""

    op: int
    path: str
    value: bytes


_STEP: Final = re.compile(r'\.([^\W\d][\w$]*|\$[\w$]*|"(?:[^"\\]|\\.)*")|\[(\d+)\]')


def parse_diffs(data: bytes) -> tuple[Diff, ...]:
    """Read a column's diffs.

    Source: MySQL source documentation, `Json_diff_vector::write_binary`.

    Raises:
        SourceProtocolError: They are cut off, or have an operation that is not known.
    """
    diffs = []
    at = 0
    while at < len(data):
        op = data[at]
        if op > DiffOp.REMOVE:
            raise SourceProtocolError(f"a partial update of JSON has the operation {op}")
        size, at = take_length(data, at + 1)
        path, at = data[at : at + size], at + size
        value = b""
        if op != DiffOp.REMOVE:
            size, at = take_length(data, at)
            value, at = data[at : at + size], at + size
        if at > len(data):
            raise SourceProtocolError("a partial update of JSON is cut off")
        diffs.append(Diff(op, path.decode(errors="backslashreplace"), value))
    return tuple(diffs)


def apply_diffs(document: bytes, diffs: tuple[Diff, ...]) -> str:
    """The text of a document after a partial update.

    Raises:
        SourceProtocolError: A path leads nowhere.
    """
    root = _parsed(document)
    for diff in diffs:
        steps = _steps(diff.path)
        value = _parsed(diff.value) if diff.op != DiffOp.REMOVE else None
        if not steps:
            if diff.op != DiffOp.REPLACE:
                raise SourceProtocolError("a partial update of JSON removes the whole document")
            root = value
            continue
        parent = root
        try:
            for step in steps[:-1]:
                parent = parent[step]  # type: ignore[index]  # wrong steps raise
            _change(parent, steps[-1], diff.op, value)
        except (KeyError, IndexError, TypeError):
            raise SourceProtocolError("a partial update of JSON leads nowhere") from None
    return _written(root)


def _change(parent: _Node, step: str | int, op: int, value: _Node) -> None:
    if isinstance(parent, dict) and isinstance(step, str):
        if (step in parent) == (op == DiffOp.INSERT):
            raise KeyError(step)
        if op == DiffOp.REMOVE:
            del parent[step]
        elif op == DiffOp.REPLACE:
            parent[step] = value
        else:
            parent[step] = value
            # MySQL keeps keys by length, then by bytes.
            ordered = sorted(parent.items(), key=lambda item: _key_order(item[0]))
            parent.clear()
            parent.update(ordered)
    elif isinstance(parent, list) and isinstance(step, int):
        if op == DiffOp.INSERT:
            # Beyond the end means at the end.
            parent.insert(step, value)
        elif op == DiffOp.REPLACE:
            parent[step] = value
        else:
            del parent[step]
    else:
        raise TypeError


def _key_order(key: str) -> tuple[int, bytes]:
    raw = key.encode()
    return len(raw), raw


def _steps(path: str) -> list[str | int]:
    if not path.startswith("$"):
        raise SourceProtocolError("a path of a partial update of JSON does not begin with $")
    steps: list[str | int] = []
    at = 1
    while at < len(path):
        match = _STEP.match(path, at)
        if match is None:
            raise SourceProtocolError("a path of a partial update of JSON is not understood")
        if match[2] is not None:
            steps.append(int(match[2]))
        elif match[1].startswith('"'):
            try:
                steps.append(json.loads(match[1]))
            except ValueError:
                raise SourceProtocolError(
                    "a path of a partial update of JSON is not understood"
                ) from None
        else:
            steps.append(match[1])
        at = match.end()
    return steps
