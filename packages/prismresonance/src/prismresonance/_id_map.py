"""From a row's id to its number.

Integers that fit int64 are in a table of `_kernels.slots`, 20 to 27 bytes each; texts and greater
integers in a dictionary. One writer at a time (under the table's lock) changes it, and readers take
no lock, with these rules:

1. A reader fetches the table once; a table that grew is another object, complete before the
   reference to it is replaced.
2. A pair's key changes once, from free to an id, after its value was stored; the value is one
   aligned 8-byte word. So a reader finds an id with its old, its new or no row number.
3. Each of these is right for a reader whose snapshot was published before the write that is being
   entered: the old number is the row it may see, and a new one is not in its snapshot, which makes
   it take a newer snapshot. A reader whose snapshot includes the write asks `Snapshot.pending`,
   not the map, until all of the write is entered.

With the GIL, and without it on x86, stores are seen in the order they were made. Elsewhere a reader
might see a key before its value: it then finds `ABSENT`, with which every pair starts, and by rule
3 that is right too. What must not be overtaken is the end of `pending` by the stores before it.
CPython replaces references by a release store and reads them by an acquire load where it has no
GIL, so the new snapshot brings those stores along; kernels that release the GIL take it again
before they return.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from prismresonance._kernels import plain
from prismresonance._kernels.slots import ABSENT, EMPTY, MAX_PAIRS, home, new_slots
from prismresonance._row_ids import OTHER, is_number

if TYPE_CHECKING:
    from prismresonance._kernels.interface import Kernels
    from prismresonance._records import RowId
    from prismresonance._row_ids import RowIds

__all__ = ["IdMap"]

_FULL = 0.8  # of its pairs taken: a search for an absent id then looks at 13 of them on average
_FIRST_PAIRS = 8
_SMALL_PAIRS = 1 << 12  # up to here a table doubles, above it grows by a quarter
_FEW = 8  # up to this many ids plain Python is faster than numpy


class _Table(NamedTuple):
    slots: npt.NDArray[np.int64]
    cells: memoryview  # of the slots: Python reads a number from it twice as fast as from numpy
    pairs: int


class IdMap:
    """Row numbers by id."""

    __slots__ = ("_others", "_table", "_taken")

    def __init__(self, expected: int = 0) -> None:
        self._others: dict[RowId, int] = {}
        self._table = _with_room(max(_FIRST_PAIRS, int(1.25 * expected / _FULL)))
        self._taken = 0  # at least the pairs that are not free: an interrupt may leave it higher

    @property
    def size_bytes(self) -> int:
        """Allocated bytes, without the texts."""
        return self._table.slots.nbytes + sys.getsizeof(self._others)

    def find(self, row_id: RowId) -> int | None:
        """Look up one id. O(1); for any thread."""
        if not is_number(row_id):
            return self._others.get(row_id)
        table = self._table
        place, known = _place(table, row_id)
        if not known:
            return None
        seq: int = table.cells[place + 1]
        return None if seq == ABSENT else seq

    def find_many(self, ids: RowIds, kernels: Kernels = plain) -> npt.NDArray[np.int64]:
        """Look up ids.

        Args:
            ids: Any number of them.
            kernels: The inner loops.

        Returns:
            Shape `(n,)`: row numbers, -1 for an id that is not there. O(n).
        """
        if len(ids) <= _FEW:
            found = [self.find(row_id) for row_id in ids.tolist()]
            return np.array([-1 if seq is None else seq for seq in found], np.int64)
        slots = self._table.slots
        places = np.empty(len(ids), np.int64)
        kernels.locate_ids(slots, ids.numbers, places)
        # A text's stand-in is the key of free pairs.
        seqs = np.where((places < 0) | (ids.numbers == OTHER), ABSENT, slots[places])
        for place, row_id in ids.strays():
            seqs[place] = self._others.get(row_id, -1)
        return seqs

    def store(self, ids: RowIds, first_seq: int, kernels: Kernels = plain) -> None:
        """Let ids, none twice, stand for the row numbers from `first_seq` on; the writer's.

        O(n) on average. May be called again with the same after an interrupt.
        """
        if len(ids) > _FEW:
            self.store_rows(ids, np.arange(first_seq, first_seq + len(ids)), kernels)
            return
        for seq, row_id in enumerate(ids.tolist(), first_seq):
            if is_number(row_id):
                self._reserve(1, kernels)
                self._store_one(row_id, seq)
            else:
                self._others[row_id] = seq

    def store_rows(
        self, ids: RowIds, seqs: npt.NDArray[np.int64], kernels: Kernels = plain
    ) -> None:
        """Let ids, none twice, stand for row numbers, shape `(n,)`; the writer's. O(n)."""
        strays = ids.strays()
        for place, row_id in strays:
            self._others[row_id] = int(seqs[place])
        count = len(ids) - len(strays)
        if not count:
            return
        self._reserve(count, kernels)
        numbers = ids.numbers
        if strays:
            chosen = numbers > OTHER
            numbers, seqs = numbers[chosen], seqs[chosen]
        before = self._taken
        self._taken += count
        self._taken = before + kernels.store_ids(self._table.slots, numbers, seqs)

    def discard(self, ids: RowIds, kernels: Kernels = plain) -> None:
        """Forget ids; those that are not there are passed over. The writer's. O(n)."""
        for _, row_id in ids.strays():
            self._others.pop(row_id, None)
        slots, cells, _ = self._table
        if len(ids) <= _FEW:
            for row_id in ids.numbers.tolist():
                if row_id != OTHER:
                    place, known = _place(self._table, row_id)
                    if known:
                        cells[place + 1] = ABSENT
            return
        places = np.empty(len(ids), np.int64)
        kernels.locate_ids(slots, ids.numbers, places)
        slots[places[(places >= 0) & (ids.numbers > OTHER)]] = ABSENT

    def _store_one(self, row_id: int, seq: int) -> None:
        place, known = _place(self._table, row_id)
        cells = self._table.cells
        cells[place + 1] = seq
        if not known:
            self._taken += 1
            cells[place] = row_id

    def _reserve(self, more: int, kernels: Kernels) -> None:
        """See to it that so many more keys fit; what was removed goes when the table grows."""
        old = self._table
        if self._taken + more <= _FULL * old.pairs:
            return
        living = np.flatnonzero(old.slots[1::2] != ABSENT)
        needed = len(living) + more
        spare = 2.0 if needed < _SMALL_PAIRS else 1.25
        wanted = int(spare * needed / _FULL) + 1
        if wanted > MAX_PAIRS:
            raise MemoryError(f"an index holds at most {int(MAX_PAIRS * _FULL)} integer ids")
        new = _with_room(max(_FIRST_PAIRS, wanted))
        places = 2 * living
        kernels.store_ids(new.slots, old.slots[places], old.slots[places + 1])
        self._taken = max(self._taken, len(living))
        self._table = new
        self._taken = len(living)


def _with_room(pairs: int) -> _Table:
    slots = new_slots(pairs)
    return _Table(slots, slots.data, pairs)


def _place(table: _Table, row_id: int) -> tuple[int, bool]:
    """Find the key of an id, or the free pair where it would be; says which.

    Each key is looked at once: a free pair may be taken for another id in the next moment.
    """
    cells = table.cells
    place = 2 * home(row_id, table.pairs)
    end = 2 * table.pairs
    while (key := cells[place]) != row_id and key != EMPTY:
        place += 2
        if place == end:
            place = 0
    return place, key != EMPTY
