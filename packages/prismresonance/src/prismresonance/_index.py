"""The vector index."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from prismresonance._admission import admitted
from prismresonance._arguments import (
    checked_id,
    checked_ids,
    checked_payloads,
    checked_threshold,
    sigmas_of,
    whole_number,
)
from prismresonance._arranger import Arranger
from prismresonance._files.saver import Saver
from prismresonance._filters import parse_where
from prismresonance._kernels.compiler import COMPILER
from prismresonance._projector import PrismProjector
from prismresonance._records import IndexStats, IntegerArray, Match, Payload, Record, RowId
from prismresonance._row_ids import RowIds
from prismresonance._search import TOP_K_SIGMAS, Tally, search, search_many
from prismresonance._table import RowTable
from prismresonance._vectors import (
    MAX_WIDTH,
    TOPS,
    Precision,
    check_width,
    float_row,
    float_rows,
    squared_lengths,
    unit_row,
    unit_rows,
)
from prismresonance.errors import IndexFileError, InvalidArgumentError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence

    import numpy.typing as npt

    from prismresonance._chunks import Chunk
    from prismresonance._files.save import Content
    from prismresonance._kernels.interface import Kernels
    from prismresonance._search import Question
    from prismresonance._snapshot import Snapshot

__all__ = ["WaveIndex"]


_COMPILE_ROWS = 2_500  # from here on compiled loops save 30 us a query


class WaveIndex:
    """Store vectors with payloads and find the nearest by cosine, in this process.

    It finds in the projector's 64 dimensions and decides at full width: the signs of the projected
    rows are scanned for candidates, a bit a dimension, and every candidate is then scored with the
    stored vectors. So a score is never an estimate and a match never a false one. What can go
    wrong is a miss: a true match whose projection falls unusually far from the query's. A match
    exactly at the threshold is missed with a probability of about 3e-4, one exactly as good as the
    k-th best with about 2e-2, better ones with less. `exact=True` misses none. Indexes of up to a
    quarter of a million components (682 rows of 384) and small filtered sets are searched at full
    width anyway.

    **Threads.** All methods are safe to call from several threads. Readers take no lock: a query
    sees the index as one write left it. Once `add` has returned every later query sees the row,
    once `remove` has returned none does, and a replaced row is never seen twice or not at all.
    Writers take turns.

    **Vectors** may be of any width and any real type. The first one fixes the width. What is stored
    is their direction, each component rounded to an integer, because a cosine does not depend on
    length: 2 bytes a component, or 1 with `precision="int8"`; in a large index a bit more for each
    projected dimension, and a byte where that is much less than the row itself; and about 45 bytes
    a row beside the payload, 25 of them from the first look-up of an id on (a text for an id takes
    some 100 more). Rounding moves a cosine by about 1e-5, or by about 5e-4 with bytes.

    **Payloads** are mappings, kept by reference, never copied: change one after adding it and
    results show the change, but the fields of `indexed_fields` are read only when it is added.

    Args:
        projector: Gives the address space; can be shared by many indexes.
        width: Width of the vectors; `None` takes that of the first.
        precision: Of the stored components. `"int8"` halves the memory of wide vectors.
        indexed_fields: Payload fields for which lists of rows are kept. A `where=` on one of them
            costs about as much as the rows it admits; on any other field, every payload in
            question is looked at. An indexed field's values must be hashable.

    Raises:
        InvalidArgumentError: `width`, `precision` or `indexed_fields` is not of that kind.
    """

    def __init__(
        self,
        projector: PrismProjector,
        *,
        width: int | None = None,
        precision: Precision = "int16",
        indexed_fields: Sequence[str] = (),
    ) -> None:
        if not isinstance(projector, PrismProjector):
            raise InvalidArgumentError(
                f"projector is a PrismProjector, got {type(projector).__name__}"
            )
        if width is not None:
            width = whole_number("width", width)
            if width > MAX_WIDTH:
                raise InvalidArgumentError(f"width is at most {MAX_WIDTH}, got {width}")
        if precision not in TOPS:
            raise InvalidArgumentError(f"precision is 'int16' or 'int8', got {precision!r}")
        if isinstance(indexed_fields, str) or not all(isinstance(f, str) for f in indexed_fields):
            raise InvalidArgumentError("indexed_fields is a sequence of field names")
        self._projector = projector
        self._table = RowTable(
            projector,
            width=width,
            precision=precision,
            fields=tuple(dict.fromkeys(indexed_fields)),
        )
        self._arranger = Arranger(self._table, projector)
        self._tallies: dict[int, Tally] = {}
        self._saver = Saver()
        self._untouched = False

    @property
    def projector(self) -> PrismProjector:
        """The projector that gives the address space."""
        return self._projector

    @property
    def width(self) -> int | None:
        """Width of the vectors; `None` before the first one, unless it was given."""
        return self._table.width

    def __repr__(self) -> str:
        return (
            f"WaveIndex({self._projector!r}, width={self.width}, "
            f"indexed_fields={self._table.postings.fields!r}, rows={len(self)})"
        )

    def __len__(self) -> int:
        return self._table.snapshot.live_rows

    def __contains__(self, row_id: object) -> bool:
        return isinstance(row_id, int | str) and self._find(row_id) is not None

    def add(
        self,
        vector: npt.ArrayLike,
        payload: Payload | None = None,
        *,
        id: RowId | None = None,  # noqa: A002  the word users know
    ) -> RowId:
        """Store a new row.

        Args:
            vector: Shape `(width,)`, finite and not zero, of any real type.
            payload: What a result carries; an empty mapping when `None`.
            id: Its id; `None` gives the next integer above all ids used so far.

        Returns:
            The id.

        Raises:
            DuplicateIdError: The id is in the index already.
            InvalidVectorError: The vector is not finite, is zero, or has a wrong width or type.
            InvalidArgumentError: The id or the payload is of a wrong type.
        """
        return self._insert_one(vector, payload, id, replace=False)[0]

    def add_many(
        self,
        vectors: npt.ArrayLike,
        payloads: Sequence[Payload] | None = None,
        ids: Sequence[RowId] | IntegerArray | None = None,
    ) -> list[RowId]:
        """Store new rows, all or none; queries see all or none too.

        Args:
            vectors: Shape `(n, width)`, each row as in `add`.
            payloads: One a row; empty mappings when `None`.
            ids: One a row, also as an array of integers; integers above all ids used so far when
                `None`.

        Returns:
            The ids, in order.

        Cost:
            O(n * width). Without payloads, and with ids that are an array of integers or `None`,
            nothing is done in Python for each row but to list the ids for the result. What finds
            rows by their ids is made when it is first needed (by ids that are given, `get`, `in`,
            `remove`): about 0.1 us for each row that is there by then, 1 us if ids are texts.

        Raises:
            DuplicateIdError: An id is in the index already, or given twice.
            InvalidVectorError: As in `add`; the message names the row.
            InvalidArgumentError: The counts differ, or an id or payload is of a wrong type.
        """
        return self._insert_many(vectors, payloads, ids, replace=False)[0].tolist()

    def upsert(
        self,
        vector: npt.ArrayLike,
        payload: Payload | None = None,
        *,
        id: RowId,  # noqa: A002  the word users know
    ) -> bool:
        """Store a row in place of the one with its id, if there is one.

        Concurrent queries see either version, never both or neither. Among rows of equal score it
        counts as new.

        Args:
            vector: As in `add`.
            payload: As in `add`; the old payload does not live on.
            id: Its id.

        Returns:
            Whether a row was replaced.

        Raises:
            InvalidVectorError: As in `add`.
            InvalidArgumentError: As in `add`.
        """
        return bool(self._insert_one(vector, payload, checked_id(id), replace=True)[1])

    def upsert_many(
        self,
        vectors: npt.ArrayLike,
        payloads: Sequence[Payload] | None,
        ids: Sequence[RowId] | IntegerArray,
    ) -> int:
        """Store rows in place of those with their ids, all or none; queries see all or none too.

        Args:
            vectors: As in `add_many`.
            payloads: As in `add_many`.
            ids: One a row, none twice.

        Returns:
            How many rows were replaced.

        Raises:
            DuplicateIdError: An id is given twice.
            InvalidVectorError: As in `add_many`.
            InvalidArgumentError: As in `add_many`.
        """
        if ids is None:
            raise InvalidArgumentError("upsert_many needs an id for each row")
        return self._insert_many(vectors, payloads, ids, replace=True)[1]

    def remove(self, id: RowId) -> bool:  # noqa: A002  the word users know
        """Remove a row; no query that starts later finds it.

        Its memory is released when enough rows around it are gone; see `compact`.

        Args:
            id: Its id.

        Returns:
            Whether it was there.

        Raises:
            InvalidArgumentError: The id is neither an integer nor a text.
        """
        return bool(self._table.delete(RowIds.of([checked_id(id)]), COMPILER.kernels))

    def remove_many(self, ids: Iterable[RowId] | IntegerArray) -> int:
        """Remove rows; queries see all of them or none.

        Args:
            ids: Their ids; those that are not in the index are passed over.

        Returns:
            How many were there.

        Raises:
            InvalidArgumentError: An id is neither an integer nor a text; nothing was removed.
        """
        return self._table.delete(checked_ids(ids), COMPILER.kernels)

    def get(self, id: RowId) -> Record | None:  # noqa: A002  the word users know
        """Look up a row by its id.

        Args:
            id: Its id.

        Returns:
            The row with its stored vector (of length 1), or `None`.

        Raises:
            InvalidArgumentError: The id is neither an integer nor a text.
        """
        row_id = checked_id(id)
        found = self._find(row_id)
        if found is None:
            return None
        chunk, row = found
        vector = chunk.rows[row] / np.sqrt(np.float32(chunk.squared_norms[row]))
        return Record(row_id, vector, chunk.payloads[row])

    def query(
        self,
        vector: npt.ArrayLike,
        top_k: int = 10,
        threshold: float | None = None,
        where: Mapping[str, object] | None = None,
        *,
        recall: float | None = None,
        exact: bool = False,
    ) -> list[Match]:
        """Find the rows nearest to a vector.

        Args:
            vector: As in `add`.
            top_k: How many matches at most, 1 or more.
            threshold: The least score, -1 to 1, itself included; `None` for any.
            where: Conditions on payload fields, all of which must hold: field to value, to a list,
                set or frozenset of values (a tuple is one value), or to a `Between`. Values are
                compared by `==`; a payload without the field does not match.
            recall: With what probability, at least, a row exactly as good as the last of `top_k`
                must be found, .6 to .9999; better rows are found with a greater one. `None` is .97.
                Lowering it saves time where the threshold does not end the search: of the ten best
                rows of 100,000 sentences .996 are found by default, .976 in three fifths of the
                time at .9, .938 in two fifths at .8. It does not concern rows near the threshold.
            exact: Whether to score every admitted row at full width, and so to miss none.

        Returns:
            Matches by falling score; rows of equal score in order of insertion, oldest first.

        Cost:
            O(rows * dim), plus O(candidates * width); with `where` on an indexed field that admits
            few rows, O(admitted rows * width); with `exact`, O(rows * width).

        Raises:
            InvalidVectorError: As in `add`.
            InvalidArgumentError: Another argument is outside of that.
        """
        single = float_row(vector, width=self._table.width)
        snapshot, question, kernels, tally = self._asked(
            single, top_k, threshold, where, recall=recall, exact=exact
        )
        matches = search(snapshot, question, self._projector, kernels, tally)
        tally.queries += 1
        self._ask_for_speed(snapshot)
        return matches

    def query_many(
        self,
        vectors: npt.ArrayLike,
        top_k: int = 10,
        threshold: float | None = None,
        where: Mapping[str, object] | None = None,
        *,
        recall: float | None = None,
        exact: bool = False,
    ) -> list[list[Match]]:
        """Find the rows nearest to each of several vectors, in one snapshot of the index.

        Args:
            vectors: Shape `(n, width)`.
            top_k: As in `query`.
            threshold: As in `query`.
            where: As in `query`, for all of them.
            recall: As in `query`.
            exact: As in `query`.

        Returns:
            For each vector what `query` would give.

        Raises:
            InvalidVectorError: As in `add_many`.
            InvalidArgumentError: As in `query`.
        """
        rows = float_rows(vectors, width=self._table.width)
        squared_lengths(rows, single=False)
        any_row = rows[0] if len(rows) else np.empty(rows.shape[1], np.float32)
        snapshot, question, kernels, tally = self._asked(
            any_row, top_k, threshold, where, recall=recall, exact=exact
        )
        answers = search_many(snapshot, rows, question, self._projector, kernels, tally)
        tally.queries += len(rows)
        self._ask_for_speed(snapshot)
        return answers

    def compact(self) -> None:
        """Release the memory of all removed and replaced rows now.

        Writes do this by themselves, a chunk of up to 32 MB at a time, whenever 30 % of a chunk's
        rows are dead; call it when a removed vector must not stay in memory. Queries go on
        meanwhile, and those already running keep what they read until they end.
        """
        self._table.compact()

    def save(self, path: str | os.PathLike[str], *, replace: bool = False) -> None:
        """Save the rows to a folder, from which `open` makes an index again.

        Saves one snapshot: reads and writes go on meanwhile, and a write that comes after it is
        not in it. A later save to the same folder adds what is new: new rows, and which rows are
        gone. When the call returns, a crash of the machine can no longer undo it; a crash, a full
        disk or a kill at any moment before leaves the folder with the index that was there.

        A folder holds one index. Two saves to it at the same time: of one index they take turns,
        of different ones the second raises. Indexes opened from the folder go on to read what they
        opened. (On Windows, files that they have open stay until a save after they are closed.)

        What is removed is no longer found; its bytes stay in a file until that is merged or more
        than half of its rows are gone.

        Payloads are written as they are at that moment, and rows that an earlier save wrote are
        not looked at again: what was changed in their payloads since is not saved.

        Args:
            path: The folder; made if it is not there.
            replace: Whether to replace an index that this one did not save there.

        Raises:
            UnsavablePayloadError: A payload holds something other than texts, integers, floats
                (also NaN and infinite), truth values, `None`, and lists and dictionaries of these.
            IndexFileError: The folder holds another index, or this one as somebody else saved it
                since, or no index but other files. `replace=True` replaces an index, nothing else.
            IndexBusyError: Another index is being saved there.
            OSError: The file system refuses; the folder holds what it held.

        Cost:
            The first: O(rows * width), all of it written. Later ones: for n rows added since, n *
            O(log rows) are written over time, because small files are merged into larger ones
            (there are at most about `log2(rows)`), and a bit for each row once one is removed.
            Once more all of a file's rows when they have been arranged in cells since.
        """
        self._saver.save(Path(path).resolve(), self._content, replace=replace)

    @classmethod
    def open(  # the word users know
        cls,
        path: str | os.PathLike[str],
        *,
        projector: PrismProjector | None = None,
        verify: bool = False,
    ) -> WaveIndex:
        """Make an index of what was saved to a folder.

        Nothing is read but a few small files: rows are mapped and come from disk when a query
        first needs them. The index can be written to; that changes memory only, until it is saved.

        Payloads are made anew whenever a match or a record is read, about 2 us each: changing one
        changes nothing.

        Args:
            path: The folder.
            projector: The projector to use, so that several indexes can share it; must be as the
                saved index's. `None` makes one.
            verify: Whether to read all of it and compare every checksum. Without, lengths are
                compared, and the checksums of what is read now.

        Returns:
            The index, with the width, the indexed fields and the next free id that it had.

        Raises:
            IndexFileError: There is no saved index, or one of another format version, byte order
                or projector.
            IndexDamagedError: A file is missing, cut off or changed.

        Cost:
            8 bytes of memory a row, and O(files). Made at their first need: what finds rows by
            their ids (with `get`, `in`, `remove`, and writes that give ids; about 0.1 us a row, 1
            us if ids are texts), and the lists of an indexed field (with `where=` on one; 3 us a
            row).
        """
        from prismresonance._files.folder import DiskFolder
        from prismresonance._files.load import load

        place = Path(path).resolve()
        loaded = load(DiskFolder(place), path=str(place), verify=verify)
        manifest = loaded.state.manifest
        precision = cast("Precision", manifest.precision)
        if projector is None:
            projector = PrismProjector(dim=manifest.dim, tenant_id=manifest.tenant_id)
        elif (projector.dim, projector.tenant_id) != (manifest.dim, manifest.tenant_id):
            raise IndexFileError(
                f"its projector has dim={manifest.dim} and tenant_id={manifest.tenant_id!r}, given "
                f"is {projector!r}; leave it out to use the saved one's",
                path=str(place),
            )
        index = cls(
            projector,
            width=manifest.width,
            precision=precision,
            indexed_fields=manifest.indexed_fields,
        )
        index._table = RowTable.restored(
            projector,
            loaded.chunks,
            width=manifest.width,
            precision=precision,
            fields=manifest.indexed_fields,
            next_id=manifest.next_id,
            projected=manifest.projected,
        )
        index._arranger = Arranger(index._table, projector)
        index._untouched = True
        index._saver.knows(place, loaded.state)
        return index

    def stats(self) -> IndexStats:
        """Describe the index. O(chunks); safe beside readers and writers."""
        snapshot = self._table.snapshot
        tallies = list(self._tallies.values())
        return IndexStats(
            rows=snapshot.live_rows,
            tombstones=snapshot.row_count - snapshot.live_rows,
            chunks=len(snapshot.chunks),
            width=self._table.width,
            dim=self._projector.dim,
            projected=snapshot.projected,
            cells=sum(0 if c.cells is None else len(c.cells.centres) for c in snapshot.chunks),
            arranging=self._arranger.busy,
            size_bytes=self._table.size_bytes(),
            kernel=COMPILER.state,
            queries=sum(tally.queries for tally in tallies),
            rows_scanned=sum(tally.scanned for tally in tallies),
            rows_rescored=sum(tally.rescored for tally in tallies),
        )

    def _insert_one(
        self,
        vector: npt.ArrayLike,
        payload: Payload | None,
        row_id: RowId | None,
        *,
        replace: bool,
    ) -> tuple[RowId, int]:
        kernels = COMPILER.kernels
        units = unit_row(
            vector, width=self._table.width, precision=self._table.precision, kernels=kernels
        )
        payloads = None if payload is None else checked_payloads([payload], 1)
        ids = None if row_id is None else RowIds.of([checked_id(row_id)])
        named, replaced = self._table.insert(units, payloads, ids, replace=replace, kernels=kernels)
        if self._table.snapshot.tail_length == 1:  # the chunk before is full
            self._arranger.want()
        return named[0], replaced

    def _insert_many(
        self,
        vectors: npt.ArrayLike,
        payloads: Sequence[Payload] | None,
        ids: Sequence[RowId] | IntegerArray | None,
        *,
        replace: bool,
    ) -> tuple[RowIds, int]:
        kernels = COMPILER.kernels
        units = unit_rows(
            vectors, width=self._table.width, precision=self._table.precision, kernels=kernels
        )
        count = len(units.rows)
        if payloads is not None:
            payloads = checked_payloads(payloads, count)
        wanted = None
        if ids is not None:
            if isinstance(ids, str) or len(ids) != count:
                raise InvalidArgumentError(f"{count} vectors need {count} ids")
            wanted = checked_ids(ids)
        named, replaced = self._table.insert(
            units, payloads, wanted, replace=replace, kernels=kernels
        )
        if self._is_large(self._table.snapshot):
            COMPILER.want()
            self._arranger.want()
        return named, replaced

    def _content(self) -> Content:
        from prismresonance._files.save import Content

        snapshot, next_id = self._table.held()
        return Content(
            snapshot,
            next_id,
            self._projector.tenant_id,
            self._projector.dim,
            snapshot.chunks[0].width if snapshot.chunks else self._table.width,
            self._table.precision,
            self._table.postings.fields,
        )

    def _find(self, row_id: RowId) -> tuple[Chunk, int] | None:
        while True:
            snapshot = self._table.snapshot
            seq = self._table.seq_of(row_id, snapshot, COMPILER.kernels)
            if seq is None:
                return None
            found = snapshot.find(seq)
            if found is not None:
                return found
            # The id map was ahead of this snapshot: a newer one is published already.

    def _asked(
        self,
        vector: npt.NDArray[np.float32],
        top_k: int,
        threshold: float | None,
        where: Mapping[str, object] | None,
        *,
        recall: float | None,
        exact: bool,
    ) -> tuple[Snapshot, Question, Kernels, Tally]:
        """Check the arguments of a query, and take what it needs at this moment."""
        top_k = whole_number("top_k", top_k)
        least = checked_threshold(threshold)
        sigmas = TOP_K_SIGMAS if recall is None else sigmas_of(recall)
        if where is None:
            snapshot, allowed = self._table.snapshot, None
        else:
            snapshot, allowed = admitted(self._table, parse_where(where))
        if self._table.width != len(vector) and snapshot.chunks:
            # The first row of all came in after the width was checked.
            check_width(len(vector), snapshot.chunks[0].rows.shape[1])
        tally = self._tallies.get(threading.get_ident())
        if tally is None:
            tally = self._tallies.setdefault(threading.get_ident(), Tally())
        question = (vector, top_k, least, allowed, exact, sigmas)
        return snapshot, question, COMPILER.kernels, tally

    def _ask_for_speed(self, snapshot: Snapshot) -> None:
        """Start what pays in the background; after an answer, which importing numba holds up."""
        if self._is_large(snapshot):
            COMPILER.want()
            if self._untouched:  # later, writes ask
                self._untouched = False
                self._arranger.want()

    def _is_large(self, snapshot: Snapshot) -> bool:
        """Say whether compiled kernels pay."""
        return snapshot.live_rows > _COMPILE_ROWS
