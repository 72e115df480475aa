"""Texts of a database as values: one by one, and as the columns of a COPY."""

from __future__ import annotations

import json
import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prism.wrapper.sources import Column, ColumnKind, Op, RowBatch, TableId, TableSchema
from prism.wrapper.sources._cast import cast, kind_of_type
from prism.wrapper.sources.errors import SourceProtocolError

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@pytest.mark.parametrize(
    ("type_name", "text", "value"),
    [
        ("integer", "-7", -7),
        ("bigint", "9" * 40, int("9" * 40)),
        ("integer", "x", "x"),
        ("double precision", "1.5", 1.5),
        ("real", "NaN", "NaN"),
        ("real", "-Infinity", "-Infinity"),
        ("double precision", "1e999", "1e999"),
        ("numeric(10,2)", "29.90", "29.90"),
        ("boolean", "t", True),
        ("boolean", "f", False),
        ("boolean", "maybe", "maybe"),
        ("jsonb", '{"a": [1, 0.1, null]}', {"a": [1, 0.1, None]}),
        ("jsonb", "0.1000000000000000055", "0.1000000000000000055"),
        ("jsonb", "{", "{"),
        ("timestamp with time zone", "infinity", "infinity"),
        ("bytea", r"\x00ff", r"\x00ff"),
        ("integer[]", "{1,NULL,3}", [1, None, 3]),
        ("integer[]", "[0:1]={1,2}", [1, 2]),
        ("integer[]", "{{1,2},{3,4}}", [[1, 2], [3, 4]]),
        ("text[]", '{"NULL","a,b","\\"q\\"","c:\\\\d"}', ["NULL", "a,b", '"q"', "c:\\d"]),
        ("text[]", "{}", []),
        ("text[]", "{a", "{a"),
        ("text[]", "a}", "a}"),
        ("text[]", "{" * 99 + "}" * 99, "{" * 99 + "}" * 99),
        ("int4range", "[1,5)", "[1,5)"),
    ],
)
def test_cast(type_name: str, text: str, value: object) -> None:
    column = Column("c", type_name, kind_of_type(type_name))
    made = cast(column, text)
    assert made == value
    assert type(made) is type(value)
    assert cast(column, None) is None


@given(st.sampled_from(list(ColumnKind)), TEXT)
def test_cast_takes_any_text(kind: ColumnKind, text: str) -> None:
    type_name = "integer[]" if kind is ColumnKind.ARRAY else "x"
    json.dumps(cast(Column("c", type_name, kind), text), allow_nan=False)


@given(st.floats(), st.decimals(allow_nan=False, allow_infinity=False))
def test_numbers_keep_their_digits(number: float, exact: Decimal) -> None:
    made = cast(Column("c", "float8", ColumnKind.FLOAT), repr(number))
    assert made == number if math.isfinite(number) else made == repr(number)
    assert cast(Column("c", "numeric", ColumnKind.NUMERIC), str(exact)) == str(exact)


def quoted(items: list[object]) -> str:
    return (
        "{"
        + ",".join(
            quoted(item)
            if isinstance(item, list)
            else "NULL"
            if item is None
            else '"' + str(item).replace("\\", "\\\\").replace('"', '\\"') + '"'
            for item in items
        )
        + "}"
    )


@given(st.recursive(st.lists(st.none() | TEXT), lambda inner: st.lists(inner), max_leaves=9))
def test_arrays_come_back(items: list[object]) -> None:
    assert cast(Column("c", "text[]", ColumnKind.ARRAY), quoted(items)) == items


# COPY.

SCHEMA = TableSchema(
    TableId("db", "public", "t"),
    tuple(Column(name, "text", ColumnKind.TEXT) for name in "abc"),
    (0, 2),
)
ROWS = st.lists(st.tuples(TEXT, st.none() | TEXT, TEXT))
ESCAPES = str.maketrans(
    {"\\": r"\\", "\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t", "\v": r"\v"}
)


def copied(rows: list[tuple[str | None, ...]]) -> bytes:
    """What COPY writes. Source: PostgreSQL manual, COPY, "Text Format"."""
    return "".join(
        "\t".join(r"\N" if text is None else text.translate(ESCAPES) for text in row) + "\n"
        for row in rows
    ).encode()


@given(ROWS, st.slices(20))
def test_copied_rows_come_back(rows: list[tuple[str | None, ...]], some: slice) -> None:
    batch = RowBatch.from_copy_text(SCHEMA, copied(rows))
    assert [change.values for change in batch] == rows
    assert [batch[place] for place in range(len(rows))] == list(batch)
    assert [change.values for change in batch[some]] == rows[some]
    for place in range(3):
        assert batch.column(place).to_list() == [row[place] for row in rows]
    assert all(change.op is Op.UPSERT for change in batch)
    assert [change.key for change in batch] == [(row[0], row[2]) for row in rows]


@pytest.mark.parametrize(
    "blob", [b"a\tb\tc", b"a\tb\n", b"a\tb\tc\n\n", b"a\tb\tc\td\n", b"a\nb\tc\t", b"a\nb\nc\n"]
)
def test_rows_that_are_not_whole_are_refused(blob: bytes) -> None:
    with pytest.raises(SourceProtocolError, match=r"public\.t"):
        RowBatch.from_copy_text(SCHEMA, blob)
