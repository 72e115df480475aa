"""What goes into the files: rows of a snapshot as parts of a segment, and which rows are dead."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from prismresonance._arena import Arena
from prismresonance._chunk_arrays import first_rows, gathered_arrays, without_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from prismresonance._chunks import Chunk
    from prismresonance._files.segment import Array
    from prismresonance._snapshot import Snapshot

__all__ = [
    "PART_BYTES",
    "ArrangedPart",
    "Piece",
    "RowPart",
    "arranged_count",
    "dead_bits",
    "dead_rows",
    "living_count",
    "living_seqs",
    "row_parts",
]  # fmt: skip

PART_BYTES = 1 << 25
"""Vectors of about so many bytes make a part, which becomes a chunk when the index is opened."""

_ARRANGED_SHARE = 0.6
"""A chunk in cells is saved with its dead rows while no more than the rest of it is dead."""

_Numbers = npt.NDArray[np.int64]


class Piece(NamedTuple):
    """Rows of one chunk.

    Attributes:
        chunk: The chunk.
        rows: Those of them that live, in order of insertion.
        whole: Whether these are all rows of the chunk that live, and none is unpublished.
    """

    chunk: Chunk
    rows: _Numbers
    whole: bool


class RowPart(NamedTuple):
    """Rows that become one part of a segment.

    Attributes:
        pieces: Where they come from, in order.
        strays: The bytes of the ids that are no numbers; for each piece, `None` for none.
        payloads: The bytes of the payloads; for each piece, `None` for none.
    """

    pieces: tuple[Piece, ...]
    strays: tuple[Arena | None, ...]
    payloads: tuple[Arena | None, ...]

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return sum(len(piece.rows) for piece in self.pieces)

    @property
    def living(self) -> int:
        """How many of them live."""
        return self.rows

    def seqs(self) -> _Numbers:
        """Give the numbers of its rows, ascending."""
        return np.concatenate([piece.chunk.seqs_of(piece.rows) for piece in self.pieces])

    def arrays(self, *, projected: bool) -> dict[str, Array]:
        """Give its arrays by name; copies them unless they are a whole chunk's."""
        chunk, rows, whole = self.pieces[0]
        alone = len(self.pieces) == 1 and whole and len(rows) == chunk.length
        if alone and not chunk.arranged:
            source = chunk.arrays()
        else:
            source = gathered_arrays([(p.chunk.arrays(), p.rows) for p in self.pieces])
        arrays = first_rows(source, self.rows, projected=projected)
        arrays["ids"] = np.concatenate([p.chunk.ids.numbers[p.rows] for p in self.pieces])
        for name, arenas in (("strays", self.strays), ("payloads", self.payloads)):
            if any(arena is not None for arena in arenas):
                counts = [len(piece.rows) for piece in self.pieces]
                both = zip(arenas, counts, strict=True)
                arena = Arena.joined([count if arena is None else arena for arena, count in both])
                arrays[f"{name}_offsets"], arrays[f"{name}_content"] = arena.offsets, arena.content
        return arrays


class ArrangedPart(NamedTuple):
    """A chunk that is arranged in cells and stays so, dead rows included, as zeros.

    Attributes:
        chunk: The chunk.
        alive: Shape `(length,)`: which rows live.
        strays: As of a `RowPart`, for all rows.
        payloads: Likewise.
    """

    chunk: Chunk
    alive: npt.NDArray[np.bool_]
    strays: Arena | None
    payloads: Arena | None

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return len(self.alive)

    @property
    def living(self) -> int:
        """How many of them live."""
        return int(np.count_nonzero(self.alive))

    def seqs(self) -> _Numbers:
        """Give the numbers of its rows, ascending."""
        return self.chunk.seqs_in_order()

    def arrays(self, *, projected: bool) -> dict[str, Array]:
        """Give its arrays by name; copies of those that must not tell of dead rows."""
        arrays = first_rows(self.chunk.arrays(), self.rows, projected=projected)
        dead = np.flatnonzero(~self.alive)
        if len(dead):
            arrays = without_rows(arrays, dead)
        arrays |= self.chunk.arrangement()
        arrays["ids"] = self.chunk.ids.numbers[: self.rows].copy()
        arrays["ids"][dead] = 0
        for name, arena in (("strays", self.strays), ("payloads", self.payloads)):
            if arena is not None:
                arrays[f"{name}_offsets"], arrays[f"{name}_content"] = arena.offsets, arena.content
        return arrays


