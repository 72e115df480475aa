"""Whatever dies, the replica becomes equal to the table. Real servers, SIGKILL, random writers."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
from postgres_databases import Database, database

from prism.wrapper._local_postgres import LocalPostgres, find_postgres
from prism.wrapper.sources import Phase, SourceBusyError
from prism.wrapper.sources.conformance import Follower, Replica, eventually
from prism.wrapper.sources.postgres import PostgresSource

_CREATE = (
    (
        "CREATE TABLE goods (shop integer NOT NULL, id integer NOT NULL, name text, "
        "amount numeric, body text, PRIMARY KEY (shop, id))"
    ),
    # Out of line and not compressed: an update that leaves it alone does not send it.
    "ALTER TABLE goods ALTER body SET STORAGE EXTERNAL",
)
_SEED = 20_261_123


@pytest.fixture
def base(postgres: LocalPostgres) -> Iterator[Database]:
    with database(postgres) as made:
        made.alone(f"ALTER DATABASE {made.name} SET logical_decoding_work_mem = '64kB'")
        made.execute(*_CREATE)
        yield made


class Writers:
    """Threads that change `goods` at random: rollbacks, savepoints, key changes, large values."""

    def __init__(self, base: Database, count: int = 3) -> None:
        self._base = base
        self._stop = threading.Event()
        self.transactions = 0
        self._threads = [
            threading.Thread(target=self._run, args=(seed,), daemon=True) for seed in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, seed: int) -> None:
        rng = random.Random(_SEED + seed)
        connection = None
        while not self._stop.is_set():
            # A server that was killed comes back; what was not committed is written off.
            with contextlib.suppress(psycopg2.Error):
                if connection is None or connection.closed:
                    connection = self._base.connect()
                self._transaction(connection, seed, rng)
        if connection is not None:
            connection.close()

    def _transaction(
        self, connection: psycopg2.extensions.connection, seed: int, rng: random.Random
    ) -> None:
        try:
            with connection.cursor() as cursor:
                for _ in range(rng.randint(1, 6)):
                    if rng.random() < 0.2:
                        cursor.execute("SAVEPOINT s")
                        self._statement(cursor, seed, rng)
                        if rng.random() < 0.5:
                            cursor.execute("ROLLBACK TO SAVEPOINT s")
                    else:
                        self._statement(cursor, seed, rng)
            if rng.random() < 0.2:
                connection.rollback()
            else:
                connection.commit()
                self.transactions += 1
        except psycopg2.Error:
            if not connection.closed:
                connection.rollback()

    @staticmethod
    def _statement(cursor: psycopg2.extensions.cursor, seed: int, rng: random.Random) -> None:
        row = (seed, rng.randint(1, 200))
        kind = rng.random()
        if kind < 0.45:
            body = rng.choice([None, "", "x" * rng.randint(1, 20), "y" * 4000])
            cursor.execute(
                "INSERT INTO goods VALUES (%s, %s, %s, %s, %s) ON CONFLICT (shop, id) "
                "DO UPDATE SET name = excluded.name",
                (*row, f"n{rng.random()}", rng.random(), body),
            )
        elif kind < 0.7:
            cursor.execute("UPDATE goods SET amount = random() WHERE shop = %s AND id = %s", row)
        elif kind < 0.8:
            cursor.execute(
                "UPDATE goods SET id = %s WHERE shop = %s AND id = %s "
                "AND NOT EXISTS (SELECT FROM goods WHERE shop = %s AND id = %s)",
                (row[1] + 1000, *row, seed, row[1] + 1000),
            )
        elif kind < 0.95:
            cursor.execute("DELETE FROM goods WHERE shop = %s AND id = %s", row)
        elif kind < 0.99:
            cursor.execute(
                "INSERT INTO goods SELECT %s, i, 'bulk', i, repeat('z', 100) "
                "FROM generate_series(5000, 6000) i ON CONFLICT DO NOTHING",
                (seed,),
            )
        else:
            cursor.execute("DELETE FROM goods WHERE shop = %s AND id >= 5000", (seed,))

    def wait(self, more: int) -> None:
        goal = self.transactions + more
        eventually(lambda: self.transactions >= goal, f"{more} more transactions")

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()


def _settle(base: Database, follower: Follower) -> None:
    base.execute("INSERT INTO goods VALUES (99, 1, 'mark') ON CONFLICT DO NOTHING")
    follower.wait_for(lambda: follower.replica.rows.get("goods", {}) == base.read("goods"), "equal")


def test_random_writers(base: Database) -> None:
    base.execute(
        "INSERT INTO goods SELECT 0, i, 'n', i, repeat('b', 3000) FROM generate_series(1, 2000) i"
    )
    writers = Writers(base)
    follower = Follower(PostgresSource(base.settings("goods", memory_bytes=1 << 16)), Replica())
    try:
        follower.wait_for(lambda: follower.replica.position is not None, "the snapshot")
        writers.wait(150)
        writers.stop()
        _settle(base, follower)
        assert len(follower.replica.snapshots) == 1
        assert base.alone(
            f"SELECT stream_txns > 0 FROM pg_stat_replication_slots WHERE slot_name = '{base.slot}'"
        ) == [(True,)], "no transaction was streamed, so that was not tested"
    finally:
        writers.stop()
        follower.close()


@pytest.mark.parametrize("version", [15, 18])
def test_server_killed_in_stream_and_in_snapshot(version: int) -> None:
    with (
        LocalPostgres(find_postgres(version), settings={"autovacuum": "off"}) as server,
        database(server) as base,
    ):
        base.execute(*_CREATE)
        base.execute(
            "INSERT INTO goods SELECT 0, i, 'n', i, repeat('b', 3000) "
            "FROM generate_series(1, 3000) i"
        )
        writers = Writers(base, count=2)
        # Small batches keep the snapshot long enough to be hit.
        source = PostgresSource(base.settings("goods", snapshot_batch_bytes=10_000))
        follower = Follower(source, Replica())
        try:
            follower.wait_for(lambda: source.status().snapshot_rows > 100, "part of a snapshot")
            server.kill()
            server.start()
            follower.wait_for(lambda: follower.replica.position is not None, "a whole snapshot")
            for _ in range(2):
                writers.wait(20)
                server.kill()
                server.start()
            writers.wait(20)
            writers.stop()
            _settle(base, follower)
            assert source.status().reconnects >= 1
            assert len(follower.replica.snapshots) <= 2, "the stream's place was not lost"
        finally:
            writers.stop()
            follower.close()


_READER = """
import json, sys
from prism.wrapper.sources import *
from prism.wrapper.sources.conformance import Replica
from prism.wrapper.sources.postgres import PostgresSettings, PostgresSource

