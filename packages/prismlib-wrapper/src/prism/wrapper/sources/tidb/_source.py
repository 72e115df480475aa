"""TiDB as a source: see `TidbSource`.

Changes are not fetched, they come: TiCDC's messages are pushed to an endpoint of ours, put on disk,
acknowledged, put into the order of their commits (`_intake`), and told. The database itself is
asked for three things: the rows of a snapshot, what its tables look like after a statement changed
them, and rows by key.

No gap between snapshot and stream: the snapshot is begun only after a resolved mark has come, and
its moment is after that mark. All that was committed later than the mark will be pushed; of it,
what the snapshot holds already is dropped.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeVar

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
from prism.wrapper.sources.errors import (
    SourceClosedError,
    SourceConfigurationError,
    SourceUnavailableError,
)
from prism.wrapper.sources.tidb._catalogue import TableFacts
from prism.wrapper.sources.tidb._endpoint import Endpoint
from prism.wrapper.sources.tidb._follow import chosen, follow
from prism.wrapper.sources.tidb._ground import Grounds
from prism.wrapper.sources.tidb._intake import Intake
from prism.wrapper.sources.tidb._keys import fetch_rows
from prism.wrapper.sources.tidb._messages import (
    committed_ns,
)
from prism.wrapper.sources.tidb._position import Position
from prism.wrapper.sources.tidb._session import Session
from prism.wrapper.sources.tidb._settings import TidbSettings, parse_dsn
from prism.wrapper.sources.tidb._spool import SpoolDamagedError
from prism.wrapper.sources.tidb._teller import StaleError, Teller

__all__ = ["TidbSource"]

_LOG: Final = logging.getLogger("prism.wrapper")
_FIRST_BACKOFF_S: Final = 0.1
_WAIT_S: Final = 0.5
_T = TypeVar("_T")


class TidbSource:
    """A TiDB database as a `Source`.

    `events` is for one thread at a time; all else may be called from any.

    Args:
        settings: Which database, which tables, and where TiCDC's messages come.
    """

    def __init__(self, settings: TidbSettings) -> None:
        self._settings = settings
        self._address = parse_dsn(settings.dsn)
        self._closing = threading.Event()
        self._iterating = threading.Lock()
        self._random = random.Random()  # noqa: S311  # spreads reconnects, guards nothing
        self._session: Session | None = None
        self._side = threading.Lock()
        self._side_session: Session | None = None
        self._contacted = False
        self._intake: Intake | None = None
        self._endpoint: Endpoint | None = None
        self._grounds = Grounds(settings.spool)
        self._schemas: tuple[str, ...] = ()
        self._digest = ""
        self._tables: Mapping[str, TableFacts] = {}
        self._teller = self._new_teller()
        self._told: Position | None = None
        self._confirmed: Position | None = None
        self._status = SourceStatus(phase=Phase.WAITING, connected=False)

    def __repr__(self) -> str:
        return f"TidbSource({self._settings!r})"

    @property
    def port(self) -> int | None:
        """Where the endpoint listens for HTTP, while `events` is read."""
        endpoint = self._endpoint
        return endpoint.port if endpoint is not None else None

    @property
    def grpc_port(self) -> int | None:
        """Where it listens for gRPC; None if it does not."""
        endpoint = self._endpoint
        return endpoint.grpc_port if endpoint is not None else None

    def events(self, resume: str | None) -> Iterator[SourceEvent]:
        """Tell what happens, for ever; see `Source.events`."""
        told = Position.parse(resume) if resume is not None else None
        if self._closing.is_set():
            return
        if not self._iterating.acquire(blocking=False):
            raise RuntimeError("events() of this source is already being read")
        try:
            self._told = self._confirmed = told
            self._teller = self._new_teller()
            yield from self._run(told)
        except SourceClosedError:
            pass
        finally:
            self._end()
            self._note(
                phase=Phase.CLOSED if self._closing.is_set() else Phase.WAITING, connected=False
            )
            self._iterating.release()

    def confirm(self, position: str) -> None:
        """Forget what was pushed up to here; see `Source.confirm`."""
        confirmed = Position.parse(position)
        known = self._confirmed
        if known is not None and known.spool == confirmed.spool and known.ts >= confirmed.ts:
            return
        self._confirmed = confirmed
        intake = self._intake
        if intake is not None and intake.spool_id == confirmed.spool:
            intake.trim(confirmed.ts)

    def fetch(
        self, schema: TableSchema, keys: Sequence[tuple[str, ...]]
    ) -> Mapping[tuple[str, ...], tuple[str | None, ...]]:
        """Read rows by key as they are now; see `Source.fetch`."""
        if not keys:
            return {}
        with self._side:
            for attempt in (1, 2):
                if self._closing.is_set():
                    raise SourceClosedError("the source was closed")
                if self._side_session is None:
                    self._side_session = self._connect()
                try:
                    name = f"{schema.table.schema}.{schema.table.name}"
                    facts = self._side_session.tables([schema.table.schema]).get(name)
                    if facts is None or not facts.key:
                        return {}
                    return fetch_rows(self._side_session, facts, schema, keys)
                except SourceUnavailableError:
                    self._side_session.close()
                    self._side_session = None
                    if attempt == 2:
                        raise
        raise AssertionError

    def status(self) -> SourceStatus:
        """Tell how the source is; see `Source.status`."""
        intake, confirmed = self._intake, self._confirmed
        silent_s = intake.silent_s if intake is not None else None
        hears = silent_s is not None and silent_s < self._settings.silent_s
        streams = self._status.phase is Phase.STREAM
        return replace(
            self._status,
            connected=self._status.connected and (hears or not streams),
            confirmed=None if confirmed is None else str(confirmed),
            spooled_bytes=intake.size_bytes if intake is not None else 0,
        )

    def close(self) -> None:
        """End `events` soon and free what is held; see `Source.close`."""
        self._closing.set()
        intake, session, side = self._intake, self._session, self._side_session
        if intake is not None:
            intake.wake()
        if session is not None:
            session.abort()
        if side is not None:
            side.abort()  # who waits for its answer holds the lock
        with self._side:
            if self._side_session is not None:
                self._side_session.close()
                self._side_session = None
        self._note(phase=Phase.CLOSED, connected=False)

    def _new_teller(self) -> Teller:
        return Teller(part_rows=self._settings.part_rows, look=self._look, changed=self._altered)

    # -- the walk

    def _run(self, told: Position | None) -> Iterator[SourceEvent]:
        settings = self._settings
        schemas, wanted = follow(settings.tables, self._address.database)
        self._schemas = schemas
        tables = self._ask(lambda session: self._followed(session, wanted))
        self._digest = tables_digest(tables)
        intake = self._intake = Intake(
            settings.spool,
            segment_bytes=settings.segment_bytes,
            partitions=settings.partitions,
            memory_bytes=settings.memory_bytes,
            window_bytes=settings.window_bytes,
        )
        self._endpoint = Endpoint(intake, settings)
        why = self._go_on(intake, told)
        if why is not None:
            self._told = None
            intake.begin_anew()
        while True:
            if why is not None:
                yield from self._snapshot(intake, wanted, why)
            try:
                yield from self._stream(intake)
            except StaleError as stale:
                why = str(stale)
                self._told = None
            else:
                return

    def _go_on(self, intake: Intake, told: Position | None) -> str | None:
        """Take up the stream at a position; says why that is impossible, if it is."""
        if told is None:
            return "first start"
        if told.spool != intake.spool_id:
            return "the push spool is another one: what was acknowledged meanwhile is lost"
        if told.tables != self._digest:
            return "the set of tables is another one"
        self._grounds.load()
        tables = self._grounds.before(told.ts)
        if tables is None or tables_digest(tables) != self._digest:
            return "the tables as they were at our position are not known"
        try:
            intake.resume(told.ts)
        except SpoolDamagedError as error:
            return f"the push spool is damaged: {error}"
        self._teller.adopt(tables)
        return None

    def _followed(self, session: Session, wanted: Sequence[str]) -> dict[str, TableFacts]:
        return chosen(session.tables(self._schemas), wanted, self._address.database)

    # -- snapshot

    def _snapshot(self, intake: Intake, wanted: Sequence[str], why: str) -> Iterator[SourceEvent]:
        self._note(phase=Phase.WAITING, connected=False)
        mark = self._first_mark(intake)
        backoff_s = _FIRST_BACKOFF_S
        while True:
            self._note(
                phase=Phase.SNAPSHOT, connected=True, snapshot_rows=0, snapshot_total_estimate=None
            )
            try:
                session = self._database()
                ts = session.begin_snapshot()
                if ts < mark:
                    raise SourceConfigurationError(
                        "dsn: TiCDC's mark is ahead of this database's clock: the changefeed is of "
                        "another cluster"
                    )
                yield from self._copy(session, wanted, why)
                session.end_snapshot()
                break
            except SourceUnavailableError as error:
                self._lost(error)
                why = f"the snapshot was interrupted: {error}"
                self._pause(backoff_s)
                backoff_s = min(backoff_s * 2, self._settings.longest_backoff_s)
        intake.skip_to(ts + 1)
        self._told = Position(spool=intake.spool_id, ts=ts + 1, tables=self._digest)
        self._grounds.keep(ts, self._tables, confirmed=None)
        yield SnapshotDone(position=str(self._told), committed_ns=committed_ns(ts))

    def _first_mark(self, intake: Intake) -> int:
        warned = False
        while True:
            mark = intake.wait_for_mark(_WAIT_S)
            self._stop_if_closing()
            if mark is not None:
                self._note(last_error=None)
                return mark
            if not warned:
                warned = True
                text = (
                    "no resolved mark has come yet; the snapshot begins with the first one. Create "
                    "a changefeed with enable-tidb-extension=true and forward its messages here"
                )
                self._note(last_error=text)
                _LOG.warning("tidb: %s", text)

    def _copy(self, session: Session, wanted: Sequence[str], why: str) -> Iterator[SourceEvent]:
        tables = self._tables = self._followed(session, wanted)
        self._digest = tables_digest(tables)
        schemas = self._teller.adopt(tables)
        self._teller.say_all()
        estimates = session.rows_estimate(self._schemas)
        total = sum(estimates.get(name, 0) for name in tables)
        self._note(snapshot_total_estimate=total)
        yield SnapshotStarted(tables=schemas, reason=why)
        done = 0
        for name, facts in tables.items():
            sql = f"SELECT {facts.column_list} FROM {facts.quoted}"  # noqa: S608 - names are quoted
            for rows in session.stream(sql, at_once=self._settings.part_rows):
                self._stop_if_closing()
                changes = self._teller.rows(name, rows)
                done += len(changes)
                self._note(snapshot_rows=done)
                yield SnapshotRows(
                    changes=changes, done_rows=done, total_rows_estimate=max(total, done)
                )

    # -- stream

    def _stream(self, intake: Intake) -> Iterator[SourceEvent]:
        self._note(phase=Phase.STREAM, connected=True)
        limit = max(1 << 16, self._settings.memory_bytes // 16)
        while not self._closing.is_set():
            if intake.gap is not None:
                why = intake.gap
                intake.begin_anew()
                raise StaleError(why)
            transactions, floor = intake.take(limit_bytes=limit, timeout_s=_WAIT_S)
            for transaction in transactions:
                self._stop_if_closing()
                yield from self._teller.tell(transaction)
                yield self._committed(transaction.ts + 1)
            if self._told is None or floor > self._told.ts:
                yield self._committed(floor)

    def _committed(self, ts: int) -> Committed:
        intake = self._intake
        assert intake is not None  # noqa: S101 - while the stream runs
        self._told = Position(spool=intake.spool_id, ts=ts, tables=self._digest)
        at = committed_ns(ts)
        self._note(lag_s=max(0.0, time.time() - at / 1e9))
        return Committed(position=str(self._told), committed_ns=at)

    def _look(self, ts: int, settle: int) -> Mapping[str, TableFacts]:
        """The tables as they were at a timestamp, or so much later if that has come already."""

        def tables(session: Session) -> dict[str, TableFacts]:
            at = min(ts + settle, session.now()) if settle else ts
            return session.tables(self._schemas, ts=at)

        return self._ask(tables)

    def _altered(self, ts: int, tables: Mapping[str, TableFacts]) -> None:
        confirmed = self._confirmed
        self._grounds.keep(ts, tables, confirmed=confirmed.ts if confirmed else 0)

    # -- the database

    def _ask(self, question: Callable[[Session], _T]) -> _T:
        """Ask the database until it answers."""
        backoff_s = _FIRST_BACKOFF_S
        first = time.monotonic()
        while True:
            try:
                return question(self._database())
            except SourceUnavailableError as error:
                self._stop_if_closing()
                patience_s = self._settings.first_contact_s
                if not self._contacted and time.monotonic() - first > patience_s:
                    raise
                self._lost(error)
                self._pause(backoff_s)
                backoff_s = min(backoff_s * 2, self._settings.longest_backoff_s)

    def _database(self) -> Session:
        self._stop_if_closing()
        if self._session is None:
            self._session = self._connect()
            self._contacted = True
            self._note(last_error=None)
        return self._session

    def _connect(self) -> Session:
        return Session(
            self._address,
            time_zone=self._settings.time_zone,
            connect_timeout_s=self._settings.connect_timeout_s,
        )

    def _lost(self, error: SourceUnavailableError) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None
        self._stop_if_closing()
        self._note(last_error=str(error), reconnects=self._status.reconnects + int(self._contacted))
        _LOG.warning("tidb: %s; trying again", error)

    def _pause(self, seconds: float) -> None:
        self._closing.wait(seconds * self._random.uniform(0.5, 1.0))
        self._stop_if_closing()

    def _stop_if_closing(self) -> None:
        if self._closing.is_set():
            raise SourceClosedError("the source was closed")

    def _end(self) -> None:
        endpoint, self._endpoint = self._endpoint, None
        intake, self._intake = self._intake, None
        session, self._session = self._session, None
        if endpoint is not None:
            endpoint.stop()
        if intake is not None:
            intake.close()
        if session is not None:
            session.close()

    def _note(self, **changes: object) -> None:
        self._status = replace(self._status, **changes)  # type: ignore[arg-type]  # checked by the dataclass
