"""What a column takes, and what the database is given for it. Pure.

Checked here so that the caller learns which column is at fault, what it takes and what to do; the
database would name neither, or quote the value. What only the database can judge (the syntax of a
date, the members of an enum, a constraint) is left to it.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prism.wrapper.errors import WriteRefusedError

__all__ = ["TargetColumn", "TargetTable", "checked", "key_values"]

_RANGES = {"int2": 15, "int4": 31, "int8": 63}
_INTEGERS = ("int2", "int4", "int8")
_FLOATS = ("float4", "float8")
_TEXTS = ("text", "varchar", "bpchar", "name", "citext")
_JSONS = ("json", "jsonb")
_DECIMAL = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?|NaN|[-+]?Infinity")
_BYTES = re.compile(r"\\x([0-9A-Fa-f]{2})*")
_LENGTH = re.compile(r"\((\d+)\)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetColumn:
    """A column, as the catalogue has it.

    Attributes:
        name: Its name.
        base_type: The name of its type, domains followed, such as `int4`; `_int4` for an array.
        type_name: As SQL writes it, such as `numeric(10,2)`.
        nullable: Whether it takes NULL.
        writable: Whether it can be written at all: it is not generated.
        has_default: Whether an insert may leave it out.
    """

    name: str
    base_type: str
    type_name: str
    nullable: bool
    writable: bool
    has_default: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetTable:
    """A table that may be written.

    Attributes:
        schema: Its schema.
        name: Its name.
        columns: By name, in order.
        key: Names of the key's columns, in order.
    """

    schema: str
    name: str
    columns: Mapping[str, TargetColumn]
    key: tuple[str, ...]


def key_values(table: TargetTable, row_id: str, values: Mapping[str, object]) -> dict[str, object]:
    """Give the values of a write with those of the key that `row_id` names.

    Raises:
        WriteRefusedError: `row_id` is no key of the table, or the values say another.
    """
    if not row_id:
        return dict(values)
    parts: Sequence[object] = [row_id]
    if len(table.key) > 1:
        try:
            parts = json.loads(row_id)
        except ValueError:
            parts = ()
        if not isinstance(parts, list) or len(parts) != len(table.key):
            names = ", ".join(table.key)
            raise WriteRefusedError(
                f"{table.name}: row_id must be a JSON array of {len(table.key)} texts ({names})"
            )
    named = dict(values)
    for column, part in zip(table.key, parts, strict=True):
        if column in named and _plain(named[column]) != _plain(part):
            raise WriteRefusedError(
                f"{table.name}: row_id and the value of {column} name different rows; "
                f"leave {column} out",
                column=column,
            )
        named[column] = part
    return named


def _plain(value: object) -> str:
    return str(value)


def checked(table: TargetTable, values: Mapping[str, object]) -> dict[str, str | None]:
    """Check each value against its column; give what the database is sent.

    Raises:
        WriteRefusedError: With the column, what it takes, and what to do.
    """
    if not values:
        raise WriteRefusedError(f"{table.name}: nothing to write; name at least one column")
    given: dict[str, str | None] = {}
    for name, value in values.items():
        column = table.columns.get(name)
        if column is None:
            near = difflib.get_close_matches(name, table.columns, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(table.columns)}"
            raise WriteRefusedError(f"{table.name} has no column {name}; {hint}", column=name)
        if not column.writable:
            raise WriteRefusedError(
                f"{table.name}.{name} is computed by the database; leave it out", column=name
            )
        given[name] = _sent(table, column, value, is_key=name in table.key)
    return given


def _sent(table: TargetTable, column: TargetColumn, value: object, *, is_key: bool) -> str | None:
    if value is None:
        if not column.nullable or is_key:
            raise _refused(table, column, "a value, not None")
        return None
    kind = column.base_type
    if kind in _INTEGERS:
        return _integer(table, column, value)
    if kind in _FLOATS or kind == "numeric":
        return _number(table, column, value)
    if kind == "bool":
        if isinstance(value, bool) or (is_key and value in ("t", "f", "true", "false")):
            return str(value).lower()
        raise _refused(table, column, "True or False")
    if kind in _JSONS:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    if kind == "bytea":
        if isinstance(value, str) and _BYTES.fullmatch(value):
            return value
        raise _refused(table, column, "bytes as a hexadecimal text such as '\\x00ff'")
    if kind.startswith("_"):
        if isinstance(value, list):
            return _array(table, column, value)
        if isinstance(value, str) and value.startswith("{"):
            return value
        raise _refused(table, column, "a list")
    if not isinstance(value, str):
        raise _refused(table, column, "a text")
    if "\0" in value:
        raise _refused(table, column, "a text without zero bytes")
    limit = _LENGTH.search(column.type_name)
    if kind in _TEXTS and limit and len(value.rstrip(" ")) > int(limit[1]):
        raise _refused(table, column, f"at most {limit[1]} characters, not {len(value)}")
    return value


def _integer(table: TargetTable, column: TargetColumn, value: object) -> str:
    bits = _RANGES[column.base_type]
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d{1,20}", value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _refused(table, column, "a whole number")
    if not -(2**bits) <= value < 2**bits:
        raise _refused(table, column, f"{-(2**bits)} to {2**bits - 1}")
    return str(value)


def _number(table: TargetTable, column: TargetColumn, value: object) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return repr(value)
    # Exact decimals come as texts: JSON has no others.
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        return value
    raise _refused(table, column, "a number, or a text such as '29.99' for exact decimals")


def _array(table: TargetTable, column: TargetColumn, items: Sequence[object]) -> str:
    """Write PostgreSQL's array literal. Every element is quoted, so none is syntax."""
    written = []
    for item in items:
        if item is None:
            written.append("NULL")
        elif isinstance(item, list):
            written.append(_array(table, column, item))
        elif isinstance(item, (str, int, float)):
            text = str(item).lower() if isinstance(item, bool) else str(item)
            if "\0" in text:
                raise _refused(table, column, "texts without zero bytes")
            escaped = text.replace("\\", "\\\\").replace('"', '\\"')
            written.append(f'"{escaped}"')
        else:
            raise _refused(table, column, "a list of texts and numbers")
    return "{" + ",".join(written) + "}"


def _refused(table: TargetTable, column: TargetColumn, takes: str) -> WriteRefusedError:
    return WriteRefusedError(
        f"{table.name}.{column.name} ({column.type_name}) takes {takes}", column=column.name
    )
