"""Rows to JSON and to text: exactly, and the same from what the log holds."""

from __future__ import annotations

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prism.wrapper._rows import RowPlan, TableRule, row_id
from prism.wrapper._rows.tokens import quotes_of, slices, tokenizer
from prism.wrapper.sources import UNCHANGED, Column, ColumnKind, TableId, TableSchema
from prism.wrapper.sources._cast import cast

TABLE = TableId("db", "public", "products")
COLUMNS = (
    Column("id", "text", ColumnKind.TEXT),
    Column("name", "text", ColumnKind.TEXT),
    Column("price", "numeric(10,2)", ColumnKind.NUMERIC),
    Column("stock", "integer", ColumnKind.INTEGER),
    Column("weight", "double precision", ColumnKind.FLOAT),
    Column("sold", "boolean", ColumnKind.BOOLEAN),
    Column("tags", "text[]", ColumnKind.ARRAY),
    Column("doc", "jsonb", ColumnKind.JSON),
    Column("shop_id", "integer", ColumnKind.INTEGER),
    Column("seen", "timestamptz", ColumnKind.TEMPORAL),
    Column('a "ö" column', "bytea", ColumnKind.BYTES),
)
SCHEMA = TableSchema(TABLE, COLUMNS, (0,))
ROW = (
    "p-1", "Widget", "29.90", "7", "1.5", "t", "{red,\"a, b\"}", '{"size": [1, 2.5]}', "3",
    "2026-01-01 00:00:00+00", r"\x00",
)  # fmt: skip

TEXTS = {
    ColumnKind.TEXT: st.text(st.characters(exclude_categories=["Cs"])),
    ColumnKind.NUMERIC: st.decimals().map(str),
    ColumnKind.INTEGER: st.integers().map(str) | st.sampled_from(["-0", "007", "+1", "x"]),
    ColumnKind.FLOAT: st.floats().map(repr)
    | st.sampled_from(["NaN", "Infinity", "-Infinity", "-0", "1e400", "1e+20", "5e-324", "1."]),
    ColumnKind.BOOLEAN: st.sampled_from(["t", "f", "true", "?"]),
    ColumnKind.JSON: st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text('aä"\\'),
        lambda inner: st.lists(inner) | st.dictionaries(st.text("ab"), inner),
        max_leaves=5,
    ).map(json.dumps)
    | st.sampled_from(["1e400", "0.1000000000000000055511151231257827", "{"]),
    ColumnKind.ARRAY: st.sampled_from(
        ["{}", "{a,NULL}", '{"x,y","\\"q\\""}', "{{1,2},{3,4}}", "z"]
    ),
    ColumnKind.TEMPORAL: st.just("2026-01-01"),
    ColumnKind.BYTES: st.just(r"\x00"),
}
ROWS = st.tuples(*[st.none() | TEXTS[column.kind] for column in COLUMNS])


@given(st.sampled_from(COLUMNS).flatmap(lambda c: st.tuples(st.just(c), TEXTS[c.kind])))
def test_tokens_are_what_cast_says(case: tuple[Column, str]) -> None:
    column, text = case
    expected = cast(column, text)
    found = json.loads(tokenizer(column)(text))
    assert found == expected
    assert type(found) is type(expected)


@given(ROWS, st.sets(st.integers(0, len(COLUMNS) - 1)))
def test_what_was_not_sent_is_what_is_held(row: tuple[str | None, ...], kept: set[int]) -> None:
    plan = RowPlan(SCHEMA, TableRule(numeric={"price": (0, 100)}))
    columns = plan.columns(row)
    assert json.loads(columns) == {
        column.name: cast(column, text) for column, text in zip(COLUMNS, row, strict=True)
    }
    held = slices(columns)
    partly = tuple(UNCHANGED if place in kept else text for place, text in enumerate(row))
    assert plan.columns(partly, held) == columns
    # So a rebuild from the log gives the very text, and the vector can be kept.
    assert plan.text(partly, held) == plan.text(row)


RULES = (
    TableRule(),
    TableRule(text="{name} at {price}, {{{stock}}} {gone}{sold}", numeric={"stock": (0, 10)}),
    TableRule(columns=("name", "stock", "tags"), text_columns=("stock", "name"), text_chars=5),
    TableRule(text="the same for all"),
)


@given(st.lists(ROWS | st.just(ROW), min_size=1, max_size=6), st.sampled_from(RULES))
def test_rows_together_are_what_they_are_alone(
    rows: list[tuple[str | None, ...]], rule: TableRule
) -> None:
    plan = RowPlan(SCHEMA, rule)
    columns = list(zip(*rows, strict=True))
    assert plan.columns_of(columns, rows=len(rows)) == [plan.columns(row) for row in rows]
    assert plan.texts_of(columns, rows=len(rows)) == [plan.text(row) for row in rows]


