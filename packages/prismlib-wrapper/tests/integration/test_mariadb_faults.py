"""Whatever breaks between MariaDB and the source, the replica ends as the table."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pymysql.err
import pytest
from mariadb_databases import MariaDatabase, maria_database

from local_mariadb import LocalMariaDB
from prism.wrapper.sources.conformance import Follower, Replica, eventually
from prism.wrapper.sources.errors import (
    SourceAccessError,
    SourceProtocolError,
    TableRefusedError,
)
from prism.wrapper.sources.mysql import MySQLSource

CASCADING = "FOREIGN KEY (b) REFERENCES items (id) ON DELETE CASCADE"
ITEMS = "CREATE TABLE items (id int PRIMARY KEY, name varchar(50), note text)"


@pytest.fixture(scope="module")
def server() -> Iterator[LocalMariaDB]:
    """One that tests may kill."""
    with LocalMariaDB() as made:
        yield made


@pytest.fixture
def base(server: LocalMariaDB) -> Iterator[MariaDatabase]:
    with maria_database(server) as made:
        made.execute(ITEMS, *_fill(range(2000)))
        yield made


def _fill(ids: range) -> list[str]:
    return [
        f"INSERT INTO items VALUES {', '.join(f'({i}, {i}, NULL)' for i in ids[at : at + 500])}"
        for at in range(0, len(ids), 500)
    ]


@contextmanager
def _writing(base: MariaDatabase, seed: int) -> Iterator[None]:
    """Random changes, some of them rolled back, as long as the block lasts."""
    stop = threading.Event()
    drawn = random.Random(seed)

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            one, other = drawn.randrange(3000), drawn.randrange(3000)
            with suppress(pymysql.err.Error, OSError):
                base.execute(
                    f"REPLACE INTO items VALUES ({one}, 'w{number}', REPEAT('x', {number % 900}))",
                    f"DELETE FROM items WHERE id = {other}",
                    f"UPDATE items SET id = id + 10000, note = 'moved' WHERE id = {one - 1}",
                    f"DELETE FROM items WHERE id > {10000 + other}",
                    rollback=number % 7 == 0,
                )

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        stop.set()
        writer.join()


def _cut(base: MariaDatabase) -> None:
    """End every connection of the source, as an impatient administrator would."""
    for number, command in base.rows("SELECT id, command FROM information_schema.processlist"):
        if command in ("Binlog Dump", "Query", "Sleep"):
            with suppress(pymysql.err.Error):
                base.server.execute(f"KILL {number}")


def _crash(base: MariaDatabase) -> None:
    base.server.kill()
    base.server.start()


def _restart(base: MariaDatabase) -> None:
    base.server.stop()
    base.server.start()


def _freeze(base: MariaDatabase) -> None:
    pid = base.server.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    threading.Event().wait(0.7)
    os.kill(pid, signal.SIGCONT)


def _rotate(base: MariaDatabase) -> None:
    base.server.execute("FLUSH BINARY LOGS")


FAULTS = (_cut, _crash, _restart, _freeze, _rotate)


def _settle(base: MariaDatabase, follower: Follower) -> None:
    follower.wait_for(
        lambda: follower.replica.rows.get("items") == base.read("items"), "the replica is the table"
    )


@pytest.mark.parametrize("fault", FAULTS)
def test_survives_in_the_stream(base: MariaDatabase, fault: Callable[..., None]) -> None:
    replica = Replica()
    follower = Follower(MySQLSource(base.settings("items")), replica)
    try:
        follower.wait_for(lambda: replica.position is not None, "the snapshot")
        with _writing(base, seed=1):
            begun = replica.events
            follower.wait_for(lambda: replica.events > begun + 20, "the stream")
            fault(base)
            begun = replica.events
            follower.wait_for(lambda: replica.events > begun + 20, "the stream goes on")
        _settle(base, follower)
        assert len(replica.snapshots) == 1
    finally:
        follower.close()


@pytest.mark.parametrize("fault", [_cut, _crash])
def test_survives_in_the_snapshot(base: MariaDatabase, fault: Callable[..., None]) -> None:
    replica = Replica()
    reached, go_on = threading.Event(), threading.Event()

    class Slow(MySQLSource):
        def events(self, resume: str | None):  # type: ignore[no-untyped-def]
            for number, event in enumerate(super().events(resume)):
                if number == 3:
                    reached.set()
                    go_on.wait(60)
                yield event

    source = Slow(base.settings("items", snapshot_batch_bytes=1024))
    follower = Follower(source, replica)
    try:
        assert reached.wait(60)
        fault(base)
        go_on.set()
        with _writing(base, seed=2):
            follower.wait_for(lambda: replica.position is not None, "the snapshot")
        _settle(base, follower)
    finally:
        go_on.set()
        follower.close()


def test_goes_on_after_a_consumer_that_died(base: MariaDatabase) -> None:
    """At many places, each with a source of its own and the position that was on disk."""
    replica = Replica()
    for seed in range(5):
        follower = Follower(MySQLSource(base.settings("items")), replica)
        with _writing(base, seed=seed):
            begun = replica.events
            follower.wait_for(lambda begun=begun: replica.events > begun + 8, "the stream")
            follower.close()
    follower = Follower(MySQLSource(base.settings("items")), replica)
    try:
        _settle(base, follower)
        assert len(replica.snapshots) == 1
    finally:
        follower.close()


def test_a_table_emptied_while_nobody_looked(base: MariaDatabase) -> None:
    replica = Replica()
    follower = Follower(MySQLSource(base.settings("items")), replica)
    follower.wait_for(lambda: replica.position is not None, "the snapshot")
    follower.close()
    base.execute("TRUNCATE TABLE items")
    base.execute(*_fill(range(5)))
    follower = Follower(MySQLSource(base.settings("items")), replica)
    try:
        _settle(base, follower)
        assert len(replica.snapshots) == 1
    finally:
        follower.close()


def test_makes_a_snapshot_when_logs_were_purged(base: MariaDatabase) -> None:
    replica = Replica()
    follower = Follower(MySQLSource(base.settings("items")), replica)
    follower.wait_for(lambda: replica.position is not None, "the snapshot")
    follower.close()
    base.execute("DELETE FROM items WHERE id < 10")
    base.server.execute("FLUSH BINARY LOGS")
    base.execute("DELETE FROM items WHERE id < 20")
    last = base.rows("SHOW BINARY LOGS")[-1][0]

    def is_purged() -> bool:
        # Not while the server still sends one of them to a reader that is gone.
        base.server.execute(f"PURGE BINARY LOGS TO '{last}'")
        return len(base.rows("SHOW BINARY LOGS")) == 1

    eventually(is_purged, "logs are purged")
    follower = Follower(MySQLSource(base.settings("items")), replica)
    try:
        follower.wait_for(lambda: len(replica.snapshots) == 2, "a second snapshot")
        _settle(base, follower)
        assert "log" in replica.snapshots[1]
    finally:
        follower.close()


def test_notices_a_log_begun_anew_with_the_same_numbers(base: MariaDatabase) -> None:
    """After RESET MASTER the server comes by our position again, with another history."""
    replica = Replica()
    base.server.execute("RESET MASTER")
    base.execute("UPDATE items SET name = 'one' WHERE id = 1")
    follower = Follower(MySQLSource(base.settings("items")), replica)
    follower.wait_for(lambda: replica.position is not None, "the snapshot")
    _settle(base, follower)
    follower.close()
    base.server.execute("RESET MASTER")
    for i in range(20):
        base.execute(f"UPDATE items SET name = 'again {i}' WHERE id < 100")
    follower = Follower(MySQLSource(base.settings("items")), replica)
    try:
        follower.wait_for(lambda: len(replica.snapshots) == 2, "a second snapshot")
        _settle(base, follower)
    finally:
        follower.close()


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE items MODIFY name varchar(80) CHARACTER SET utf8mb3",
        "ALTER TABLE items ADD COLUMN made datetime NOT NULL DEFAULT '2024-01-01'",
        "RENAME TABLE items TO spare, other TO items",
        "DROP TABLE items; CREATE TABLE items LIKE other; INSERT INTO items VALUES (1, 'new', '')",
    ],
)
def test_reads_anew_what_a_statement_may_have_changed(base: MariaDatabase, statement: str) -> None:
    base.execute("CREATE TABLE other LIKE items", "INSERT INTO other VALUES (5, 'other', NULL)")
    replica = Replica()
    follower = Follower(MySQLSource(base.settings("items")), replica)
    try:
        follower.wait_for(lambda: replica.position is not None, "the snapshot")
        with base.server.connect(base.name) as connection, connection.cursor() as cursor:
            cursor.execute("BEGIN")
            for part in statement.split("; "):
                cursor.execute(part)
            connection.commit()
        try:
            follower.wait_for(lambda: len(replica.snapshots) >= 2, "a second snapshot")
        except TableRefusedError:
            pytest.fail("the table was missing for a moment alone")
        _settle(base, follower)
    finally:
        follower.close()


@pytest.mark.parametrize("variable", ["binlog_row_image=MINIMAL", "binlog_row_metadata=NO_LOG"])
def test_refuses_rows_that_are_not_whole(base: MariaDatabase, variable: str) -> None:
    name, _, value = variable.partition("=")
    base.server.execute(f"SET GLOBAL {name} = {value}")
    source = MySQLSource(base.settings("items"))
    try:
        with pytest.raises(SourceAccessError, match=f"(?s){name}.*SET GLOBAL {name} = FULL"):
            next(iter(source.events(None)))
    finally:
        source.close()
        base.server.execute(f"SET GLOBAL {name} = FULL")


def test_reads_anew_after_a_session_logged_less(base: MariaDatabase) -> None:
    replica = Replica()
    follower = Follower(MySQLSource(base.settings("items")), replica)
    try:
        follower.wait_for(lambda: replica.position is not None, "the snapshot")
        base.execute("SET SESSION binlog_row_image = MINIMAL", "UPDATE items SET note = 'less'")
        follower.wait_for(lambda: len(replica.snapshots) == 2, "a second snapshot")
        _settle(base, follower)
        assert "binlog_row_image" in replica.snapshots[1]
    finally:
        follower.close()


@pytest.mark.parametrize(
    ("made", "why"),
    [
        ("CREATE TABLE bad (a int)", "no key"),
        ("CREATE TABLE bad (a int PRIMARY KEY) ENGINE = MyISAM", "no transactions"),
        (f"CREATE TABLE bad (a int PRIMARY KEY, b int, {CASCADING})", "cascade"),
        ("CREATE TABLE bad (a int PRIMARY KEY) WITH SYSTEM VERSIONING", "system-versioned"),
        ("CREATE VIEW bad AS SELECT * FROM items", "not a table"),
    ],
)
def test_refuses_tables_that_cannot_be_followed(base: MariaDatabase, made: str, why: str) -> None:
    base.execute(made)
    source = MySQLSource(base.settings("bad"))
    with pytest.raises(TableRefusedError, match=why):
        next(iter(source.events(None)))
    source.close()


def test_refuses_times_that_the_log_does_not_describe(base: MariaDatabase) -> None:
    base.server.execute("SET GLOBAL mysql56_temporal_format = OFF")
    try:
        base.execute("CREATE TABLE old (id int PRIMARY KEY, at datetime(3), plain datetime)")
        replica = Replica()
        follower = Follower(MySQLSource(base.settings("old")), replica)
        follower.wait_for(lambda: replica.position is not None, "the snapshot")
        base.execute("INSERT INTO old VALUES (1, '2024-01-02 03:04:05.678', '2024-01-02 03:04:05')")
        with pytest.raises(SourceProtocolError, match="ALTER TABLE"):
            follower.wait_for(lambda: bool(replica.rows["old"]), "the row")
        with pytest.raises(SourceProtocolError):
            follower.close()
        base.execute("ALTER TABLE old DROP COLUMN at")
    finally:
        base.server.execute("SET GLOBAL mysql56_temporal_format = ON")


def test_reads_compressed_events(base: MariaDatabase) -> None:
    replica = Replica()
    base.server.execute(
        "SET GLOBAL log_bin_compress = ON", "SET GLOBAL log_bin_compress_min_len = 10"
    )
    follower = Follower(MySQLSource(base.settings("items")), replica)
    try:
        follower.wait_for(lambda: replica.position is not None, "the snapshot")
        base.execute(
            "UPDATE items SET note = REPEAT('compress me ', 40)", "DELETE FROM items LIMIT 9"
        )
        base.execute(*_fill(range(5000, 5500)), "TRUNCATE TABLE items", *_fill(range(7, 30)))
        _settle(base, follower)
        assert len(replica.snapshots) == 1
    finally:
        follower.close()
        base.server.execute("SET GLOBAL log_bin_compress = OFF")


def test_xa_transactions_end_as_the_table(base: MariaDatabase) -> None:
    replica = Replica()
    follower = Follower(MySQLSource(base.settings("items")), replica)
    try:
        follower.wait_for(lambda: replica.position is not None, "the snapshot")
        for name, end in (("kept", "COMMIT"), ("dropped", "ROLLBACK")):
            with base.server.connect(base.name) as connection, connection.cursor() as cursor:
                for statement in (
                    f"XA START '{name}'",
                    f"UPDATE items SET name = '{name}' WHERE id < 50",
                    f"XA END '{name}'",
                    f"XA PREPARE '{name}'",
                    f"XA {end} '{name}'",
                ):
                    cursor.execute(statement)
        base.execute("DELETE FROM items WHERE id = 77")
        _settle(base, follower)
    finally:
        follower.close()
