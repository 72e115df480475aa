"""What the index held at one moment: all that a reader needs, behind one reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from prismresonance._directory import Directory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prismresonance._chunks import Chunk
    from prismresonance._row_ids import RowIds

__all__ = ["EMPTY", "Pending", "Snapshot"]


class Pending(NamedTuple):
    """Ids whose rows a write has changed.

    Attributes:
        ids: The ids, none twice.
        first_seq: Number of the first one's new row, the others follow; `None` if the write
            removed their rows.
    """

    ids: RowIds
    first_seq: int | None


class Snapshot(NamedTuple):
    """An immutable view of the rows.

    A row is in the snapshot if it lies within the published length and has not died by `epoch`.
    Every write publishes a new snapshot with a later epoch; a row that it removes or replaces dies
    in that epoch, so a reader of the older snapshot still finds the old version, a reader of the
    newer one only the new version, and none finds both or neither.

    Source: P. Bernstein, N. Goodman, *Multiversion concurrency control* (1983); P. McKenney,
    J. Slingwine, *Read-copy update* (1998).

    Attributes:
        chunks: In order of insertion.
        tail_length: Published rows of the last chunk; of the others all are.
        epoch: Counts the writes.
        live_rows: Rows alive.
        projected: Whether every chunk holds projected rows.
        pending: What the id map does not say yet of this write; `None` once it does.
        directory: Where the chunks' arrays lie in memory, for compiled kernels.
    """

    chunks: tuple[Chunk, ...]
    tail_length: int
    epoch: int
    live_rows: int
    projected: bool
    pending: Pending | None
    directory: Directory

    @property
    def row_count(self) -> int:
        """Published rows, dead ones included."""
        return sum(length for _, length in self.parts())

    def parts(self) -> Iterator[tuple[Chunk, int]]:
        """Yield each chunk with its published length."""
        last = len(self.chunks) - 1
        for number, chunk in enumerate(self.chunks):
            yield chunk, self.tail_length if number == last else chunk.length

    def find(self, seq: int) -> tuple[Chunk, int] | None:
        """Find a living row by its number; `None` when this snapshot does not have it."""
        for chunk, length in reversed(tuple(self.parts())):
            if chunk.first_seq <= seq:
                row = chunk.row_of(seq, length)
                if row is not None and chunk.died_at[row] > self.epoch:
                    return chunk, row
                return None
        return None

    def locate(
        self, seqs: npt.NDArray[np.int64]
    ) -> Iterator[tuple[int, Chunk, npt.NDArray[np.int64]]]:
        """Find living rows by their numbers.

        Args:
            seqs: Shape `(m,)`, ascending; numbers of rows that are dead, compacted away or not in
                this snapshot yet are passed over.

        Yields:
            For each chunk that has some: its place, itself, and their rows in it, ascending.
            O(m log n).
        """
        start = 0
        last = len(self.chunks) - 1
        for number, (chunk, length) in enumerate(self.parts()):
            stop = len(seqs)
            if number < last:
                stop = int(np.searchsorted(seqs, self.chunks[number + 1].first_seq))
            if stop <= start:
                continue
            wanted = seqs[start:stop]
            start = stop
            rows = chunk.rows_of(wanted, length)
            rows = rows[chunk.died_at[rows] > self.epoch]
            if len(rows):
                yield number, chunk, rows


EMPTY = Snapshot((), 0, 0, 0, projected=False, pending=None, directory=Directory())
