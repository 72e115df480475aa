"""A TiDB source keeps the contract of a source, between doubles of TiDB and TiCDC."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tidb_double import TicdcDouble, TidbDouble
from tidb_store import Store

from prism.wrapper.sources import Source
from prism.wrapper.sources.conformance import SourceConformance, TypeSample
from prism.wrapper.sources.tidb import TidbSettings, TidbSource

_TOKEN = "a-token-of-the-tests"  # noqa: S105
_TYPES = (
    TypeSample(type_name="tinyint(1)", literals=("0", "1", "NULL")),
    TypeSample(type_name="smallint", literals=("-32768", "32767")),
    TypeSample(type_name="mediumint", literals=("-8388608", "8388607")),
    TypeSample(type_name="int(10) unsigned", literals=("0", "4294967295")),
    TypeSample(type_name="bigint", literals=("-9223372036854775808", "9223372036854775807")),
    TypeSample(type_name="bigint(20) unsigned", literals=("'18446744073709551615'", "'0'", "NULL")),
    TypeSample(type_name="bit(10)", literals=("81", "1023", "0")),
    TypeSample(type_name="float", literals=("1.1", "-0.5", "153.123", "3.0")),
    TypeSample(type_name="double", literals=("0.1", "1e20", "-2.5", "7.0", "NULL")),
    TypeSample(type_name="decimal(20,4)", literals=("1.5", "'-9999999999999999.9999'", "0")),
    TypeSample(type_name="date", literals=("'0000-00-00'", "'2000-01-01'", "'9999-12-31'")),
    TypeSample(type_name="time(6)", literals=("'-838:59:59.000000'", "'23:59:59.123456'")),
    TypeSample(type_name="datetime", literals=("'2015-12-20 23:58:58'", "NULL")),
    TypeSample(type_name="timestamp(3)", literals=("'1973-12-30 15:30:00.125'",)),
    TypeSample(type_name="year", literals=("1970", "2155", "0")),
    TypeSample(type_name="char(5)", literals=("'ab'", "''", "'测试'")),
    TypeSample(type_name="varchar(20)", literals=("'ä😀'", "''", "'a\tb\\\"c'", "NULL")),
    TypeSample(type_name="tinytext", literals=("'5rWL6K+VdGV4dA=='", "'ü'")),
    TypeSample(type_name="mediumtext", literals=("'line\none'", "NULL")),
    TypeSample(type_name="longtext", literals=("'<&>'",)),
    TypeSample(type_name="binary(4)", literals=("X'00ff'", "X'0a5c2227'")),
    TypeSample(
        type_name="varbinary(16)", literals=("X'05070a0f24322b6378'", "X'3c26fffe2d37'", "X''")
    ),
    TypeSample(type_name="tinyblob", literals=("X'89504e470d0a1a0a'", "NULL")),
    TypeSample(type_name="blob", literals=("X''", "X'c3a4'")),
    TypeSample(type_name="longblob", literals=("X'504b0304'",)),
    TypeSample(type_name="enum('a','it''s','3')", literals=("'it''s'", "'a'", "'3'", "NULL")),
    TypeSample(type_name="set('x','y','z')", literals=("'x,z'", "''", "'y'", "NULL")),
    TypeSample(type_name="json", literals=("""'{"a": [1, 2.50], "b": null}'""", "'null'", "NULL")),
)


class _Tidb(SourceConformance):
    encoding = "canal-json"
    partitions = 1
    large_rows = 3000

    @pytest.fixture(autouse=True)
    def _database(self, tmp_path: Path) -> Iterator[None]:
        self.spool = tmp_path / "spool"
        self.store = Store()
        self.database = TidbDouble(self.store)
        self.source: TidbSource | None = None
        ticdc = TicdcDouble(
            self.store,
            self._port,
            token=_TOKEN,
            encoding=self.encoding,
            partitions=self.partitions,
        )
        yield
        ticdc.close()
        self.database.close()
        self.store.close()

    def _port(self) -> int | None:
        return self.source.port if self.source is not None else None

    def _settings(self, tables: Sequence[str], **others: object) -> TidbSettings:
        given = {
            "dsn": self.database.dsn(),
            "listen_port": 0,
            "partitions": self.partitions,
            # Small, so that segments end and pushes are refused.
            "memory_bytes": 1 << 18,
            "segment_bytes": 1 << 16,
            **others,
        }
        return TidbSettings(tables=tuple(tables), spool=self.spool, token=_TOKEN, **given)

    def make_source(self, tables: Sequence[str]) -> Source:
        self.source = TidbSource(self._settings(tables))
        return self.source

    def make_refused_source(self, tables: Sequence[str], password: str) -> Source:
        return TidbSource(self._settings(tables, dsn=self.database.dsn(password)))

    def execute(self, statements: Sequence[str], *, rollback: bool = False) -> None:
        self.store.execute(statements, rollback=rollback)

    def read(self, table: str) -> dict[tuple[str, ...], dict[str, str | None]]:
        return self.store.read(table)

    def lose_position(self) -> None:
        shutil.rmtree(self.spool)

    def type_samples(self) -> Sequence[TypeSample]:
        return _TYPES


class TestByCanalJson(_Tidb):
    pass


class TestByOpenProtocolInPartitions(_Tidb):
    encoding = "open-protocol"
    partitions = 3


def test_nothing_is_left_out() -> None:
    assert not TestByCanalJson.not_applicable
