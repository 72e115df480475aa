"""A change log in memory, for feeds whose source is the application itself."""

from __future__ import annotations

import json
import threading
import time
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from chorus_fabric._columns import BytesColumn, TextColumn
from chorus_fabric._feed import FeedBatch, FeedPart, RowChange, StreamColumn, StreamSchema
from chorus_fabric._frame import FrameKind
from chorus_fabric.errors import InvalidFrameError, PositionGoneError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["MemoryLog"]

_ROW_BYTES = 64  # what a row takes in a frame beside its content, roughly
_LEAST_STALE = 1024


@dataclass(slots=True)
class _Entry:
    """The last change of one row; no vector: it is gone; no id: all of the table is."""

    stream: int
    row_id: str | None
    vector: npt.NDArray[np.float32] | None = None
    text: str = ""
    columns: bytes = b""


class MemoryLog:
    """Keep each row's last state under a rising number, in this process.

    Memory holds every live row once, and up to `max_tombstones` deletions. It dies with the
    process; its epoch is the time of its making, so that whoever followed an earlier one begins
    anew. All methods are safe to call from several threads.

    Args:
        model_id: The embedder that made the vectors; told to subscribers.
        max_tombstones: How many deletions are remembered. A subscriber that was away for more of
            them than that gets a snapshot instead of changes.
        epoch: For tests; `None` takes the clock.
    """

    def __init__(
        self, *, model_id: str = "", max_tombstones: int = 100_000, epoch: int | None = None
    ) -> None:
        self._model_id = model_id
        self._max_tombstones = max_tombstones
        self._epoch = time.time_ns() if epoch is None else epoch
        self._lock = threading.Lock()
        self._schemas: tuple[StreamSchema, ...] = ()
        self._by_name: dict[str, StreamSchema] = {}
        self._entries: dict[int, _Entry] = {}  # by seq, in rising order
        self._places: dict[tuple[int, str | None], int] = {}
        self._tombstones: dict[int, None] = {}  # their seqs, in rising order
        self._seqs: list[int] = []  # rising; some of them stand for no entry any more
        self._head = 0
        self._floor = 0
        self._committed_ns: int | None = None
        self._wakers: dict[int, Callable[[], None]] = {}
        self._next_waker = 0

    @property
    def epoch(self) -> int:
        """The current epoch."""
        return self._epoch

    def head(self) -> int:
        """The highest number written."""
        return self._head

    def floor(self) -> int:
        """The highest number among dropped tombstones."""
        return self._floor

    def source_age_s(self) -> float | None:
        """Always 0: the application is the source."""
        return 0.0

    def schemas(self) -> Sequence[StreamSchema]:
        """The tables that rows were written to."""
        return self._schemas

    def append(self, changes: Sequence[RowChange]) -> int:
        """Write changes, all or none.

        Args:
            changes: In order; a table is made when a row of it first comes.

        Returns:
            The number of the last one.

        Raises:
            InvalidFrameError: A vector is not finite, or of another width than its table's, or
                columns are not such as JSON can hold, or a row has no id.
        """
        widths = {name: schema.dim for name, schema in self._by_name.items()}
        ready = [(change, self._checked(change, widths)) for change in changes]
        with self._lock:
            for change, entry in ready:
                entry.stream = self._schema_of(change, entry).stream
                self._put(entry)
            self._committed_ns = time.time_ns()
            self._forget()
            head = self._head
        self._wake()
        return head

    def clear(self, table: str) -> int:
        """Remove all rows of a table.

        Returns:
            The number of that change.
        """
        with self._lock:
            schema = self._by_name.get(table)
            if schema is None:
                return self._head
            for key in [key for key in self._places if key[0] == schema.stream]:
                self._drop(key)
            self._put(_Entry(schema.stream, None))
            head = self._head
        self._wake()
        return head

    def renew(self) -> None:
        """Begin a new epoch with the rows that are there, as after a change of the model."""
        with self._lock:
            live = [entry for entry in self._entries.values() if entry.vector is not None]
            self._epoch = max(self._epoch + 1, time.time_ns())
            self._entries.clear()
            self._places.clear()
            self._tombstones.clear()
            self._seqs.clear()
            self._head = self._floor = 0
            for entry in live:
                self._put(entry)
        self._wake()

    def read(
        self,
        *,
        epoch: int,
        after: int,
        base: int,
        limit_bytes: int,
        streams: frozenset[int] | None,
    ) -> FeedBatch:
        """Read on from a position; see `FeedLog.read`."""
        with self._lock:
            if epoch != self._epoch:
                raise PositionGoneError(f"epoch {epoch} is over; the log is in epoch {self._epoch}")
            if self._floor > max(after, base):
                raise PositionGoneError(
                    f"deletions up to {self._floor} are forgotten, and the position is {after}"
                )
            chosen: list[tuple[int, _Entry]] = []
            size, upto = 0, self._head
            for place in range(bisect_right(self._seqs, after), len(self._seqs)):
                seq = self._seqs[place]
                entry = self._entries.get(seq)
                if entry is None or (streams is not None and entry.stream not in streams):
                    continue
                if entry.vector is None and after == 0:
                    continue
                if size >= limit_bytes:
                    upto = chosen[-1][0]
                    break
                chosen.append((seq, entry))
                size += _size(entry)
            committed_ns = self._committed_ns
        return FeedBatch(frames=_parts(chosen), upto=upto, committed_ns=committed_ns)

    def subscribe(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Have `wake` called after each append."""
        with self._lock:
            number = self._next_waker
            self._next_waker += 1
            self._wakers[number] = wake

        def end() -> None:
            self._wakers.pop(number, None)

        return end

    def _checked(self, change: RowChange, widths: dict[str, int]) -> _Entry:
        if not change.row_id or not isinstance(change.row_id, str):
            raise InvalidFrameError(f"a row of {change.table!r} has no row_id: give it a text")
        if change.vector is None:
            return _Entry(0, change.row_id)
        vector = np.array(change.vector, np.float32)
        if vector.ndim != 1 or vector.size == 0 or not np.isfinite(vector).all():
            raise InvalidFrameError(
                f"row {change.row_id!r} of {change.table!r}: a vector is one row of finite numbers"
            )
        width = widths.setdefault(change.table, len(vector)) or len(vector)
        widths[change.table] = width
        if len(vector) != width:
            raise InvalidFrameError(
                f"row {change.row_id!r} of {change.table!r}: its vector has {len(vector)} "
                f"components, the table's have {width}"
            )
        try:
            columns = json.dumps(
                dict(change.columns or {}), ensure_ascii=False, separators=(",", ":")
            ).encode()
        except (TypeError, ValueError) as error:
            raise InvalidFrameError(
                f"row {change.row_id!r} of {change.table!r}: columns hold what JSON can ({error})"
            ) from None
        return _Entry(0, change.row_id, vector, change.text, columns)

    def _schema_of(self, change: RowChange, entry: _Entry) -> StreamSchema:
        known = self._by_name.get(change.table)
        names = tuple(change.columns or ())
        if known is not None:
            have = {column.name for column in known.columns}
            more = tuple(name for name in names if name not in have)
            dim = known.dim or (0 if entry.vector is None else len(entry.vector))
            if not more and dim == known.dim:
                return known
            columns = known.columns + tuple(StreamColumn(name=name) for name in more)
        else:
            columns = tuple(StreamColumn(name=name) for name in names)
            dim = 0 if entry.vector is None else len(entry.vector)
        *before, name = change.table.split(".")[-3:]
        before = [""] * (2 - len(before)) + before
        schema = StreamSchema(
            stream=known.stream if known else len(self._schemas) + 1,
            database=before[0],
            schema=before[1],
            name=name,
            columns=columns,
            model_id=self._model_id,
            dim=dim,
        )
        self._by_name[change.table] = schema
        self._schemas = tuple(self._by_name.values())
        return schema

    def _put(self, entry: _Entry) -> None:
        key = (entry.stream, entry.row_id)
        self._drop(key)
        self._head += 1
        self._entries[self._head] = entry
        self._places[key] = self._head
        self._seqs.append(self._head)
        if entry.vector is None and entry.row_id is not None:
            self._tombstones[self._head] = None

    def _drop(self, key: tuple[int, str | None]) -> None:
        seq = self._places.pop(key, None)
        if seq is not None:
            del self._entries[seq]
            self._tombstones.pop(seq, None)

    def _forget(self) -> None:
        while len(self._tombstones) > self._max_tombstones:
            seq = next(iter(self._tombstones))
            entry = self._entries[seq]
            self._drop((entry.stream, entry.row_id))
            self._floor = seq
        if len(self._seqs) > 2 * len(self._entries) + _LEAST_STALE:
            self._seqs = list(self._entries)

    def _wake(self) -> None:
        for wake in list(self._wakers.values()):
            wake()


def _size(entry: _Entry) -> int:
    width = 0 if entry.vector is None else entry.vector.nbytes
    return _ROW_BYTES + width + len(entry.text) + len(entry.columns)


def _parts(chosen: list[tuple[int, _Entry]]) -> list[FeedPart]:
    groups: dict[tuple[FrameKind, int], list[tuple[int, _Entry]]] = {}
    for seq, entry in chosen:
        if entry.row_id is None:
            kind = FrameKind.CLEAR
        else:
            kind = FrameKind.GONE if entry.vector is None else FrameKind.ROWS
        groups.setdefault((kind, entry.stream), []).append((seq, entry))
    return [_part(kind, stream, rows) for (kind, stream), rows in groups.items()]


def _part(kind: FrameKind, stream: int, rows: list[tuple[int, _Entry]]) -> FeedPart:
    is_rows = kind is FrameKind.ROWS
    vectors = [entry.vector for _, entry in rows if entry.vector is not None]
    names = [entry.row_id for _, entry in rows if entry.row_id is not None]
    return FeedPart(
        kind=kind,
        stream=stream,
        vectors=np.stack(vectors) if vectors else np.empty((0, 0), np.float32),
        ids=TextColumn.from_strings(names),
        texts=TextColumn.from_strings([entry.text for _, entry in rows] if is_rows else ()),
        metadata=BytesColumn.from_items([entry.columns for _, entry in rows] if is_rows else ()),
        seqs=np.array([seq for seq, _ in rows], np.uint64),
    )
