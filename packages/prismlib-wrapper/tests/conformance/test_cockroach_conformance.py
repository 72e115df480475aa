"""The CockroachDB source keeps the contract of a source, against a double of the server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
import pytest
from cockroach_double import CockroachDouble

from prism.wrapper.sources import Source
from prism.wrapper.sources.cockroach import CockroachSettings, CockroachSource
from prism.wrapper.sources.conformance import SourceConformance, TypeSample

# The texts are those of `to_jsonb`, which a changefeed's values have.
_TYPES = (
    TypeSample(type_name="INT2", literals=("-32768", "32767", "NULL")),
    TypeSample(type_name="INT8", literals=("-9223372036854775808", "9223372036854775807")),
    TypeSample(
        type_name="DECIMAL",
        literals=("'NaN'", "'Infinity'", "'-Infinity'", "'0.000'", f"'{'1' * 500}.5'", "'1E-900'"),
    ),
    TypeSample(type_name="DECIMAL(20,4)", literals=("'1.5'", "'-9999999999999999.9999'", "'NaN'")),
    TypeSample(type_name="FLOAT4", literals=("'1.1'", "'NaN'", "'-Infinity'", "'1e-45'")),
    TypeSample(
        type_name="FLOAT8",
        literals=("'0.1'", "'1e15'", "'5e-324'", "'1.7976931348623157e308'", "'Infinity'"),
    ),
    TypeSample(type_name="BOOL", literals=("true", "false", "NULL")),
    TypeSample(type_name="DATE", literals=("'2026-01-02'", "'infinity'", "'-4713-11-23'")),
    TypeSample(type_name="TIME", literals=("'00:00:00'", "'24:00:00'", "'12:34:56.123456'")),
    TypeSample(type_name="TIMETZ", literals=("'12:34:56.5+05:30'", "'24:00:00-15:59'")),
    TypeSample(
        type_name="TIMESTAMP", literals=("'2026-01-02T03:04:05.6'", "'0001-01-01T00:00:00'")
    ),
    TypeSample(
        type_name="TIMESTAMPTZ", literals=("'2026-01-02T03:04:05.6Z'", "'1900-01-01T00:00:00Z'")
    ),
    TypeSample(type_name="INTERVAL", literals=("'1 mon -1 days 00:00:00.000001'", "'00:00:00'")),
    TypeSample(type_name="STRING", literals=("'ä😀'", "''", "'NULL'", "'q\"\\b'")),
    TypeSample(type_name="STRING(10)", literals=("'short'",)),
    TypeSample(type_name="STRING COLLATE de", literals=("'Ärger'",)),
    TypeSample(type_name="CHAR(5)", literals=("'ab'", "''")),
    TypeSample(type_name="BYTES", literals=(r"'\x00ff0a5c'", r"'\x'", "NULL")),
    TypeSample(type_name="BIT(4)", literals=("'1011'",)),
    TypeSample(type_name="VARBIT", literals=("'1'", "''")),
    TypeSample(type_name="UUID", literals=("'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'",)),
    TypeSample(type_name="INET", literals=("'::1'", "'10.0.0.0/8'")),
    TypeSample(
        type_name="JSONB",
        literals=("""'{"a": [1, 2.50], "b": null, "c": "\u00e4"}'""", "'null'", "NULL", "'\"t\"'"),
    ),
    TypeSample(
        type_name="GEOMETRY", literals=("""'{"coordinates": [1.5, -2], "type": "Point"}'""",)
    ),
    TypeSample(type_name="INT8[]", literals=("'{1,NULL,-3}'", "'{}'", "NULL")),
    TypeSample(type_name="STRING[]", literals=(r"""'{"a,b","q\"","\\","NULL",NULL,x}'""",)),
    TypeSample(type_name="DECIMAL[]", literals=("'{1.50,NaN}'",)),
    TypeSample(type_name="TSVECTOR", literals=("'''fat'':3'",)),
    TypeSample(type_name="public.mood", literals=("'sad'", "'it''s ok'", "NULL")),
    TypeSample(type_name="public.mood[]", literals=("""'{sad,"it''s ok"}'""",)),
)


class _Cockroach(SourceConformance):
    # More than the memory allowed below.
    large_rows = 3000
    version = "v25.2.1"

    @pytest.fixture(autouse=True)
    def _database(self) -> Iterator[None]:
        with CockroachDouble(version=self.version) as self.double:
            yield

    def _settings(self, tables: Sequence[str], **changes: Any) -> CockroachSettings:
        quick: dict[str, Any] = {
            "resolved_interval_s": 0.02,
            "idle_interval_s": 0.2,
            "watch_interval_s": 0.5,
            "longest_backoff_s": 0.5,
            "memory_bytes": 1 << 16,
        }
        return CockroachSettings(
            **{"dsn": self.double.dsn(), "tables": tuple(tables), **quick, **changes}
        )

    def make_source(self, tables: Sequence[str]) -> Source:
        return CockroachSource(self._settings(tables))

    def make_refused_source(self, tables: Sequence[str], password: str) -> Source:
        self.double.passwords["prism"] = "another"
        return CockroachSource(
            self._settings(tables, dsn=self.double.dsn(user="prism", password=password))
        )

    def execute(self, statements: Sequence[str], *, rollback: bool = False) -> None:
        with psycopg.connect(self.double.dsn()) as connection:
            for statement in statements:
                connection.execute(statement)  # type: ignore[arg-type]  # the suite's own SQL
            if rollback:
                connection.rollback()

    def read(self, table: str) -> dict[tuple[str, ...], dict[str, str | None]]:
        return self.double.store.rows(table)

    def lose_position(self) -> None:
        self.double.collect_garbage()

    def type_samples(self) -> Sequence[TypeSample]:
        return _TYPES


class TestCockroach(_Cockroach):
    pass


class TestCockroachBefore25(_Cockroach):
    """`EXPERIMENTAL CHANGEFEED FOR`, and JSON's null as NULL."""

    version = "v23.1.4"

    def type_samples(self) -> Sequence[TypeSample]:
        return [
            TypeSample(type_name="JSONB", literals=("'{}'", "NULL"))
            if sample.type_name == "JSONB"
            else sample
            for sample in _TYPES
        ]


def test_nothing_is_left_out() -> None:
    assert not TestCockroach.not_applicable
