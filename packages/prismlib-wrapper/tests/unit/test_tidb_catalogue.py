"""What the catalogue says of tables, what a change of it means, and what is configured."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from prism.wrapper._config import parse_config
from prism.wrapper._open_tidb import tidb_settings
from prism.wrapper.errors import WrapperConfigurationError
from prism.wrapper.sources import ColumnKind
from prism.wrapper.sources.errors import SourceConfigurationError, TableRefusedError
from prism.wrapper.sources.tidb import DdlEvent, DdlKind, Position
from prism.wrapper.sources.tidb._catalogue import ColumnFacts, TableFacts, gather, rift
from prism.wrapper.sources.tidb._follow import chosen, concerns, follow
from prism.wrapper.sources.tidb._ground import Grounds
from prism.wrapper.sources.tidb._settings import parse_dsn

_COLUMNS = [
    ("shop", "t", "id", "bigint(20)", "NO", None, "auto_increment"),
    ("shop", "t", "b", "varchar(20)", "NO", None, ""),
    ("shop", "t", "e", "enum('x','it''s')", "YES", None, ""),
    ("shop", "t", "twice", "int(11)", "YES", None, "VIRTUAL GENERATED"),
    ("shop", "keyless", "a", "int(11)", "YES", None, ""),
]
_INDEXES = [
    ("shop", "t", "a_unique", "e"),
    ("shop", "t", "b_expression", None),
    ("shop", "t", "c_unique", "b"),
    ("shop", "t", "c_unique", "id"),
]


def _column(name: str, type_name: str = "int(11)", **others: bool) -> ColumnFacts:
    given = {"nullable": True, "has_default": False, **others}
    return ColumnFacts(name=name, type_name=type_name, **given)


def _table(*columns: ColumnFacts, key: tuple[str, ...] = ("id",)) -> TableFacts:
    return TableFacts(schema="shop", name="t", columns=columns, key=key)


def test_a_key_is_of_columns_that_are_never_null() -> None:
    tables = gather(_COLUMNS, _INDEXES)
    facts = tables["shop.t"]
    assert [column.name for column in facts.columns] == ["id", "b", "e"]
    assert facts.key == ("b", "id")
    assert facts.told().key == (0, 1)
    assert facts.told().columns[2].kind is ColumnKind.TEXT
    assert facts.columns[2].members == ["x", "it's"]
    assert tables["shop.keyless"].key == ()
    primary = gather(_COLUMNS, [*_INDEXES, ("shop", "t", "PRIMARY", "id")])
    assert primary["shop.t"].key == ("id",)


@pytest.mark.parametrize(
    ("after", "why"),
    [
        (_table(_column("id"), _column("a", "varchar(9)")), None),
        (_table(_column("id"), _column("a", "varchar(99)")), None),
        (_table(_column("id"), _column("a", "varchar(9)"), _column("new")), None),
        (_table(_column("id")), None),
        (_table(_column("id"), _column("a", "text")), "another type"),
        (_table(_column("id", "bigint(20)"), _column("a", "varchar(9)")), "another type"),
        (_table(_column("id"), _column("new")), "renamed"),
        (
            _table(_column("id"), _column("a", "varchar(9)"), _column("n", has_default=True)),
            "with values",
        ),
        (
            _table(_column("id"), _column("a", "varchar(9)"), _column("n", nullable=False)),
            "with values",
        ),
        (_table(_column("id"), _column("a", "varchar(9)"), key=("a",)), "key"),
        (None, "gone"),
    ],
)
def test_a_change_that_no_row_tells_needs_a_snapshot(
    after: TableFacts | None, why: str | None
) -> None:
    found = rift(_table(_column("id"), _column("a", "varchar(9)")), after)
    assert (found is None) if why is None else (why in (found or ""))


def test_members_may_come_at_the_end_alone() -> None:
    before = _table(_column("id"), _column("e", "enum('a','b')"))
    longer = _table(_column("id"), _column("e", "enum('a','b','c')"))
    other = _table(_column("id"), _column("e", "enum('c','a','b')"))
    assert rift(before, longer) is None
    assert "another type" in (rift(before, other) or "")


@pytest.mark.parametrize(
    ("schema", "table", "query", "means"),
    [
        ("shop", "t", "ALTER TABLE t ADD COLUMN x INT", ""),
        ("shop", "other", "CREATE TABLE other (a INT)", None),
        ("shop", "other", "RENAME TABLE t TO other", ""),
        ("shop", "", "DROP DATABASE shop", ""),
        ("elsewhere", "t", "ALTER TABLE t ADD COLUMN x INT", None),
        ("shop", "t", "ALTER TABLE t TRUNCATE PARTITION p0", "as a whole"),
        ("shop", "t", "alter table t drop partition p0", "as a whole"),
        ("shop", "t", "FLASHBACK TABLE t", "as a whole"),
        ("", "", "FLASHBACK CLUSTER TO TIMESTAMP '2026-01-01'", "as a whole"),
    ],
)
def test_statements_concern_tables(schema: str, table: str, query: str, means: str | None) -> None:
    found = concerns(
        DdlEvent(5, schema, table, query, DdlKind.OTHER), {"shop.t": _table(_column("id"))}
    )
    assert found == means if not means else means in (found or "")


def test_tables_are_chosen_by_name_or_by_key() -> None:
    assert follow((), "shop") == (("shop",), ())
    assert follow(("t", "other.u"), "shop") == (("shop", "other"), ("shop.t", "other.u"))
    found = {"shop.t": _table(_column("id")), "shop.k": _table(_column("a"), key=())}
    assert list(chosen(found, (), "shop")) == ["shop.t"]
    for wanted in ("shop.k", "shop.missing"):
        with pytest.raises(TableRefusedError, match=wanted):
            chosen(found, (wanted,), "shop")
    with pytest.raises(SourceConfigurationError, match="shop"):
        chosen({}, (), "shop")


def test_grounds_are_kept_by_place(tmp_path: Path) -> None:
    old, new = _table(_column("id")), _table(_column("id"), _column("a"))
    grounds = Grounds(tmp_path)
    grounds.keep(10, {"shop.t": old}, confirmed=None)
    grounds.keep(20, {"shop.t": new}, confirmed=11)
    again = Grounds(tmp_path)
    again.load()
    assert again.before(10) is None
    assert again.before(11) == again.before(20) == {"shop.t": old}
    assert again.before(21) == {"shop.t": new}
    again.keep(30, {"shop.t": old}, confirmed=25)
    assert again.before(15) is None
    assert again.before(25) == {"shop.t": new}
    (tmp_path / "tables.json").write_text("[{")
    again.load()
    assert again.before(99) is None


def test_a_position_is_read_back() -> None:
    position = Position(spool="0123456789abcdef", ts=429918007904436226, tables="0" * 12)
    assert Position.parse(str(position)) == position
    for text in ("", "pg/1/1/0000000000000000/000000000000", f"{position}0", "tidb/x/1/y"):
        with pytest.raises(ValueError, match="not a position"):
            Position.parse(text)


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://u:secret@h/d",
        "mysql://u:secret@h",
        "mysql://u:secret@h:x/d",
        "mysql://u:secret@h/d?ssl=1",
        "u:secret@h/d",
    ],
)
def test_a_dsn_that_cannot_be_used_is_not_repeated(dsn: str) -> None:
    with pytest.raises(SourceConfigurationError, match="dsn") as caught:
        parse_dsn(dsn)
    assert "secret" not in str(caught.value)


def test_a_dsn_is_taken_apart() -> None:
    address = parse_dsn("mysql://pri%40sm:p%2Fw@db.example/shop?tls=true")
    assert (address.user, address.password, address.host) == ("pri@sm", "p/w", "db.example")
    assert (address.port, address.database, address.tls) == (4000, "shop", True)
    assert "p/w" not in repr(address)


_CONFIG = """
[database]
flavor = "tidb"
dsn = "mysql://prism:password@127.0.0.1/shop"
[chorus]
tenant_id = "t"
[log]
path = "/var/lib/prism/t.changes"
"""


def test_the_configuration_reaches_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUSH_TOKEN", "x" * 32)
    push = '[push]\ntoken_env = "PUSH_TOKEN"\npartitions = 3\nmemory_bytes = 65536\n'
    settings = tidb_settings(parse_config(_CONFIG + push, environment={}))
    assert settings.token == "x" * 32
    assert settings.partitions == 3
    assert settings.spool == Path("/var/lib/prism/t.changes.push")
    assert dataclasses.replace(settings, tables=("a",)).tables == ("a",)
    for more, problem in (
        ("", "token_file"),
        ('[push]\ntoken_env = "NOT_THERE"\n', "NOT_THERE"),
        (f'[push]\ntoken_file = "{tmp_path / "none"}"\n', "cannot be read"),
        (push + '[write]\ntables = ["t"]\n', "write"),
    ):
        with pytest.raises(WrapperConfigurationError, match=problem):
            tidb_settings(parse_config(_CONFIG + more, environment={}))
    with pytest.raises(WrapperConfigurationError, match="leave it out"):
        parse_config(_CONFIG.replace('"tidb"', '"postgresql"') + push, environment={})
