"""PostgreSQL as a source: see `PostgresSource`.

One attempt (`_attempt`) is one walk: look at the server, the tables, the publication and the slot;
go on from our position or make a snapshot; stream until something breaks. What breaks for a while
ends the attempt and the next begins, with the position that was told last. What only a person can
mend is raised.
"""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from prism.wrapper.sources._batch import RowBatch
from prism.wrapper.sources._events import (
    Changes,
    Committed,
    SnapshotDone,
    SnapshotRows,
    SnapshotStarted,
    SourceEvent,
)
from prism.wrapper.sources._protocol import Phase, SourceStatus
from prism.wrapper.sources._types import TableId, TableSchema
from prism.wrapper.sources.errors import (
    SourceBusyError,
    SourceClosedError,
    SourceError,
    SourceUnavailableError,
)
from prism.wrapper.sources.postgres import _pgoutput as wire
from prism.wrapper.sources.postgres import _wal2json
from prism.wrapper.sources.postgres._assembler import Assembler, Resolved
from prism.wrapper.sources.postgres._catalogue import TypeFacts, resolve_relation
from prism.wrapper.sources.postgres._fetch import fetch_rows
from prism.wrapper.sources.postgres._ground import Ground
from prism.wrapper.sources.postgres._horizon import Horizon
from prism.wrapper.sources.postgres._position import (
    LogEnd,
    Position,
    SlotFacts,
    obstacle,
)
from prism.wrapper.sources.postgres._publication import FollowedTable, follow
from prism.wrapper.sources.postgres._replication import (
    ReplicationConnection,
    ServerRefusedError,
    SystemIdentity,
)
from prism.wrapper.sources.postgres._server import advise, require_server, status_interval
from prism.wrapper.sources.postgres._session import Session
from prism.wrapper.sources.postgres._settings import PostgresSettings
from prism.wrapper.sources.postgres._slots import slot_facts
from prism.wrapper.sources.postgres._snapshot import copy_leaf, rows_estimate
from prism.wrapper.sources.postgres._spool import SpoolRoom
from prism.wrapper.sources.postgres._sql import identifier

__all__ = ["PostgresSource"]

_LOG: Final = logging.getLogger("prism.wrapper")
_READ_S: Final = 1.0
_FIRST_BACKOFF_S: Final = 0.1
# Twice and a bit of how often the server is asked whether it is there.
_SILENT_S: Final = 2.5
_TOLD_AT_MOST: Final = 1024
# For a look at the catalogue, or rows by key.
_ANSWER_S: Final = 60.0
_UNKNOWN_TYPE: Final = TypeFacts(base_name="unknown", category="X", form="p")
_WAITING_SQL: Final = """
SELECT pid, extract(epoch FROM now() - xact_start)::int, state
FROM pg_stat_activity
WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid() ORDER BY xact_start LIMIT 3
"""


class _Stale(Exception):  # noqa: N818  # not an error: the way out of a stream that lost its ground
    """The stream cannot go on; a new snapshot is needed. The text says why."""


