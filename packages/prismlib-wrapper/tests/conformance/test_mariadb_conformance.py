"""MariaDB of the system's packages keeps the contract of a source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from mariadb_databases import MariaDatabase, maria_database

from local_mariadb import LocalMariaDB
from prism.wrapper.sources import Source
from prism.wrapper.sources.conformance import SourceConformance, TypeSample
from prism.wrapper.sources.mysql import MySQLSource

_TYPES = (
    TypeSample(type_name="tinyint", literals=("-128", "127", "NULL")),
    TypeSample(type_name="tinyint(1)", literals=("0", "1", "2")),
    TypeSample(type_name="tinyint unsigned", literals=("0", "255")),
    TypeSample(type_name="smallint", literals=("-32768", "32767", "NULL")),
    TypeSample(type_name="smallint unsigned", literals=("65535",)),
    TypeSample(type_name="mediumint", literals=("-8388608", "8388607")),
    TypeSample(type_name="mediumint unsigned", literals=("16777215", "1")),
    TypeSample(type_name="int unsigned", literals=("4294967295", "0")),
    TypeSample(type_name="int(7) zerofill", literals=("42", "NULL")),
    TypeSample(type_name="bigint", literals=("-9223372036854775808", "9223372036854775807")),
    TypeSample(type_name="bigint unsigned", literals=("18446744073709551615", "1")),
    TypeSample(type_name="decimal(1,0)", literals=("-9", "0", "NULL")),
    TypeSample(type_name="decimal(20,4)", literals=("1.5", "-9999999999999999.9999", "0")),
    TypeSample(type_name="decimal(65,30)", literals=("9" * 35 + "." + "9" * 30, "-0.1", "1e-30")),
    TypeSample(type_name="decimal(18,9)", literals=("123456789.987654321", "-0.000000001")),
    TypeSample(type_name="decimal(10,10) unsigned", literals=("0.0123456789",)),
    TypeSample(type_name="float", literals=("1.1", "3.402823e38", "1e-38", "-0.5", "16777216")),
    TypeSample(type_name="float(7,2)", literals=("1.25", "12345.67")),
    TypeSample(
        type_name="double",
        literals=("0.1", "1e15", "1e-5", "5e-324", "1.7976931348623157e308", "1e22", "-123.25"),
    ),
    TypeSample(type_name="bit(1)", literals=("b'1'", "b'0'", "NULL")),
    TypeSample(type_name="bit(64)", literals=("0xffffffffffffffff", "1")),
    TypeSample(type_name="bit(11)", literals=("2047", "1024")),
    TypeSample(type_name="date", literals=("'9999-12-31'", "'0000-00-00'", "'2024-02-29'")),
    TypeSample(type_name="time", literals=("'-838:59:59'", "'838:59:59'", "'00:00:00'")),
    TypeSample(type_name="time(1)", literals=("'-00:00:00.1'", "'12:34:56.7'")),
    TypeSample(type_name="time(3)", literals=("'-00:00:01.001'", "'-01:00:00'", "'00:00:00.5'")),
    TypeSample(type_name="time(6)", literals=("'-838:59:58.999999'", "'-00:00:00.000001'")),
    TypeSample(type_name="datetime", literals=("'9999-12-31 23:59:59'", "'0000-00-00'")),
    TypeSample(type_name="datetime(3)", literals=("'2024-01-02 03:04:05.678'", "NULL")),
    TypeSample(type_name="datetime(6)", literals=("'1000-01-01 00:00:00.000001'",)),
    TypeSample(type_name="timestamp NULL", literals=("'2024-07-01 12:00:00'", "0", "NULL")),
    TypeSample(type_name="timestamp(6) NULL", literals=("'2038-01-19 03:14:07.999999'",)),
    TypeSample(type_name="year", literals=("1901", "2155", "0")),
    TypeSample(type_name="char(5)", literals=("'ab'", "''", "'ä😀'")),
    TypeSample(type_name="char(255)", literals=("REPEAT('ä', 255)", "'x'")),
    TypeSample(type_name="varchar(10)", literals=("'ä😀 '", "''")),
    TypeSample(type_name="varchar(300)", literals=("REPEAT('long ', 60)",)),
    TypeSample(type_name="binary(5)", literals=("'ab'", "0x0000000000", "0xff0a5c0900")),
    TypeSample(type_name="varbinary(9)", literals=("0x00ff0a5c", "''", "0x00")),
    TypeSample(type_name="tinyblob", literals=("0x0001fe",)),
    TypeSample(type_name="blob", literals=("REPEAT(0x00ff, 500)", "''")),
    TypeSample(type_name="mediumblob", literals=("REPEAT('m', 70000)", "NULL")),
    TypeSample(type_name="longblob", literals=("0x80",)),
    TypeSample(type_name="tinytext", literals=("'tiny ß'",)),
    TypeSample(type_name="mediumtext", literals=("REPEAT('ü', 40000)", "''")),
    TypeSample(type_name="longtext", literals=(r"'tab\tline\nback\\slash'",)),
    TypeSample(type_name="text CHARACTER SET latin1", literals=("'é€ß'", "x'818d8f909d'")),
    TypeSample(type_name="varchar(20) CHARACTER SET latin2", literals=("'łódź'",)),
    TypeSample(type_name="varchar(20) CHARACTER SET cp1251", literals=("'привет'",)),
    TypeSample(type_name="varchar(20) CHARACTER SET sjis", literals=("'日本'",)),
    TypeSample(type_name="char(20) CHARACTER SET ucs2", literals=("'ä€'",)),
    TypeSample(type_name="varchar(20) CHARACTER SET utf32", literals=("'😀'",)),
    TypeSample(type_name="text CHARACTER SET utf16le", literals=("'ä😀'",)),
    TypeSample(type_name="json", literals=("""'{"a": [1, 2.50], "ä": null}'""", "'1e400'")),
    TypeSample(type_name="enum('small','it''s','ä,b')", literals=("'it''s'", "'ä,b'", "NULL")),
    TypeSample(type_name="set('a','b','c d')", literals=("'a,c d'", "''", "'b'")),
    TypeSample(type_name="geometry", literals=("ST_GeomFromText('LINESTRING(0 0,1 2.5)')",)),
    TypeSample(type_name="point", literals=("POINT(1.5, -2)", "NULL")),
    TypeSample(
        type_name="uuid",
        literals=(
            "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'",
            "'018f3d5c-0000-7000-8000-000000000000'",
            "'123e4567-e89b-12d3-a456-426655440000'",
            "'00000000-0000-0000-0000-000000000000'",
        ),
    ),
    TypeSample(type_name="inet6", literals=("'::1'", "'fe80::1:0'", "'::ffff:10.0.0.1'")),
    TypeSample(type_name="inet4", literals=("'10.0.0.0'", "'255.255.255.255'")),
    TypeSample(type_name="blob COMPRESSED", literals=("REPEAT('z', 900)", "''", "'short'")),
    TypeSample(type_name="varchar(500) COMPRESSED", literals=("REPEAT('ä', 400)", "''")),
    TypeSample(type_name="int AS (id + 1) STORED", literals=("DEFAULT",)),
    TypeSample(type_name="int AS (id + 2) VIRTUAL", literals=("DEFAULT",)),
    TypeSample(type_name="int INVISIBLE", literals=()),
)


class TestMariaDB(SourceConformance):
    base: MariaDatabase
    large_rows = 8_000

    @pytest.fixture(autouse=True)
    def _database(self, mariadb: LocalMariaDB) -> Iterator[None]:
        with maria_database(mariadb) as self.base:
            yield

    def make_source(self, tables: Sequence[str]) -> Source:
        return MySQLSource(self.base.settings(*tables, snapshot_batch_bytes=1 << 16))

    def make_refused_source(self, tables: Sequence[str], password: str) -> Source:
        user = f"refused_{self.base.name}"
        self.base.server.execute(f"CREATE USER {user}@'%' IDENTIFIED BY 'another'")
        dsn = self.base.server.dsn(database=self.base.name, user=user, password=password)
        return MySQLSource(self.base.settings(*tables, dsn=dsn))

    def execute(self, statements: Sequence[str], *, rollback: bool = False) -> None:
        self.base.execute(*statements, rollback=rollback)

    def read(self, table: str) -> dict[tuple[str, ...], dict[str, str | None]]:
        return self.base.read(table)

    def lose_position(self) -> None:
        self.base.server.execute("RESET MASTER")

    def type_samples(self) -> Sequence[TypeSample]:
        return [sample for sample in _TYPES if sample.literals]


def test_nothing_is_left_out() -> None:
    assert not TestMariaDB.not_applicable