dsn, slot, path = sys.argv[1:]
replica = Replica()
try:
    state = json.load(open(path))
except FileNotFoundError:
    state = None
if state:
    replica.position = state["position"]
    replica.rows = {t: {tuple(k): v for k, v in rows} for t, rows in state["rows"].items()}
source = PostgresSource(PostgresSettings(dsn=dsn, tables=("goods",), slot=slot, publication=slot,
                        slot_timeout_s=30, idle_interval_s=0.2))
import os
for event in source.events(replica.position):
    position = replica.apply(event)
    if position is not None:
        kept = {"position": position, "snapshots": len(replica.snapshots),
                "rows": {t: [[k, v] for k, v in rows.items()] for t, rows in replica.rows.items()}}
        with open(path + ".new", "w") as file:
            json.dump(kept, file)
        os.replace(path + ".new", path)
        source.confirm(position)
"""


def test_reader_killed_at_random_moments(postgres18: LocalPostgres, tmp_path: Path) -> None:
    rng = random.Random(_SEED)
    path = tmp_path / "replica.json"
    with database(postgres18) as base:
        base.execute(*_CREATE)
        base.execute("INSERT INTO goods SELECT 0, i FROM generate_series(1, 300) i")
        writers = Writers(base, count=2)
        stamps = 0
        try:
            for _ in range(5):
                reader = subprocess.Popen(
                    [sys.executable, "-c", _READER, base.dsn, base.slot, path]
                )
                before = path.stat().st_mtime_ns if path.exists() else 0
                eventually(
                    lambda before=before: path.exists() and path.stat().st_mtime_ns != before,
                    "the reader keeps something",
                )
                stamps += 1
                writers.wait(rng.randint(1, 40))
                reader.send_signal(signal.SIGKILL)
                reader.wait()
        finally:
            writers.stop()
        state = json.loads(path.read_text())
        replica = Replica()
        replica.position = state["position"]
        replica.rows = {t: {tuple(k): v for k, v in rows} for t, rows in state["rows"].items()}
        follower = Follower(PostgresSource(base.settings("goods")), replica)
        try:
            _settle(base, follower)
            assert replica.snapshots == [], "it went on from what was kept"
            assert stamps == 5
        finally:
            follower.close()


def test_slot_dropped_while_it_streams(base: Database) -> None:
    follower = Follower(PostgresSource(base.settings("goods")), Replica())
    try:
        _settle(base, follower)
        base.alone(
            f"SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots "
            f"WHERE slot_name = '{base.slot}'"
        )
        deadline = iter(range(2000))
        dropped = False
        while not dropped and next(deadline) is not None:
            # The source is quick to come back; whoever is first wins.
            with contextlib.suppress(psycopg2.Error):
                base.alone(
                    f"SELECT pg_terminate_backend({(base.slot_row('active_pid') or (0,))[0] or 0})"
                )
                base.alone(f"SELECT pg_drop_replication_slot('{base.slot}')")
                dropped = True
        base.execute("INSERT INTO goods VALUES (5, 5, 'meanwhile')")
        follower.wait_for(lambda: len(follower.replica.snapshots) == 2, "a new snapshot")
        assert "slot is gone" in follower.replica.snapshots[1]
        _settle(base, follower)
    finally:
        follower.close()


def test_slot_invalidated_by_the_server() -> None:
    settings = {"autovacuum": "off", "max_slot_wal_keep_size": "1MB", "max_wal_size": "32MB"}
    with (
        LocalPostgres(find_postgres(18), settings=settings) as server,
        database(server) as base,
    ):
        base.execute(*_CREATE)
        replica = Replica()
        follower = Follower(PostgresSource(base.settings("goods")), replica)
        _settle(base, follower)
        follower.close()
        for number in range(4):
            base.execute(
                f"INSERT INTO goods SELECT 7, {number} * 10000 + i, 'n', i, repeat('b', 3000) "
                "FROM generate_series(1, 5000) i"
            )
            base.alone("SELECT pg_switch_wal()")
            base.alone("CHECKPOINT")
        assert base.slot_row("wal_status") == ("lost",)
        follower = Follower(PostgresSource(base.settings("goods")), replica)
        try:
            follower.wait_for(lambda: len(replica.snapshots) == 2, "a new snapshot")
            assert "invalidated" in replica.snapshots[1]
            _settle(base, follower)
        finally:
            follower.close()


def test_slot_that_stands_past_the_position_is_noticed(base: Database) -> None:
    replica = Replica()
    follower = Follower(PostgresSource(base.settings("goods")), replica)
    _settle(base, follower)
    follower.close()
    base.execute("INSERT INTO goods VALUES (5, 5, 'skipped by somebody')")
    base.alone("CHECKPOINT")  # a slot moves no further than the log was written
    base.alone(f"SELECT pg_replication_slot_advance('{base.slot}', pg_current_wal_lsn())")
    follower = Follower(PostgresSource(base.settings("goods")), replica)
    try:
        follower.wait_for(lambda: len(replica.snapshots) == 2, "a new snapshot")
        assert "past our position" in replica.snapshots[1]
        _settle(base, follower)
    finally:
        follower.close()


def test_idle_database_does_not_hold_the_log(base: Database) -> None:
    base.execute("CREATE TABLE busy (i integer)")
    follower = Follower(PostgresSource(base.settings("goods")), Replica())
    try:
        _settle(base, follower)
        base.execute("INSERT INTO busy SELECT generate_series(1, 20000)")
        end = base.alone("SELECT pg_current_wal_lsn()")[0][0]
        follower.wait_for(
            lambda: (
                base.alone(
                    f"SELECT confirmed_flush_lsn >= '{end}' FROM pg_replication_slots "
                    f"WHERE slot_name = '{base.slot}'"
                )
                == [(True,)]
            ),
            "the slot moves on without changes of ours",
        )
    finally:
        follower.close()


def test_slot_never_passes_what_was_confirmed(base: Database) -> None:
    """Also not while nothing was received: psycopg2's own cursor does."""
    base.execute("CREATE TABLE busy (i integer)")
    source = PostgresSource(base.settings("goods", status_interval_s=0.05))
    follower = Follower(source, Replica(), confirming=False)
    try:
        _settle(base, follower)
        begun = base.slot_row("confirmed_flush_lsn")
        told = follower.replica.position
        base.execute("INSERT INTO busy SELECT generate_series(1, 20000)")
        follower.wait_for(lambda: follower.replica.position != told, "an idle position is told")
        # By the second one the server has answered a status that followed the first.
        told = follower.replica.position
        base.execute("INSERT INTO busy SELECT generate_series(1, 20000)")
        follower.wait_for(lambda: follower.replica.position != told, "another idle position")
        assert base.slot_row("confirmed_flush_lsn") == begun
        source.confirm(follower.replica.position or "")
        follower.wait_for(
            lambda: base.slot_row("confirmed_flush_lsn") != begun, "the slot moves when confirmed"
        )
    finally:
        follower.close()


