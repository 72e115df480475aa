"""Where the arrays of a snapshot's chunks lie in memory, for kernels that walk them by address."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from prismresonance._kernels.places import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Hashable

    from prismresonance._snapshot import Snapshot

__all__ = ["Directory"]

_MASKS = 8


class Directory:
    """A snapshot's table of addresses, made for the first query that needs it.

    Two threads may both make it; they make the same one. An address holds as long as its chunk is
    referred to: whoever uses the table keeps the snapshot.

    Attributes:
        rows: Published rows of the snapshot, dead ones included; set together with the table.
        row_bytes: Bytes of a stored component; likewise.
        masks: For some of the `where=` that were asked lately, a byte for each row.
    """

    __slots__ = ("_table", "masks", "row_bytes", "rows")

    def __init__(self) -> None:
        self._table: npt.NDArray[np.int64] | None = None
        self.rows = 0
        self.row_bytes = 0
        self.masks: dict[Hashable, npt.NDArray[np.uint8]] = {}

    def keep(self, key: Hashable, mask: npt.NDArray[np.uint8]) -> None:
        """Remember a mask for the queries to come, if there are not many yet."""
        if len(self.masks) < _MASKS:
            self.masks[key] = mask

    def table(self, snapshot: Snapshot) -> npt.NDArray[np.int64]:
        """Give the table.

        Args:
            snapshot: The one that this directory belongs to.

        Returns:
            Shape `(chunks, COLUMNS)`: for each chunk the addresses of `Chunk.addresses`, its
            published length, and how many rows lie in the chunks before it; see
            `_kernels.places`.
        """
        if self._table is None:
            rows: list[tuple[int, ...]] = []
            start = 0
            for chunk, length in snapshot.parts():
                rows.append((*chunk.addresses, length, start))
                start += length
            self.rows = start
            self.row_bytes = snapshot.chunks[0].rows.itemsize if snapshot.chunks else 0
            self._table = np.array(rows, np.int64).reshape(-1, COLUMNS)
        return self._table
