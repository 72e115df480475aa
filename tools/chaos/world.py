"""A database, a wrapper, an app, the links between them, and whether all hold the same rows."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import psycopg2

from chaos.app import App, digest
from chaos.disk import Disk
from chaos.link import Link
from chaos.shop import SETUP, Rows, fill, read_rows
from chaos.wrapper import Wrapper
from prism.wrapper._local_postgres import LocalPostgres, find_postgres
from prismresonance.embed import StaticEmbedder

__all__ = ["BrokenPromiseError", "World"]

_TENANT = "chaos"
_ROLE, _DATABASE = "prism", "shop"
_PASSWORD = "only-for-this-run"  # noqa: S105 - of a server that lives as long as we do
_EQUAL_S = 90.0
_SLOT_S = 30.0
_STEP_S = 0.05
_SHOWN, _SHOWN_CHARS = 5, 300
# The replica keeps components as int16; two texts are never that near.
_STEP_OF_INT16 = 4e-5
_LOG_KEPT_BYTES = 48 << 20
_SETTINGS = {
    # Little, so that transactions are streamed before they end.
    "logical_decoding_work_mem": "64kB",
    "deadlock_timeout": "100ms",
    # How soon the server gives up on a link that went silent, and frees its slot.
    "wal_sender_timeout": "5s",
    "max_wal_size": "64MB",
}


class BrokenPromiseError(AssertionError):
    """What must always hold did not."""


class World:
    """Everything, running. Not thread-safe.

    Args:
        version: Of PostgreSQL: 15 or 18.
        base_rows: How many rows a snapshot has at least.
        disk_bytes: Of the change log's disk.
    """

    tenant_id = _TENANT

    def __init__(self, *, version: int, base_rows: int, disk_bytes: int = 512 << 20) -> None:
        self._base_rows = base_rows
        self._disk_bytes = disk_bytes
        self._embedder = StaticEmbedder()
        self._closing = ExitStack()
        self.app: App | None = None
        self.seen_rows = 0
        try:
            self._start(version)
        except BaseException:
            self.close()
            raise

    def _start(self, version: int) -> None:
        folder = tempfile.TemporaryDirectory(prefix="prism-chaos-", ignore_cleanup_errors=True)
        self.folder = Path(self._closing.enter_context(folder))
        # Durable: a server that loses commits when it is killed proves nothing.
        server = LocalPostgres(find_postgres(version), durable=True, settings=_SETTINGS)
        self._closing.callback(server.close)
        self.server = server.start()
        self._make_database()
        self.database_link = self._closing.enter_context(Link(server.port))
        self.disk = Disk(self.folder / "log", self._disk_bytes)
        self._closing.callback(self.disk.close)
        self.wrapper = Wrapper(
            self.folder,
            self.disk.folder,
            dsn=f"host=127.0.0.1 port={self.database_link.port} dbname={_DATABASE} user={_ROLE} "
            f"password={_PASSWORD}",
            tenant_id=_TENANT,
        )
        self._closing.callback(self.wrapper.kill)
        self.driver_link = self._closing.enter_context(Link(self.wrapper.port))
        self.wrapper.start()
        self.wrapper.wait()
        self.start_app()

    @property
    def dsn(self) -> str:
        """The database for writers, past the link, as the tables' owner."""
        return self.server.dsn(database=_DATABASE, user=_ROLE, password=_PASSWORD)

    def close(self) -> None:
        """End everything."""
        app, self.app = self.app, None
        if app is not None:
            app.close()
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # Its parts.

    def start_app(self, *, keeps: bool = True) -> None:
        """Start an app, with the snapshot that the last one left.

        Args:
            keeps: Whether it does; the file is written twice a second, which large ones are not
                made for.
        """
        kept = self.folder / "replica" if keeps else None
        self.app = App(self.driver_link.port, _TENANT, kept)

    def kill_app(self) -> None:
        """Kill the app; what it saw until then is checked first."""
        if self.app is not None:
            self._check_seen(self.app)
            self.app.kill()
            self.app = None

    def kill_wrapper(self) -> None:
        """Kill the wrapper, and compare what the database was told with what is on disk.

        Raises:
            BrokenPromiseError: The database was told more.
        """
        self.wrapper.kill()
        if self.server.pid is not None:
            self._check_confirmed()

    def drop_slot(self) -> None:
        """Drop the wrapper's slot under it, as an impatient administrator does."""
        deadline = time.monotonic() + _SLOT_S
        while True:
            try:
                self.execute(
                    "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots "
                    "WHERE slot_name = %s AND active",
                    self.wrapper.slot,
                )
                self.execute("SELECT pg_drop_replication_slot(%s)", self.wrapper.slot)
            except (psycopg2.errors.ObjectInUse, psycopg2.errors.UndefinedObject):
                if time.monotonic() > deadline:
                    raise
                time.sleep(_STEP_S)
            else:
                return

    def begin_snapshot(self, *, first: bool, bytes_per_s: float) -> None:
        """Have the wrapper read all rows anew, slowly, and wait until it does.

        Args:
            first: The wrapper has nothing to serve meanwhile: its log is gone.
            bytes_per_s: How fast the rows come.
        """
        fill(self.dsn, self._base_rows)
        if first:
            self.kill_wrapper()
            self.wrapper.forget()
            self.database_link.throttle(bytes_per_s)
            self.wrapper.start()
        else:
            self.database_link.throttle(bytes_per_s)
            self.drop_slot()
        self._until(self.is_in_snapshot, _EQUAL_S, "the wrapper begins no snapshot")

    def await_stream(self) -> None:
        """Wait until no snapshot is being read or written."""
        why = f"a snapshot does not end:\n{self.wrapper.said()}"
        self._until(lambda: not self.is_in_snapshot(), _EQUAL_S, why)

    def is_in_snapshot(self) -> bool:
        """Whether a snapshot is being read or written."""
        if self.wrapper.log_state().snapshot_rows is not None:
            return True
        return bool(self.execute("SELECT 1 FROM pg_stat_progress_copy WHERE command = 'COPY TO'"))

    def execute(self, statement: str, *arguments: object) -> list[tuple[Any, ...]]:
        """Run a statement as the superuser, committed at once."""
        with closing(psycopg2.connect(self.server.dsn(database=_DATABASE))) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement, arguments or None)
                return cursor.fetchall() if cursor.description else []

    def shows(self) -> str:
        """How the app tells that its rows may be old; empty if it does not."""
        status = None if self.app is None else self.app.status()
        if status is None:
            return "not connected yet"
        if not status.is_connected:
            return "not connected"
        if status.lag_s is None:
            return "of unknown age"
        return f"{status.lag_s:.1f} s old" if status.lag_s > 1.5 else ""

    # What must hold.

    def check_equal(self) -> int:
        """Wait until the app has exactly the rows that the database has; gives how many.

        Raises:
            BrokenPromiseError: It does not come to that, or something was seen on the way that
                must never be seen.
        """
        written_at = self._mark()
        expected = read_rows(self.dsn)
        digests = {table: digest(rows) for table, rows in expected.items()}

        def is_equal() -> bool:
            self.wrapper.check()
            return self.app is not None and self.app.digests() == digests

        try:
            self._until(is_equal, _EQUAL_S, "")
        except TimeoutError:
            raise BrokenPromiseError(self._difference(expected)) from None
        for table in expected:
            self._check_vectors(table)
        if self.app is not None:
            self._check_seen(self.app)
        self._check_slot(written_at)
        return sum(map(len, expected.values()))

    def check_log_is_freed(self) -> None:
        """See that the database keeps no more of its log for us than it needs.

        Raises:
            BrokenPromiseError: It keeps all of it.
        """
        self.execute("CREATE TABLE IF NOT EXISTS of_nobodys_concern (filling text)")
        for _ in range(4):
            self.execute(
                "INSERT INTO of_nobodys_concern SELECT repeat(md5(n::text), 50) "
                "FROM generate_series(1, 10000) AS n"
            )

        def is_freed() -> bool:
            self.wrapper.check()
            # A slot lets go at points that checkpoints write.
            self.execute("CHECKPOINT")
            ((kept,),) = self.execute(
                "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) "
                "FROM pg_replication_slots WHERE slot_name = %s",
                self.wrapper.slot,
            )
            return bool(kept < _LOG_KEPT_BYTES // 4)

        try:
            self._until(is_freed, _EQUAL_S, "")
        except TimeoutError:
            raise BrokenPromiseError("the slot makes the database keep its log") from None
        self.execute("DROP TABLE of_nobodys_concern")

    def _mark(self) -> int:
        """Write a last row; gives a place in the log before its commit."""
        with (
            closing(psycopg2.connect(self.dsn)) as connection,
            connection,
            connection.cursor() as c,
        ):
            c.execute(
                "INSERT INTO products VALUES (0, 'the last one', 0, 0) "
                "ON CONFLICT (id) DO UPDATE SET stock = products.stock + 1"
            )
            c.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")
            found = c.fetchone()
            return int(found[0]) if found else 0

    def _check_vectors(self, table: str) -> None:
        if self.app is None:
            return
        texts, vectors = self.app.vectors(table)
        expected = self._embedder.embed(texts)
        wrong = np.flatnonzero(
            ~np.isclose(vectors, expected, rtol=0, atol=_STEP_OF_INT16).all(axis=1)
        )
        if len(wrong):
            raise BrokenPromiseError(
                f"{len(wrong)} of {len(texts)} vectors of {table} are not those of their texts, "
                f"such as that of {texts[wrong[0]]!r}"
            )

    def _check_seen(self, app: App) -> None:
        try:
            seen = app.seen()
        except RuntimeError:
            return
        self.seen_rows += seen.rows
        if seen.ghosts:
            raise BrokenPromiseError(f"what was rolled back was seen: {', '.join(seen.ghosts)}")
        if seen.backwards:
            raise BrokenPromiseError(f"{seen.backwards} marks went backwards")
        if seen.failure:
            raise BrokenPromiseError(f"the second subscriber ended: {seen.failure}")

    def _check_slot(self, written_at: int) -> None:
        """See that the database may forget its log up to the last row, by one slot alone."""
        found: list[tuple[Any, ...]] = []

        def is_told() -> bool:
            found[:] = self.execute(
                "SELECT slot_name, confirmed_flush_lsn - '0/0'::pg_lsn FROM pg_replication_slots"
            )
            return len(found) == 1 and int(found[0][1] or 0) >= written_at

        try:
            self._until(is_told, _SLOT_S, "")
        except TimeoutError:
            raise BrokenPromiseError(
                f"the slots are {found}; one was expected, beyond {written_at}"
            ) from None

    def _check_confirmed(self) -> None:
        slot: list[tuple[Any, ...]] = []

        def is_left() -> bool:
            slot[:] = self.execute(
                "SELECT active, confirmed_flush_lsn - '0/0'::pg_lsn FROM pg_replication_slots "
                "WHERE slot_name = %s",
                self.wrapper.slot,
            )
            return not slot or not slot[0][0]

        self._until(is_left, _SLOT_S, "the slot stays in use though its reader is dead")
        state = self.wrapper.log_state()
        # While a snapshot is built the slot is of that one, and nobody resumes from it.
        if (
            not slot
            or slot[0][1] is None
            or state.position is None
            or state.snapshot_rows is not None
        ):
            return
        if int(slot[0][1]) > state.position:
            raise BrokenPromiseError(
                f"the database was told {slot[0][1]}, the change log holds {state.position}"
            )

    def _difference(self, expected: dict[str, Rows]) -> str:
        status = None if self.app is None else self.app.status()
        told = [f"the replica is not the table after {_EQUAL_S:g} s; {status}"]
        for table, rows in expected.items():
            try:
                found = {} if self.app is None else self.app.rows(table)
            except RuntimeError as error:
                told.append(str(error))
                continue
            wrong = sorted(
                row_id for row_id in {*rows, *found} if rows.get(row_id) != found.get(row_id)
            )
            told.append(
                f"{table}: {len(rows)} rows, the replica has {len(found)}, {len(wrong)} differ"
            )
            for row_id in wrong[:_SHOWN]:
                held = self.wrapper.holds(table, row_id)
                for who, what in (
                    ("table", rows.get(row_id)),
                    ("log", held),
                    ("replica", found.get(row_id)),
                ):
                    told.append(f"  {row_id} {who}: {what}"[:_SHOWN_CHARS])
        return "\n".join([*told, "the wrapper said:", self.wrapper.said()])

    def _until(self, what: Callable[[], bool], seconds: float, why: str) -> None:
        deadline = time.monotonic() + seconds
        while not what():
            if time.monotonic() > deadline:
                raise TimeoutError(why)
            time.sleep(_STEP_S)

    def _make_database(self) -> None:
        admin = psycopg2.connect(self.server.dsn())
        admin.autocommit = True
        with closing(admin), admin.cursor() as cursor:
            cursor.execute(f"CREATE ROLE {_ROLE} LOGIN REPLICATION PASSWORD '{_PASSWORD}'")
            cursor.execute(f"CREATE DATABASE {_DATABASE} OWNER {_ROLE}")
        connection = psycopg2.connect(self.dsn)
        with closing(connection), connection, connection.cursor() as cursor:
            cursor.execute(SETUP)
