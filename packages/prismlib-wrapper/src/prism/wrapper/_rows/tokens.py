"""Values as JSON, and as words.

A JSON token is made of the database's text without a detour where the two are the same, which is
most of them; `cast` says what the value is otherwise. So for every column and text
`json.loads(token(column, text)) == cast(column, text)`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias

from prism.wrapper.sources import Column, ColumnKind
from prism.wrapper.sources._cast import JSONValue, cast

__all__ = ["Tokenizer", "quotes_of", "slices", "tokenizer", "words_of_token"]

Tokenizer: TypeAlias = Callable[[str], str]

_quote: Tokenizer = json.encoder.encode_basestring
_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)")
_INTEGER_LINES: Final = re.compile(r"(?:-?(?:0|[1-9][0-9]*)\n)*")
_BY_ITSELF: Final = {ColumnKind.FLOAT, ColumnKind.BOOLEAN, ColumnKind.JSON, ColumnKind.ARRAY}
_ESCAPED: Final = bytes(range(32)) + b'"\\'
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_BOOLEANS: Final = {"t": "true", "true": "true", "f": "false", "false": "false"}
# Beyond these a float has other digits than the text.
_SAFE_FLOAT_CHARS: Final = 300
_SEPARATORS: Final = (",", ":")


def tokenizer(column: Column) -> Tokenizer:
    """Give what turns texts of a column into JSON."""
    if column.kind is ColumnKind.INTEGER:
        return lambda text: text if _INTEGER.fullmatch(text) else _general(column, text)
    if column.kind is ColumnKind.FLOAT:
        return lambda text: text if _is_plain_float(text) else _general(column, text)
    if column.kind is ColumnKind.BOOLEAN:
        return lambda text: _BOOLEANS.get(text) or _general(column, text)
    if column.kind in (ColumnKind.JSON, ColumnKind.ARRAY):
        return lambda text: _general(column, text)
    return _quote


def quotes_of(column: Column, texts: Sequence[str]) -> str | None:
    """Give what makes a token of each of these texts when put before and after it.

    `None` where they have to be turned into tokens one by one. A look at all of them together costs
    a tenth of that.
    """
    if column.kind in _BY_ITSELF:
        return None
    if column.kind is ColumnKind.INTEGER:
        lines = "\n".join((*texts, ""))
        are_lines = lines.count("\n") == len(texts)
        return "" if are_lines and _INTEGER_LINES.fullmatch(lines) else None
    joined = "".join(texts).encode(errors="surrogatepass")
    return '"' if len(joined.translate(None, _ESCAPED)) == len(joined) else None


def _is_plain_float(text: str) -> bool:
    return (
        len(text) < _SAFE_FLOAT_CHARS
        and _NUMBER.fullmatch(text) is not None
        and text.strip("-0123456789") != ""
        and abs(float(text)) != float("inf")
    )


def _general(column: Column, text: str) -> str:
    return json.dumps(cast(column, text), ensure_ascii=False, separators=_SEPARATORS)


def words_of_token(token: str) -> str:
    """Say a JSON value as a reader would: `a, b` for `["a","b"]`."""
    if token in ("", "null"):
        return ""
    if token[0] in '"[{':
        return ", ".join(_leaves(json.loads(token)))
    return token


def _leaves(value: JSONValue) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, inner in value.items():
            said = ", ".join(_leaves(inner))
            if said:
                yield f"{name}: {said}"
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner)
    elif isinstance(value, bool):
        yield "true" if value else "false"
    elif value is not None:
        yield str(value)


_decoder = json.JSONDecoder()


def slices(encoded: bytes) -> dict[str, str]:
    """Cut a JSON object, as `RowPlan` writes it, into the tokens of its values.

    Decoding and encoding would give other numbers for some (`1e400`), and cost more.
    """
    text = encoded.decode()
    found: dict[str, str] = {}
    at = 1
    while at < len(text) - 1:
        name, at = _decoder.raw_decode(text, at)
        start = at + 1
        _, at = _decoder.raw_decode(text, start)
        found[name] = text[start:at]
        at += 1
    return found