def test_consumer_that_stands_still_keeps_its_connection() -> None:
    settings = {"autovacuum": "off", "wal_sender_timeout": "1s"}
    with (
        LocalPostgres(find_postgres(15), settings=settings) as server,
        database(server) as base,
    ):
        base.execute(*_CREATE)
        source = PostgresSource(base.settings("goods"))
        events = source.events(None)
        try:
            replica = Replica()
            while replica.position is None:
                replica.apply(next(events))
            base.execute("INSERT INTO goods VALUES (1, 1)")
            while not replica.rows["goods"]:
                replica.apply(next(events))
            pid = base.slot_row("active_pid")
            # More than the socket's buffers hold, so the server waits for us while it sends.
            base.execute(
                "INSERT INTO goods SELECT 2, i, 'n', i, repeat('b', 3000) "
                "FROM generate_series(1, 10000) i"
            )
            age = "SELECT now() - '{}'::timestamptz > interval '3 s'"
            begun = base.alone("SELECT now()")[0][0]
            eventually(lambda: base.alone(age.format(begun)) == [(True,)], "three timeouts")
            assert base.slot_row("active_pid") == pid, "the server gave us up"
            while len(replica.rows["goods"]) < 10_001:
                replica.apply(next(events))
            assert source.status().reconnects == 0
        finally:
            source.close()
            events.close()


