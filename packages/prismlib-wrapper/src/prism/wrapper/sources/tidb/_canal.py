"""canal-json as TiCDC writes it, with the TiDB extension. Pure.

A body is one message or several, each on a line of its own. Values are texts or null; bytes are
texts of which each character is a byte (ISO 8859-1). Deleted rows stand in `data`; `old` holds the
row before an update, or only those of its columns that changed.

Source: TiDB documentation, "TiCDC Canal-JSON Protocol" (pingcap/docs, ticdc/ticdc-canal-json.md).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
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

__all__ = ["decode_canal"]

_WATERMARK: Final = "TIDB_WATERMARK"
_ROWS: Final = ("INSERT", "UPDATE", "DELETE")
_EXTENSION: Final = (
    "add enable-tidb-extension=true to the changefeed's sink-uri: without it no message says when "
    "its change was committed"
)


def decode_canal(body: bytes) -> list[Event]:
    """Read the messages of a body, in order.

    Raises:
        MessageError: One is not canal-json, or lacks the TiDB extension. Says which.
    """
    events: list[Event] = []
    for number, line in enumerate(body.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            # Numbers stay texts: a float would round a timestamp.
            message = json.loads(line, parse_int=str, parse_float=str)
        except (ValueError, RecursionError):
            raise MessageError(f"line {number} is not JSON in UTF-8") from None
        try:
            _read(message, events)
        except MessageError as error:
            raise MessageError(f"line {number}: {error}") from None
    return events


def _read(message: object, events: list[Event]) -> None:
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise MessageError("is no canal-json message: it has no type")
    extension = message.get("_tidb")
    if not isinstance(extension, dict):
        raise MessageError(f"has no _tidb field: {_EXTENSION}")
    what = message["type"]
    if message.get("isDdl") is True:
        events.append(
            DdlEvent(
                _ts(extension, "commitTs"),
                _name(message, "database"),
                _name(message, "table"),
                _name(message, "sql"),
                DdlKind.TRUNCATE if what == "TRUNCATE" else DdlKind.OTHER,
            )
        )
    elif what == _WATERMARK:
        events.append(ResolvedMark(_ts(extension, "watermarkTs")))
    elif what in _ROWS:
        _read_rows(message, extension, what, events)
    else:
        raise MessageError(f"type {what[:40]!r} is not known")


def _read_rows(
    message: Mapping[str, object],
    extension: Mapping[str, object],
    what: str,
    events: list[Event],
) -> None:
    if extension.get("onlyHandleKey") or extension.get("claimCheckLocation"):
        raise MessageError(
            "holds no whole row: set large-message-handle-option to none in the changefeed, and "
            "raise max-message-bytes"
        )
    ts = _ts(extension, "commitTs")
    schema, table = _name(message, "database"), _name(message, "table")
    types = message.get("mysqlType")
    if not isinstance(types, dict):
        raise MessageError("has no mysqlType")
    binary = {
        name
        for name, type_name in types.items()
        if isinstance(type_name, str) and ("binary" in type_name or "blob" in type_name)
    }
    rows = _rows(message.get("data"), types, binary)
    if what == "DELETE":
        events.extend(RowEvent(ts, schema, table, row, None) for row in rows)
    elif what == "INSERT":
        events.extend(RowEvent(ts, schema, table, None, row) for row in rows)
    else:
        olds = _rows(message.get("old"), types, binary) if message.get("old") else [{}] * len(rows)
        if len(olds) != len(rows):
            raise MessageError("has another number of old rows than of new ones")
        events.extend(
            # What `old` leaves out was not changed.
            RowEvent(ts, schema, table, {**row, **old}, row)
            for row, old in zip(rows, olds, strict=True)
        )


def _rows(
    given: object, types: Mapping[str, object], binary: set[str]
) -> list[dict[str, RawValue]]:
    if not isinstance(given, list) or not given:
        raise MessageError("has no rows")
    rows: list[dict[str, RawValue]] = []
    for row in given:
        if not isinstance(row, dict) or not row:
            raise MessageError("has a row that is none")
        if not row.keys() <= types.keys():
            raise MessageError("has a value whose type it does not name")
        for name, value in row.items():
            if value is not None and not isinstance(value, str):
                raise MessageError(f"column {name!r}: its value is neither text nor null")
            if value is not None and name in binary:
                try:
                    row[name] = value.encode("latin-1")
                except UnicodeEncodeError:
                    raise MessageError(
                        f"column {name!r}: its bytes are not in ISO 8859-1"
                    ) from None
        rows.append(row)
    return rows


def _ts(extension: Mapping[str, object], field: str) -> int:
    text = extension.get(field)
    if not isinstance(text, str) or not text.isdecimal() or not 0 < int(text) < 1 << 64:
        raise MessageError(f"_tidb has no {field}: {_EXTENSION}")
    return int(text)


def _name(message: Mapping[str, object], field: str) -> str:
    text = message.get(field)
    if not isinstance(text, str):
        raise MessageError(f"{field} is no text")
    return text
