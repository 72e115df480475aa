"""Blocks of rows that only grow."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from prismresonance._columns import IdColumn, PayloadColumn
from prismresonance._filters import MISSING
from prismresonance._kernels import plain
from prismresonance._kernels.codes import copy_codes, new_codes

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from prismresonance._kernels.interface import Integers, Kernels
    from prismresonance._records import Payload
    from prismresonance._row_ids import RowIds

__all__ = ["ALIVE", "Batch", "Chunk"]

ALIVE = int(np.iinfo(np.int64).max)
"""`died_at` of a row that nobody removed."""


class Batch(NamedTuple):
    """Checked rows on their way into chunks; every part has one entry a row.

    Attributes:
        rows: Shape `(n, width)`: integer rows, see `_vectors`.
        squared_norms: Shape `(n,)`, int32.
        products: Shape `(n, dim)`, float32: the rows times the projection; `None` while the index
            has no codes.
        first_seq: Number of the first row; the others follow.
        ids: The ids.
        payloads: The payloads; `None` when no row has one.
        keys: For each indexed field, the rows' values of it; `None` when no row has any.
    """

    rows: Integers
    squared_norms: npt.NDArray[np.int32]
    products: npt.NDArray[np.float32] | None
    first_seq: int
    ids: RowIds
    payloads: Sequence[Payload] | None
    keys: Sequence[Sequence[Hashable]] | None


class Chunk:
    """Rows in order of insertion, in arrays of a fixed capacity.

    One writer at a time (under the table's lock) writes rows behind the published ones and then
    publishes a snapshot that includes them; a published row's content never changes. Readers look
    only at rows their snapshot publishes, so they need no lock. The one thing that changes in
    place is `died_at`, once and to an epoch later than that of every snapshot out there.

    A row's number says when it was inserted, counted over the index's whole life. It names the row
    for good: compaction moves rows but keeps their numbers. They ascend within a chunk, and are
    stored only if some are missing between them.

    Attributes:
        length: Rows written; what is published of the last chunk is the snapshot's to say.
        dead: How many of them are dead; the writer's.
        rows: Shape `(capacity, width)`: integer rows.
        squared_norms: Shape `(capacity,)`: their squared lengths.
        codes: Sign codes of the projected rows, see `_kernels.codes`, or `None`.
        low: Shape `(capacity, dim)`: the projected rows in bytes, or `None`.
        died_at: Shape `(capacity,)`: first epoch in which the row is gone.
        first_seq: Number of the first row.
        ids: The ids.
        payloads: The payloads.
        keys: For each indexed field, the rows' values of it.
    """

    __slots__ = (
        "_addresses", "_seqs", "capacity", "codes", "dead", "died_at", "first_seq", "ids", "keys",
        "length", "low", "payloads", "rows", "squared_norms",
    )  # fmt: skip

    def __init__(
        self, capacity: int, width: int, *, precision: str, dim: int | None, fields: int
    ) -> None:
        self.capacity = capacity
        self.length = 0
        self.dead = 0
        self.rows: Integers = np.empty((capacity, width), precision)
        self.squared_norms = np.empty(capacity, np.int32)
        self.codes: npt.NDArray[np.uint8] | None = None
        self.low: npt.NDArray[np.int8] | None = None
        if dim is not None:
            self.codes, self.low = self._room(dim)
        self.died_at = np.full(capacity, ALIVE, np.int64)
        self.first_seq = 0
        self._seqs: npt.NDArray[np.int64] | None = None
        self.ids = IdColumn(capacity)
        self.payloads = PayloadColumn(capacity)
        self.keys: tuple[list[Hashable], ...] = tuple([] for _ in range(fields))
        self._addresses: tuple[int, ...] | None = None

    @property
    def addresses(self) -> tuple[int, ...]:
        """Where codes, projected rows, rows, squared norms and `died_at` lie; 0 for none.

        `died_at` is 0 while no row is dead. Whoever reads that in a snapshot may go on with it: a
        row that dies later is alive there.
        """
        if self._addresses is None:
            arrays = (self.codes, self.low, self.rows, self.squared_norms, self.died_at)
            self._addresses = tuple(0 if a is None else a.ctypes.data for a in arrays)
        return self._addresses if self.dead else (*self._addresses[:-1], 0)

    @property
    def size_bytes(self) -> int:
        """Allocated bytes: the arrays and the lists, not what the lists point to."""
        arrays = (
            self.rows, self.squared_norms, self.low, self.codes, self._seqs, self.died_at
        )  # fmt: skip
        columns = self.ids.size_bytes + self.payloads.size_bytes
        lists = sum(map(sys.getsizeof, self.keys))
        return sum(a.nbytes for a in arrays if a is not None) + columns + lists

    def write(self, start: int, batch: Batch, rows: slice, kernels: Kernels) -> None:
        """Write some rows of a batch from row `start` on, over whatever a failed write left."""
        stop = start + rows.stop - rows.start
        self.rows[start:stop] = batch.rows[rows]
        self.squared_norms[start:stop] = batch.squared_norms[rows]
        if self.codes is not None and batch.products is not None:
            kernels.encode(batch.products[rows], self.codes, self.low, start)
        self._number(start, stop, batch.first_seq + rows.start)
        self.died_at[start:stop] = ALIVE
        self.ids.write(start, batch.ids, rows)
        self.payloads.write(start, batch.payloads, rows)
        for field, own in enumerate(self.keys):
            own[start:] = (
                [MISSING] * (stop - start) if batch.keys is None else batch.keys[field][rows]
            )
        self.length = stop

    def _number(self, start: int, stop: int, first_seq: int) -> None:
        if not start:
            self.first_seq, self._seqs = first_seq, None
        elif self._seqs is None and first_seq != self.first_seq + start:
            seqs = np.arange(self.first_seq, self.first_seq + self.capacity)
            seqs[start:stop] = np.arange(first_seq, first_seq + stop - start)
            self._seqs = seqs
        elif self._seqs is not None:
            self._seqs[start:stop] = np.arange(first_seq, first_seq + stop - start)

    def seqs_of(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Give the numbers of rows."""
        seqs: npt.NDArray[np.int64] = (
            rows + self.first_seq if self._seqs is None else self._seqs[rows]
        )
        return seqs

    def row_of(self, seq: int, length: int) -> int | None:
        """Find a row by its number among the first `length`; O(log n)."""
        if self._seqs is None:
            row = seq - self.first_seq
            return row if 0 <= row < length else None
        row = int(np.searchsorted(self._seqs[:length], seq))
        return row if row < length and self._seqs[row] == seq else None

    def rows_of(self, seqs: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.int64]:
        """Find rows by their ascending numbers among the first `length`; O(m log n).

        Numbers that are not there are passed over.
        """
        own = self._seqs
        if own is None:
            start, stop = np.searchsorted(seqs, (self.first_seq, self.first_seq + length))
            rows: npt.NDArray[np.int64] = seqs[start:stop] - self.first_seq
            return rows
        rows = np.searchsorted(own[:length], seqs)
        rows[rows == length] = length - 1
        found: npt.NDArray[np.int64] = rows[own[rows] == seqs]
        return found

    def project(self, products: npt.NDArray[np.float32]) -> None:
        """Add codes of the rows written so far, shape `(n, dim)`, to a chunk without."""
        codes, low = self._room(products.shape[1])
        plain.encode(products, codes, low, 0)
        self.codes, self.low, self._addresses = codes, low, None

    def _room(self, dim: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int8] | None]:
        # Bytes that are hardly fewer than those of the row itself would sort out nothing sooner.
        worth = self.rows.shape[1] * self.rows.itemsize > 2 * dim
        low = np.empty((self.capacity, dim), np.int8) if worth else None
        return new_codes(self.capacity, dim), low

    def living(self, length: int, epoch: int) -> npt.NDArray[np.bool_]:
        """Say which of the first `length` rows are alive in an epoch."""
        alive: npt.NDArray[np.bool_] = self.died_at[:length] > epoch
        return alive

    @classmethod
    def merged(
        cls,
        parts: Sequence[tuple[Chunk, int]],
        *,
        epoch: int,
        dim: int,
        capacity: int | None = None,
    ) -> Chunk:
        """Copy the living rows of neighbouring chunks into a new one, in order.

        Args:
            parts: At least one chunk, each with its published length.
            epoch: The epoch in which a row must be alive.
            dim: Width of the projected space.
            capacity: Room in the new chunk; just enough when `None`.

        Returns:
            A chunk that shares no memory with the old ones. Costs O(rows * width).
        """
        picks = [np.flatnonzero(chunk.living(length, epoch)) for chunk, length in parts]
        total = sum(map(len, picks))
        model = parts[0][0]
        new = cls(
            max(capacity or total, total, 1),
            model.rows.shape[1],
            precision=model.rows.dtype.name,
            dim=None if model.codes is None else dim,
            fields=len(model.keys),
        )
        start = 0
        for (chunk, _), rows in zip(parts, picks, strict=True):
            stop = start + len(rows)
            # mode="clip" lets numpy write straight into `out`; the rows are in range.
            np.take(chunk.rows, rows, axis=0, out=new.rows[start:stop], mode="clip")
            if new.low is not None and chunk.low is not None:
                np.take(chunk.low, rows, axis=0, out=new.low[start:stop], mode="clip")
            if new.codes is not None and chunk.codes is not None:
                copy_codes(chunk.codes, rows, new.codes, start)
            new.squared_norms[start:stop] = chunk.squared_norms[rows]
            new.ids.copy_rows(start, chunk.ids, rows)
            new.payloads.copy_rows(start, chunk.payloads, rows)
            for own, given in zip(new.keys, chunk.keys, strict=True):
                own += [given[row] for row in rows.tolist()]
            start = stop
        if total:
            seqs = [chunk.seqs_of(rows) for (chunk, _), rows in zip(parts, picks, strict=True)]
            new._number_as(np.concatenate(seqs))
        new.length = total
        return new

    def _number_as(self, seqs: npt.NDArray[np.int64]) -> None:
        self.first_seq = int(seqs[0])
        if seqs[-1] - seqs[0] >= len(seqs):
            room = np.empty(self.capacity, np.int64)
            room[: len(seqs)] = seqs
            self._seqs = room
