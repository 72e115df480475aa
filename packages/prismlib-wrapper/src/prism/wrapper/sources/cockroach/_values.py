"""Values of a changefeed's JSON as texts. Pure.

A changefeed and `to_jsonb` write values alike, so what is made here of either is the same text:

| the column | in JSON | the text |
| --- | --- | --- |
| INT, FLOAT, DECIMAL | a number, or a text for NaN and infinities | its digits as they came |
| BOOL | true, false | `true`, `false` |
| ARRAY | an array | PostgreSQL's array literal, which `cast` reads |
| JSONB | what it says | JSON with one space behind `,` and `:`, keys in the order sent |
| GEOMETRY, GEOGRAPHY | a GeoJSON object | that, as JSON |
| all others | a text | the text |

Numbers are never read as floats: their digits are kept.

Source: CockroachDB manual, "Changefeed Messages" and "JSONB"; PostgreSQL manual, "Arrays".
"""

from __future__ import annotations

import json
import re
from typing import Final, TypeAlias

from prism.wrapper.sources._types import ColumnKind
from prism.wrapper.sources.errors import SourceProtocolError

__all__ = ["JSON", "identity", "parse_json", "text_of"]

JSON: TypeAlias = "str | bool | list[JSON] | dict[str, JSON] | None"

# The mark for JSON's null with `encode_json_value_null_as_object`.
_JSON_NULL: Final = {"__crdb_json_null__": True}
_PLAIN_ITEM: Final = re.compile(r'[^\s{}",\\]+')
_NUMBER: Final = re.compile(r"(-?)(\d*)(?:\.(\d*))?(?:[eE]([-+]?\d+))?")
# Longer ones are left as they are: writing them out would take memory without bound.
_LARGEST_EXPONENT: Final = 2000


class _Number(str):
    """The digits of a JSON number."""

    __slots__ = ()


_DECODER: Final = json.JSONDecoder(
    parse_float=_Number, parse_int=_Number, parse_constant=_Number, strict=False
)


def parse_json(raw: bytes | str) -> JSON:
    """Read JSON, numbers as their digits.

    Raises:
        SourceProtocolError: It is no JSON, or nested too deep. The message does not repeat it.
    """
    try:
        value: JSON = _DECODER.decode(raw if isinstance(raw, str) else raw.decode())
    except ValueError:
        raise SourceProtocolError("the changefeed sent a message that is no JSON") from None
    except RecursionError:
        raise _too_deep() from None
    return value


def text_of(value: JSON, kind: ColumnKind) -> str | None:
    """The text of one value; None for NULL.

    Raises:
        SourceProtocolError: A document is nested too deep.
    """
    try:
        return _text_of(value, kind)
    except RecursionError:
        raise _too_deep() from None


def identity(text: str, kind: ColumnKind) -> str:
    """A key's text such that equal keys have equal texts: `1.50` and `1.5` are one decimal."""
    if kind not in (ColumnKind.NUMERIC, ColumnKind.FLOAT):
        return text
    match = _NUMBER.fullmatch(text)
    if match is None or not (match[2] or match[3]):
        return text
    whole, fraction = match[2], match[3] or ""
    exponent = int(match[4] or 0)
    if abs(exponent) > _LARGEST_EXPONENT:
        return text
    digits, point = whole + fraction, len(whole) + exponent
    if point < 0:
        digits, point = "0" * -point + digits, 0
    digits = digits.ljust(point, "0")
    whole = digits[:point].lstrip("0") or "0"
    fraction = digits[point:].rstrip("0")
    written = f"{whole}.{fraction}" if fraction else whole
    return written if written == "0" else match[1] + written


def _text_of(value: JSON, kind: ColumnKind) -> str | None:
    if value is None:
        return None
    if kind is ColumnKind.JSON:
        return "null" if value == _JSON_NULL else _written(value)
    # The type itself: a number is a text of its digits.
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list) and kind is ColumnKind.ARRAY:
        return _array(value)
    return _written(value)


def _too_deep() -> SourceProtocolError:
    return SourceProtocolError(
        "a row holds JSON that is nested deeper than this version can read; leave its table out "
        "with [[tables]], or store it flatter"
    )


def _array(items: list[JSON]) -> str:
    return "{" + ",".join(map(_item, items)) + "}"


def _item(item: JSON) -> str:
    if item is None:
        return "NULL"
    if isinstance(item, list):
        return _array(item)
    if isinstance(item, bool):
        return "true" if item else "false"
    text = item if isinstance(item, str) else _written(item)
    if _PLAIN_ITEM.fullmatch(text) and text.upper() != "NULL":
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _written(value: JSON) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case _Number():
            return str(value)
        case str():
            return json.dumps(value, ensure_ascii=False)
        case list():
            return "[" + ", ".join(map(_written, value)) + "]"
        case dict():
            inner = (
                f"{json.dumps(k, ensure_ascii=False)}: {_written(v)}" for k, v in value.items()
            )
            return "{" + ", ".join(inner) + "}"
