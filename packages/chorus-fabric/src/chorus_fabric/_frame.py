"""What moves between machines: rows of one table or a word about them, of one tenant."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from chorus_fabric._columns import BytesColumn, TextColumn

__all__ = ["Frame", "FrameKind"]


class FrameKind(IntEnum):
    """What a frame says.

    Attributes:
        SCHEMA: A table's name, columns, key and model: one row, whose metadata is JSON.
        ROWS: Rows of one table are there or have changed.
        GONE: Rows of one table, by their ids, are deleted.
        CLEAR: Every row of the stream up to `seq` is gone.
        RESET: The next frame begins a new epoch of the log.
        MARK: Everything of this epoch up to `seq` has been sent; also the heartbeat.
        TOKEN_SYNC: An answer for the caches of a mesh.
        HEALTH: A node's health.
        SIGNAL: An alert.
        CONFIG: A setting of the mesh.
        INVALIDATE: Answers that must not be given any more.
        LEASE: A word about who leads.
        REQUEST: A question to one peer.
        REPLY: The answer to a request.
        HEARTBEAT: A node of a mesh is alive.
    """

    SCHEMA = 1
    ROWS = 2
    GONE = 3
    CLEAR = 4
    RESET = 5
    MARK = 6
    TOKEN_SYNC = 32
    HEALTH = 33
    SIGNAL = 34
    CONFIG = 35
    INVALIDATE = 36
    LEASE = 37
    REQUEST = 38
    REPLY = 39
    HEARTBEAT = 40


def _no_vectors() -> npt.NDArray[np.float32]:
    return np.empty((0, 0), np.float32)


def _no_seqs() -> npt.NDArray[np.uint64]:
    return np.empty(0, np.uint64)


def _no_texts() -> TextColumn:
    return TextColumn.from_strings(())


def _no_bytes() -> BytesColumn:
    return BytesColumn.from_items(())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """One message: columns of equal length, or none, and whose they are.

    Every column has `rows` items or none. Those of a received frame lie in the memory of its
    message, or of one copy of them all; either lives as long as one of its columns does.

    Attributes:
        kind: What it says.
        tenant_id: Whose rows they are. A session carries those of one tenant.
        sender: The node that sent it.
        stream: Which table, numbered by SCHEMA frames; below 2**32.
        epoch: Epoch of the change log (not of the keys); below 2**64.
        seq: Position in the change log; below 2**64.
        flags: 8 bits for what the layer above agrees on.
        vectors: Shape `(rows, dims)`, finite float32; dims up to 8,192, 0 where there are none.
        ids: A name for each row, unique within its table.
        texts: What was embedded.
        metadata: The row's columns as JSON, or whatever the kind says.
        seqs: Shape `(rows,)`: the position of each row.
    """

    kind: FrameKind
    tenant_id: str
    sender: str
    stream: int = 0
    epoch: int = 0
    seq: int = 0
    flags: int = 0
    vectors: npt.NDArray[np.float32] = field(default_factory=_no_vectors)
    ids: TextColumn = field(default_factory=_no_texts)
    texts: TextColumn = field(default_factory=_no_texts)
    metadata: BytesColumn = field(default_factory=_no_bytes)
    seqs: npt.NDArray[np.uint64] = field(default_factory=_no_seqs)

    @property
    def rows(self) -> int:
        """How many rows it has."""
        vectors = len(self.vectors) if self.dims else 0
        return max(vectors, len(self.ids), len(self.texts), len(self.metadata), len(self.seqs))

    @property
    def dims(self) -> int:
        """Width of its vectors; 0 where there are none."""
        return int(self.vectors.shape[1])

    def __repr__(self) -> str:
        return (
            f"<Frame {self.kind.name} of {self.rows} rows, {self.dims} dims, stream {self.stream}, "
            f"epoch {self.epoch}, seq {self.seq}>"
        )
