"""MySQL and MariaDB as a source: see `MySQLSource`.

One attempt is one walk: look at the server and the tables; go on from our position or make a
snapshot; stream until something breaks. What breaks for a while ends the attempt and the next
begins, with the position that was told last. What only a person can mend is raised.
"""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from prism.wrapper.sources._events import (
    Committed,
    SnapshotDone,
    SnapshotRows,
    SnapshotStarted,
    SourceEvent,
)
from prism.wrapper.sources._protocol import Phase, SourceStatus
from prism.wrapper.sources._types import TableId, TableSchema
from prism.wrapper.sources.errors import (
    SourceClosedError,
    SourceError,
    SourceUnavailableError,
)
from prism.wrapper.sources.mysql._assembler import Assembler, StaleError
from prism.wrapper.sources.mysql._catalogue import FollowedTable, charsets, follow, followed_digest
from prism.wrapper.sources.mysql._dump import Dump
from prism.wrapper.sources.mysql._fetch import fetch_rows
from prism.wrapper.sources.mysql._gtid import GtidSet
from prism.wrapper.sources.mysql._locate import want_compiled
from prism.wrapper.sources.mysql._position import Position, obstacle
from prism.wrapper.sources.mysql._rows import RowsPlan
from prism.wrapper.sources.mysql._server import lag_bytes, log_facts, require_server
from prism.wrapper.sources.mysql._session import LostPositionError, Session
from prism.wrapper.sources.mysql._settings import MySQLSettings
from prism.wrapper.sources.mysql._snapshot import begin, read_table
from prism.wrapper.sources.mysql._table_map import TableMap

__all__ = ["MySQLSource"]

_LOG: Final = logging.getLogger("prism.wrapper")
_FIRST_BACKOFF_S: Final = 0.1
_SILENT_S: Final = 2.5
_ANSWER_S: Final = 60.0


