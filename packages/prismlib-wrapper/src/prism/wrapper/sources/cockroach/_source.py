"""CockroachDB as a source: see `CockroachSource`.

One attempt (`_attempt`) is one walk: look at the cluster and the catalogue; begin a changefeed at
our position, or one that reads all rows first; tell what it says until something breaks. What
breaks for a while ends the attempt and the next begins at the position that was told last. What
only a person can mend is raised.
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

from prism.wrapper.sources._digest import tables_digest
from prism.wrapper.sources._events import (
    Committed,
    SnapshotDone,
    SnapshotRows,
    SnapshotStarted,
    SourceEvent,
)
from prism.wrapper.sources._protocol import Phase, SourceStatus
from prism.wrapper.sources._types import TableSchema
from prism.wrapper.sources.cockroach._backlog import Backlog
from prism.wrapper.sources.cockroach._catalogue import (
    Layout,
    TableFacts,
    grant,
    key_problem,
    layout_of,
    rift,
    split_name,
)
from prism.wrapper.sources.cockroach._changefeed import Changefeed, SchemaMoved
from prism.wrapper.sources.cockroach._position import Moment, Position, obstacle
from prism.wrapper.sources.cockroach._session import FeedConnection, FeedRefusedError, Session
from prism.wrapper.sources.cockroach._settings import CockroachSettings
from prism.wrapper.sources.cockroach._statements import (
    OLDEST_VERSION,
    advise,
    changefeed_sql,
    fetch_sql,
    loss,
    tells_json_null,
)
from prism.wrapper.sources.cockroach._values import identity, parse_json, text_of
from prism.wrapper.sources.errors import (
    SourceAccessError,
    SourceClosedError,
    SourceConfigurationError,
    SourceUnavailableError,
    TableRefusedError,
)

__all__ = ["CockroachSource", "find_tables"]

_LOG: Final = logging.getLogger("prism.wrapper")
_READ_S: Final = 1.0
_FIRST_BACKOFF_S: Final = 0.1
_ANSWER_S: Final = 60.0
_FETCHED_AT_ONCE: Final = 200
# How many marks may be missing before the stream counts as not connected.
_MARKS_MISSED: Final = 10


class _Stale(Exception):  # noqa: N818  # not an error: the way out of a stream that lost its ground
    """The stream cannot go on; a new snapshot is needed. The text says why."""


class CockroachSource:
    """A CockroachDB database as a `Source`.

    `events` is for one thread at a time; all else may be called from any.

    Args:
        settings: Which database, which tables, and how.
    """

    def __init__(self, settings: CockroachSettings) -> None:
        self._settings = settings
        self._closing = threading.Event()
        self._iterating = threading.Lock()
        self._link: FeedConnection | None = None
        self._side = threading.Lock()
        self._side_session: Session | None = None
        self._random = random.Random()  # noqa: S311  # spreads reconnects, guards nothing
        self._contacted = False
        self._told: Position | None = None
        self._void = ""
        self._confirmed: Position | None = None
        self._cluster = ""
        self._version = OLDEST_VERSION
        self._tables: dict[str, TableFacts] = {}
        self._digest = ""
        # Which columns messages really have, for a state of the catalogue.
        self._learned: dict[str, tuple[str, ...]] = {}
        self._schemas: dict[str, TableSchema] = {}
        self._backlog: Backlog | None = None
        self._status = SourceStatus(phase=Phase.WAITING, connected=False)

    def __repr__(self) -> str:
        return f"CockroachSource({self._settings!r})"

    def events(self, resume: str | None) -> Iterator[SourceEvent]:
        """Tell what happens, for ever; see `Source.events`."""
        told = Position.parse(resume) if resume is not None else None
        if not self._iterating.acquire(blocking=False):
            raise RuntimeError("events() of this source is already being read")
        try:
            self._told = told
            self._confirmed = told
            self._void = "first start"
            self._schemas = {}
            yield from self._attempts()
        finally:
            self._note(
                phase=Phase.CLOSED if self._closing.is_set() else Phase.WAITING, connected=False
            )
            self._iterating.release()

    def confirm(self, position: str) -> None:
        """Take note of what is on disk; see `Source.confirm`.

        The cluster is told nothing: it forgets changes by their age (`gc.ttlseconds`) alone.
        """
        confirmed = Position.parse(position)
        known = self._confirmed
        is_old = (
            known is not None
            and known.cluster == confirmed.cluster
            and known.moment >= confirmed.moment
        )
        if not is_old:
            self._confirmed = confirmed

    def fetch(
        self, schema: TableSchema, keys: Sequence[tuple[str, ...]]
    ) -> Mapping[tuple[str, ...], tuple[str | None, ...]]:
        """Read rows by key as they are now; see `Source.fetch`."""
        if not keys:
            return {}
        with self._side:
            for attempt in (1, 2):
                session = self._side_connection()
                try:
                    with session.answering_within(_ANSWER_S):
                        return self._fetch(session, schema, keys)
                except SourceUnavailableError:
                    session.close()
                    self._side_session = None
                    if attempt == 2:
                        raise
        raise AssertionError

    def status(self) -> SourceStatus:
        """Tell how the source is; see `Source.status`."""
        link, confirmed, backlog = self._link, self._confirmed, self._backlog
        is_silent = (
            self._status.phase is Phase.STREAM
            and link is not None
            and link.silent_s > max(2.5, self._settings.resolved_interval_s * _MARKS_MISSED)
        )
        return replace(
            self._status,
            connected=self._status.connected and not is_silent,
            confirmed=None if confirmed is None else str(confirmed),
            spooled_bytes=0 if backlog is None else backlog.size_bytes,
        )

    def close(self) -> None:
        """End `events` soon and free what is held; see `Source.close`."""
        self._closing.set()
        link = self._link
        if link is not None:
            link.close()
        side = self._side_session
        if side is not None:
            side.abort()  # who waits for its answer holds the lock
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
            except _Stale as stale:
                self._told, self._void = None, str(stale)
                _LOG.warning("cockroach: %s; all rows are read anew", stale)
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
                _LOG.warning("cockroach: %s; trying again", error)
            # An attempt that held for a while was no failure to connect.
            if time.monotonic() - began > self._settings.longest_backoff_s:
                backoff_s = _FIRST_BACKOFF_S
            self._closing.wait(backoff_s * self._random.uniform(0.5, 1.0))
            backoff_s = min(backoff_s * 2, self._settings.longest_backoff_s)

    def _attempt(self) -> Iterator[SourceEvent]:
        settings = self._settings
        with contextlib.ExitStack() as stack:
            session = Session(settings.dsn, connect_timeout_s=settings.connect_timeout_s)
            stack.callback(session.close)
            with session.answering_within(_ANSWER_S):
                self._version = _supported(session)
                self._cluster = session.cluster()
                self._adopt(_followable(session, settings.tables))
            link = FeedConnection(settings.dsn, connect_timeout_s=settings.connect_timeout_s)
            stack.callback(self._drop_link, link)
            self._link = link
            if self._closing.is_set():
                return
            self._contacted = True
            try:
                yield from self._walk(session, link)
            except FeedRefusedError as error:
                if self._closing.is_set():
                    return
                lost = loss(error.text)
                if lost is not None:
                    raise _Stale(lost) from error
                raise advise(
                    error.text,
                    sqlstate=error.sqlstate,
                    tables=tuple(self._tables.values()),
                    role=session.role,
                ) from error
            except SchemaMoved as moved:
                self._learned[self._tables[moved.table].fingerprint] = moved.names
                raise _Stale(str(moved)) from moved

    def _drop_link(self, link: FeedConnection) -> None:
        self._link = None
        link.release()

    def _walk(self, session: Session, link: FeedConnection) -> Iterator[SourceEvent]:
        settings = self._settings
        layouts = {name: self._layout(facts) for name, facts in self._tables.items()}
        why: str | None = self._void
        if self._told is not None:
            why = obstacle(self._told, cluster=self._cluster, tables=self._digest)
        start: Moment
        total: int | None = None
        if why is None and self._told is not None:
            start = self._told.moment
        else:
            self._told, self._void = None, why or ""
            with session.answering_within(_ANSWER_S):
                start = Moment.parse(session.now())
                total = session.estimate([facts.oid for facts in self._tables.values()])
            self._note(
                phase=Phase.SNAPSHOT,
                connected=True,
                snapshot_rows=0,
                snapshot_total_estimate=total,
            )
            self._schemas = {name: layout.schema for name, layout in layouts.items()}
            yield SnapshotStarted(
                tables=tuple(layout.schema for layout in layouts.values()), reason=self._void
            )
        backlog = Backlog(memory_bytes=settings.memory_bytes, folder=settings.spool_folder)
        self._backlog = backlog
        feed = Changefeed(
            layouts,
            start=start,
            in_snapshot=self._told is None,
            room=backlog,
            resolve=lambda table, names: self._resolve(session, table, names),
            told=self._schemas,
            position=lambda moment: str(self._position(moment)),
            snapshot_rows=settings.snapshot_rows,
            part_rows=settings.part_rows,
        )
        link.start(
            changefeed_sql(
                [facts.quoted for facts in self._tables.values()],
                cursor=start,
                initial_scan=self._told is None,
                full_names=any(name != t.table.name for name, t in self._tables.items()),
                resolved_interval_s=settings.resolved_interval_s,
                version=self._version,
            )
        )
        if self._told is not None:
            self._note(phase=Phase.STREAM, connected=True, last_error=None)
        try:
            yield from self._stream(session, link, feed, total)
        finally:
            backlog.close()
            self._backlog = None

    def _stream(
        self, session: Session, link: FeedConnection, feed: Changefeed, total: int | None
    ) -> Iterator[SourceEvent]:
        settings = self._settings
        told_at = watched_at = time.monotonic()
        longest_silence_s = max(settings.silence_s, settings.resolved_interval_s * _MARKS_MISSED)
        while True:
            for row in link.read(min(_READ_S, settings.idle_interval_s)):
                for event in feed.receive(*row):
                    if self._closing.is_set():
                        raise SourceClosedError("the source was closed")
                    match event:
                        case SnapshotRows(done_rows=done):
                            self._note(snapshot_rows=done)
                            yield replace(
                                event,
                                total_rows_estimate=None if total is None else max(total, done),
                            )
                            continue
                        case SnapshotDone(position=position):
                            self._told = Position.parse(position)
                            self._note(phase=Phase.STREAM, connected=True, last_error=None)
                            told_at = time.monotonic()
                        case Committed(position=position, committed_ns=committed_ns):
                            self._told = Position.parse(position)
                            self._note(lag_s=max(0.0, time.time() - committed_ns / 1e9))
                            told_at = time.monotonic()
                        case _:
                            pass
                    yield event
            if self._closing.is_set():
                raise SourceClosedError("the source was closed")
            if link.silent_s > longest_silence_s:
                raise SourceUnavailableError(
                    f"the changefeed sent nothing for {link.silent_s:.0f} s"
                )
            now = time.monotonic()
            if self._told is None:
                continue
            if feed.frontier > self._told.moment and now - told_at >= settings.idle_interval_s:
                self._told = self._position(feed.frontier)
                told_at = now
                yield Committed(position=str(self._told), committed_ns=feed.frontier.wall_ns)
            if now - watched_at >= settings.watch_interval_s:
                self._look_again(session)
                watched_at = time.monotonic()

    # -- the catalogue

    def _adopt(self, tables: Sequence[TableFacts]) -> None:
        short = [facts.table.name for facts in tables]
        is_plain = len(set(short)) == len(short)
        self._tables = {
            facts.table.name
            if is_plain
            else f"{facts.table.database}.{facts.table.schema}.{facts.table.name}": facts
            for facts in tables
        }
        self._digest = tables_digest(facts.fingerprint for facts in tables)

    def _layout(self, facts: TableFacts) -> Layout:
        return layout_of(facts, self._learned.get(facts.fingerprint))

    def _look_again(self, session: Session) -> None:
        """Look at the catalogue anew, and keep what it says if the rows we told are still right.

        Raises:
            _Stale: They are not, or may not be.
        """
        before = self._tables
        with session.answering_within(_ANSWER_S):
            present = {
                facts.table: facts
                for facts in session.tables(sorted({t.table.schema for t in before.values()}))
            }
        for facts in before.values():
            why = rift(facts, present.get(facts.table))
            if why is not None:
                raise _Stale(why)
        self._adopt([present[facts.table] for facts in before.values()])

    def _resolve(self, session: Session, table: str, names: tuple[str, ...]) -> Layout:
        self._look_again(session)
        facts = self._tables[table]
        # Of a row with the table's present columns: those that messages leave out are known now.
        if set(names) <= {column.name for column in facts.columns}:
            missing = {c.name for c in facts.columns if not (c.hidden or c.virtual)} - set(names)
            if not missing:
                self._learned[facts.fingerprint] = names
        return layout_of(facts, names)

    def _position(self, moment: Moment) -> Position:
        return Position(cluster=self._cluster, moment=moment, tables=self._digest)

    # -- rows by key

    def _fetch(
        self, session: Session, schema: TableSchema, keys: Sequence[tuple[str, ...]]
    ) -> dict[tuple[str, ...], tuple[str | None, ...]]:
        found = [f for f in session.tables([schema.table.schema]) if f.table == schema.table]
        if not found:
            return {}
        present = frozenset(column.name for column in found[0].columns)
        if any(schema.columns[place].name not in present for place in schema.key):
            return {}
        null = "null" if tells_json_null(self._version) else None
        rows: dict[tuple[str, ...], tuple[str | None, ...]] = {}
        for first in range(0, len(keys), _FETCHED_AT_ONCE):
            part = keys[first : first + _FETCHED_AT_ONCE]
            for raw in session.rows(fetch_sql(schema, part, present=present)):
                values: list[str | None] = []
                for text, column in zip(raw, schema.columns, strict=True):
                    value = None if text is None else parse_json(text)
                    is_json_null = text is not None and value is None
                    values.append(null if is_json_null else text_of(value, column.kind))
                key = tuple(identity(values[i] or "", schema.columns[i].kind) for i in schema.key)
                rows[key] = tuple(values)
        return rows

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


def find_tables(session: Session, names: Sequence[str]) -> list[TableFacts | str]:
    """The facts of each table that is named, or why there are none."""
    split = [split_name(name) for name in names]
    present = {
        (facts.table.schema, facts.table.name): facts
        for facts in session.tables(sorted({schema for schema, _ in split}))
    }
    return [
        present.get(
            place,
            f"{name}: there is no such table in database {session.database}; names are written "
            "as in SQL, mixed case in quotes",
        )
        for name, place in zip(names, split, strict=True)
    ]


def _followable(session: Session, names: Sequence[str]) -> list[TableFacts]:
    """The tables to follow.

    Raises:
        SourceConfigurationError: There is no such table.
        TableRefusedError: It has no key.
        SourceAccessError: The role may not read it.
    """
    tables: list[TableFacts] = []
    for facts in find_tables(session, names):
        if isinstance(facts, str):
            raise SourceConfigurationError(f"tables: {facts}")
        # The columns and keys of a table are shown to those who may read it.
        if not facts.readable:
            raise SourceAccessError(
                f"{facts.quoted}: {session.role} may not read it", remedy=grant(facts, session.role)
            )
        problem = key_problem(facts)
        if problem is not None:
            raise TableRefusedError(problem[0], table=facts.quoted, remedy=problem[1])
        tables.append(facts)
    return tables


def _supported(session: Session) -> tuple[int, int]:
    version = session.version()
    if version is None:
        raise SourceConfigurationError(
            "the server is not CockroachDB; choose the flavor that it is, such as postgresql"
        )
    if version < OLDEST_VERSION:
        raise SourceConfigurationError(
            f"the server is CockroachDB {version[0]}.{version[1]}; 22.1 is the oldest whose "
            "changefeeds tell often enough up to when all is told"
        )
    return version
