"""Rows of random tables: ours beside those of mysql-replication, which reads the same log."""

from __future__ import annotations

import itertools
import random
import warnings
from collections.abc import Generator, Iterator
from typing import Any

import pytest
from mariadb_databases import MariaDatabase, maria_database

from local_mariadb import LocalMariaDB
from prism.wrapper.sources import Changes, Op
from prism.wrapper.sources.mysql import MySQLSource

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from pymysqlreplication import BinLogStreamReader
    from pymysqlreplication.row_event import DeleteRowsEvent, UpdateRowsEvent, WriteRowsEvent

TYPES = {
    "smallint": lambda d: d.randrange(-(2**15), 2**15),
    "int unsigned": lambda d: d.randrange(2**32),
    "bigint": lambda d: d.randrange(-(2**63), 2**63),
    "mediumint": lambda d: d.randrange(-(2**23), 2**23),
    "decimal(20,4)": lambda d: f"{d.randrange(-(10**15), 10**15)}.{d.randrange(10**4):04d}",
    "double": lambda d: repr(d.uniform(-1e9, 1e9)),
    "varchar(60)": lambda d: "".join(d.choice("aä€😀 '\\") for _ in range(d.randrange(60))),
    "text": lambda d: "".join(d.choice("xyzß") for _ in range(d.randrange(2000))),
    "date": lambda d: (
        f"{d.randrange(1000, 9999)}-{d.randrange(1, 13):02d}-{d.randrange(1, 29):02d}"
    ),
    "datetime(6)": lambda d: f"2{d.randrange(1000):03d}-01-02 03:04:05.{d.randrange(10**6):06d}",
    "enum('a','b','c')": lambda d: d.choice("abc"),
    "year": lambda d: d.randrange(1901, 2156),
}


@pytest.fixture
def base(mariadb: LocalMariaDB) -> Iterator[MariaDatabase]:
    with maria_database(mariadb) as made:
        yield made


def shown(value: Any) -> Any:
    """What the oracle has, as a text of ours."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float):
        return float(value)
    return str(value)


@pytest.mark.parametrize("seed", [1, 2])
def test_our_rows_are_those_of_the_oracle(base: MariaDatabase, seed: int) -> None:
    draw = random.Random(seed)
    types = draw.sample(sorted(TYPES), 8)
    columns = ", ".join(f"c{i} {name}" for i, name in enumerate(types))
    base.execute(f"CREATE TABLE t (id int PRIMARY KEY, {columns}) CHARACTER SET utf8mb4")
    source = MySQLSource(base.settings("t"))
    events = source.events(None)
    position = ""
    for event in events:
        position = getattr(event, "position", "")
        if position:
            break
    with base.server.connect(base.name) as connection, connection.cursor() as cursor:
        marks = ", ".join(["%s"] * (len(types) + 1))
        for number in range(300):
            row = [None if draw.random() < 0.2 else TYPES[name](draw) for name in types]
            cursor.execute(f"INSERT INTO t VALUES ({marks})", [number, *row])
        cursor.execute("UPDATE t SET id = id + 1000 WHERE id % 3 = 0")
        cursor.execute("DELETE FROM t WHERE id % 5 = 0")
        connection.commit()
    ours: list[Any] = []
    for event in events:
        if isinstance(event, Changes):
            ours += event.changes
        elif hasattr(event, "position"):
            break
    source.close()
    found = [(c.op, c.key, _floats(types, c.values)) for c in ours]
    theirs = _oracle(base, position.split("/")[1])
    assert found == list(itertools.islice(theirs, len(found)))
    theirs.close()
    assert len(found) > 400


def _floats(types: list[str], values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Doubles are compared as numbers: the oracle has no texts."""
    return tuple(
        float(v) if v is not None and i and types[i - 1] == "double" else v
        for i, v in enumerate(values)
    )


def _oracle(base: MariaDatabase, gtid: str) -> Generator[Any, None, None]:
    server = {"host": "127.0.0.1", "port": base.server.port, "user": "root", "password": ""}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stream = BinLogStreamReader(
            connection_settings=server,
            server_id=4242,
            blocking=True,
            is_mariadb=True,
            auto_position=gtid,
            only_events=[WriteRowsEvent, UpdateRowsEvent, DeleteRowsEvent],
        )
        try:
            for event in stream:
                for row in event.rows:
                    before = row.get("before_values") or row.get("values")
                    after = row.get("after_values") or row.get("values")
                    key, new = (str(before["id"]),), (str(after["id"]),)
                    if isinstance(event, DeleteRowsEvent):
                        yield Op.DELETE, key, ()
                        continue
                    if key != new:
                        yield Op.DELETE, key, ()
                    yield Op.UPSERT, new, tuple(map(shown, after.values()))
        finally:
            stream.close()
