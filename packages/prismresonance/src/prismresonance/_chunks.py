"""Blocks of rows that only grow."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from prismresonance._cells import Cells
from prismresonance._chunk_arrays import (
    ARRAYS,
    gathered_arrays,
    new_arrays,
    projected_arrays,
)
from prismresonance._columns import IdColumn, PayloadColumn
from prismresonance._filters import MISSING
from prismresonance._kernels import plain

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from prismresonance._chunk_arrays import Arrays
    from prismresonance._kernels.interface import Integers, Kernels
    from prismresonance._records import Payload
    from prismresonance._row_ids import RowIds

__all__ = ["ALIVE", "Batch", "Chunk"]

UNREAD = object()
"""Stands for a row's value of a field that is in its encoded payload."""

ALIVE = int(np.iinfo(np.int64).max)
"""`died_at` of a row that nobody removed."""

_Numbers = npt.NDArray[np.int64]


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
        fields: The indexed fields.
        keys: For each indexed field the rows' values of it as they were when the rows were added;
            `UNREAD` for rows from a file, and empty if all are: then the payload says.
    """

    __slots__ = (
        "_addresses", "_by_rank", "_ranks", "_seqs", "capacity", "cells", "codes", "dead",
        "died_at", "fields", "first_seq", "ids", "keys", "length", "low", "payloads", "rows",
        "squared_norms",
    )  # fmt: skip

    def __init__(
        self, arrays: Arrays, ids: IdColumn, payloads: PayloadColumn, fields: tuple[str, ...]
    ) -> None:
        self.capacity = len(ids.numbers)
        self.length = 0
        self.dead = 0
        self.rows = cast("Integers", arrays["rows"])
        self.squared_norms = cast("npt.NDArray[np.int32]", arrays["squared_norms"])
        self.codes = cast("npt.NDArray[np.uint8] | None", arrays.get("codes"))
        self.low = cast("npt.NDArray[np.int8] | None", arrays.get("low"))
        self.died_at = np.full(self.capacity, ALIVE, np.int64)
        self.first_seq = 0
        self._seqs: npt.NDArray[np.int64] | None = None  # by rank; if some are missing between
        self.cells: Cells | None = None
        self._ranks: npt.NDArray[np.int32] | None = None
        self._by_rank: npt.NDArray[np.int32] | None = None
        self.ids = ids
        self.payloads = payloads
        self.fields = fields
        self.keys: tuple[list[Hashable], ...] = tuple([] for _ in fields)
        self._addresses: tuple[int, ...] | None = None

    @classmethod
    def with_room(
        cls,
        capacity: int,
        width: int,
        *,
        precision: str,
        dim: int | None,
        fields: tuple[str, ...],
    ) -> Chunk:
        """Make an empty chunk; with room for projected rows unless `dim` is `None`."""
        arrays = new_arrays(capacity, width, precision=precision, dim=dim)
        return cls(arrays, IdColumn.with_room(capacity), PayloadColumn(capacity), fields)

    @classmethod
    def saved(
        cls,
        arrays: Arrays,
        ids: IdColumn,
        payloads: PayloadColumn,
        fields: tuple[str, ...],
        *,
        first_seq: int,
        dead: _Numbers,
    ) -> Chunk:
        """Make a full chunk of what was read from a file.

        Args:
            arrays: As `arrays` and `arrangement` gave them.
            ids: Their ids.
            payloads: Their payloads.
            fields: The indexed fields.
            first_seq: The least number of a row; the others follow.
            dead: The ranks of the rows that are dead in every epoch.
        """
        new = cls(arrays, ids, payloads, fields)
        new.length, new.first_seq, new.dead = new.capacity, first_seq, len(dead)
        if "ranks" in arrays:
            new._ranks = cast("npt.NDArray[np.int32]", arrays["ranks"])
            new._by_rank = cast("npt.NDArray[np.int32]", arrays["by_rank"])
            new.cells = Cells(
                cast("npt.NDArray[np.int16]", arrays["centres"]),
                cast("npt.NDArray[np.int32]", arrays["starts"]),
                cast("npt.NDArray[np.uint8]", arrays["floors"]),
            )
            dead = new._by_rank[dead].astype(np.int64)
        new.died_at[dead] = 0
        return new

    def arrangement(self) -> Arrays:
        """Give what says how all rows are arranged, by name; nothing of a chunk that is not."""
        if self._ranks is None or self._by_rank is None or self.cells is None:
            return {}
        return {"ranks": self._ranks, "by_rank": self._by_rank, **self.cells._asdict()}

    def arrays(self) -> Arrays:
        """Give the arrays of the vectors by name, those that there are, with their spare room."""
        arrays = {name: getattr(self, name) for name in ARRAYS}
        return {name: array for name, array in arrays.items() if array is not None}

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
    def width(self) -> int:
        """Width of the vectors."""
        width: int = self.rows.shape[1]
        return width

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

    def seqs_in_order(self) -> _Numbers:
        """Give the numbers of all rows, ascending."""
        if self._seqs is None:
            return np.arange(self.first_seq, self.first_seq + self.length)
        return self._seqs[: self.length]

    def span(self, first_seq: int, stop_seq: int, length: int) -> tuple[int, int]:
        """Find the ranks, below `length`, of the numbers from one to below another."""
        if self._seqs is None:
            bounds = (first_seq - self.first_seq, stop_seq - self.first_seq)
            start, stop = (max(0, min(bound, length)) for bound in bounds)
        else:
            start, stop = np.searchsorted(self._seqs[:length], (first_seq, stop_seq)).tolist()
        return start, stop

    def keys_of(self, row: int) -> list[Hashable]:
        """Give a row's values of the indexed fields."""
        keys = [values[row] if values else UNREAD for values in self.keys]
        if any(key is UNREAD for key in keys):
            payload = self.payloads[row]
            return [payload.get(field, MISSING) for field in self.fields]
        return keys

    def project(self, products: npt.NDArray[np.float32]) -> None:
        """Add codes of the rows written so far, shape `(n, dim)`, to a chunk without."""
        dim = products.shape[1]
        arrays = projected_arrays(self.capacity, self.width, self.rows.itemsize, dim)
        codes = cast("npt.NDArray[np.uint8]", arrays["codes"])
        low = cast("npt.NDArray[np.int8] | None", arrays.get("low"))
        plain.encode(products, codes, low, 0)
        self.codes, self.low, self._addresses = codes, low, None

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
        capacity: int | None = None,
    ) -> Chunk:
        """Copy the living rows of neighbouring chunks into a new one, in order.

        Args:
            parts: At least one chunk, each with its published length.
            epoch: The epoch in which a row must be alive.
            capacity: Room in the new chunk; just enough when `None`.

        Returns:
            A chunk that shares no memory with the old ones. Costs O(rows * width).
        """
        picks = [(chunk, chunk.living_rows(length, epoch)) for chunk, length in parts]
        return cls._gathered(picks, capacity=capacity)

    def arrange(self, order: npt.NDArray[np.int64], cells: Cells) -> Chunk:
        """Copy all rows into a new chunk in another order.

        Args:
            order: Shape `(length,)`: the rows in their new places; of a chunk in order of
                insertion.
            cells: The cells they are in there.

        Returns:
            A chunk that shares no array of rows with this one.
        """
        new = Chunk._gathered([(self, order)])
        new.first_seq, new._seqs = self.first_seq, self._seqs
        new.cells = cells
        new._ranks = order.astype(np.int32)
        new._by_rank = np.empty(self.length, np.int32)
        new._by_rank[order] = np.arange(self.length, dtype=np.int32)
        return new

    def living_rows(self, length: int, epoch: int) -> _Numbers:
        """Give the rows that are alive in an epoch, in order of insertion."""
        return self.ranked(0, length, epoch)

    def ranked(self, start: int, stop: int, epoch: int) -> _Numbers:
        """Give the rows of some ranks that are alive in an epoch, in order of insertion."""
        if self._by_rank is None:
            return np.flatnonzero(self.died_at[start:stop] > epoch) + start
        rows = self._by_rank[start:stop].astype(np.int64)
        living: _Numbers = rows[self.died_at[rows] > epoch]
        return living

    @classmethod
    def _gathered(
        cls, picks: Sequence[tuple[Chunk, _Numbers]], *, capacity: int | None = None
    ) -> Chunk:
        """Copy chosen rows of chunks into a new one, in the given order."""
        total = sum(len(rows) for _, rows in picks)
        room = max(capacity or total, total, 1)
        new = cls(
            gathered_arrays([(chunk.arrays(), rows) for chunk, rows in picks], capacity=room),
            IdColumn.with_room(room),
            PayloadColumn.gathered(room, [(chunk.payloads, rows) for chunk, rows in picks]),
            picks[0][0].fields,
        )
        start = 0
        for chunk, rows in picks:
            new.ids.copy_rows(start, chunk.ids, rows)
            for own, given in zip(new.keys, chunk.keys, strict=True):
                own += [given[row] for row in rows.tolist()] if given else [UNREAD] * len(rows)
            start += len(rows)
        if total:
            new._number_as(np.concatenate([chunk.seqs_of(rows) for chunk, rows in picks]))
        new.length = total
        return new

    def _number_as(self, seqs: npt.NDArray[np.int64]) -> None:
        self.first_seq = int(seqs[0])
        if seqs[-1] - seqs[0] >= len(seqs):
            room = np.empty(self.capacity, np.int64)
            room[: len(seqs)] = seqs
            self._seqs = room