class MySQLSource:
    """A MySQL or MariaDB database as a `Source`.

    `events` is for one thread at a time; all else may be called from any.

    Args:
        settings: Which database, which tables, and how.
    """

    def __init__(self, settings: MySQLSettings) -> None:
        self._settings = settings
        self._closing = threading.Event()
        self._iterating = threading.Lock()
        self._dump: Dump | None = None
        self._session: Session | None = None
        self._side = threading.Lock()
        self._side_session: Session | None = None
        self._random = random.Random()  # noqa: S311  # spreads reconnects, guards nothing
        self._contacted = False
        self._told: Position | None = None
        self._void = ""
        self._confirmed: Position | None = None
        self._schemas: dict[TableId, TableSchema] = {}
        self._tables: list[FollowedTable] = []
        self._status = SourceStatus(phase=Phase.WAITING, connected=False)

    def __repr__(self) -> str:
        return f"MySQLSource({self._settings!r})"

    def events(self, resume: str | None) -> Iterator[SourceEvent]:
        """Tell what happens, for ever; see `Source.events`."""
        told = Position.parse(resume) if resume is not None else None
        if not self._iterating.acquire(blocking=False):
            raise RuntimeError("events() of this source is already being read")
        try:
            self._told = self._confirmed = told
            self._void = "first start"
            self._schemas = {}
            want_compiled()
            yield from self._attempts()
        finally:
            self._note(
                phase=Phase.CLOSED if self._closing.is_set() else Phase.WAITING, connected=False
            )
            self._iterating.release()

    def confirm(self, position: str) -> None:
        """Note what is on disk; see `Source.confirm`. The server does not ask for it."""
        confirmed = Position.parse(position)
        known = self._confirmed
        if (
            known is not None
            and type(known.done) is type(confirmed.done)
            and confirmed.done.is_within(known.done)  # type: ignore[arg-type]  # of one type
            and (confirmed.file, confirmed.offset) <= (known.file, known.offset)
        ):
            return
        self._confirmed = confirmed

    def fetch(
        self, schema: TableSchema, keys: Sequence[tuple[str, ...]]
    ) -> Mapping[tuple[str, ...], tuple[str | None, ...]]:
        """Read rows by key as they are now; see `Source.fetch`."""
        if self._closing.is_set():
            raise SourceClosedError("the source was closed")
        if not keys:
            return {}
        with self._side:
            for attempt in (1, 2):
                session = self._side_connection()
                try:
                    with session.answering_within(_ANSWER_S):
                        return fetch_rows(
                            session, schema, keys, batch_bytes=self._settings.snapshot_batch_bytes
                        )
                except SourceUnavailableError:
                    session.close()
                    self._side_session = None
                    if attempt == 2:
                        raise
        raise AssertionError

    def status(self) -> SourceStatus:
        """Tell how the source is; see `Source.status`."""
        dump, told, confirmed = self._dump, self._told, self._confirmed
        lag: int | None = None
        failure = self._status.last_error
        if not self._closing.is_set():
            try:
                with self._side:
                    session = self._side_connection()
                    with session.answering_within(_ANSWER_S):
                        if told is not None and told.file:
                            lag = lag_bytes(session, told.file, told.offset)
                        else:
                            session.rows("SELECT 1")
            except SourceError as error:
                failure = str(error)
                self._drop_side()
        is_silent = dump is not None and dump.silent_s > _SILENT_S
        return replace(
            self._status,
            connected=self._status.connected and not is_silent,
            confirmed=None if confirmed is None else str(confirmed),
            lag_bytes=lag,
            last_error=failure,
        )

    def close(self) -> None:
        """End `events` soon and free what is held; see `Source.close`."""
        self._closing.set()
        for link in (self._dump, self._session):
            if isinstance(link, Dump):
                link.close()
            elif link is not None:
                link.abort()
        side = self._side_session
        if side is not None:
            side.abort()  # who waits for its answer holds the lock
        self._drop_side()

    def _drop_side(self) -> None:
        with self._side:
            if self._side_session is not None:
                self._side_session.close()
                self._side_session = None

    # -- one attempt after another

    def _attempts(self) -> Iterator[SourceEvent]:
        backoff_s = _FIRST_BACKOFF_S
        first = time.monotonic()
        while not self._closing.is_set():
            began = time.monotonic()
            try:
                yield from self._attempt()
            except SourceClosedError:
                return
            except (StaleError, LostPositionError) as stale:
                self._told, self._void = None, _reason(stale)
                _LOG.warning("mysql: %s; a new snapshot is made", self._void)
                if time.monotonic() - began > 1.0:
                    continue
            except SourceUnavailableError as error:
                if self._closing.is_set():
                    return
                if (
                    not self._contacted
                    and time.monotonic() - first > self._settings.first_contact_s
                ):
                    raise
                if self._told is None and self._status.phase is Phase.SNAPSHOT:
                    self._void = f"the snapshot was interrupted: {error}"
                self._note(
                    phase=Phase.WAITING,
                    connected=False,
                    last_error=str(error),
                    reconnects=self._status.reconnects + int(self._contacted),
                )
                _LOG.warning("mysql: %s; trying again", error)
            # An attempt that held for a while was no failure to connect.
            if time.monotonic() - began > self._settings.longest_backoff_s:
                backoff_s = _FIRST_BACKOFF_S
            self._closing.wait(backoff_s * self._random.uniform(0.5, 1.0))
            backoff_s = min(backoff_s * 2, self._settings.longest_backoff_s)

    def _attempt(self) -> Iterator[SourceEvent]:
        settings = self._settings
        with contextlib.ExitStack() as stack:
            session = Session(settings.dsn, connect_timeout_s=settings.connect_timeout_s)
            self._session = session
            stack.callback(self._drop_session, session)
            if self._closing.is_set():
                return
            self._contacted = True
            try:
                yield from self._walk(session)
            except SourceError:
                # Whatever a connection said that was broken by `close`.
                if self._closing.is_set():
                    raise SourceClosedError("the source was closed") from None
                raise

    def _drop_session(self, session: Session) -> None:
        self._session = None
        session.close()

    def _walk(self, session: Session) -> Iterator[SourceEvent]:
        require_server(session)
        self._tables = follow(session, self._settings)
        digest = followed_digest(self._tables)
        why: str | None = self._void
        if self._told is not None:
            why = obstacle(self._told, log_facts(session, self._told), digest)
        if why is not None:
            self._told, self._void = None, why
            yield from self._snapshot(session, digest, why)
        yield from self._stream(session)

    # -- snapshot

    def _snapshot(self, session: Session, digest: str, why: str) -> Iterator[SourceEvent]:
        self._note(
            phase=Phase.SNAPSHOT, connected=True, snapshot_rows=0, snapshot_total_estimate=None
        )
        moment = begin(session, [table.facts.quoted for table in self._tables])
        # What was altered before the tables were held is what the rows are read as.
        tables = follow(session, self._settings)
        if followed_digest(tables) != digest:
            raise SourceUnavailableError("a key was altered while the snapshot began")
        self._tables = tables
        estimates = [table.facts.rows_estimate for table in tables]
        total = None if None in estimates else sum(filter(None, estimates))
        self._note(snapshot_total_estimate=total)
        self._schemas = {table.schema.table: table.schema for table in tables}
        yield SnapshotStarted(tables=tuple(table.schema for table in tables), reason=why)
        done = 0
        for table in tables:
            for batch in read_table(
                session,
                table.schema,
                table.selected,
                batch_bytes=self._settings.snapshot_batch_bytes,
            ):
                if self._closing.is_set():
                    raise SourceClosedError("the source was closed")
                done += len(batch)
                self._note(snapshot_rows=done)
                yield SnapshotRows(
                    changes=batch,
                    done_rows=done,
                    total_rows_estimate=None if total is None else max(total, done),
                )
        session.rows("COMMIT")
        self._told = Position(
            done=moment.done, file=moment.file, offset=moment.offset, tables=digest
        )
        yield SnapshotDone(position=str(self._told), committed_ns=moment.committed_ns)

    # -- stream

    def _stream(self, session: Session) -> Iterator[SourceEvent]:
        settings = self._settings
        if self._told is None:
            raise AssertionError
        told = self._told
        known_charsets = charsets(session)
        dump = Dump(settings, told)
        self._dump = dump
        try:
            if self._closing.is_set():
                return
            assembler = Assembler(
                is_mariadb=session.is_mariadb,
                followed=[(t.facts.database, t.facts.name) for t in self._tables],
                plan=lambda table: self._plan(session, known_charsets, table),
                told=self._schemas,
                known=lambda table: next(
                    (t.schema for t in self._tables if t.schema.table == table), None
                ),
                done=told.done,
                position=lambda done, file, offset: self._place(done, file, offset, told.tables),
                part_rows=settings.part_rows,
            )
            yield from self._follow(dump, assembler)
        finally:
            self._dump = None
            dump.release()

    def _follow(self, dump: Dump, assembler: Assembler) -> Iterator[SourceEvent]:
        settings = self._settings
        told_at = time.monotonic()
        passed: Committed | None = None
        concerned = False
        is_first = True
        while True:
            for packet in dump.read():
                if is_first:
                    self._note(phase=Phase.STREAM, connected=True, last_error=None)
                    is_first = False
                for event in assembler.feed(packet):
                    if not isinstance(event, Committed):
                        concerned = True
                        yield event
                        continue
                    if not concerned:
                        passed = event
                        continue
                    self._told = Position.parse(event.position)
                    concerned, passed = False, None
                    told_at = time.monotonic()
                    self._note(lag_s=max(0.0, time.time() - event.committed_ns / 1e9))
                    yield event
            now = time.monotonic()
            if (
                passed is not None
                and assembler.is_idle
                and now - told_at >= settings.idle_interval_s
            ):
                self._told = Position.parse(passed.position)
                told_at = now
                yield passed
                passed = None

    @staticmethod
    def _place(done: GtidSet, file: str, offset: int, tables: str) -> str:
        return str(Position(done=done, file=file, offset=offset, tables=tables))

    def _plan(
        self, session: Session, known_charsets: Mapping[int, str], table: TableMap
    ) -> RowsPlan | None:
        """A plan by the table map, with what only the catalogue tells: virtual columns, UUIDs."""
        followed = self._followed(table)
        names = [column.name for column in table.columns]
        known = [column.name for column in followed.facts.columns]
        if names != known and any(names):
            # Altered since; the catalogue may be ahead of this place in the log, or have just come.
            with session.answering_within(_ANSWER_S):
                self._tables = follow(session, self._settings)
            followed = self._followed(table)
        return RowsPlan(
            table,
            place=followed.schema.table,
            charsets=known_charsets,
            told_types=followed.told_types,
            hidden=followed.hidden,
            key=followed.facts.key,
        )

    def _followed(self, table: TableMap) -> FollowedTable:
        name = (table.database.lower(), table.name.lower())
        for followed in self._tables:
            if (followed.facts.database.lower(), followed.facts.name.lower()) == name:
                return followed
        raise StaleError(f"{table.database}.{table.name} is not there any more")

    def _side_connection(self) -> Session:
        if self._closing.is_set():
            raise SourceClosedError("the source was closed")
        if self._side_session is None or not self._side_session.is_open:
            self._side_session = Session(
                self._settings.dsn, connect_timeout_s=self._settings.connect_timeout_s
            )
        return self._side_session

    def _note(self, **changes: object) -> None:
        self._status = replace(self._status, **changes)  # type: ignore[arg-type]  # checked by the dataclass


def _reason(error: SourceError) -> str:
    if isinstance(error, LostPositionError):
        return f"the server's log does not hold what follows our position: {error}"
    return str(error)
