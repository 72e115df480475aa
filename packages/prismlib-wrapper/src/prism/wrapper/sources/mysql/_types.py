"""Types of the catalogue: SELECTs whose texts are those of the stream. Pure.

The server writes most values as we want them. FLOAT and DOUBLE it rounds for people, so they are
read as DOUBLE with all digits; BIT is read as a number; bytes are taken as they are and shown here.

Whoever reads tables by MySQL's protocol can use this: it needs no binary log.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np

from prism.wrapper.sources._types import ColumnKind
from prism.wrapper.sources.mysql._numbers import float_text, number_text
from prism.wrapper.sources.mysql._values import Form, Layout

__all__ = ["ColumnFacts", "select_layout", "select_sql", "type_of"]

_GEOMETRY: Final = frozenset(
    "geometry point linestring polygon multipoint multilinestring multipolygon geometrycollection "
    "geomcollection".split()
)
_INTEGERS: Final = frozenset("tinyint smallint mediumint int bigint".split())
_BYTES: Final = frozenset("binary varbinary tinyblob blob mediumblob longblob vector".split())
_TIMES: Final = frozenset("date time datetime timestamp year".split())
_COMMENT: Final = re.compile(r"\s*/\*.*?\*/")


class ColumnFacts(NamedTuple):
    """What the catalogue says of a column.

    Attributes:
        name: As stored.
        data_type: `int`, `varchar`, ...
        column_type: With all that belongs to it: `int(10) unsigned zerofill`.
        charset: Of texts; "" for others.
        is_nullable: Whether it takes NULL.
        is_virtual: Whether it is computed and not stored.
        is_json: Whether a check makes MariaDB's text JSON.
    """

    name: str
    data_type: str
    column_type: str
    charset: str
    is_nullable: bool
    is_virtual: bool
    is_json: bool


def type_of(column: ColumnFacts) -> tuple[str, ColumnKind]:
    """The type's name as the binary log would have it, and its kind."""
    data_type = column.data_type.lower()
    full = _COMMENT.sub("", column.column_type)
    words = full.split()
    if data_type in _INTEGERS:
        sign = " unsigned" if "unsigned" in words else ""
        return data_type + sign, ColumnKind.INTEGER
    if data_type in ("float", "double"):
        return data_type, ColumnKind.FLOAT
    if data_type == "decimal":
        return full.replace(" zerofill", ""), ColumnKind.NUMERIC
    if data_type == "bit":
        return full, ColumnKind.INTEGER
    if data_type in _TIMES:
        return ("year" if data_type == "year" else full), ColumnKind.TEMPORAL
    if data_type in _GEOMETRY:
        return "geometry", ColumnKind.BYTES
    if data_type in _BYTES:
        return ("vector" if data_type == "vector" else full), ColumnKind.BYTES
    if data_type == "json" or column.is_json:
        return "json", ColumnKind.JSON
    return full, ColumnKind.TEXT


def select_sql(column: ColumnFacts, quoted: str) -> str:
    """The expression that reads the column."""
    data_type = column.data_type.lower()
    if data_type in ("float", "double"):
        return f"{quoted} + 0e0"
    if data_type == "bit":
        return f"{quoted} + 0"
    if "zerofill" in column.column_type:
        name, _ = type_of(column)
        return f"CAST({quoted} AS {name.split()[0] if data_type == 'decimal' else 'UNSIGNED'})"
    return quoted


def select_layout(column: ColumnFacts) -> Layout:
    """How to make texts of what `select_sql` gives."""
    name, kind = type_of(column)
    read: Callable[[bytes], str]
    if kind is ColumnKind.FLOAT:
        read = _single if column.data_type.lower() == "float" else _double
    elif kind is ColumnKind.BYTES:
        read = _hex
    else:
        return Layout(
            type_name=name, kind=kind, prefix=0, size=0, read=bytes.decode, form=Form.UTF8
        )
    return Layout(type_name=name, kind=kind, prefix=0, size=0, read=read)


def _double(text: bytes) -> str:
    return number_text(float(text))


def _single(text: bytes) -> str:
    return float_text(np.float32(float(text)).tobytes())


def _hex(raw: bytes) -> str:
    return "\\x" + raw.hex()
