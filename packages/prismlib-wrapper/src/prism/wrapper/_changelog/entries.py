"""What is appended to the log at once.

A batch is folded while it is filled: of several changes to one row only the last remains, and a
cleared table drops what came before for it. So a batch is: tables to clear first, then the last
state of distinct rows, in any order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

__all__ = ["LogBatch", "RowKey", "RowState"]

RowKey: TypeAlias = tuple[int, str]
"""The number of a table and the identity of a row in it."""

# Measured: a row's objects and its place in the batch, apart from what they hold.
_ROW_BYTES = 440


@dataclass(slots=True)
class RowState:
    """A row as it shall be served.

    Attributes:
        stream: The table's number.
        row_id: The row's identity in it.
        text: The text that its vector is made of.
        columns: Its columns as a JSON object, UTF-8.
        digest: 16 bytes: equal for equal texts made into vectors in the same way; zeros where a
            table has no vectors.
        vector: Little-endian float32 components; empty where a table has no vectors.
    """

    stream: int
    row_id: str
    text: str
    columns: bytes
    digest: bytes
    vector: bytes = b""


@dataclass(slots=True)
class LogBatch:
    """Changes that become visible together. Not safe for threads.

    Attributes:
        clears: Tables of which all earlier rows are gone, in order.
        rows: The last state of each changed row; `None` for a deleted one.
        faults: Why the vector of a row could not be made, in words without its values.
    """

    clears: dict[int, None] = field(default_factory=dict)
    rows: dict[RowKey, RowState | None] = field(default_factory=dict)
    faults: dict[RowKey, str] = field(default_factory=dict)

    def put(self, row: RowState) -> None:
        """Set a row."""
        key = (row.stream, row.row_id)
        self.rows[key] = row
        self.faults.pop(key, None)

    def remove(self, stream: int, row_id: str) -> None:
        """Delete a row."""
        self.rows[stream, row_id] = None
        self.faults.pop((stream, row_id), None)

    def clear(self, stream: int) -> None:
        """Delete all rows of a table, those of this batch included."""
        self.clears[stream] = None
        for changes in (self.rows, self.faults):
            for key in [key for key in changes if key[0] == stream]:
                del changes[key]

    @property
    def size_bytes(self) -> int:
        """About how much memory it takes, vectors included. O(rows)."""
        return _ROW_BYTES * len(self.rows) + sum(
            len(row.text) + len(row.columns) + len(row.vector)
            for row in self.rows.values()
            if row is not None
        )

    def __len__(self) -> int:
        return len(self.rows) + len(self.clears)
