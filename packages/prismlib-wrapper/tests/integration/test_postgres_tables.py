"""Partitions, generated columns, identities, filters, rights: against real servers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from postgres_databases import Database, database

from prism.wrapper._local_postgres import LocalPostgres
from prism.wrapper.sources import (
    SourceAccessError,
    SourceConfigurationError,
    SourceUnavailableError,
    TableRefusedError,
)
from prism.wrapper.sources.conformance import Follower, Replica
from prism.wrapper.sources.postgres import PostgresSettings, PostgresSource, Verdict, check


@pytest.fixture
def base(postgres: LocalPostgres) -> Iterator[Database]:
    with database(postgres) as made:
        yield made


def _equal(base: Database, follower: Follower, table: str, **options: str) -> None:
    follower.wait_for(
        lambda: (
            follower.replica.position is not None
            and follower.replica.rows.get(table.strip('"')) == base.read(table, **options)
        ),
        f"{table} and its replica are equal",
    )


def test_partitions_come_under_their_root(base: Database) -> None:
    base.execute(
        "CREATE TABLE sales (id integer, day date, note text, PRIMARY KEY (id, day)) "
        "PARTITION BY RANGE (day)",
        "CREATE TABLE sales_1 PARTITION OF sales FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')",
        # Its columns lie in another order.
        "CREATE TABLE sales_2 (note text, day date NOT NULL, id integer NOT NULL)",
        "ALTER TABLE sales ATTACH PARTITION sales_2 "
        "FOR VALUES FROM ('2026-02-01') TO ('2026-03-01')",
        "INSERT INTO sales SELECT i, '2026-01-01'::date + i, 'n' FROM generate_series(1, 50) i",
    )
    source = PostgresSource(base.settings("sales", watch_interval_s=0.2))
    follower = Follower(source, Replica())
    try:
        _equal(base, follower, "sales")
        base.execute(
            "UPDATE sales SET day = '2026-02-10' WHERE id = 3",  # moves to the other partition
            "CREATE TABLE filled (id integer, day date, note text, PRIMARY KEY (id, day))",
            "INSERT INTO filled VALUES (900, '2026-03-05', 'came with its partition')",
            "ALTER TABLE sales ATTACH PARTITION filled "
            "FOR VALUES FROM ('2026-03-01') TO ('2026-04-01')",
        )
        _equal(base, follower, "sales")
        assert len(follower.replica.snapshots) == 1
        base.execute("TRUNCATE sales_1")
        _equal(base, follower, "sales")
        base.execute("ALTER TABLE sales DETACH PARTITION filled")
        _equal(base, follower, "sales")
        assert [reason.split()[-1] for reason in follower.replica.snapshots[1:]] == [
            "rewritten",
            "dropped",
        ]
    finally:
        follower.close()


def test_names_generated_columns_and_full_identity(base: Database) -> None:
    base.execute(
        'CREATE TABLE "My ""Table" ("The Id" integer NOT NULL, "a,b" text, '
        'twice integer GENERATED ALWAYS AS ("The Id" * 2) STORED, big text)',
        'CREATE UNIQUE INDEX "an index" ON "My ""Table" ("The Id")',
        'ALTER TABLE "My ""Table" ALTER big SET STORAGE EXTERNAL, '
        'REPLICA IDENTITY USING INDEX "an index"',
        "CREATE TABLE full_one (id integer PRIMARY KEY, a text, big text)",
        "ALTER TABLE full_one ALTER big SET STORAGE EXTERNAL, REPLICA IDENTITY FULL",
        """INSERT INTO "My ""Table" VALUES (1, 'x', DEFAULT, repeat('y', 5000))""",
        "INSERT INTO full_one VALUES (1, 'x', repeat('y', 5000)), (2, NULL, NULL)",
    )
    follower = Follower(PostgresSource(base.settings('"My ""Table"', "full_one")), Replica())
    try:
        _equal(base, follower, "full_one")
        base.execute(
            """UPDATE "My ""Table" SET "a,b" = 'z'""",
            'UPDATE "My ""Table" SET "The Id" = 7',
            "UPDATE full_one SET a = 'changed'",
            "UPDATE full_one SET id = 3 WHERE id = 1",
        )
        _equal(base, follower, "full_one")
        expected = base.read('"My ""Table"')
        follower.wait_for(lambda: follower.replica.rows['My "Table'] == expected, "the quoted one")
        assert ("twice" in expected["7",]) == (base.server.version >= 18)
    finally:
        follower.close()


def test_a_publication_that_is_there_is_used_as_it_is(base: Database) -> None:
    base.execute(
        "CREATE TABLE items (id integer PRIMARY KEY, a text, secret text, live boolean)",
        f"CREATE PUBLICATION {base.slot} FOR TABLE items (id, a, live) WHERE (id < 100)",
        "INSERT INTO items SELECT i, 'a', 's', true FROM generate_series(1, 200) i",
    )
    follower = Follower(PostgresSource(base.settings("items")), Replica())
    try:
        options = {"where": "id < 100", "columns": ("id", "a", "live")}
        _equal(base, follower, "items", **options)  # type: ignore[arg-type]
        base.execute(
            "UPDATE items SET id = id + 200 WHERE id = 5",
            "UPDATE items SET id = 5 WHERE id = 150",
            "UPDATE items SET secret = 't' WHERE id = 6",
        )
        _equal(base, follower, "items", **options)  # type: ignore[arg-type]
    finally:
        follower.close()


def test_a_new_table_begins_a_new_snapshot(base: Database) -> None:
    base.execute(
        "CREATE TABLE one (id integer PRIMARY KEY)",
        "CREATE TABLE two (id integer PRIMARY KEY)",
        "INSERT INTO two VALUES (2)",
    )
    replica = Replica()
    follower = Follower(PostgresSource(base.settings("one")), replica)
    _equal(base, follower, "one")
    follower.close()
    follower = Follower(PostgresSource(base.settings("one", "two")), replica)
    try:
        _equal(base, follower, "two")
        assert replica.snapshots[1:] == [f'the publication {base.slot!r} lacked "public"."two"']
    finally:
        follower.close()


_REFUSED = {
    "CREATE TABLE t (id integer)": "ADD COLUMN row_id",
    "CREATE TABLE t (id integer UNIQUE NOT NULL)": "REPLICA IDENTITY USING INDEX",
    "CREATE TABLE t (id integer PRIMARY KEY DEFERRABLE)": "DROP CONSTRAINT",
    "CREATE UNLOGGED TABLE t (id integer PRIMARY KEY)": "SET LOGGED",
    "CREATE VIEW t AS SELECT 1 AS id": "only tables",
}


@pytest.mark.parametrize("statement", _REFUSED)
def test_tables_that_cannot_be_followed(base: Database, statement: str) -> None:
    base.execute(statement)
    settings = base.settings("t")
    with pytest.raises(TableRefusedError, match=_REFUSED[statement]):
        next(PostgresSource(settings).events(None))
    problems = [f for f in check(settings) if f.verdict is Verdict.PROBLEM]
    assert problems
    remedy = next((f.remedy for f in problems if f.remedy and "PUBLICATION" not in f.remedy), "")
    if remedy:
        # The statement we hand out helps, with nothing else done.
        base.execute(remedy)
        assert not [f for f in check(settings) if f.verdict is Verdict.PROBLEM]
        source = PostgresSource(settings)
        next(events := source.events(None))
        source.close()
        events.close()


def test_a_role_is_told_each_right_it_lacks(base: Database) -> None:
    role = f"poor_{base.name}"
    base.execute(
        "CREATE SCHEMA shop", "CREATE TABLE shop.t (id integer PRIMARY KEY)",
        f"CREATE ROLE {role} LOGIN PASSWORD 'right'",
    )  # fmt: skip
    dsn = base.server.tcp_dsn(user=role, password="right", database=base.name)  # noqa: S106
    settings = base.settings("shop.t", dsn=dsn)
    with pytest.raises(SourceAccessError):
        next(PostgresSource(settings).events(None))
    for finding in check(settings):
        if finding.verdict is Verdict.PROBLEM:
            base.execute(*finding.remedy.split("\n"))
    assert [f for f in check(settings) if f.verdict is Verdict.PROBLEM] == []
    follower = Follower(PostgresSource(settings), Replica())
    try:
        base.execute("INSERT INTO shop.t VALUES (1)")
        follower.wait_for(lambda: ("1",) in follower.replica.rows.get("t", {}), "the row")
    finally:
        follower.close()
        base.execute(f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def test_clear_errors(base: Database) -> None:
    with pytest.raises(SourceConfigurationError, match="no table nowhere"):
        next(PostgresSource(base.settings("nowhere")).events(None))
    other = base.server.dsn(database="not_there")
    with pytest.raises(SourceConfigurationError, match="dbname"):
        next(PostgresSource(base.settings("t", dsn=other)).events(None))
    gone = "host=127.0.0.1 port=1 user=u password=hunter2 dbname=d"
    with pytest.raises(SourceUnavailableError) as refused:
        next(PostgresSource(base.settings("t", dsn=gone, first_contact_s=0.2)).events(None))
    assert "hunter2" not in str(refused.value)
    with pytest.raises(SourceConfigurationError) as unread:
        next(PostgresSource(base.settings("t", dsn="hunter2 = = x")).events(None))
    assert "hunter2" not in str(unread.value)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"tables": ()}, "tables"),
        ({"tables": ("a", "a")}, "tables"),
        ({"slot": "Upper"}, "slot"),
        ({"publication": ""}, "publication"),
        ({"plugin": "other"}, "plugin"),
        ({"part_rows": 0}, "part_rows"),
    ],
)
def test_settings_name_what_is_wrong(changes: dict[str, object], named: str) -> None:
    with pytest.raises(SourceConfigurationError, match=named):
        PostgresSettings(**{"dsn": "", "tables": ("a",), **changes})  # type: ignore[arg-type]
    assert "pw" not in repr(PostgresSettings(dsn="password=pw", tables=("a",)))
