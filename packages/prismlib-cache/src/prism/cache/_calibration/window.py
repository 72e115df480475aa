"""The last so many rows of numbers, in the order in which they came."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Window"]

_FIRST_ROWS = 64


class Window:
    """Rows in the order in which they came; beyond the capacity the oldest are forgotten.

    Args:
        width: Numbers in a row.
        capacity: Rows kept. Raising it steadies what is estimated from them and costs up to
            `8 * width` bytes each.
    """

    def __init__(self, width: int, capacity: int) -> None:
        self._buffer = np.zeros((_FIRST_ROWS, width), dtype=np.float32)
        self._capacity = capacity
        self._start = self._end = 0

    def __len__(self) -> int:
        return self._end - self._start

    def add(self, row: Sequence[float]) -> None:
        """Take in a row. Amortised O(width)."""
        if self._end == len(self._buffer):
            kept = self.rows()
            room = min(2 * len(kept), 2 * self._capacity) + _FIRST_ROWS
            self._buffer = np.zeros((room, kept.shape[1]), dtype=np.float32)
            self._buffer[: len(kept)] = kept
            self._start, self._end = 0, len(kept)
        self._buffer[self._end] = row
        self._end += 1
        self._start = max(self._start, self._end - self._capacity)

    def rows(self) -> npt.NDArray[np.float64]:
        """Give the rows, the oldest first, shape (n, width)."""
        return self._buffer[self._start : self._end].astype(np.float64)

    def keep_last(self, count: int) -> None:
        """Forget all but the last rows."""
        self._start = max(self._start, self._end - count)

    def state(self) -> dict[str, Any]:
        """Give the rows as plain JSON values."""
        rows = self._buffer[self._start : self._end].astype("<f4")
        return {"rows": base64.b64encode(rows.tobytes()).decode("ascii")}

    def restore(self, state: dict[str, Any]) -> None:
        """Take in rows that `state` gave.

        Raises:
            ValueError: They are of another width, or not finite numbers.
        """
        width = self._buffer.shape[1]
        try:
            packed = base64.b64decode(state["rows"], validate=True)
        except binascii.Error as error:
            raise ValueError("rows are not in base64") from error
        rows = np.frombuffer(packed, dtype="<f4").reshape(-1, width)
        if not np.isfinite(rows).all():
            raise ValueError("a row has a number that is not finite")
        for row in rows[-self._capacity :]:
            self.add(row.tolist())
