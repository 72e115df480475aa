"""Answering `Write`: who may write what, and what the caller is told."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator, Mapping

import psycopg2
from psycopg2 import errors as pg_errors
from psycopg2.extensions import connection as Connection  # noqa: N812 - its name in psycopg2

from chorus_fabric import (
    Caller,
    CallRefusedError,
    InvalidCallError,
    NotAllowedError,
    NotReadyError,
    StreamSchema,
    WriteCall,
    WriteResult,
    WrongStateError,
)
from prism.wrapper._changelog import ChangeLog
from prism.wrapper._config import WrapperConfig
from prism.wrapper._pipeline.sightings import Expectation, Sightings
from prism.wrapper._rows import row_id
from prism.wrapper._writes.upsert import connect, describe, upsert
from prism.wrapper._writes.values import TargetTable, checked, key_values
from prism.wrapper.errors import WriteRefusedError
from prism.wrapper.sources.errors import SourceError
from prism.wrapper.sources.postgres._position import Position, format_lsn

__all__ = ["TableWrites"]

_log = logging.getLogger("prism.wrapper.writes")

_MOST_CONNECTIONS = 4
_LONGEST_WAIT_S = 60.0


class TableWrites:
    """Upserts into the tables that the configuration allows; a `WriteHandler`. Safe for threads.

    Args:
        config: The configuration.
        log: Where the written row will turn up.
        sightings: Told to watch for it.
    """

    def __init__(self, config: WrapperConfig, *, log: ChangeLog, sightings: Sightings) -> None:
        self._config = config
        self._log = log
        self._sightings = sightings
        self._slots = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._targets: dict[str, TargetTable] = {}

    def write(self, call: WriteCall, caller: Caller) -> WriteResult:
        """Commit an upsert, then wait until it came back through the feed.

        Raises:
            CallRefusedError: Of the kind that fits; nothing was committed.
        """
        schema = self._table(call.table)
        with self._connection() as connection:
            try:
                target = self._target(connection, schema)
                values = checked(target, key_values(target, call.row_id, call.values))
                return self._commit(connection, target, schema, values, call.wait_s)
            except WriteRefusedError as error:
                # The table may have been altered since it was looked at.
                self._targets.pop(schema.full_name, None)
                raise InvalidCallError(str(error)) from error
            except psycopg2.Error as error:
                self._targets.pop(schema.full_name, None)
                _log.info(
                    "a write of %s to %s was refused (SQLSTATE %s)",
                    caller.node_id or caller.peer,
                    schema.full_name,
                    error.pgcode,
                )
                raise _refusal(schema.name, error) from error

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _table(self, name: str) -> StreamSchema:
        allowed = self._config.write.tables
        flavor = self._config.database.flavor
        if flavor != "postgresql":
            raise NotAllowedError(f"this version writes to postgresql alone, not to {flavor}")
        if not allowed:
            raise NotAllowedError(
                "this wrapper takes no writes; name tables in [write] tables of its configuration"
            )
        known = [
            schema
            for schema in self._log.schemas()
            if any(schema.answers_to(table) for table in allowed)
        ]
        named = [schema for schema in known if not name or schema.answers_to(name)]
        if len(named) == 1:
            return named[0]
        if len(named) > 1:
            names = ", ".join(schema.full_name for schema in named)
            raise InvalidCallError(f"several tables can be written ({names}); name one with table=")
        if not name:
            raise NotReadyError("the tables that can be written are not read yet; try again")
        if any(schema.answers_to(name) for schema in self._log.schemas()):
            raise NotAllowedError(
                f"{name} may not be written; add it to [write] tables of the wrapper"
            )
        raise InvalidCallError(f"there is no replicated table {name}")

    def _target(self, connection: Connection, schema: StreamSchema) -> TargetTable:
        target = self._targets.get(schema.full_name)
        if target is None:
            target = describe(connection, schema=schema.schema, name=schema.name, key=schema.key)
            if not target.columns:
                raise WrongStateError(f"{schema.full_name} is not in the database any more")
            self._targets[schema.full_name] = target
        return target

    def _commit(
        self,
        connection: Connection,
        target: TargetTable,
        schema: StreamSchema,
        values: Mapping[str, str | None],
        wait_s: float,
    ) -> WriteResult:
        expected: list[Expectation] = []
        names: list[tuple[str, int]] = []

        def before_commit(key: tuple[str, ...], place: int) -> None:
            names.append((row_id(key), place))
            if wait_s > 0:
                expected.append(
                    Expectation((schema.stream, row_id(key)), lambda told: _lsn(told) > place)
                )
                self._sightings.expect(expected[0])

        try:
            upsert(
                connection,
                target,
                values,
                timeout_s=self._config.write.timeout_s,
                before_commit=before_commit,
            )
            written, place = names[0]
            if expected and expected[0].wait(min(wait_s, _LONGEST_WAIT_S)):
                epoch, seq = expected[0].epoch, expected[0].seq
                return WriteResult(event_id=f"{epoch}-{seq}", row_id=written, epoch=epoch, seq=seq)
            return WriteResult(event_id=f"after-{format_lsn(place)}", row_id=written)
        finally:
            for one in expected:
                self._sightings.forget(one)

    @contextlib.contextmanager
    def _connection(self) -> Iterator[Connection]:
        if not self._slots.acquire(timeout=self._config.write.timeout_s):
            raise NotReadyError("too many writes at once; try again")
        try:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                connection = self._connect()
            try:
                yield connection
            finally:
                if connection.closed:
                    # Others that idle are likely of the same, ended server.
                    self.close()
                else:
                    with self._lock:
                        self._idle.append(connection)
        finally:
            self._slots.release()

    def _connect(self) -> Connection:
        try:
            return connect(self._config.database.dsn.reveal())
        except (psycopg2.Error, SourceError) as error:
            raise NotReadyError("the database does not answer; try again") from error


def _lsn(position: str) -> int:
    try:
        return Position.parse(position).lsn
    except ValueError:
        return 0


def _refusal(table: str, error: psycopg2.Error) -> CallRefusedError:
    """Say what the database's error means. Only texts that hold no values are passed on."""
    said = error.diag.message_primary or ""
    if isinstance(error, psycopg2.IntegrityError):
        # Values stand in the detail, which is left out.
        return WrongStateError(f"{table}: {said}")
    if isinstance(error, pg_errors.InsufficientPrivilege):
        return NotAllowedError(
            f"{table}: the wrapper's role may not write it; the database's owner runs: "
            f"GRANT INSERT, UPDATE, SELECT ON {table} TO <role>;"
        )
    if isinstance(error, (pg_errors.QueryCanceled, pg_errors.LockNotAvailable)):
        return NotReadyError(f"{table}: the row stayed locked too long; try again")
    if isinstance(error, psycopg2.DataError):
        return InvalidCallError(
            f"{table}: a value is not of its column's type, such as a date that is none"
        )
    if isinstance(error, pg_errors.UndefinedColumn):
        return NotReadyError(f"{table}: was altered just now; try again")
    if error.pgcode is None or isinstance(error, psycopg2.OperationalError):
        return NotReadyError(
            f"{table}: the connection was lost; whether the write was committed is not known. "
            "Repeat it: an upsert may be done twice"
        )
    return WrongStateError(f"{table}: the database refused (SQLSTATE {error.pgcode})")
