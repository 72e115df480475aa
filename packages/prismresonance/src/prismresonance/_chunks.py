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

    from prismresonance._cells import Cells
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
    for good: compaction moves rows but keeps their numbers. A row's rank counts the chunk's rows
    by number. It is the row itself, unless the chunk is arranged in cells (see `_cells`).

    Attributes:
        length: Rows written; what is published of the last chunk is the snapshot's to say.
        dead: How many of them are dead; the writer's.
        rows: Shape `(capacity, width)`: integer rows.
        squared_norms: Shape `(capacity,)`: their squared lengths.
        codes: Sign codes of the projected rows, see `_kernels.codes`, or `None`.
        low: Shape `(capacity, dim)`: the projected rows in bytes, or `None`.
        died_at: Shape `(capacity,)`: first epoch in which the row is gone.
        first_seq: The least number of a row.
        cells: Its cells, or `None`.
        ids: The ids.
        payloads: The payloads.
        keys: For each indexed field, the rows' values of it.
    """

    __slots__ = (
        "_addresses", "_by_rank", "_ranks", "_seqs", "capacity", "cells", "codes", "dead",
        "died_at", "first_seq", "ids", "keys", "length", "low", "payloads", "rows",
        "squared_norms",
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
        self._seqs: npt.NDArray[np.int64] | None = None  # by rank; if some are missing between
        self.cells: Cells | None = None
        self._ranks: npt.NDArray[np.int32] | None = None
        self._by_rank: npt.NDArray[np.int32] | None = None
        self.ids = IdColumn(capacity)
        self.payloads = PayloadColumn(capacity)
        self.keys: tuple[list[Hashable], ...] = tuple([] for _ in range(fields))
        self._addresses: tuple[int, ...] | None = None

    @property
    def addresses(self) -> tuple[int, ...]:
        """Where arrays lie, 0 for none: the first columns of `_kernels.places`.

        `died_at` is 0 while no row is dead. Whoever reads that in a snapshot may go on with it: a
        row that dies later is alive there.
        """
        if self._addresses is None:
            cells = self.cells
            arrays = (
                self.codes, self.low, self.rows, self.squared_norms, self._ranks,
                *((None, None, None) if cells is None else cells),
            )  # fmt: skip
            self._addresses = (
                *(0 if a is None else a.ctypes.data for a in arrays),
                0 if cells is None else len(cells.centres),
                self.died_at.ctypes.data,
            )
        return self._addresses if self.dead else (*self._addresses[:-1], 0)

    @property
    def arranged(self) -> bool:
        """Whether the rows are in another order than they were inserted in."""
        return self._ranks is not None

    def row_at(self, rank: int) -> int:
        """Give the row of a rank."""
        return rank if self._by_rank is None else int(self._by_rank[rank])

    @property
    def size_bytes(self) -> int:
        """Allocated bytes: the arrays and the lists, not what the lists point to."""
        arrays = (
            self.rows, self.squared_norms, self.low, self.codes, self._seqs, self.died_at,
            self._ranks, self._by_rank, *(self.cells or ()),
        )  # fmt: skip
        columns = self.ids.size_bytes + self.payloads.size_bytes
        lists = sum(map(sys.getsizeof, self.keys))
        allocated: int = sum(a.nbytes for a in arrays if a is not None)
        return allocated + columns + lists

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
        ranks = rows if self._ranks is None else self._ranks[rows].astype(np.int64)
        seqs: npt.NDArray[np.int64] = (
            ranks + self.first_seq if self._seqs is None else self._seqs[ranks]
        )
        return seqs

    def row_of(self, seq: int, length: int) -> int | None:
        """Find a row by its number among the first `length`; O(log n)."""
        if self._seqs is None:
            rank = seq - self.first_seq
            return self.row_at(rank) if 0 <= rank < length else None
        rank = int(np.searchsorted(self._seqs[:length], seq))
        return self.row_at(rank) if rank < length and self._seqs[rank] == seq else None

    def rows_of(self, seqs: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.int64]:
        """Find rows by their ascending numbers among the first `length`; O(m log n).

        Numbers that are not there are passed over.

        Returns:
            The rows, ascending.
        """
        own = self._seqs
        if own is None:
            start, stop = np.searchsorted(seqs, (self.first_seq, self.first_seq + length))
            ranks: npt.NDArray[np.int64] = seqs[start:stop] - self.first_seq
        else:
            ranks = np.searchsorted(own[:length], seqs)
            ranks[ranks == length] = length - 1
            ranks = ranks[own[ranks] == seqs]
        if self._by_rank is None:
            return ranks
        rows: npt.NDArray[np.int64] = np.sort(self._by_rank[ranks].astype(np.int64))
        return rows

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
        picks = [chunk._living_in_order(length, epoch) for chunk, length in parts]
        total = sum(map(len, picks))
        new = parts[0][0]._like(max(capacity or total, total, 1), dim)
        start = 0
        for (chunk, _), rows in zip(parts, picks, strict=True):
            new._copy(start, chunk, rows)
            start += len(rows)
        if total:
            seqs = [chunk.seqs_of(rows) for (chunk, _), rows in zip(parts, picks, strict=True)]
            new._number_as(np.concatenate(seqs))
        new.length = total
        return new

    def arrange(self, order: npt.NDArray[np.int64], cells: Cells, *, dim: int) -> Chunk:
        """Copy all rows into a new chunk in another order.

        Args:
            order: Shape `(length,)`: the rows in their new places; of a chunk in order of
                insertion.
            cells: The cells they are in there.
            dim: Width of the projected space.

        Returns:
            A chunk that shares no array of rows with this one.
        """
        new = self._like(self.length, dim)
        new._copy(0, self, order)
        new.first_seq, new._seqs, new.length = self.first_seq, self._seqs, self.length
        new.cells = cells
        new._ranks = order.astype(np.int32)
        new._by_rank = np.empty(self.length, np.int32)
        new._by_rank[order] = np.arange(self.length, dtype=np.int32)
        return new

    def _living_in_order(self, length: int, epoch: int) -> npt.NDArray[np.int64]:
        living = self.living(length, epoch)
        if self._by_rank is None:
            return np.flatnonzero(living)
        return self._by_rank[living[self._by_rank]].astype(np.int64)

    def _like(self, capacity: int, dim: int) -> Chunk:
        return Chunk(
            capacity,
            self.rows.shape[1],
            precision=self.rows.dtype.name,
            dim=None if self.codes is None else dim,
            fields=len(self.keys),
        )

    def _copy(self, start: int, source: Chunk, rows: npt.NDArray[np.int64]) -> None:
        """Copy rows of another chunk to the places from `start` on."""
        stop = start + len(rows)
        # mode="clip" lets numpy write straight into `out`; the rows are in range.
        np.take(source.rows, rows, axis=0, out=self.rows[start:stop], mode="clip")
        if self.low is not None and source.low is not None:
            np.take(source.low, rows, axis=0, out=self.low[start:stop], mode="clip")
        if self.codes is not None and source.codes is not None:
            copy_codes(source.codes, rows, self.codes, start)
        self.squared_norms[start:stop] = source.squared_norms[rows]
        self.ids.copy_rows(start, source.ids, rows)
        self.payloads.copy_rows(start, source.payloads, rows)
        for own, given in zip(self.keys, source.keys, strict=True):
            own += [given[row] for row in rows.tolist()]

    def _number_as(self, seqs: npt.NDArray[np.int64]) -> None:
        self.first_seq = int(seqs[0])
        if seqs[-1] - seqs[0] >= len(seqs):
            room = np.empty(self.capacity, np.int64)
            room[: len(seqs)] = seqs
            self._seqs = room
