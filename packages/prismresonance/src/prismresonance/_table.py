"""The rows and their one writer at a time.

A write goes through these steps under the lock, and a reader sees all of it or nothing:

1. Check ids. Nothing is changed before the whole batch has passed.
2. Write the rows behind the published ones, and their posting lists. A failure up to here leaves
   leftovers that no snapshot publishes and the next write overwrites; row numbers are not reused.
3. Stamp replaced or removed rows with the epoch to come: later than every snapshot out there.
4. Publish: one reference is replaced.
5. Bring the id map up to date, if there is one yet. Until then the snapshot's `pending` speaks for
   it, also if an interrupt ends the write here.
6. Tidy: purge posting lists, rewrite at most one chunk.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from prismresonance._chunks import ALIVE, Batch, Chunk
from prismresonance._directory import Directory
from prismresonance._filters import MISSING
from prismresonance._id_map import IdMap
from prismresonance._kernels import plain
from prismresonance._postings import Postings
from prismresonance._row_ids import RowIds
from prismresonance._snapshot import EMPTY, Pending, Snapshot
from prismresonance.errors import DuplicateIdError, InvalidArgumentError, InvalidVectorError

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from prismresonance._kernels.interface import Kernels
    from prismresonance._projector import PrismProjector
    from prismresonance._records import Payload, RowId
    from prismresonance._vectors import Precision, UnitRows

__all__ = ["FULL_SCAN_ELEMENTS", "RowTable"]

FULL_SCAN_ELEMENTS = 1 << 18
"""Up to this many components (512 kB: in the cache) a scan at full width costs about what a scan of
projected rows and the rescoring of its candidates do, and it is exact."""

_FIRST_CAPACITY = 16
_CHUNK_BYTES = 1 << 25  # 32 MB: rewriting one chunk, the longest step of a write, takes 5 to 15 ms
_COPY_BYTES = 1 << 22  # up to 4 MB a full chunk is replaced by one of twice the size: fewer chunks
_DEAD_SHARE = 0.3
_DEAD_ROWS = 8  # fewer than this many dead rows are not worth a copy
_NONE = np.empty(0, np.int64)


class RowTable:
    """Chunks, id map and posting lists, and the snapshot that publishes them.

    Attributes:
        snapshot: The newest; one read of this attribute is all the locking a reader does.
        width: Width of the vectors; `None` before the first one, if it was not given.
        precision: Of the stored components.
        postings: Posting lists of the indexed fields.
    """

    def __init__(
        self,
        projector: PrismProjector,
        *,
        width: int | None,
        precision: Precision,
        fields: tuple[str, ...],
    ) -> None:
        self.snapshot: Snapshot = EMPTY
        self.width = width
        self.precision: Precision = precision
        self.postings = Postings(fields)
        self._projector = projector
        self._lock = threading.Lock()
        self._id_map: IdMap | None = None  # made when first needed: many never look up an id
        self._posted = True
        self._next_seq = 0
        self._next_id = 0
        self._sparse: list[Chunk] = []

    @classmethod
    def restored(
        cls,
        projector: PrismProjector,
        chunks: tuple[Chunk, ...],
        *,
        width: int | None,
        precision: Precision,
        fields: tuple[str, ...],
        next_id: int,
        projected: bool,
    ) -> RowTable:
        """Make a table of full chunks, in order, with row numbers from 0 on.

        The posting lists too are made when they are first needed.
        """
        table = cls(projector, width=width, precision=precision, fields=fields)
        if not chunks:
            table._next_id = next_id
            return table
        table._posted = False
        table._next_seq = sum(chunk.length for chunk in chunks)
        table._next_id = next_id
        living = sum(chunk.length - chunk.dead for chunk in chunks)
        table.snapshot = Snapshot(
            chunks, chunks[-1].length, 1, living, projected, None, Directory()
        )
        return table

    def held(self) -> tuple[Snapshot, int]:
        """Give the newest snapshot and the next free id of the same moment."""
        with self._lock:
            return self.snapshot, self._next_id

    def seq_of(self, row_id: RowId, snapshot: Snapshot, kernels: Kernels = plain) -> int | None:
        """Look up a row's number, as of this snapshot or a later published one."""
        pending = snapshot.pending
        if pending is not None:
            place = pending.ids.place_of(row_id)
            if place is not None:
                return None if pending.first_seq is None else pending.first_seq + place
        id_map = self._id_map
        if id_map is None:
            with self._lock:
                id_map = self._ids(kernels)
        return id_map.find(row_id)

    def posting_lists(self) -> Postings:
        """Give the posting lists with all rows of the newest snapshot in them."""
        if not self._posted:
            with self._lock:
                self._post()
        return self.postings

    def keys_of(self, payloads: Sequence[Payload] | None) -> list[list[Hashable]] | None:
        """Read the indexed fields of payloads: a list for each field, with a value a row."""
        if payloads is None:
            return None
        keys: list[list[Hashable]] = []
        for field in self.postings.fields:
            values: list[Hashable] = []
            for payload in payloads:
                value = payload.get(field, MISSING)
                try:
                    hash(value)
                except TypeError:
                    raise InvalidArgumentError(
                        f"the indexed field {field!r} must be hashable, got {type(value).__name__}"
                    ) from None
                values.append(value)
            keys.append(values)
        return keys

    def insert(
        self,
        units: UnitRows,
        payloads: Sequence[Payload] | None,
        ids: RowIds | None,
        *,
        replace: bool,
        kernels: Kernels = plain,
    ) -> tuple[RowIds, int]:
        """Add rows, all or none.

        Args:
            units: Their vectors.
            payloads: Their payloads; `None` for rows without.
            ids: Their ids; `None` asks for the next free integers.
            replace: Whether a row with a known id takes its place, or is an error.
            kernels: The inner loops.

        Returns:
            The ids, and how many rows were replaced. Without payloads, and with ids that are
            numbers, no step in Python for each row.

        Raises:
            DuplicateIdError: An id is known (without `replace`) or given twice.
            InvalidVectorError: The width is not that of the table.
            InvalidArgumentError: An indexed field's value cannot be hashed.
        """
        keys = self.keys_of(payloads)
        count, width = units.rows.shape
        # Projecting is the costly part of an insert: not under the lock, if it can be foreseen.
        products = self._projector.products(units.rows) if self.snapshot.projected else None
        with self._lock:
            chunks = self.snapshot.chunks
            held = chunks[0].width if chunks else self.width
            if held is not None and count and width != held:
                raise InvalidVectorError(
                    f"the index holds vectors of width {held}, got width {width}"
                )
            self._settle(kernels)
            if ids is None:
                named, replaced = RowIds.following(self._next_id, count), _NONE
            else:
                named, replaced = ids, self._replaced(ids, kernels, replace=replace)
            if not count:
                return named, 0
            highest = named.highest()
            if highest is not None:
                # Also if the write ends here: an id must not be given twice.
                self._next_id = max(self._next_id, highest + 1)
            first_seq = self._next_seq
            self._next_seq += count
            batch = Batch(*units, products, first_seq, named, payloads, keys)
            chunks, tail_length, projected = self._append(batch, kernels)
            if self._posted:
                self.postings.append(range(first_seq, first_seq + count), keys)
            pending = Pending(named, first_seq)
            self._commit(chunks, tail_length, replaced, pending, kernels, projected=projected)
            self.width = width
            return named, len(replaced)

    def delete(self, ids: RowIds, kernels: Kernels = plain) -> int:
        """Remove the rows that are there; returns how many."""
        with self._lock:
            self._settle(kernels)
            found = self._ids(kernels).find_many(ids, kernels)
            seqs, places = np.unique(found, return_index=True)
            present = seqs >= 0
            if not present.any():
                return 0
            old = self.snapshot
            pending = Pending(ids.take(places[present]), None)
            dying = seqs[present]
            self._commit(
                old.chunks, old.tail_length, dying, pending, kernels, projected=old.projected
            )
            return len(dying)

    def compact(self) -> None:
        """Rewrite every chunk that holds a dead row; readers go on meanwhile."""
        for chunk in self.snapshot.chunks:
            # The lock is taken anew for each chunk, so that other writers get their turn.
            with self._lock:
                self._settle()
                if chunk.dead:
                    self._rewrite(chunk)
                    self._forget_replaced()

    def exchange(self, old: Sequence[Chunk], new: Chunk, epoch: int) -> bool:
        """Publish a chunk in place of neighbouring ones.

        Args:
            old: The chunks it was made of.
            new: Holds those of their rows that were alive in `epoch`.
            epoch: Of the snapshot it was made of.

        Returns:
            Whether it was; not when one of the chunks is published no more.
        """
        with self._lock:
            self._settle()
            snapshot = self.snapshot
            chunks = list(snapshot.chunks)
            if old[0] not in chunks:
                return False
            first = chunks.index(old[0])
            last = first + len(old)
            if chunks[first:last] != list(old) or last == len(chunks):
                return False
            for chunk in old:
                died_at = chunk.died_at[: chunk.length]
                since = np.flatnonzero((died_at != ALIVE) & (died_at > epoch))
                for row, seq in zip(since.tolist(), chunk.seqs_of(since).tolist(), strict=True):
                    place = new.row_of(seq, new.length)
                    if place is not None:
                        new.died_at[place] = died_at[row]
                        new.dead += 1
            chunks[first:last] = [new]
            self.snapshot = snapshot._replace(chunks=tuple(chunks), directory=Directory())
            self._forget_replaced()
            if _is_sparse(new):
                self._sparse.append(new)
            return True

    def size_bytes(self) -> int:
        """Sum up the allocated bytes of chunks and id map."""
        chunks = self.snapshot.chunks
        ids = 0 if self._id_map is None else self._id_map.size_bytes
        return sum(chunk.size_bytes for chunk in chunks) + ids

    def _settle(self, kernels: Kernels = plain) -> None:
        """Apply what the last write left pending, usually nothing."""
        pending = self.snapshot.pending
        if pending is not None:
            if self._id_map is not None and pending.first_seq is None:
                self._id_map.discard(pending.ids, kernels)
            elif self._id_map is not None and pending.first_seq is not None:
                self._id_map.store(pending.ids, pending.first_seq, kernels)
            self.snapshot = self.snapshot._replace(pending=None)

    def _ids(self, kernels: Kernels) -> IdMap:
        """Give the id map, made of the living rows at its first need; under the lock."""
        if self._id_map is not None:
            return self._id_map
        snapshot = self.snapshot
        id_map = IdMap(snapshot.live_rows)
        for chunk, length in snapshot.parts():
            rows = np.flatnonzero(chunk.living(length, snapshot.epoch))
            id_map.store_rows(chunk.ids.chosen(rows), chunk.seqs_of(rows), kernels)
        self._id_map = id_map
        return id_map

    def _post(self) -> None:
        """Make the posting lists of the living rows at their first need; under the lock."""
        if self._posted:
            return
        snapshot = self.snapshot
        postings = Postings(self.postings.fields)
        # Rows that died before are not in them: an older snapshot may still have those.
        postings.purged_epoch = snapshot.epoch
        for chunk, length in snapshot.parts():
            rows = chunk.living_rows(length, snapshot.epoch)
            keys = [chunk.keys_of(row) for row in rows.tolist()]
            if keys:
                postings.append(chunk.seqs_of(rows).tolist(), list(zip(*keys, strict=True)))
        self.postings = postings
        self._posted = True

    def _replaced(self, ids: RowIds, kernels: Kernels, *, replace: bool) -> npt.NDArray[np.int64]:
        """Check given ids, and find the rows they have: their numbers, ascending."""
        twice = ids.repeated()
        if twice is not None:
            raise DuplicateIdError(f"the id {twice!r} is twice in the batch", id=twice)
        seqs = self._ids(kernels).find_many(ids, kernels)
        known = np.flatnonzero(seqs >= 0)
        if len(known) and not replace:
            row_id = ids[int(known[0])]
            raise DuplicateIdError(
                f"the id {row_id!r} is in the index already; upsert replaces it", id=row_id
            )
        return np.sort(seqs[known])

    def _append(self, batch: Batch, kernels: Kernels) -> tuple[tuple[Chunk, ...], int, bool]:
        """Write a batch behind the published rows; returns chunks, tail length, projected."""
        old = self.snapshot
        chunks = list(old.chunks)
        tail_length = old.tail_length
        count, width = batch.rows.shape
        dim = self._projector.dim
        projected = old.projected or (
            width >= dim and (old.row_count + count) * width > FULL_SCAN_ELEMENTS
        )
        if projected and batch.products is None:
            batch = batch._replace(products=self._projector.products(batch.rows))
            for chunk, length in old.parts():
                if chunk.codes is None:  # readers of older snapshots do not look at it
                    chunk.project(self._projector.products(chunk.rows[:length]))
        row_bytes = batch.rows.itemsize * width + (dim if projected else 0)
        largest = max(_FIRST_CAPACITY, min(1 << 16, _CHUNK_BYTES // row_bytes))
        copied = min(largest, _COPY_BYTES // row_bytes)
        if chunks and tail_length + count > chunks[-1].capacity < copied:
            wanted = max(2 * chunks[-1].capacity, tail_length + count)
            tail = Chunk.merged(
                [(chunks[-1], tail_length)],
                epoch=old.epoch,
                capacity=min(wanted, copied),
            )
            chunks[-1], tail_length = tail, tail.length
        start = 0
        while start < count:
            if not chunks or tail_length == chunks[-1].capacity:
                rows = old.row_count + count if chunks else count
                capacity = min(largest, max(_FIRST_CAPACITY, rows))
                room = Chunk.with_room(
                    capacity,
                    width,
                    precision=self.precision,
                    dim=dim if projected else None,
                    fields=self.postings.fields,
                )
                chunks.append(room)
                tail_length = 0
            stop = min(count, start + chunks[-1].capacity - tail_length)
            chunks[-1].write(tail_length, batch, slice(start, stop), kernels)
            tail_length = chunks[-1].length
            start = stop
        return tuple(chunks), tail_length, projected

    def _commit(
        self,
        chunks: tuple[Chunk, ...],
        tail_length: int,
        dying: npt.NDArray[np.int64],
        pending: Pending,
        kernels: Kernels,
        *,
        projected: bool,
    ) -> None:
        """Let rows die (their numbers, ascending) and others appear in one epoch."""
        old = self.snapshot
        born = 0 if pending.first_seq is None else len(pending.ids)
        new = Snapshot(
            chunks,
            tail_length,
            old.epoch + 1,
            old.live_rows + born - len(dying),
            projected,
            pending,
            Directory(),
        )
        places: list[tuple[Chunk, npt.NDArray[np.int64]]] = []
        if len(dying):
            places = [(chunk, rows) for _, chunk, rows in new.locate(dying)]
        try:
            for chunk, rows in places:
                chunk.dead += len(rows)  # first: a reader that sees 0 skips the stamps
                chunk.died_at[rows] = new.epoch
            self.snapshot = new
        except BaseException:
            if self.snapshot is not new:
                for chunk, rows in places:
                    chunk.died_at[rows] = ALIVE
            raise
        self._settle(kernels)
        self._tidy(places)

    def _tidy(self, places: list[tuple[Chunk, npt.NDArray[np.int64]]]) -> None:
        for chunk, rows in places:
            if self.postings.fields and self._posted:
                for row in rows.tolist():
                    self.postings.bury(chunk.keys_of(row), self.snapshot.epoch, self._living)
            if chunk not in self._sparse and _is_sparse(chunk):
                self._sparse.append(chunk)
        if self._sparse:
            self._rewrite(self._sparse.pop())
            self._forget_replaced()

    def _forget_replaced(self) -> None:
        """Let go of chunks that are no longer published, so that their memory is released."""
        self._sparse = [chunk for chunk in self._sparse if chunk in self.snapshot.chunks]

    def _living(self, seqs: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        parts = [chunk.seqs_of(rows) for _, chunk, rows in self.snapshot.locate(seqs)]
        return np.sort(np.concatenate(parts)) if parts else np.empty(0, np.int64)

    def _rewrite(self, chunk: Chunk) -> None:
        """Replace a chunk by its living rows, together with neighbours that are small by now.

        Readers that hold the old chunk keep it alive; its memory goes with the last of them.
        """
        old = self.snapshot
        parts = list(old.parts())
        if chunk not in old.chunks:
            return
        first = old.chunks.index(chunk)
        last = first + 1
        row_bytes = max(1, chunk.rows.nbytes // chunk.capacity)
        room = min(1 << 15, _CHUNK_BYTES // row_bytes // 2) - (chunk.length - chunk.dead)
        if first and (rows := parts[first - 1][1] - parts[first - 1][0].dead) <= room:
            first, room = first - 1, room - rows
        if last < len(parts) and parts[last][1] - parts[last][0].dead <= room:
            last += 1
        merged = Chunk.merged(parts[first:last], epoch=old.epoch)
        between = (merged,) if merged.length else ()
        chunks = (*old.chunks[:first], *between, *old.chunks[last:])
        tail_length = old.tail_length
        if last == len(parts):
            tail_length = chunks[-1].length if chunks else 0
        self.snapshot = old._replace(chunks=chunks, tail_length=tail_length, directory=Directory())


def _is_sparse(chunk: Chunk) -> bool:
    return chunk.dead == chunk.length or (
        chunk.dead >= _DEAD_ROWS and chunk.dead > _DEAD_SHARE * chunk.length
    )
