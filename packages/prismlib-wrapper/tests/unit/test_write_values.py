"""What a write may give to a column, and what the database is given for it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prism.wrapper._writes.values import TargetColumn, TargetTable, checked, key_values
from prism.wrapper.errors import WriteRefusedError
from prism.wrapper.sources import Column, ColumnKind
from prism.wrapper.sources._cast import cast


def column(name: str, base: str, *, type_name: str = "", **more: bool) -> TargetColumn:
    return TargetColumn(
        name=name,
        base_type=base,
        type_name=type_name or base,
        nullable=more.get("nullable", True),
        writable=more.get("writable", True),
        has_default=False,
    )


COLUMNS = (
    column("id", "int4", nullable=False),
    column("small", "int2"),
    column("large", "int8"),
    column("weight", "float8"),
    column("price", "numeric", type_name="numeric(10,2)"),
    column("sold", "bool"),
    column("doc", "jsonb"),
    column("raw", "bytea"),
    column("tags", "_text", type_name="text[]"),
    column("name", "varchar", type_name="character varying(5)", nullable=False),
    column("seen", "timestamptz"),
    column("total", "numeric", writable=False),
)
TABLE = TargetTable(
    schema="public", name="t", columns={one.name: one for one in COLUMNS}, key=("id",)
)
PAIRS = TargetTable(schema="public", name="t", columns=TABLE.columns, key=("id", "small"))


@pytest.mark.parametrize(
    ("name", "value", "sent"),
    [
        ("id", 7, "7"),
        ("id", "7", "7"),
        ("id", 7.0, "7"),
        ("small", -(2**15), "-32768"),
        ("large", 2**63 - 1, "9223372036854775807"),
        ("small", None, None),
        ("weight", 1.5, "1.5"),
        ("weight", "NaN", "NaN"),
        ("price", "29.90", "29.90"),
        ("price", 3, "3"),
        ("sold", True, "true"),
        ("doc", {"a": [1, "ö"]}, '{"a": [1, "ö"]}'),
        ("raw", r"\x00fF", r"\x00fF"),
        ("tags", ["a", None, 'b"\\', ["c"]], r'{"a",NULL,"b\"\\",{"c"}}'),
        ("tags", "{a}", "{a}"),
        ("name", "äöüß5", "äöüß5"),
        ("name", "five5   ", "five5   "),
        ("seen", "any text", "any text"),
    ],
)
def test_taken(name: str, value: object, sent: str | None) -> None:
    assert checked(TABLE, {name: value}) == {name: sent}


@pytest.mark.parametrize(
    ("name", "value", "takes"),
    [
        ("id", None, "a value"),
        ("name", None, "a value"),
        ("id", True, "a whole number"),
        ("id", 1.5, "a whole number"),
        ("id", "7; DROP TABLE t", "a whole number"),
        ("id", 2**31, "-2147483648 to 2147483647"),
        ("small", 2**15, "-32768 to 32767"),
        ("weight", "heavy", "a number"),
        ("price", True, "a number"),
        ("price", "1,5", "a number"),
        ("sold", "true", "True or False"),
        ("sold", 1, "True or False"),
        ("raw", "00ff", "hexadecimal"),
        ("raw", r"\x0", "hexadecimal"),
        ("tags", 5, "a list"),
        ("tags", [{}], "texts and numbers"),
        ("tags", ["secret\0"], "zero bytes"),
        ("name", "secret", "at most 5 characters, not 6"),
        ("name", "a\0", "zero bytes"),
        ("seen", 5, "a text"),
        ("total", 5, "computed"),
        ("nmae", "x", "did you mean name"),
    ],
)
def test_refused(name: str, value: object, takes: str) -> None:
    with pytest.raises(WriteRefusedError, match=takes) as refused:
        checked(TABLE, {name: value})
    assert refused.value.column == name
    assert "secret" not in str(refused.value)


def test_nothing_is_nothing() -> None:
    with pytest.raises(WriteRefusedError, match="at least one"):
        checked(TABLE, {})


ITEMS = st.recursive(
    st.lists(
        st.none() | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
    ),
    lambda inner: st.lists(inner),
    max_leaves=9,
)


@given(ITEMS)
def test_an_array_is_read_as_it_was_written(items: list[object]) -> None:
    sent = checked(TABLE, {"tags": items})["tags"]
    assert cast(Column("tags", "text[]", ColumnKind.ARRAY), sent) == items


@pytest.mark.parametrize(
    ("table", "row_id", "values", "named"),
    [
        (TABLE, "7", {"name": "x"}, {"id": "7", "name": "x"}),
        (TABLE, "7", {"id": 7}, {"id": "7"}),
        (TABLE, "", {"id": 7}, {"id": 7}),
        (PAIRS, '["7","8"]', {}, {"id": "7", "small": "8"}),
    ],
)
def test_keys(
    table: TargetTable, row_id: str, values: dict[str, object], named: dict[str, object]
) -> None:
    assert key_values(table, row_id, values) == named


@pytest.mark.parametrize(
    ("table", "row_id", "values"),
    [
        (TABLE, "7", {"id": 8}),
        (PAIRS, "7", {}),
        (PAIRS, '["7"]', {}),
        (PAIRS, '{"id": 7}', {}),
        (PAIRS, "[7", {}),
        (PAIRS, json.dumps(["7", "8"]), {"small": 9}),
    ],
)
def test_keys_that_are_refused(table: TargetTable, row_id: str, values: dict[str, object]) -> None:
    with pytest.raises(WriteRefusedError, match="row_id"):
        key_values(table, row_id, values)
