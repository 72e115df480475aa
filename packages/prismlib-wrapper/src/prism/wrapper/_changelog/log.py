"""The change log: one durable file between a database and everyone who follows it.

What always holds:

- A row stands once in an epoch, under the number of its last change.
- Rows and the position they reach are written in one transaction, and it is on disk before
  `append` returns. So whoever resumes from `position` misses nothing.
- `head`, `floor`, `epoch` and `schemas` tell only what is on disk.

Epochs. A snapshot is built in a new epoch beside the one that is served, and takes its place in one
transaction with its position. Only if there is none to serve (the first start) the unfinished one
is served, and `source_age_s` is `None` until it is whole. A rebuild (another model, another text)
is built from the rows of the current epoch; while it lasts, changes go to both. A killed process
leaves an unfinished snapshot behind, which is dropped at the next start, or an unfinished rebuild,
which goes on.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from chorus_fabric import FeedBatch, PositionGoneError, StreamSchema
from prism.wrapper._changelog import writing
from prism.wrapper._changelog.age import SourceAge
from prism.wrapper._changelog.connections import Connections
from prism.wrapper._changelog.entries import LogBatch, RowKey, RowState
from prism.wrapper._changelog.reading import (
    FeedReader,
    StoredRow,
    clears_between,
    stored_after,
    stored_rows,
    stored_seq,
)
from prism.wrapper._changelog.state import REBUILD, SNAPSHOT, LogState, load_state
from prism.wrapper._changelog.status import LogStatus, log_status

__all__ = ["ChangeLog", "LogStatus"]

# Rows of an old epoch that are dropped in one step: some 10 ms.
_DROPPED_AT_ONCE = 5_000
_COMPACT_EVERY = 4_096


class ChangeLog:
    """The last state of each row in a SQLite file, under a rising number. A `FeedLog`.

    One thread appends, any number read, each on a consistent view. A second process is refused.

    Args:
        path: The file; created with mode 0600, its folder is not. Put it on a local disk.
        kept_deletions: Deletions are remembered until this many newer ones have come; a reader
            that is behind a forgotten one begins anew. Raise it for readers that are away for
            long; each takes about 150 bytes.
        clock: Seconds since 1970. New epochs are numbered by it, so that a log that was removed
            and made anew does not give a number a second time.

    Raises:
        ChangeLogBusyError: Another wrapper has the file open.
        ChangeLogFileError: The file is not a change log, damaged, or of a newer version.
        ChangeLogError: The file cannot be created or opened.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        kept_deletions: int = 100_000,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._kept_deletions = kept_deletions
        self._lock = threading.Lock()
        self._wakes: dict[object, Callable[[], None]] = {}
        self._feed = FeedReader()
        self._age = SourceAge(clock)
        self._deletions = 0
        self._connections = Connections(path)
        try:
            self._connections.write(lambda _: None, done=self._load)
            self._forget_unfinished()
        except BaseException:
            self.close()
            raise

    # What a publisher reads: see `chorus_fabric.FeedLog`.

    @property
    def epoch(self) -> int:
        """The epoch that is served."""
        return self._state.current

    def head(self) -> int:
        """The highest number of the current epoch that is on disk."""
        return self._state.served.head

    def floor(self) -> int:
        """The highest number among forgotten deletions of the current epoch."""
        return self._state.served.floor

    def schemas(self) -> Sequence[StreamSchema]:
        """The tables of the current epoch."""
        state = self._state
        return state.schemas.get(state.current, ())

    def source_age_s(self) -> float | None:
        """Seconds since the log held all that its source had committed; see `FeedLog`."""
        state = self._state
        return self._age.now_s(state.committed_ns) if state.served.complete else None

    def set_behind(self, *, behind: bool) -> None:
        """Say whether the source may have committed what is not in the log yet."""
        self._age.set_behind(behind=behind)

    def read(
        self,
        *,
        epoch: int,
        after: int,
        base: int,
        limit_bytes: int,
        streams: frozenset[int] | None,
    ) -> FeedBatch:
        """Read on from a position; see `FeedLog.read`. O(rows read).

        Raises:
            PositionGoneError: The epoch is not the current one, or later deletions are forgotten.
            ChangeLogError: The file cannot be read.
        """
        with self._connections.reading() as connection:
            row = connection.execute(
                "SELECT current, head, floor, committed_ns FROM meta "
                "JOIN epochs ON epochs.epoch = meta.current"
            ).fetchone()
            if row is None or row[0] != epoch or row[2] > max(after, base) or after > row[1]:
                raise PositionGoneError(
                    f"position {after} of epoch {epoch} is not in the log any more; begin at 0"
                )
            _, head, _, committed_ns = row
            parts, upto = self._feed.parts(
                connection, epoch, after=after, limit_bytes=limit_bytes, streams=streams
            )
            if upto is None:
                upto = head
            parts = [
                *clears_between(connection, epoch, after=after, upto=upto, streams=streams),
                *parts,
            ]
        return FeedBatch(
            frames=parts, upto=upto, committed_ns=committed_ns if upto == head else None
        )

    def subscribe(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Have `wake` called after each append and each change of epoch; gives what ends that."""
        token = object()
        with self._lock:
            self._wakes[token] = wake
        return lambda: self._unsubscribe(token)

    # What the daemon writes.

    @property
    def state(self) -> LogState:
        """All that is known without reading rows, as one unchanging object."""
        return self._state

    def begin_snapshot(self, *, spec: str, shape: str) -> int:
        """Begin a new epoch for a snapshot; the position is void from now on.

        Any epoch that was being built is given up. The current one is served until
        `finish_snapshot`.
        """

        def change(connection: sqlite3.Connection) -> int:
            epoch = self._next_epoch()
            writing.create_epoch(connection, epoch, kind=SNAPSHOT, spec=spec)
            state = self._state
            connection.execute(
                "UPDATE meta SET position = NULL, shape = ?, building = ?, current = ?",
                (shape, epoch, state.current if state.served.complete else epoch),
            )
            return epoch

        return self._change(change)

    def finish_snapshot(self, *, position: str, committed_ns: int) -> None:
        """Serve the snapshot from now on, and resume from `position`."""

        def change(connection: sqlite3.Connection) -> None:
            epoch = self._state.target
            connection.execute("UPDATE epochs SET complete = 1 WHERE epoch = ?", (epoch,))
            connection.execute(
                "UPDATE meta SET current = ?, building = NULL, position = ?, committed_ns = ?",
                (epoch, position, committed_ns),
            )

        self._change(change)

    def begin_rebuild(self, *, spec: str, schemas: Sequence[StreamSchema]) -> int:
        """Begin a new epoch that is filled from the current one's rows; see `copy`."""

        def change(connection: sqlite3.Connection) -> int:
            epoch = self._next_epoch()
            writing.create_epoch(connection, epoch, kind=REBUILD, spec=spec)
            for schema in schemas:
                writing.set_description(
                    connection, epoch, schema.stream, schema.to_json(), refresh=0
                )
            connection.execute("UPDATE meta SET building = ?", (epoch,))
            return epoch

        return self._change(change)

    def rows_to_copy(self, *, count: int) -> list[StoredRow]:
        """Give the next rows of the current epoch that a rebuild has not been given yet."""
        state = self._state
        if state.rebuilding is None:
            return []
        cursor = state.epochs[state.rebuilding].cursor
        with self._connections.reading() as connection:
            return stored_after(connection, state.current, after=cursor, count=count)

    def copy(
        self, rows: Sequence[tuple[RowState, int]], *, faults: Mapping[RowKey, str], cursor: int
    ) -> None:
        """Take over rows of the current epoch, each with the number it was read at."""

        def change(connection: sqlite3.Connection) -> None:
            state = self._state
            if state.rebuilding is None:
                return
            writing.copy_rows(
                connection,
                source=state.current,
                target=state.rebuilding,
                rows=rows,
                faults=faults,
                head=state.epochs[state.rebuilding].head,
                cursor=cursor,
                now_ns=self._now_ns(),
            )

        self._change(change)

    def finish_rebuild(self) -> None:
        """Serve the rebuilt epoch from now on."""

        def change(connection: sqlite3.Connection) -> None:
            if (building := self._state.rebuilding) is not None:
                connection.execute("UPDATE epochs SET complete = 1 WHERE epoch = ?", (building,))
                connection.execute("UPDATE meta SET current = building, building = NULL")

        self._change(change)

    def give_up_rebuild(self) -> None:
        """Forget an unfinished rebuild."""
        if self._state.rebuilding is not None:
            self._change(lambda connection: connection.execute("UPDATE meta SET building = NULL"))

    def define(self, schema: StreamSchema, *, epochs: Sequence[int]) -> int:
        """Describe a table in these epochs; give its number, which `schema.stream` need not be.

        If its columns are others than before, its rows have to be read anew: see `to_refresh`.
        """
        state = self._state
        names = (schema.database, schema.schema, schema.name)
        earlier = {
            epoch: known
            for epoch in epochs
            for known in state.schemas.get(epoch, ())
            if (known.database, known.schema, known.name) == names
        }
        if len(earlier) == len(epochs) and all(
            replace(schema, stream=known.stream) == known for known in earlier.values()
        ):
            return next(iter(earlier.values())).stream

        def change(connection: sqlite3.Connection) -> int:
            stream = writing.stream_numbers(connection, *names)
            for epoch in epochs:
                known = earlier.get(epoch)
                is_altered = known is not None and known.columns != schema.columns
                writing.set_description(
                    connection,
                    epoch,
                    stream,
                    replace(schema, stream=stream).to_json(),
                    refresh=state.epochs[epoch].head if is_altered else 0,
                )
            return stream

        return self._change(change)

    def to_refresh(self, epoch: int, stream: int, *, after: int, count: int) -> list[StoredRow]:
        """Give rows of a table that have columns of an earlier schema, in the order of numbers."""
        upto = self._state.refreshes.get(epoch, {}).get(stream, 0)
        with self._connections.reading() as connection:
            rows = stored_after(connection, epoch, after=after, count=count, stream=stream)
        return [row for row in rows if row.seq <= upto]

    def refreshed(self, epoch: int, stream: int) -> None:
        """Note that no row of a table has columns of an earlier schema any more."""
        self._change(
            lambda connection: connection.execute(
                "UPDATE streams SET refresh = 0 WHERE epoch = ? AND stream = ?", (epoch, stream)
            )
        )

    def append(
        self,
        batches: Mapping[int, LogBatch],
        *,
        position: str | None = None,
        committed_ns: int | None = None,
    ) -> None:
        """Write a batch to each epoch, and the position they reach, all or nothing, durably.

        Raises:
            ChangeLogFullError: No space left; nothing was written.
            ChangeLogError: Nothing was written.
        """

        def change(connection: sqlite3.Connection) -> None:
            state = self._state
            for epoch, batch in batches.items():
                # A batch for an epoch that was given up meanwhile has nowhere to go.
                if not len(batch) or epoch not in (state.current, state.building):
                    continue
                _, gone = writing.append_batch(
                    connection, epoch, batch, head=state.epochs[epoch].head, now_ns=self._now_ns()
                )
                self._deletions += gone
                if self._deletions >= _COMPACT_EVERY:
                    self._deletions = 0
                    writing.compact(connection, epoch, kept=self._kept_deletions)
            if position is not None:
                connection.execute(
                    "UPDATE meta SET position = ?, committed_ns = ?", (position, committed_ns)
                )

        self._change(change)

    def tidy(self) -> bool:
        """Drop some rows of an epoch that is no longer served; say whether there is more."""
        state = self._state
        stale = [epoch for epoch in state.epochs if epoch not in (state.current, state.building)]
        if not stale:
            return False
        self._change(
            lambda connection: writing.drop_some(connection, stale[0], rows=_DROPPED_AT_ONCE),
        )
        return True

    def stored(self, keys: Sequence[RowKey], *, epoch: int) -> dict[RowKey, StoredRow]:
        """Read rows of an epoch by key; those that are not there are left out."""
        if epoch not in self._state.epochs or not keys:
            return {}
        with self._connections.reading() as connection:
            try:
                return stored_rows(connection, epoch, keys)
            except sqlite3.OperationalError:
                if epoch in self._state.epochs:
                    raise
                return {}  # the epoch was dropped meanwhile

    def seq_of(self, key: RowKey) -> int:
        """The number under which the current epoch holds a row, gone or not; 0 for none."""
        with self._connections.reading() as connection:
            return stored_seq(connection, self._state.current, key)

    def quarantine(self, *, limit: int = 100) -> list[tuple[RowKey, str]]:
        """Rows of the current epoch whose vector could not be made, with the reason."""
        with self._connections.reading() as connection:
            return [
                ((stream, row_id), error)
                for stream, row_id, error in connection.execute(
                    "SELECT stream, row_id, error FROM quarantine WHERE epoch = ? "
                    "ORDER BY since_ns LIMIT ?",
                    (self._state.current, limit),
                )
            ]

    def status(self) -> LogStatus:
        """Tell how the log is."""
        state = self._state
        with self._connections.reading() as connection:
            return log_status(connection, state, path=self._connections.path)

    def close(self) -> None:
        """Close the file. Waits for the append that is under way. Closing twice does nothing."""
        self._connections.close()

    def __repr__(self) -> str:
        return f"ChangeLog({self._connections.path!r})"

    # Inside.

    def _now_ns(self) -> int:
        return int(self._clock() * 1e9)

    def _next_epoch(self) -> int:
        return max(int(self._clock() * 1e6), max(self._state.epochs, default=0) + 1, 1)

    def _change(self, work: Callable[[sqlite3.Connection], object]) -> int:
        result = self._connections.write(work, done=self._load)
        with self._lock:
            wakes = list(self._wakes.values())
        for wake in wakes:
            wake()
        return result if isinstance(result, int) else 0

    def _load(self, connection: sqlite3.Connection) -> None:
        self._state = load_state(connection, getattr(self, "_state", None))

    def _forget_unfinished(self) -> None:
        """Drop a snapshot that a killed process left; have something to serve in any case."""
        state = self._state
        if state.current in state.epochs and state.building in (None, state.rebuilding):
            return

        def change(connection: sqlite3.Connection) -> None:
            current = state.current
            if current == state.building or not current:
                current = self._next_epoch()
                writing.create_epoch(connection, current, kind=SNAPSHOT, spec="")
            connection.execute("UPDATE meta SET building = NULL, current = ?", (current,))

        self._change(change)

    def _unsubscribe(self, token: object) -> None:
        with self._lock:
            self._wakes.pop(token, None)
