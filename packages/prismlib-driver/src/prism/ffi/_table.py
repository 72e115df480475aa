"""The rows of one table: a dictionary for reads by id, an index for reads by meaning.

One writer at a time, the feed's thread. Readers take no lock: a dictionary look-up is one step for
other threads, and the index answers from a snapshot. A match carries its row as the index knew it,
so a score never belongs to another version of the row than the one beside it.
"""

from __future__ import annotations

import threading
from itertools import repeat
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from chorus_fabric import BytesColumn, TextColumn
from prism.ffi._row import Row, RowMatch
from prism.ffi._row_block import RowBlock
from prismresonance import PrismProjector, WaveIndex

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from chorus_fabric import StreamSchema
    from prismresonance import Match

__all__ = ["PROJECTED_DIM", "TableReplica"]

PROJECTED_DIM = 64
"""Width of the tenant's projected space."""

_BLOCK_ROWS = 4096
_SMALL_BLOCK = 32


class TableReplica:
    """The rows of one table, and how to find them.

    Args:
        schema: What the table is like.
        projector: Gives the tenant's 64 dimensions.
        indexed_columns: Columns for which `where=` is made cheap.

    Attributes:
        schema: What the table is like now.
        rows: Every row by its id. Only to be read.
    """

    def __init__(
        self,
        schema: StreamSchema,
        *,
        projector: PrismProjector,
        indexed_columns: Sequence[str] = (),
    ) -> None:
        self.schema = schema
        self.rows: dict[str, Row] = {}
        self._projector = projector
        self._indexed_columns = tuple(indexed_columns)
        self._index = self._new_index(schema.dim or None)
        self._projected: WaveIndex | None = None
        self._next_number = 0
        self._writing = threading.Lock()

    @property
    def width(self) -> int:
        """Width of the vectors; 0 while the table has none."""
        return self._index.width or 0

    def size_bytes(self) -> int:
        """Memory of the indexes; rows and their ids not counted."""
        projected = self._projected
        more = 0 if projected is None else projected.stats().size_bytes
        return self._index.stats().size_bytes + more

    def upsert(
        self,
        ids: Iterable[str],
        texts: TextColumn,
        columns: BytesColumn,
        vectors: npt.NDArray[np.float32],
        seqs: npt.NDArray[np.uint64],
    ) -> list[str]:
        """Store rows, unless they are known under a higher number.

        Queries see all of them or none. A row whose vector is zero (an empty text has no meaning)
        can be read by its id and is found by no query. Rows are stored as columns, and a row takes
        its values from there when somebody looks at them, in about half a microsecond each.

        Args:
            ids: One a row.
            texts: One a row; copied.
            columns: One a row: JSON; copied.
            vectors: Shape `(rows, width)`, finite.
            seqs: Shape `(rows,)`.

        Returns:
            The ids of the rows that were stored.
        """
        known = self.rows
        ids = list(ids)
        replaced: list[Row] = []
        first = self._next_number
        numbers = np.arange(first, first + len(ids), dtype=np.int64)
        if not (known.keys().isdisjoint(ids) and len(set(ids)) == len(ids)):
            places, replaced, numbers = self._sorted_out(ids, seqs)
            if len(places) < len(ids):
                ids = [ids[place] for place in places]
                texts = TextColumn.from_strings([texts[place] for place in places])
                columns = BytesColumn.from_items([columns[place] for place in places])
                vectors, seqs = vectors[places], seqs[places]
        if not ids:
            return []
        block = RowBlock(
            table=self.schema.full_name,
            ids=ids,
            texts=texts,
            columns=columns,
            numbers=numbers,
            seqs=seqs,
        )
        rows = list(map(Row, repeat(block), range(len(ids))))
        if len(rows) < _SMALL_BLOCK:
            for row in rows:
                row.leave_block()
        self._next_number = max(first, int(numbers.max()) + 1)
        with self._writing:
            self._store(vectors, rows, numbers, is_new=not replaced)
            known.update(zip(ids, rows, strict=True))
            self._let_go(replaced)
        return ids

    def _sorted_out(
        self, ids: list[str], seqs: npt.NDArray[np.uint64]
    ) -> tuple[list[int], list[Row], npt.NDArray[np.int64]]:
        """Give places of the rows to store, the rows that they replace, and their numbers."""
        known = self.rows
        chosen: dict[str, int] = {}
        for place, (row_id, seq) in enumerate(zip(ids, seqs.tolist(), strict=True)):
            old = known.get(row_id)
            if old is None or old.seq <= seq:
                chosen.pop(row_id, None)  # twice in one batch, which a log does not do
                chosen[row_id] = place
        replaced: list[Row] = []
        numbers = np.empty(len(chosen), np.int64)
        number = self._next_number
        for at, row_id in enumerate(chosen):
            old = known.get(row_id)
            if old is None:
                numbers[at] = number
                number += 1
            else:
                numbers[at] = old.number
                replaced.append(old)
        return list(chosen.values()), replaced, numbers

    def _let_go(self, rows: Iterable[Row]) -> None:
        """Release the blocks of rows that are replaced or gone.

        Such a row may be in the hands of a reader, or in the index until that is tidied: it gets
        its values, so that it does not keep a block alive. So do the rows left in a block of which
        more than half are gone.
        """
        thinned: dict[int, RowBlock] = {}
        for row in rows:
            block = row.block
            if block is not None:
                row.leave_block()
                block.living -= 1
                thinned[id(block)] = block
        for block in thinned.values():
            if 2 * block.living < len(block):
                for row_id in block.ids:
                    left = self.rows.get(row_id)
                    if left is not None and left.block is block:
                        left.leave_block()

    def delete(self, ids: Sequence[str], seqs: Sequence[int]) -> list[str]:
        """Remove rows, unless they are known under a higher number; gives the ids removed."""
        gone = []
        for row_id, seq in zip(ids, seqs, strict=True):
            row = self.rows.get(row_id)
            if row is not None and row.seq <= seq:
                gone.append(row)
        self._remove(gone)
        return [row.row_id for row in gone]

    def clear(self, seq: int) -> list[str]:
        """Remove all rows whose number is not above that; gives their ids."""
        gone = [row for row in self.rows.values() if row.seq <= seq]
        self._remove(gone)
        return [row.row_id for row in gone]

    def query(
        self,
        vector: npt.NDArray[np.float32],
        *,
        top_k: int,
        threshold: float | None,
        where: Mapping[str, object] | None,
    ) -> list[RowMatch]:
        """Find the rows nearest to a vector.

        Args:
            vector: Of the table's width, or of 64: then all is compared in the tenant's projected
                space, for which a second index is made at the first such query.
            top_k: How many at most.
            threshold: The least score.
            where: As `prismresonance.WaveIndex.query` takes it.

        Raises:
            prismresonance.InvalidVectorError: The vector is zero, or of another width.
            prismresonance.InvalidArgumentError: Another argument is not as it should be.
        """
        index = self._index
        width = index.width
        if width is not None and len(vector) != width:
            if len(vector) == PROJECTED_DIM:
                index = self._projected_index()
            elif width == PROJECTED_DIM == self.schema.dim:
                vector = self._projector.project(vector)
        return [_match(found) for found in index.query(vector, top_k, threshold, where)]

    def prepare(self, width: int) -> bool:
        """Say whether a query of that width has to make the projected index first."""
        return width == PROJECTED_DIM != self.width and self._projected is None and self.width > 0

    def vectors(self, rows: Sequence[Row]) -> npt.NDArray[np.float32]:
        """Give the vectors of rows, in order; zeros for those that have none."""
        gathered = np.zeros((len(rows), self.width), np.float32)
        for place, row in enumerate(rows):
            record = self._index.get(row.number)
            if record is not None:
                gathered[place] = record.vector
        return gathered

    def _store(
        self,
        vectors: npt.NDArray[np.float32],
        rows: list[Row],
        numbers: npt.NDArray[np.int64],
        *,
        is_new: bool,
    ) -> None:
        there: npt.NDArray[np.bool_] = np.any(vectors, axis=1)
        if there.all():
            self._index.upsert_many(vectors, rows, numbers)
        else:
            kept = [row for row, is_there in zip(rows, there.tolist(), strict=True) if is_there]
            if kept:
                self._index.upsert_many(vectors[there], kept, numbers[there])
            if not is_new:
                self._index.remove_many(numbers[~there])
        if self._projected is not None:
            self._fill(self._projected, vectors, rows, numbers)

    def _fill(
        self,
        index: WaveIndex,
        vectors: npt.NDArray[np.float32],
        rows: list[Row],
        numbers: npt.NDArray[np.int64],
    ) -> None:
        there: npt.NDArray[np.bool_] = np.any(vectors, axis=1)
        kept = [row for row, is_there in zip(rows, there.tolist(), strict=True) if is_there]
        if kept:
            projected = self._projector.project(vectors[there])
            ok: npt.NDArray[np.bool_] = np.any(projected, axis=1)
            there[there] = ok
            kept = [row for row, is_there in zip(kept, ok.tolist(), strict=True) if is_there]
            index.upsert_many(projected[ok], kept, numbers[there])
        index.remove_many(numbers[~there])

    def _remove(self, rows: list[Row]) -> None:
        if not rows:
            return
        numbers = np.fromiter((row.number for row in rows), np.int64, len(rows))
        with self._writing:
            self._index.remove_many(numbers)
            if self._projected is not None:
                self._projected.remove_many(numbers)
            for row in rows:
                del self.rows[row.row_id]
            self._let_go(rows)

    def _projected_index(self) -> WaveIndex:
        with self._writing:
            if self._projected is None:
                index = self._new_index(PROJECTED_DIM)
                rows = list(self.rows.values())
                for start in range(0, len(rows), _BLOCK_ROWS):
                    block = rows[start : start + _BLOCK_ROWS]
                    numbers = np.fromiter((row.number for row in block), np.int64, len(block))
                    self._fill(index, self.vectors(block), block, numbers)
                self._projected = index
            return self._projected

    def _new_index(self, width: int | None) -> WaveIndex:
        return WaveIndex(self._projector, width=width, indexed_fields=self._indexed_columns)


def _match(found: Match) -> RowMatch:
    row = cast("Row", found.payload)
    return RowMatch(row.row_id, found.score, row.text_repr, row.table, row)
