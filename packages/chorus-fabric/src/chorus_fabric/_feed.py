"""What a change feed is made of: tables, batches of rows, and the log they are read from.

A log is compacted: it holds each row once, under the number (`seq`) of its last change, and a
tombstone for a row that is gone. Whoever has applied everything up to `seq` N of an epoch asks for
what came after N; N = 0 is a snapshot. Numbers of different epochs do not compare.

A log may drop tombstones, the oldest first; its `floor` is the highest number among those dropped.
A reader that is behind the floor may hold rows whose deletion nobody remembers, and has to begin
anew, unless it began after those deletions: that is what `base` says, the floor at the time when
the reader was at 0. So a position (epoch, after, base) is good as long as
`floor <= max(after, base)`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from chorus_fabric.errors import InvalidFrameError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

    from chorus_fabric._columns import BytesColumn, TextColumn
    from chorus_fabric._frame import FrameKind

__all__ = [
    "FeedBatch",
    "FeedLog",
    "FeedPart",
    "RowChange",
    "StreamColumn",
    "StreamSchema",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamColumn:
    """A column of a replicated table.

    Attributes:
        name: Its name in the database.
        type_name: Its type, as the database writes it; empty when there is no database behind.
        kind: `text`, `integer`, `float`, `numeric`, `boolean`, `temporal`, `json`, `bytes`,
            `array` or `other`: how its values stand in the JSON of a row.
    """

    name: str
    type_name: str = ""
    kind: str = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSchema:
    """A replicated table, and the number under which its rows travel.

    Attributes:
        stream: Its number in this log, 1 or more; what a frame's `stream` names.
        database: Name of the database; may be empty.
        schema: Name of the schema; may be empty.
        name: Name of the table.
        columns: Its columns, in order.
        key: Names of the columns that make up a row's identity, in order.
        model_id: The embedder that made its vectors.
        dim: Width of its vectors on the wire.
    """

    stream: int
    database: str = ""
    schema: str = ""
    name: str
    columns: tuple[StreamColumn, ...] = ()
    key: tuple[str, ...] = ()
    model_id: str = ""
    dim: int = 0

    @property
    def full_name(self) -> str:
        """`database.schema.name`, without the parts that are empty."""
        return ".".join(part for part in (self.database, self.schema, self.name) if part)

    def answers_to(self, name: str) -> bool:
        """Say whether a name means this table: `name`, `schema.name` or all three parts."""
        full = self.full_name
        return name == full or full.endswith("." + name)

    def to_json(self) -> bytes:
        """Write it for a SCHEMA frame."""
        return json.dumps(
            {
                "stream": self.stream,
                "database": self.database,
                "schema": self.schema,
                "name": self.name,
                "columns": [[c.name, c.type_name, c.kind] for c in self.columns],
                "key": list(self.key),
                "model_id": self.model_id,
                "dim": self.dim,
            },
            ensure_ascii=False,
            separators=(",", ":"),
        ).encode()

    @classmethod
    def from_json(cls, encoded: bytes) -> StreamSchema:
        """Read what `to_json` wrote.

        Raises:
            InvalidFrameError: It is nothing that `to_json` writes.
        """
        try:
            read = json.loads(encoded)
            return cls(
                stream=int(read["stream"]),
                database=str(read["database"]),
                schema=str(read["schema"]),
                name=str(read["name"]),
                columns=tuple(
                    StreamColumn(name=str(name), type_name=str(type_name), kind=str(kind))
                    for name, type_name, kind in read["columns"]
                ),
                key=tuple(str(name) for name in read["key"]),
                model_id=str(read["model_id"]),
                dim=int(read["dim"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidFrameError(f"not a table's description: {error!r}") from error


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FeedPart:
    """Changes of one kind to one table; becomes one frame or, if it is large, several.

    Attributes:
        kind: `ROWS` (rows as they are now), `GONE` (rows that are no more) or `CLEAR` (every row
            of the table up to `seqs[0]` is gone).
        stream: The table's number.
        vectors: Shape `(rows, dim)`, float32; `(rows, 0)` for `GONE` and `(0, 0)` for `CLEAR`.
        ids: One a row; see `StreamSchema.key`.
        texts: One a row of `ROWS`: the text that was embedded.
        metadata: One a row of `ROWS`: its columns as a JSON object.
        seqs: One a row, uint64, rising; a single one for `CLEAR`.
    """

    kind: FrameKind
    stream: int
    vectors: npt.NDArray[np.float32]
    ids: TextColumn
    texts: TextColumn
    metadata: BytesColumn
    seqs: npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FeedBatch:
    """What a log answers to one read.

    Attributes:
        frames: The changes, of distinct rows, and so in any order among each other.
        upto: The position after them: everything in `(after, upto]` is in `frames`. Equal to the
            `after` that was asked for only when nothing came after it.
        committed_ns: When the newest of them was committed, in ns since 1970 by the source's
            clock; `None` if that is not known.
    """

    frames: Sequence[FeedPart]
    upto: int
    committed_ns: int | None = None


class FeedLog(Protocol):
    """What a publisher reads from: each row's last state under a rising number.

    All methods may be called from several threads. `read` may block on disk and is called in a
    thread; the others answer from memory.
    """

    @property
    def epoch(self) -> int:
        """The current epoch, 1 or more; a later one is higher. It is complete enough to serve."""

    def head(self) -> int:
        """The highest number written durably; 0 for an empty log."""

    def floor(self) -> int:
        """The highest number among dropped tombstones; 0 while none was dropped."""

    def source_age_s(self) -> float | None:
        """Seconds since the log was last known to hold all that its source had committed.

        `None` while that is not known (a source that was never reached); 0.0 where no source is
        behind, and while one is being read with nothing pending.
        """

    def schemas(self) -> Sequence[StreamSchema]:
        """The tables of the current epoch; equal sequences as long as none of them changes."""

    def read(
        self,
        *,
        epoch: int,
        after: int,
        base: int,
        limit_bytes: int,
        streams: frozenset[int] | None,
    ) -> FeedBatch:
        """Read on from a position.

        Args:
            epoch: The epoch of the position.
            after: Everything up to here is known to the reader. At 0, no tombstones are needed.
            base: The floor when the reader was at 0; see the module.
            limit_bytes: About how much to read; at least one row, if there is one.
            streams: Which tables; `None` for all. `upto` rises past those left out.

        Raises:
            PositionGoneError: The epoch is not the current one, or `floor() > max(after, base)`.
        """

    def subscribe(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Have `wake` called after each durable append and each change of epoch, from any thread.

        `wake` returns at once and never raises. Gives a callable that ends it.
        """


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowChange:
    """A change of one row, as an application hands it to `CHORUSPublisher.run`.

    Attributes:
        table: The table's name: `name`, `schema.name` or `database.schema.name`.
        row_id: The row's identity in the table.
        vector: Shape `(dim,)`; `None` deletes the row.
        text: What was embedded, for people to read.
        columns: The row's values, such as JSON can hold.
    """

    table: str
    row_id: str
    vector: npt.ArrayLike | None
    text: str = ""
    columns: Mapping[str, object] | None = None
