"""What a source tells, in order.

    events = snapshot? stream*
    snapshot = SnapshotStarted SnapshotRows* SnapshotDone
    stream   = SchemaChanged | Changes | Committed | snapshot

`SnapshotStarted` makes all that came before void: whoever keeps the rows builds them anew and shows
the new ones from `SnapshotDone` on. It may come again inside a snapshot, which then begins again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from prism.wrapper.sources._types import Change, TableSchema

__all__ = [
    "Changes",
    "Committed",
    "SchemaChanged",
    "SnapshotDone",
    "SnapshotRows",
    "SnapshotStarted",
    "SourceEvent",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotStarted:
    """All rows of all tables follow, as they were at one moment.

    Attributes:
        tables: The tables as they are now, also those without rows.
        reason: Why, in words for an operator: "first start", "the slot was lost: ...".
    """

    tables: tuple[TableSchema, ...]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotRows:
    """Some rows of one table.

    Attributes:
        changes: UPSERTs of one table. PostgreSQL gives a `RowBatch`, which can be read by column.
        done_rows: Rows of the whole snapshot so far, these included.
        total_rows_estimate: Of the whole snapshot, as the database estimates; None if it cannot.
    """

    changes: Sequence[Change]
    done_rows: int
    total_rows_estimate: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotDone:
    """The snapshot is whole. `position` may be confirmed once all of it is on disk.

    Attributes:
        position: Where the stream goes on.
        committed_ns: The moment the rows are of, in nanoseconds since 1970.
    """

    position: str
    committed_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Some changes of a committed transaction, in order; a large one comes in several of these.

    A source that dies or reconnects in a transaction sends it again from its start.

    Attributes:
        changes: Of one table or of several. PostgreSQL gives a `RowBatch` for many rows that were
            inserted into one table, which can be read by column.
    """

    changes: Sequence[Change]


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """The transaction is whole. `position` may be confirmed once all until here is on disk.

    It also comes without changes before it, when the database has moved on by work that does not
    concern us. Confirm that too: a database keeps its log for what is not confirmed.

    Attributes:
        position: Where to resume after this transaction.
        committed_ns: When it was committed by the database's clock, in nanoseconds since 1970.
    """

    position: str
    committed_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaChanged:
    """The next changes of this table have this schema.

    Comes before a table's first change after `events` was called with a position, and whenever the
    schema is no longer the one told last.
    """

    schema: TableSchema


SourceEvent: TypeAlias = (
    SnapshotStarted | SnapshotRows | SnapshotDone | Changes | Committed | SchemaChanged
)