@pytest.mark.parametrize(
    ("kind", "texts", "quotes"),
    [
        (ColumnKind.INTEGER, ["1", "-20", "0"], ""),
        (ColumnKind.INTEGER, ["1", "007"], None),
        (ColumnKind.INTEGER, ["1\n2"], None),
        (ColumnKind.INTEGER, ["1", ""], None),
        (ColumnKind.TEXT, ["a", "", "ä\u2028\x7f"], '"'),
        (ColumnKind.TEXT, ["a", 'b"'], None),
        (ColumnKind.TEXT, ["a\\"], None),
        (ColumnKind.TEXT, ["a\x1f"], None),
        (ColumnKind.FLOAT, ["1.5"], None),
    ],
)
def test_texts_that_only_lack_quotes(
    kind: ColumnKind, texts: list[str], quotes: str | None
) -> None:
    column = Column("c", "c", kind)
    assert quotes_of(column, texts) == quotes
    if quotes is not None:
        assert [quotes + text + quotes for text in texts] == list(map(tokenizer(column), texts))


def test_the_text_says_what_a_reader_would() -> None:
    plan = RowPlan(SCHEMA, TableRule())
    assert plan.text(ROW) == (
        "name: Widget, price: 29.90, stock: 7, weight: 1.5, sold: true, tags: red, a, b"
    )
    assert plan.text(("p", "x", *[None] * 9)) == "name: x"


def test_templates_and_column_lists() -> None:
    template = RowPlan(SCHEMA, TableRule(text="{name} {{{tags}}} at {price}!"))
    assert template.text(ROW) == "Widget {red, a, b} at 29.90!"
    listed = RowPlan(SCHEMA, TableRule(text_columns=("doc", "sold")))
    assert listed.text(ROW) == "doc: size: 1, 2.5, sold: true"
    cut = RowPlan(SCHEMA, TableRule(text="{name}{name}{name}", text_chars=16))
    assert cut.text(ROW) == "WidgetWidgetWidg"


@pytest.mark.parametrize(
    ("price", "level"),
    [
        ("-5", "very low"),
        ("0", "very low"),
        ("19.99", "very low"),
        ("20", "low"),
        ("50", "medium"),
        ("79.99", "high"),
        ("80", "very high"),
        ("1e9", "very high"),
    ],
)
def test_numbers_are_placed_in_their_range(price: str, level: str) -> None:
    plan = RowPlan(SCHEMA, TableRule(text="{price}", numeric={"price": (0, 100)}))
    assert plan.text((*ROW[:2], price, *ROW[3:])) == f"{price} ({level})"


def test_numbers_without_a_place() -> None:
    plan = RowPlan(SCHEMA, TableRule(text="{price}", numeric={"price": (0, 100)}))
    assert plan.text((*ROW[:2], "NaN", *ROW[3:])) == "NaN"
    assert plan.text((*ROW[:2], None, *ROW[3:])) == ""


def test_a_table_of_keys_alone_has_a_text() -> None:
    schema = TableSchema(TABLE, COLUMNS[:1], (0,))
    assert RowPlan(schema, TableRule()).text(("p-1",)) == "id: p-1"


def test_columns_are_narrowed_and_the_key_stays() -> None:
    plan = RowPlan(SCHEMA, TableRule(columns=("name",)))
    assert json.loads(plan.columns(ROW)) == {"id": "p-1", "name": "Widget"}
    assert plan.text(ROW) == "name: Widget"


def test_rules_that_do_not_fit_are_told() -> None:
    rule = TableRule(columns=("nmae",), text="{price} {colour}", numeric={"prize": (0, 1)})
    told = RowPlan(SCHEMA, rule).problems()
    assert any("no column nmae; did you mean name?" in line for line in told)
    assert any("no column prize; did you mean price?" in line for line in told)
    assert any("no column colour; it has id" in line for line in told)
    assert any("the text names price, which columns leaves out" in line for line in told)
    assert RowPlan(SCHEMA, TableRule()).problems() == []


@given(st.lists(st.text(), min_size=1, max_size=3), st.lists(st.text(), min_size=1, max_size=3))
def test_row_ids_tell_keys_apart(one: list[str], other: list[str]) -> None:
    if len(one) == len(other):
        assert (row_id(one) == row_id(other)) == (one == other)


def test_row_ids_read_well() -> None:
    assert row_id(["product-42"]) == "product-42"
    assert row_id(["a", string.punctuation]) == json.dumps(
        ["a", string.punctuation], separators=(",", ":")
    )
