"""The stream may tell a commit long before other sessions see it; a silent link tells nothing."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import psycopg2
import pytest
from postgres_databases import Database, database

from chaos.link import Link
from prism.wrapper._local_postgres import LocalPostgres
from prism.wrapper.sources import Phase
from prism.wrapper.sources.conformance import Follower, Replica, eventually
from prism.wrapper.sources.postgres import PostgresSource
from prism.wrapper.sources.postgres._session import Session

_LARGE = "large" * 2000


@pytest.fixture
def base(postgres: LocalPostgres) -> Iterator[Database]:
    with database(postgres) as made:
        made.execute(
            "CREATE TABLE moving (id integer PRIMARY KEY, body text)",
            "ALTER TABLE moving ALTER body SET STORAGE EXTERNAL",
            f"INSERT INTO moving VALUES (1, '{_LARGE}')",
        )
        yield made


@contextlib.contextmanager
def _nothing_becomes_visible(base: Database) -> Iterator[None]:
    """Have commits wait, on disk and in the stream, for a standby that does not exist."""
    try:
        base.alone("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        base.alone("SELECT pg_reload_conf()")
        eventually(
            lambda: base.alone("SHOW synchronous_standby_names") == [("nobody",)],
            "the setting to be taken",
        )
        yield
    finally:
        base.alone("ALTER SYSTEM RESET synchronous_standby_names")
        base.alone("SELECT pg_reload_conf()")


def _commit_durably(base: Database, statement: str) -> None:
    connection = psycopg2.connect(base.admin_dsn)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET synchronous_commit = on")
            cursor.execute(statement)
        connection.commit()
    finally:
        connection.close()


def test_a_row_that_moved_is_read_again_once_its_commit_is_visible(base: Database) -> None:
    source = PostgresSource(base.settings("moving"))
    replica = Replica()
    follower = Follower(source, replica)
    try:
        follower.wait_for(lambda: source.status().phase is Phase.STREAM, "the stream")
        with _nothing_becomes_visible(base):
            # Leaves out `body`, which the new key's row nowhere has: it is read from the table.
            writer = threading.Thread(
                target=_commit_durably, args=(base, "UPDATE moving SET id = 2")
            )
            writer.start()
            follower.wait_for(lambda: len(source._horizon) > 0, "the commit to be told")
            assert base.alone("SELECT id FROM moving") == [(1,)]
        writer.join()
        follower.wait_for(
            lambda: replica.rows["moving"] == {("2",): {"id": "2", "body": _LARGE}},
            "the row under its new key",
        )
    finally:
        follower.close()


def test_a_silent_link_is_not_called_connected(postgres18: LocalPostgres) -> None:
    with database(postgres18) as base, Link(postgres18.port) as link:
        base.execute("CREATE TABLE moving (id integer PRIMARY KEY, body text)")
        base.alone(f"CREATE ROLE far_{base.name} LOGIN SUPERUSER PASSWORD 'far'")
        dsn = f"host=127.0.0.1 port={link.port} dbname={base.name} user=far_{base.name}"
        source = PostgresSource(base.settings("moving", dsn=f"{dsn} password=far"))
        follower = Follower(source, Replica())
        try:
            follower.wait_for(lambda: source.status().phase is Phase.STREAM, "the stream")
            # Only the stream falls silent: what `status` asks goes another way.
            with source._side:
                source._side_connection().close()
                source._side_session = Session(base.admin_dsn, connect_timeout_s=10)
            link.silence()
            follower.wait_for(lambda: not source.status().connected, "the silence to be noticed")
            link.mend()
            follower.wait_for(lambda: source.status().connected, "the stream to go on")
            link.silence()
            # Nobody waits for an answer that does not come.
            follower.close()
        finally:
            link.mend(forget=True)
            source.close()
