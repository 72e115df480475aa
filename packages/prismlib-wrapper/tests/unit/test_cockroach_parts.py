"""Values, keys, names, positions and refusals of the CockroachDB source."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest
from cockroach_history import table
from hypothesis import given
from hypothesis import strategies as st

from prism.wrapper.sources import (
    Column,
    ColumnKind,
    SourceAccessError,
    SourceConfigurationError,
    SourceError,
    SourceProtocolError,
    SourceUnavailableError,
    TableRefusedError,
    cast,
)
from prism.wrapper.sources.cockroach import CockroachSettings, Moment, Position
from prism.wrapper.sources.cockroach._backlog import Backlog, Message
from prism.wrapper.sources.cockroach._catalogue import (
    ColumnFacts,
    key_problem,
    kind_of,
    layout_of,
    rift,
    split_name,
)
from prism.wrapper.sources.cockroach._position import obstacle
from prism.wrapper.sources.cockroach._statements import advise, changefeed_sql, fetch_sql, loss
from prism.wrapper.sources.cockroach._values import identity, parse_json, text_of

K = ColumnKind


@pytest.mark.parametrize(
    ("type_name", "raw", "text", "value"),
    [
        ("INT8", "-9223372036854775808", "-9223372036854775808", -(2**63)),
        ("FLOAT8", "1E-7", "1E-7", 1e-7),
        ("FLOAT8", '"-Infinity"', "-Infinity", "-Infinity"),
        ("FLOAT4", '"NaN"', "NaN", "NaN"),
        ("DECIMAL(20,4)", "9999999999999999.9990", "9999999999999999.9990", None),
        ("DECIMAL", '"Infinity"', "Infinity", None),
        ("BOOL", "true", "true", True),
        ("BYTES", '"\\\\x00ff"', "\\x00ff", None),
        ("STRING", '"ä\\n\\u0000"', "ä\n\0", None),
        ("STRING", '"12"', "12", "12"),
        ("STRING COLLATE de", '"12"', "12", "12"),
        ("VARCHAR(3)", '""', "", ""),
        ("TIMESTAMPTZ", '"2026-01-02T03:04:05.6Z"', "2026-01-02T03:04:05.6Z", None),
        ("INTERVAL", '"1 mon"', "1 mon", None),
        ("JSONB", '"a"', '"a"', "a"),
        ("JSONB", "1.50", "1.50", 1.5),
        ("JSONB", '{"b":1,"a":[true,null]}', '{"b": 1, "a": [true, null]}', None),
        ("JSONB", '{"__crdb_json_null__": true}', "null", None),
        ("INT8[]", "[1, null, -3]", "{1,NULL,-3}", [1, None, -3]),
        ("BOOL[]", "[true]", "{true}", [True]),
        (
            "STRING[]",
            '["a,b", "NULL", null, "", "\\"\\\\"]',
            None,
            ["a,b", "NULL", None, "", '"\\'],
        ),
        ("DECIMAL[]", '[1.50, "NaN"]', "{1.50,NaN}", ["1.50", "NaN"]),
        ("public.mood", '"sad"', "sad", "sad"),
        ("GEOMETRY", '{"type": "Point"}', '{"type": "Point"}', None),
        ("INT8", "null", None, None),
    ],
)
def test_values(type_name: str, raw: str, text: str | None, value: object) -> None:
    kind = kind_of(type_name)
    told = text_of(parse_json(raw), kind)
    if text is not None or raw == "null":
        assert told == text
    if value is not None:
        # Array elements are cast by their type's name, lower case in PostgreSQL.
        assert cast(Column("c", type_name.lower(), kind), told) == value


@pytest.mark.parametrize(
    ("type_name", "kind"),
    [
        ("INT2", K.INTEGER),
        ("FLOAT4", K.FLOAT),
        ("DECIMAL(10,2)", K.NUMERIC),
        ("BOOL", K.BOOLEAN),
        ("BYTES", K.BYTES),
        ("STRING(5)", K.TEXT),
        ("CHAR", K.TEXT),
        ("VARCHAR(5)", K.TEXT),
        ("VARBIT", K.TEXT),
        ("UUID", K.TEXT),
        ("INET", K.TEXT),
        ("DATE", K.TEMPORAL),
        ("TIMETZ(3)", K.TEMPORAL),
        ("TIMESTAMPTZ", K.TEMPORAL),
        ("INTERVAL", K.TEMPORAL),
        ("JSONB", K.JSON),
        ("STRING[]", K.ARRAY),
        ("GEOGRAPHY(POINT,4326)", K.OTHER),
        ("VECTOR(3)", K.OTHER),
        ("public.mood", K.TEXT),
    ],
)
def test_kinds(type_name: str, kind: ColumnKind) -> None:
    assert kind_of(type_name) is kind


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(_JSON)
def test_json_is_kept(value: object) -> None:
    text = text_of(parse_json(json.dumps(value)), K.JSON)
    assert (None if text is None else json.loads(text)) == value


@given(st.lists(st.none() | st.text()))
def test_arrays_of_texts_read_back(items: list[str | None]) -> None:
    text = text_of(parse_json(json.dumps(items)), K.ARRAY)
    assert cast(Column("c", "text[]", K.ARRAY), text) == items


@given(st.decimals(allow_nan=False, allow_infinity=False, places=4), st.integers(0, 3))
def test_equal_decimals_are_one_key(number: Decimal, zeros: int) -> None:
    plain = f"{number:f}"
    assert identity(plain + "0" * zeros, K.NUMERIC) == identity(f"{number:E}", K.NUMERIC)
    assert Decimal(identity(plain, K.NUMERIC)) == number


@pytest.mark.parametrize(
    ("text", "same"),
    [("-0", "0"), ("0.00", "0"), ("1E+2", "100"), ("NaN", "NaN"), ("-Infinity", "-Infinity"),
     ("1E+999999", "1E+999999"), (".", ".")],
)  # fmt: skip
def test_keys_at_their_limits(text: str, same: str) -> None:
    assert identity(text, K.NUMERIC) == same


def test_numbers_in_texts_stay() -> None:
    assert identity("1.50", K.TEXT) == "1.50"


def test_what_is_no_json_is_not_repeated() -> None:
    with pytest.raises(SourceProtocolError) as refused:
        parse_json(b'{"password": hunter2')
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("depth", [600, 5000])
def test_what_is_nested_too_deep_says_so(depth: int) -> None:
    with pytest.raises(SourceProtocolError, match="nested deeper"):
        text_of(parse_json("[" * depth + "]" * depth), K.JSON)


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**31 - 1))
def test_positions_read_back(wall: int, logical: int) -> None:
    position = Position(cluster="5ea83db2-0f6e", moment=Moment(wall, logical), tables="0" * 12)
    assert Position.parse(str(position)) == position


def test_moments_are_decimals() -> None:
    assert Moment.parse("17.0000000001") == Moment(17, 1)
    assert Moment.parse("17") == Moment(17, 0)
    assert Moment.parse("17.5") == Moment(17, 5 * 10**9)
    for text in ("", "17.", "-1", "1e9", "soon"):
        with pytest.raises(ValueError, match="not a time"):
            Moment.parse(text)


def test_obstacles() -> None:
    at = Position(cluster="a", moment=Moment(1, 0), tables="0" * 12)
    assert obstacle(at, cluster="a", tables="0" * 12) is None
    assert "another database cluster" in (obstacle(at, cluster="b", tables="0" * 12) or "")
    assert "columns" in (obstacle(at, cluster="a", tables="1" * 12) or "")


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("products", ("public", "products")),
        ("Shop.Products", ("shop", "products")),
        ('shop."Price.List"', ("shop", "Price.List")),
        ('"a""b"', ("public", 'a"b')),
    ],
)
def test_names(name: str, parts: tuple[str, str]) -> None:
    assert split_name(name) == parts


@pytest.mark.parametrize("name", ["", "a.b.c", "a.", "a b", '"a', "a; DROP"])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(SourceConfigurationError, match="no name of a table"):
        split_name(name)


def test_layouts_keep_hidden_keys_and_leave_out_virtual_columns() -> None:
    facts = table("t", ("id", "INT8"), key=("shard", "id"))
    columns = (
        *facts.columns,
        ColumnFacts(number=2, name="shard", type_name="INT4", hidden=True, virtual=True),
        ColumnFacts(number=3, name="twice", type_name="INT8", virtual=True),
    )
    facts = type(facts)(
        oid=1, table=facts.table, form="r", readable=True, columns=columns, key=facts.key
    )
    layout = layout_of(facts)
    assert [column.name for column in layout.schema.columns] == ["id", "shard"]
    # The message has the shard first, the schema has the id first.
    assert layout.key_order == (1, 0)
    assert key_problem(facts) is None
    told = layout_of(facts, ("id", "gone"))
    assert [(c.name, c.kind) for c in told.schema.columns][-1] == ("gone", K.OTHER)


def test_what_a_change_of_the_catalogue_means() -> None:
    before = table("t", ("id", "INT8"), ("n", "STRING"), key=("id",))
    wider = table("t", ("id", "INT8"), ("n", "STRING"), ("m", "INT8"), key=("id",))
    assert rift(before, wider) is None
    assert rift(wider, before) is None
    assert "renamed" in (
        rift(before, table("t", ("id", "INT8"), ("x", "STRING"), key=("id",))) or ""
    )
    assert "key" in (rift(before, table("t", ("id", "INT8"), ("n", "STRING"), key=("n",))) or "")
    assert "dropped" in (rift(before, None) or "")
    keyless = table("t", ("rowid", "INT8"), key=())
    assert "no primary key" in (key_problem(keyless) or ("",))[0]


def test_statements_by_version() -> None:
    def sql(version: tuple[int, int], *, scan: bool = True) -> str:
        return changefeed_sql(
            ['"public"."a"', '"public"."b"'],
            cursor=Moment(17, 1),
            initial_scan=scan,
            full_names=False,
            resolved_interval_s=0.25,
            version=version,
        )

    assert sql((23, 1)) == (
        'EXPERIMENTAL CHANGEFEED FOR "public"."a", "public"."b" WITH updated, '
        "resolved = '250ms', "
        "min_checkpoint_frequency = '250ms', cursor = '17.0000000001', initial_scan"
    )
    new = sql((25, 2), scan=False)
    assert new.startswith('CREATE CHANGEFEED FOR TABLE "public"."a", "public"."b" WITH ')
    assert new.endswith("cursor = '17.0000000001', encode_json_value_null_as_object")


def test_keys_in_statements_are_quoted() -> None:
    schema = layout_of(table("t", ("a", "INT8"), ("b", "STRING"), key=("b", "a"))).schema
    sql = fetch_sql(schema, [("1", "')); --")], present=frozenset({"a", "b"}))
    assert sql.endswith("""WHERE ("a" = '1' AND "b" = ''')); --')""")


@pytest.mark.parametrize(
    ("text", "sqlstate", "kind", "says"),
    [
        ("rangefeeds require the kv.rangefeed.enabled setting. See ...", "XXUUU", SourceAccessError,
         "SET CLUSTER SETTING kv.rangefeed.enabled = true;"),
        ("user p does not have SELECT privilege", "42501", SourceAccessError, "GRANT SELECT ON"),
        ("CHANGEFEED targeting a table with multiple column families", "22023",
         TableRefusedError, "pieces"),
        ("syntax error", "42601", SourceError, "42601"),
        ("restart transaction", "40001", SourceUnavailableError, "restart"),
        ("node is shutting down", "XXUUU", SourceUnavailableError, "shutting"),
        ('relation "t" does not exist', "42P01", SourceUnavailableError, "exist"),
    ],
)  # fmt: skip
def test_refusals(text: str, sqlstate: str, kind: type[SourceError], says: str) -> None:
    facts = table("t", ("id", "INT8"), key=("id",))
    error = advise(text, sqlstate=sqlstate, tables=[facts], role="p")
    assert type(error) is kind
    assert says in str(error)


def test_losses() -> None:
    gone = "batch timestamp 1700000000.0,0 must be after replica GC threshold 1700001000.0,0"
    assert "gc.ttlseconds" in (loss(gone) or "")
    assert "truncated" in (loss('"t" was truncated') or "")
    assert "offline" in (loss('cannot target offline table: t (offline reason: "importing")') or "")
    assert loss("restart transaction") is None


def test_a_backlog_beyond_its_memory_lies_in_a_file(tmp_path: Path) -> None:
    backlog = Backlog(memory_bytes=100, folder=tmp_path)
    messages = [
        Message(Moment(n % 7, 0), "t", b"[%d]" % n, b"v" * 30 + b"%d" % n) for n in range(50)
    ]
    for message in messages:
        backlog.add(message)
    assert backlog.size_bytes > 1500
    early = list(backlog.take(Moment(3, 0)))
    assert early == sorted(m for m in messages if m.moment.wall_ns <= 3)
    assert len(backlog) == len(messages) - len(early)
    assert list(backlog.take(Moment(9, 0))) == sorted(m for m in messages if m.moment.wall_ns > 3)
    assert (len(backlog), backlog.size_bytes) == (0, 0)


def test_settings_name_what_is_wrong() -> None:
    for change, says in (
        ({"tables": ()}, "at least one"),
        ({"tables": ("a", "public.a")}, "twice"),
        ({"tables": ("a;",)}, "no name"),
        ({"silence_s": 0}, "silence_s"),
    ):
        with pytest.raises(SourceConfigurationError, match=says):
            CockroachSettings(**{"dsn": "postgresql://x", "tables": ("a",), **change})  # type: ignore[arg-type]
    assert "hunter2" not in repr(CockroachSettings(dsn="password=hunter2", tables=("a",)))
