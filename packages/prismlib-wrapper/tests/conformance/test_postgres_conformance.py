"""PostgreSQL 15 and 18 by pgoutput, and 15 by wal2json, keep the contract of a source."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import pytest
from postgres_databases import Database, database

from prism.wrapper._local_postgres import LocalPostgres
from prism.wrapper.sources import Source
from prism.wrapper.sources.conformance import SourceConformance, TypeSample
from prism.wrapper.sources.errors import SourceBusyError
from prism.wrapper.sources.postgres import PostgresSource, drop_slot

_TYPES = (
    TypeSample(type_name="smallint", literals=("-32768", "32767", "NULL")),
    TypeSample(type_name="bigint", literals=("-9223372036854775808", "9223372036854775807")),
    TypeSample(
        type_name="numeric",
        literals=("'NaN'", "'Infinity'", "'-Infinity'", "0.000", "1" * 1000 + ".5", "1e-900"),
    ),
    TypeSample(type_name="numeric(20,4)", literals=("1.5", "-9999999999999999.9999", "'NaN'")),
    TypeSample(type_name="real", literals=("1.1", "'NaN'", "'-Infinity'", "1e-45", "3.4028235e38")),
    TypeSample(
        type_name="double precision",
        literals=("0.1", "1e15", "1e-5", "-0.0", "5e-324", "1.7976931348623157e308", "'NaN'"),
    ),
    TypeSample(type_name="money", literals=("'12.34'", "'-92233720368547758.08'")),
    TypeSample(type_name="boolean", literals=("true", "false", "NULL")),
    TypeSample(
        type_name="date",
        literals=("'infinity'", "'-infinity'", "'4713-01-01 BC'", "'5874897-12-31'"),
    ),
    TypeSample(type_name="time", literals=("'00:00'", "'24:00:00'", "'12:34:56.123456'")),
    TypeSample(type_name="timetz", literals=("'12:34:56.5+05:30'", "'24:00:00-15:59'")),
    TypeSample(
        type_name="timestamp",
        literals=("'infinity'", "'4713-01-01 00:00:00 BC'", "'294276-12-31 23:59:59.999999'"),
    ),
    TypeSample(
        type_name="timestamptz",
        literals=("'-infinity'", "'0044-03-15 12:00:00+00 BC'", "'2026-01-02 03:04:05.6+02'"),
    ),
    TypeSample(
        type_name="interval",
        literals=("'-178000000 years'", "'1 mon -1 day 00:00:00.000001'", "'0'"),
    ),
    TypeSample(type_name="char(5)", literals=("'ab'", "''")),
    TypeSample(type_name='"char"', literals=("'x'", "''")),
    TypeSample(type_name="varchar(10)", literals=("'ä😀'", "''")),
    TypeSample(type_name="name", literals=("'a name'",)),
    TypeSample(type_name="bytea", literals=(r"'\x00ff0a5c'", "''", "NULL")),
    TypeSample(type_name="json", literals=("""'{"a": [1, 2.50], "a": null}'""", "'1e400'")),
    TypeSample(
        type_name="jsonb", literals=("""'{"b": 1.2300, "a": "\\u00e4"}'""", "'null'", "NULL")
    ),
    TypeSample(type_name="uuid", literals=("'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'",)),
    TypeSample(type_name="inet", literals=("'::1/128'", "'10.0.0.0/8'")),
    TypeSample(type_name="macaddr", literals=("'08:00:2b:01:02:03'",)),
    TypeSample(type_name="bit varying(8)", literals=("B'1011'", "B''")),
    TypeSample(type_name="point", literals=("'(1.5,-2)'",)),
    TypeSample(type_name="tsvector", literals=("'fat cat:3'::tsvector",)),
    TypeSample(type_name="xml", literals=("'<a>b</a>'",)),
    TypeSample(type_name="pg_lsn", literals=("'16/B374D848'",)),
    TypeSample(type_name="integer[]", literals=("'{}'", "'[0:1][2:3]={{1,2},{3,NULL}}'", "NULL")),
    TypeSample(
        type_name="text[]", literals=("""ARRAY['a,b', 'q"', '\\', 'NULL', NULL, E'\\t']""",)
    ),
    TypeSample(type_name="int4range", literals=("'empty'", "'[1,5)'", "'(,)'")),
    TypeSample(type_name="tstzmultirange", literals=("'{[2020-01-01,2021-01-01)}'",)),
    TypeSample(type_name="conf_mood", literals=("'sad'", "'it''s ok'")),
    TypeSample(type_name="conf_mood[]", literals=("'{sad,NULL}'",)),
    TypeSample(type_name="conf_positive", literals=("1", "NULL")),
    TypeSample(type_name="conf_moods", literals=("'{sad}'",)),
    TypeSample(type_name="conf_row", literals=("ROW(1, 'a \"b\"', NULL)", "NULL")),
    TypeSample(type_name="conf_row[]", literals=("ARRAY[ROW(1, 'x', '{sad}')::conf_row]",)),
    TypeSample(type_name='"Mixed Type"', literals=("'only'",)),
)
_MAKE_TYPES = (
    "CREATE TYPE conf_mood AS ENUM ('sad', 'it''s ok')",
    "CREATE TYPE \"Mixed Type\" AS ENUM ('only')",
    "CREATE DOMAIN conf_positive AS integer CHECK (VALUE > 0)",
    "CREATE DOMAIN conf_moods AS conf_mood[]",
    "CREATE TYPE conf_row AS (a integer, b text, c conf_mood[])",
)


class _Postgres(SourceConformance):
    plugin = "pgoutput"
    base: Database

    @pytest.fixture(autouse=True)
    def _database(self, server: LocalPostgres) -> Iterator[None]:
        with database(server) as self.base:
            # Streams transactions that a larger memory would hold back until their commit.
            self.base.alone(
                f"ALTER DATABASE {self.base.name} SET logical_decoding_work_mem = '64kB'"
            )
            yield

    def make_source(self, tables: Sequence[str]) -> Source:
        return PostgresSource(self.base.settings(*tables, plugin=self.plugin, memory_bytes=1 << 18))

    def make_refused_source(self, tables: Sequence[str], password: str) -> Source:
        role = f"refused_{self.base.name}"
        self.base.alone(f"CREATE ROLE {role} LOGIN REPLICATION PASSWORD 'another'")
        dsn = self.base.server.dsn(database=self.base.name, user=role, password=password)
        return PostgresSource(self.base.settings(*tables, dsn=dsn))

    def execute(self, statements: Sequence[str], *, rollback: bool = False) -> None:
        self.base.execute(*statements, rollback=rollback)

    def read(self, table: str) -> dict[tuple[str, ...], dict[str, str | None]]:
        return self.base.read(table)

    def lose_position(self) -> None:
        deadline = time.monotonic() + 10
        while True:
            try:
                drop_slot(self.base.dsn, self.base.slot)
            except SourceBusyError:  # the server has not seen yet that its reader is gone
                assert time.monotonic() < deadline
                time.sleep(0.02)
            else:
                return

    def type_samples(self) -> Sequence[TypeSample]:
        for statement in _MAKE_TYPES:
            self.base.alone(statement)
        # The wheel's server is built without libxml.
        here = self.base.server.version == 15
        return [sample for sample in _TYPES if here or sample.type_name != "xml"]


class TestPostgres15(_Postgres):
    @pytest.fixture
    def server(self, postgres15: LocalPostgres) -> LocalPostgres:
        return postgres15


class TestPostgres18(_Postgres):
    @pytest.fixture
    def server(self, postgres18: LocalPostgres) -> LocalPostgres:
        return postgres18


class TestPostgres15ByWal2json(_Postgres):
    plugin = "wal2json"

    @pytest.fixture
    def server(self, postgres15: LocalPostgres) -> LocalPostgres:
        return postgres15


def test_nothing_is_left_out() -> None:
    assert not TestPostgres15.not_applicable