def test_unfinished_transaction_keeps_memory_bounded(postgres18: LocalPostgres) -> None:
    with database(postgres18) as base:
        base.alone(f"ALTER DATABASE {base.name} SET logical_decoding_work_mem = '64kB'")
        base.execute(*_CREATE)
        source = PostgresSource(base.settings("goods", memory_bytes=200_000))
        follower = Follower(source, Replica())
        writer = base.connect()
        try:
            _settle(base, follower)
            with writer.cursor() as cursor:
                cursor.execute(
                    "INSERT INTO goods SELECT 2, i, 'n', i, repeat('b', 300) "
                    "FROM generate_series(1, 20000) i"
                )
            follower.wait_for(lambda: source.status().spooled_bytes > 5_000_000, "spooled rows")
            assert source._spools.memory_bytes <= 200_000 + 10_000
            writer.commit()
            _settle(base, follower)
            assert source.status().spooled_bytes == 0
        finally:
            writer.close()
            follower.close()


def test_snapshot_waits_for_writers_and_names_them(base: Database) -> None:
    writer = base.connect()
    try:
        with writer.cursor() as cursor:
            cursor.execute("INSERT INTO goods VALUES (1, 1)")
        pid = writer.info.backend_pid
        source = PostgresSource(base.settings("goods", slot_timeout_s=0.3))
        with pytest.raises(SourceBusyError, match=rf"pid {pid} .*pg_terminate_backend"):
            next(source.events(None))
        source.close()
        eventually(lambda: base.slot_row("slot_name") is None, "no slot is left behind")
    finally:
        writer.close()


def test_two_sources_do_not_share_a_slot(base: Database) -> None:
    follower = Follower(PostgresSource(base.settings("goods")), Replica())
    try:
        _settle(base, follower)
        second = PostgresSource(base.settings("goods", slot_timeout_s=0.3))
        with pytest.raises(SourceBusyError, match="another wrapper"):
            next(second.events(None))
        second.close()
        _settle(base, follower)
        assert follower.source.status().phase is Phase.STREAM
    finally:
        follower.close()


def test_server_stops_while_we_stream() -> None:
    """An orderly stop waits for our position: it must come at once, not at the next interval."""
    with LocalPostgres(find_postgres(18)) as server, database(server) as base:
        base.execute(*_CREATE)
        source = PostgresSource(base.settings("goods", idle_interval_s=3600))
        follower = Follower(source, Replica())
        try:
            _settle(base, follower)
            stopper = threading.Thread(target=server.stop)
            stopper.start()
            stopper.join(20)
            assert not stopper.is_alive(), "the server waits for us"
            server.start()
            _settle(base, follower)
            assert len(follower.replica.snapshots) == 1
        finally:
            follower.close()