def pieces_of(snapshot: Snapshot, first_seq: int, stop_seq: int) -> Iterator[Piece]:
    """Yield the living rows whose numbers lie from one to below another, chunk by chunk."""
    for chunk, length in snapshot.parts():
        start, stop = chunk.span(first_seq, stop_seq, length)
        rows = chunk.ranked(start, stop, snapshot.epoch)
        if len(rows):
            yield Piece(chunk, rows, stop - start == length == chunk.length)


def living_count(snapshot: Snapshot, first_seq: int, stop_seq: int) -> int:
    """Count the living rows whose numbers lie from one to below another."""
    count = 0
    for chunk, length in snapshot.parts():
        start, stop = chunk.span(first_seq, stop_seq, length)
        if chunk.dead:  # counted before rows are marked: 0 means that none is in this snapshot
            count += len(chunk.ranked(start, stop, snapshot.epoch))
        else:
            count += stop - start
    return count


def arranged_count(snapshot: Snapshot, first_seq: int, stop_seq: int) -> int:
    """Count those of these rows that lie in chunks which could be saved as they are arranged."""
    count = 0
    for chunk, length in snapshot.parts():
        if chunk.arranged:
            start, stop = chunk.span(first_seq, stop_seq, length)
            if stop - start == length and _stays_arranged(chunk, chunk.length - chunk.dead):
                count += length - chunk.dead
    return count


def living_seqs(snapshot: Snapshot, first_seq: int, stop_seq: int) -> _Numbers:
    """Give the numbers of the living rows between, ascending."""
    parts = [p.chunk.seqs_of(p.rows) for p in pieces_of(snapshot, first_seq, stop_seq)]
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


def row_parts(snapshot: Snapshot, first_seq: int, stop_seq: int) -> list[RowPart | ArrangedPart]:
    """Divide living rows into parts, and encode their ids and payloads.

    Raises:
        UnsavablePayloadError: A payload holds what would not be read back as it is.
    """
    parts: list[RowPart | ArrangedPart] = []
    group: list[Piece] = []
    room = 0
    for piece in pieces_of(snapshot, first_seq, stop_seq):
        arranged = (
            piece.whole and piece.chunk.arranged and _stays_arranged(piece.chunk, len(piece.rows))
        )
        if group and (arranged or len(piece.rows) > room):
            parts.append(_encoded(group))
            group = []
        if arranged:
            parts.append(_encoded_arranged(piece))
            continue
        if not group:
            room = max(1, PART_BYTES // _row_bytes(piece.chunk))
        group.append(piece)
        room -= len(piece.rows)
    if group:
        parts.append(_encoded(group))
    return parts


def _stays_arranged(chunk: Chunk, living: int) -> bool:
    return living >= _ARRANGED_SHARE * chunk.length


def _encoded(pieces: Sequence[Piece]) -> RowPart:
    strays = [piece.chunk.ids.encoded(piece.rows) for piece in pieces]
    payloads = [chunk.payloads.encoded(rows, chunk.ids, chunk.fields) for chunk, rows, _ in pieces]
    return RowPart(tuple(pieces), tuple(strays), tuple(payloads))


def _encoded_arranged(piece: Piece) -> ArrangedPart:
    chunk, rows, _ = piece
    alive = np.zeros(chunk.length, np.bool_)
    alive[rows] = True
    places = np.flatnonzero(alive)
    strays = chunk.ids.encoded(places)
    payloads = chunk.payloads.encoded(places, chunk.ids, chunk.fields)
    return ArrangedPart(
        chunk,
        alive,
        None if strays is None else strays.spread(alive),
        None if payloads is None else payloads.spread(alive),
    )


def _row_bytes(chunk: Chunk) -> int:
    return max(1, sum(array.nbytes for array in chunk.arrays().values()) // chunk.capacity)


def dead_bits(living: _Numbers, rows: int) -> npt.NDArray[np.uint8]:
    """Say which of so many rows are dead, given those that live: a bit a row, lowest first."""
    dead = np.ones(rows, np.bool_)
    dead[living] = False
    return np.packbits(dead, bitorder="little")


def dead_rows(bits: npt.NDArray[np.uint8], rows: int) -> _Numbers:
    """Read what `dead_bits` gave for so many rows: the dead ones, ascending."""
    return np.flatnonzero(np.unpackbits(bits, count=rows, bitorder="little"))
