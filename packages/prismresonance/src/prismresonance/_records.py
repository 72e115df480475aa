"""What the index hands out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["IndexStats", "IntegerArray", "Match", "Payload", "Record", "RowId"]

RowId: TypeAlias = int | str
Payload: TypeAlias = Mapping[str, object]
IntegerArray: TypeAlias = "npt.NDArray[np.integer]"


class Match(NamedTuple):
    """One row that answers a query.

    Attributes:
        id: The row's id.
        score: Cosine between query and stored row at full width, in [-1, 1]. The same row and
            query give the same bits whatever else is in the index, so a score can serve as a
            threshold.
        payload: The very object that was added, not a copy.
    """

    id: RowId
    score: float
    payload: Payload


class Record(NamedTuple):
    """One stored row.

    Attributes:
        id: The row's id.
        vector: The stored vector, shape `(width,)`, float32, of length 1; it differs from the added
            one by the rounding that `WaveIndex` tells of.
        payload: The very object that was added, not a copy.
    """

    id: RowId
    vector: npt.NDArray[np.float32]
    payload: Payload


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexStats:
    """The state of an index at one moment.

    Attributes:
        rows: Rows that a query can find.
        tombstones: Rows removed or replaced whose memory is not yet released.
        chunks: Blocks of memory that hold the rows.
        width: Width of the vectors; `None` before the first one.
        dim: Width of the projected space.
        projected: Whether queries search the projected space. A small index, or one whose vectors
            are narrower than `dim`, is searched at full width.
        cells: Groups of near rows, most of which a query with a threshold passes over; 0 in an
            index of less than 300,000 rows.
        arranging: Whether rows are being sorted into cells, in the background.
        size_bytes: Allocated bytes: arrays with their spare room, the lists that point to ids and
            payloads, and the id map. Not counted: the ids and payloads themselves, posting lists,
            and the projector's matrix (`4 * dim * width` bytes, shared by its indexes).
        kernel: What computes: `"numpy"` (compiling was not yet worth it), `"compiling"` (numpy
            answers meanwhile), `"numba"`, `"disabled"` (`PRISM_NO_JIT`), or `"failed: <reason>"`
            (numpy answers). One state for the whole process.
        queries: Queries answered; each one of `query_many` counts.
        rows_scanned: Rows whose score was estimated, summed over all queries.
        rows_rescored: Rows whose score was computed exactly, summed over all queries.
    """

    rows: int
    tombstones: int
    chunks: int
    width: int | None
    dim: int
    projected: bool
    cells: int
    arranging: bool
    size_bytes: int
    kernel: str
    queries: int
    rows_scanned: int
    rows_rescored: int