class PostgresSource:
    """A PostgreSQL database as a `Source`.

    `events` is for one thread at a time; all else may be called from any.

    Args:
        settings: Which database, which tables, and how.
    """

    def __init__(self, settings: PostgresSettings) -> None:
        self._settings = settings
        self._closing = threading.Event()
        self._iterating = threading.Lock()
        self._link: ReplicationConnection | None = None
        self._side = threading.Lock()
        self._side_session: Session | None = None
        self._random = random.Random()  # noqa: S311  # spreads reconnects, guards nothing
        self._contacted = False
        self._told: Position | None = None
        self._void = ""
        self._confirmed: Position | None = None
        self._schemas: dict[TableId, TableSchema] = {}
        self._ground = Ground((), {})
        self._horizon = Horizon(self._closing.wait)
        self._spools = SpoolRoom(memory_bytes=settings.memory_bytes, folder=settings.spool_folder)
        self._status = SourceStatus(phase=Phase.WAITING, connected=False, slot=settings.slot)

    def __repr__(self) -> str:
        return f"PostgresSource({self._settings!r})"

    def events(self, resume: str | None) -> Iterator[SourceEvent]:
        """Tell what happens, for ever; see `Source.events`."""
        told = Position.parse(resume) if resume is not None else None
        if not self._iterating.acquire(blocking=False):
            raise RuntimeError("events() of this source is already being read")
        try:
            self._told = told
            self._confirmed = told
            self._void = "first start"
            yield from self._attempts()
        finally:
            self._spools.close()
            self._note(
                phase=Phase.CLOSED if self._closing.is_set() else Phase.WAITING, connected=False
            )
            self._iterating.release()

    def confirm(self, position: str) -> None:
        """Let the database forget its log up to here; see `Source.confirm`."""
        confirmed = Position.parse(position)
        known = self._confirmed
        if known is not None and known.system == confirmed.system and known.lsn >= confirmed.lsn:
            return
        self._confirmed = confirmed
        link = self._link
        told = self._told
        if link is not None and told is not None and told.system == confirmed.system:
            link.confirm(confirmed.lsn)

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
                    return self._reread(session, schema, keys)
                except SourceUnavailableError:
                    session.close()
                    self._side_session = None
                    if attempt == 2:
                        raise
        raise AssertionError

    def status(self) -> SourceStatus:
        """Tell how the source is; see `Source.status`."""
        link, told, confirmed = self._link, self._told, self._confirmed
        facts: SlotFacts | None = None
        failure = self._status.last_error
        if not self._closing.is_set():
            try:
                with self._side:
                    session = self._side_connection()
                    with session.answering_within(_ANSWER_S):
                        facts = slot_facts(session, self._settings.slot)
            except SourceError as error:
                failure = str(error)
        streams = self._status.phase is Phase.STREAM
        is_silent = streams and link is not None and link.silent_s > _SILENT_S
        return replace(
            self._status,
            connected=self._status.connected and not is_silent,
            confirmed=None if confirmed is None else str(confirmed),
            wal_status=None if facts is None else facts.wal_status,
            retained_bytes=None if facts is None else facts.retained_bytes,
            lag_bytes=None if link is None or told is None else max(0, link.log_end - told.lsn),
            spooled_bytes=self._spools.size_bytes,
            last_error=failure,
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
                _LOG.warning("postgres: %s; trying again", error)
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
            require_server(session, settings)
            link = ReplicationConnection(
                settings.dsn,
                connect_timeout_s=settings.connect_timeout_s,
                status_interval_s=status_interval(session, settings),
            )
            stack.callback(self._drop_link, link)
            self._link = link
            if self._closing.is_set():
                return
            self._contacted = True
            try:
                yield from self._walk(session, link)
            except ServerRefusedError as error:
                raise advise(error, settings, role=session.role) from error

    def _drop_link(self, link: ReplicationConnection) -> None:
        self._link = None
        link.release()

    def _walk(self, session: Session, link: ReplicationConnection) -> Iterator[SourceEvent]:
        settings = self._settings
        tables, changed = follow(session, settings)
        if changed is not None and self._told is not None:
            self._told, self._void = None, changed
        identity = link.identify()
        self._ground = Ground.of(session, tables)
        slot = self._free_slot(session)
        why: str | None = self._void
        if self._told is not None:
            branches: tuple[tuple[int, int], ...] = ()
            if self._told.timeline != identity.timeline:
                branches = link.timeline_branches(identity.timeline)
                self._horizon.forget()
            end = LogEnd(
                system=identity.system,
                timeline=identity.timeline,
                lsn=identity.lsn,
                branches=branches,
            )
            why = obstacle(
                self._told, end=end, tables=self._ground.digest, slot=slot, plugin=settings.plugin
            )
        if why is not None:
            self._told = None
            self._void = why
            self._horizon.forget()
            if slot is not None:
                link.drop_slot(settings.slot)
            yield from self._snapshot(session, link, identity, why)
        yield from self._stream(session, link, identity)

    def _free_slot(self, session: Session) -> SlotFacts | None:
        """The slot's state once nobody reads it: a server notices late that its reader has died.

        Raises:
            SourceBusyError: Somebody still reads it after the time allowed.
        """
        deadline = time.monotonic() + self._settings.slot_timeout_s
        while True:
            facts = slot_facts(session, self._settings.slot)
            if facts is None or facts.active_pid is None:
                return facts
            if time.monotonic() > deadline:
                raise SourceBusyError(
                    f"slot {self._settings.slot!r} is read by server process "
                    f"{facts.active_pid}: another wrapper runs with this slot's name. Stop it, or "
                    "give each wrapper a slot of its own"
                )
            if self._closing.wait(0.1):
                raise SourceClosedError("the source was closed")

    # -- snapshot

    def _snapshot(
        self,
        session: Session,
        link: ReplicationConnection,
        identity: SystemIdentity,
        why: str,
    ) -> Iterator[SourceEvent]:
        settings = self._settings
        self._note(
            phase=Phase.SNAPSHOT, connected=True, snapshot_rows=0, snapshot_total_estimate=None
        )
        try:
            slot = link.create_slot(
                settings.slot,
                settings.plugin,
                failover=settings.failover,
                new_syntax=session.server_version >= 150000,
                timeout_s=settings.slot_timeout_s,
            )
        except SourceBusyError as error:
            raise SourceBusyError(f"{error}: {_writers(session)}") from error
        # The moment of the snapshot is before this; the server tells only its own clock now.
        committed_ns = int(session.rows("SELECT extract(epoch FROM now()) * 1000000")[0][0]) * 1000
        session.begin_snapshot(slot.snapshot)
        tables = self._ground.tables
        for table in tables:
            session.rows(f"LOCK TABLE {table.facts.quoted} IN ACCESS SHARE MODE")
        ground = Ground.of(session, tables)
        # A table that was rewritten since looks empty to our snapshot.
        if ground.filenodes != self._ground.filenodes:
            raise SourceUnavailableError("a table was rewritten while the snapshot began")
        self._ground = ground
        after = [leaf for leaves in ground.leaves.values() for leaf in leaves]
        total = rows_estimate(after)
        self._note(snapshot_total_estimate=total)
        self._schemas = {table.schema.table: table.schema for table in tables}
        yield SnapshotStarted(tables=tuple(table.schema for table in tables), reason=why)
        done = 0
        for table in tables:
            for leaf in ground.leaves[table.facts.oid]:
                for batch in copy_leaf(
                    session, table, leaf, batch_bytes=settings.snapshot_batch_bytes
                ):
                    done += len(batch)
                    self._note(snapshot_rows=done)
                    yield self._rows(batch, done, total)
        session.rows("COMMIT")
        self._told = Position(
            system=identity.system, timeline=identity.timeline, lsn=slot.lsn, tables=ground.digest
        )
        yield SnapshotDone(position=str(self._told), committed_ns=committed_ns)

    def _rows(self, batch: RowBatch, done: int, total: int | None) -> SnapshotRows:
        if self._closing.is_set():
            raise SourceClosedError("the source was closed")
        return SnapshotRows(
            changes=batch,
            done_rows=done,
            total_rows_estimate=None if total is None else max(total, done),
        )

    # -- stream

    def _stream(
        self,
        session: Session,
        link: ReplicationConnection,
        identity: SystemIdentity,
    ) -> Iterator[SourceEvent]:
        settings = self._settings
        if self._told is None:
            raise AssertionError
        self._told = told = replace(self._told, timeline=identity.timeline)
        link.start(settings.slot, told.lsn, self._options())
        if self._confirmed is not None and self._confirmed.system == told.system:
            link.confirm(self._confirmed.lsn)
        self._note(phase=Phase.STREAM, connected=True, last_error=None)
        assembler = self._assembler(session, told)
        told_at = watched_at = time.monotonic()
        concerned = False
        passed = told.lsn
        while True:
            payloads = link.read(min(_READ_S, settings.idle_interval_s))
            for event in assembler.feed(payloads):
                if not isinstance(event, Committed):
                    concerned = True
                    yield event
                    continue
                position = Position.parse(event.position)
                if concerned:
                    self._told, concerned = position, False
                    told_at = time.monotonic()
                    self._note(lag_s=max(0.0, time.time() - event.committed_ns / 1e9))
                    yield event
                else:
                    # A transaction of which nothing is published: PostgreSQL 14 tells those too.
                    passed = position.lsn
            now = time.monotonic()
            if assembler.is_idle:
                passed = max(passed, link.log_end)
                waited = now - told_at >= settings.idle_interval_s
                if passed > self._told.lsn and (waited or link.is_asked):
                    self._told = replace(self._told, lsn=passed, tables=self._ground.digest)
                    told_at = now
                    yield Committed(position=str(self._told), committed_ns=link.log_end_ns)
                link.is_asked = False
            if now - watched_at >= settings.watch_interval_s and not concerned:
                for batch in self._watch(session):
                    yield Changes(changes=batch)
                watched_at = time.monotonic()

    def _assembler(self, session: Session, told: Position) -> Assembler | _wal2json.JSONAssembler:
        def position(lsn: int) -> str:
            return str(replace(told, lsn=lsn, tables=self._ground.digest))

        if self._settings.plugin == "wal2json":
            return _wal2json.JSONAssembler(
                schemas=[table.schema for table in self._ground.tables],
                told=self._schemas,
                current=lambda schema: self._current(session, schema),
                position=position,
                reread=lambda schema, keys: self._reread(session, schema, keys),
                began=lambda xid: self._began(session, xid),
                part_rows=self._settings.part_rows,
            )
        self._spools.close()
        return Assembler(
            resolve=_Resolver(session, self._ground.tables, self._adopt),
            told=self._schemas,
            position=position,
            reread=lambda schema, keys: self._reread(session, schema, keys),
            began=lambda xid: self._began(session, xid),
            open_spool=self._spools.open,
            part_rows=self._settings.part_rows,
        )

    def _began(self, session: Session, xid: int) -> None:
        self._horizon.told(xid)
        # Most can be seen long since.
        if len(self._horizon) % _TOLD_AT_MOST == 0:
            self._horizon.look(session)

    def _reread(
        self, session: Session, schema: TableSchema, keys: Sequence[tuple[str, ...]]
    ) -> dict[tuple[str, ...], tuple[str | None, ...]]:
        """Read rows by key, at least as new as all that was told."""
        with session.answering_within(_ANSWER_S):
            self._horizon.reach(session)
            return fetch_rows(session, schema, keys)

    def _options(self) -> dict[str, str]:
        if self._settings.plugin == "wal2json":
            return dict(_wal2json.OPTIONS)
        return {
            "proto_version": "2",
            "streaming": "on",
            "publication_names": identifier(self._settings.publication),
        }

    def _adopt(self, session: Session) -> Ground:
        """Look at the catalogue anew, and keep what it says if the rows we told are still right.

        Returns:
            What we kept until now.

        Raises:
            _Stale: They are not, or may not be.
        """
        with session.answering_within(_ANSWER_S):
            tables, changed = follow(session, self._settings)
            ground = Ground.of(session, tables)
        why = changed or self._ground.rift(ground)
        if why is not None:
            raise _Stale(why)
        before, self._ground = self._ground, ground
        return before

    def _current(self, session: Session, schema: TableSchema) -> TableSchema:
        self._adopt(session)
        return next(t.schema for t in self._ground.tables if t.schema.table == schema.table)

    def _watch(self, session: Session) -> Iterator[RowBatch]:
        """Notice what no message tells; read partitions that were attached with rows in them.

        Their rows are read as they are now, ahead of the stream, which then repeats what happened
        to them since they were attached and ends with the same rows.
        """
        before = self._adopt(session)
        self._horizon.reach(session)
        for table in self._ground.tables:
            known = {leaf.oid for leaf in before.leaves[table.facts.oid]}
            for leaf in self._ground.leaves[table.facts.oid]:
                if leaf.oid not in known:
                    yield from copy_leaf(
                        session, table, leaf, batch_bytes=self._settings.snapshot_batch_bytes
                    )

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


class _Resolver:
    """Tells which of our tables a relation is, asking the catalogue for types it has not met."""

    def __init__(
        self,
        session: Session,
        tables: Sequence[FollowedTable],
        adopt: Callable[[Session], object],
    ) -> None:
        self._session = session
        self._adopt = adopt
        self._tables = {table.facts.oid: table for table in tables}
        self._names: dict[tuple[int, int], str] = {
            (column.type_oid, column.type_modifier): column.type_name
            for table in tables
            for column in table.facts.columns
        }
        self._types: dict[int, TypeFacts] = {}

    def __call__(self, relation: wire.Relation) -> Resolved | None:
        table = self._tables.get(relation.oid)
        if table is None:
            return None
        described = [
            (column.name, column.type_oid, column.type_modifier) for column in relation.columns
        ]
        known = {column.name: column for column in table.facts.columns}
        if described != [
            (c.name, known[c.name].type_oid, known[c.name].type_modifier)
            for c in table.schema.columns
        ]:
            self._adopt(self._session)
        wanted = {(column.type_oid, column.type_modifier) for column in relation.columns}
        if unnamed := wanted - self._names.keys():
            self._names |= self._session.type_names(unnamed)
        if unknown := {oid for oid, _ in wanted} - self._types.keys():
            # A type that was dropped since has texts all the same.
            self._types |= dict.fromkeys(unknown, _UNKNOWN_TYPE) | self._session.types(unknown)
        resolved = resolve_relation(
            relation,
            table=table.schema.table,
            key=table.key,
            type_names=self._names,
            types=self._types,
        )
        if resolved is None:
            raise _Stale(f"the key of {table.schema.table} is another one")
        return resolved


def _writers(session: Session) -> str:
    """Who keeps a slot from being made."""
    try:
        rows = session.rows(_WAITING_SQL)
    except SourceError:
        rows = []
    if not rows:
        return "transactions that write must end first; ask pg_stat_activity which"
    told = "; ".join(f"pid {pid} ({state}, open for {age} s)" for pid, age, state in rows)
    return (
        f"these transactions must end first: {told}. "
        f"To end the first: SELECT pg_terminate_backend({rows[0][0]});"
    )
