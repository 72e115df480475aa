"""Texts of a database as JSON values: see `cast`."""

from __future__ import annotations

import json
import math
import re
from typing import Final, TypeAlias

from prism.wrapper.sources._types import Column, ColumnKind

__all__ = ["JSONValue", "cast", "kind_of_type"]

JSONValue: TypeAlias = "str | int | float | bool | list[JSONValue] | dict[str, JSONValue] | None"

_KINDS: Final = {
    ColumnKind.INTEGER: "smallint integer bigint int2 int4 int8 oid xid8 mediumint tinyint int",
    ColumnKind.FLOAT: "real float4 float8 float double",
    ColumnKind.NUMERIC: "numeric decimal",
    ColumnKind.BOOLEAN: "boolean bool",
    ColumnKind.TEMPORAL: "date time timetz timestamp timestamptz interval datetime year",
    ColumnKind.JSON: "json jsonb",
    ColumnKind.BYTES: "bytea blob binary varbinary",
    ColumnKind.TEXT: "text character varchar bpchar char name uuid citext inet cidr macaddr "
    "macaddr8 xml bit varbit money",
}
_KIND_OF_NAME: Final = {name: kind for kind, names in _KINDS.items() for name in names.split()}
_FIRST_WORD: Final = re.compile(r'"?([a-z0-9_]+)"?')
_ITEM: Final = re.compile(r'"((?:[^"\\]|\\.)*)"|([^,{}"]+)', re.DOTALL)
_BOUNDS: Final = re.compile(r"(?:\[[-+]?\d+:[-+]?\d+\])+=")
_DEPTH: Final = 64


def kind_of_type(type_name: str) -> ColumnKind:
    """Tell the kind of a built-in type from its name, such as `numeric(10,2)`; OTHER if unknown."""
    if type_name.endswith("[]"):
        return ColumnKind.ARRAY
    word = _FIRST_WORD.match(type_name.removeprefix("pg_catalog."))
    return _KIND_OF_NAME.get(word[1], ColumnKind.OTHER) if word else ColumnKind.OTHER


def cast(column: Column, text: str | None) -> JSONValue:
    """Make a JSON value of a database's text, without loss.

    | kind | value |
    | --- | --- |
    | INTEGER | int, however large |
    | FLOAT | float; `"NaN"`, `"Infinity"`, `"-Infinity"` as texts, since JSON has no such numbers |
    | NUMERIC | str, all its digits: give it to `decimal.Decimal` |
    | BOOLEAN | bool |
    | JSON | what it says; a number with a fraction that no float holds exactly stays a str |
    | ARRAY | list, nested for more dimensions, elements by their type; bounds are dropped |
    | all others | the text |

    A text that is not what its kind says is returned as it is. Pure.
    """
    if text is None:
        return None
    if column.kind is ColumnKind.ARRAY:
        items = _array(text)
        if items is None:
            return text
        element = column.type_name.removesuffix("[]")
        return _cast_items(items, kind_of_type(element))
    return _scalar(column.kind, text)


def _scalar(kind: ColumnKind, text: str) -> JSONValue:
    try:
        if kind is ColumnKind.INTEGER:
            return int(text)
        if kind is ColumnKind.FLOAT:
            number = float(text)
            return number if math.isfinite(number) else text
        if kind is ColumnKind.BOOLEAN:
            return {"t": True, "true": True, "f": False, "false": False}.get(text, text)
        if kind is ColumnKind.JSON:
            value: JSONValue = json.loads(text, parse_float=_exact, parse_constant=str)
            return value
    except (ValueError, RecursionError):
        pass
    return text


def _exact(text: str) -> float | str:
    number = float(text)
    if not math.isfinite(number):
        return text
    # 15 significant digits always survive a float; beyond, only what reads back as it was written.
    digits = text.lower().partition("e")[0].lstrip("-").replace(".", "").strip("0")
    return number if len(digits) <= 15 or repr(number) == text else text


_Items: TypeAlias = "list[str | _Items | None]"


def _cast_items(items: _Items, kind: ColumnKind) -> JSONValue:
    return [
        _cast_items(item, kind)
        if isinstance(item, list)
        else None
        if item is None
        else _scalar(kind, item)
        for item in items
    ]


def _array(text: str) -> _Items | None:
    """Read PostgreSQL's array literal, or return None if it is none.

    Source: PostgreSQL manual, Arrays, "Array Input and Output Syntax".
    """
    bounds = _BOUNDS.match(text)
    at = bounds.end() if bounds else 0
    root: _Items = []
    open_lists: list[_Items] = [root]
    size = len(text)
    while at < size:
        letter = text[at]
        if letter == "{":
            if len(open_lists) > _DEPTH:
                return None
            inner: _Items = []
            open_lists[-1].append(inner)
            open_lists.append(inner)
            at += 1
        elif letter == "}":
            if len(open_lists) == 1:
                return None
            open_lists.pop()
            at += 1
        elif letter == ",":
            at += 1
        else:
            item = _ITEM.match(text, at)
            if item is None or len(open_lists) == 1:
                return None
            if item[1] is not None:
                open_lists[-1].append(re.sub(r"\\(.)", r"\1", item[1], flags=re.DOTALL))
            else:
                open_lists[-1].append(None if item[2] == "NULL" else item[2])
            at = item.end()
    if len(open_lists) != 1 or len(root) != 1 or not isinstance(root[0], list):
        return None
    return root[0]
