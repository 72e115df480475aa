"""What a chunk keeps of its rows beside numbers: ids and payloads."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from prismresonance._arena import Arena
from prismresonance._encoding import decoded_id, decoded_payload, encoded_id, encoded_payload
from prismresonance._no_payload import NO_PAYLOAD
from prismresonance._row_ids import OTHER, RowIds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prismresonance._records import Payload, RowId

__all__ = ["IdColumn", "PayloadColumn"]


class IdColumn:
    """Ids of a chunk's rows: 8 bytes a row, 8 more in a chunk that holds any other than a number.

    One writer writes rows that no reader looks at yet; see `Chunk`. A column of a saved chunk reads
    its ids from the file and is not written to.

    Attributes:
        numbers: Shape `(capacity,)`; `OTHER` where the id is no number.
    """

    __slots__ = ("_others", "_saved", "numbers")

    def __init__(self, numbers: npt.NDArray[np.int64], saved: Arena | None = None) -> None:
        self.numbers = numbers
        self._saved = saved  # ids that are no numbers, encoded; no bytes for those that are
        self._others: list[RowId | None] | None = None

    @classmethod
    def with_room(cls, capacity: int) -> IdColumn:
        """Make a column to write to."""
        return cls(np.empty(capacity, np.int64))

    def __getitem__(self, row: int) -> RowId:
        number = self.numbers.item(row)
        return self._other(row) if number == OTHER else number

    @property
    def size_bytes(self) -> int:
        """Allocated bytes, without the texts."""
        size = self.numbers.nbytes
        if self._saved is not None:
            size += self._saved.size_bytes
        return size + (0 if self._others is None else sys.getsizeof(self._others))

    def write(self, start: int, ids: RowIds, chosen: slice) -> None:
        """Write some ids of a batch from row `start` on."""
        stop = start + chosen.stop - chosen.start
        self.numbers[start:stop] = ids.numbers[chosen]
        if ids.others is not None:
            self._room()[start:stop] = ids.others[chosen]

    def copy_rows(self, start: int, source: IdColumn, rows: npt.NDArray[np.int64]) -> None:
        """Copy rows of another column to row `start` and on."""
        numbers = source.numbers[rows]
        self.numbers[start : start + len(rows)] = numbers
        strays = np.flatnonzero(numbers == OTHER)
        if len(strays):
            others = self._room()
            for place, row in zip(strays.tolist(), rows[strays].tolist(), strict=True):
                others[start + place] = source[row]

    def chosen(self, rows: npt.NDArray[np.int64]) -> RowIds:
        """Copy the ids of some rows."""
        numbers = self.numbers[rows]
        strays = np.flatnonzero(numbers == OTHER)
        if not len(strays):
            return RowIds(numbers)
        others: list[RowId | None] = [None] * len(rows)
        for place, row in zip(strays.tolist(), rows[strays].tolist(), strict=True):
            others[place] = self._other(row)
        return RowIds(numbers, others)

    def encoded(self, rows: npt.NDArray[np.int64]) -> Arena | None:
        """Give the bytes of those ids of some rows that are no numbers; `None` if all are."""
        ids = self.chosen(rows)
        if ids.others is None:
            return None
        return Arena.of([b"" if other is None else encoded_id(other) for other in ids.others])

    def _other(self, row: int) -> RowId:
        if self._saved is not None:
            return decoded_id(self._saved[row])
        other = None if self._others is None else self._others[row]
        return OTHER if other is None else other

    def _room(self) -> list[RowId | None]:
        if self._others is None:
            self._others = [None] * len(self.numbers)
        return self._others


class PayloadColumn:
    """Payloads of a chunk's rows, kept by reference or as bytes that are decoded when read.

    A chunk of rows without payloads allocates no room for them; with the first payload it does, 8
    bytes a row. A column of a saved chunk reads its payloads from the file and is not written to.
    """

    __slots__ = ("_capacity", "_objects", "_saved")

    def __init__(self, capacity: int, saved: Arena | None = None) -> None:
        self._capacity = capacity
        self._saved = saved
        self._objects: list[Payload | bytes] | None = None

    def __getitem__(self, row: int) -> Payload:
        if self._saved is not None:
            return decoded_payload(self._saved[row])
        if self._objects is None:
            return NO_PAYLOAD
        payload = self._objects[row]
        return decoded_payload(payload) if type(payload) is bytes else cast("Payload", payload)

    @property
    def size_bytes(self) -> int:
        """Allocated bytes, without the payloads that are kept by reference."""
        saved = 0 if self._saved is None else self._saved.size_bytes
        return saved + (0 if self._objects is None else sys.getsizeof(self._objects))

    def write(self, start: int, payloads: Sequence[Payload] | None, chosen: slice) -> None:
        """Write some payloads of a batch from row `start` on; `None` is a batch without."""
        count = chosen.stop - chosen.start
        if payloads is not None:
            self._room()[start : start + count] = payloads[chosen]
        elif self._objects is not None:
            self._objects[start : start + count] = [NO_PAYLOAD] * count

    @classmethod
    def gathered(
        cls, capacity: int, picks: Sequence[tuple[PayloadColumn, npt.NDArray[np.int64]]]
    ) -> PayloadColumn:
        """Give a column of rows of others, in the given order, with room for `capacity`."""
        total = sum(len(rows) for _, rows in picks)
        if all(column._saved is not None for column, _ in picks) and total == capacity:
            return cls(capacity, Arena.joined([column._saved_of(rows) for column, rows in picks]))
        new = cls(capacity)
        start = 0
        for column, rows in picks:
            if column._saved is not None or column._objects is not None:
                new._room()[start : start + len(rows)] = column._entries(rows)
            start += len(rows)
        return new

    def encoded(
        self, rows: npt.NDArray[np.int64], ids: IdColumn, indexed_fields: Sequence[str]
    ) -> Arena | None:
        """Give the bytes of the payloads of some rows; `None` when none has one.

        Raises:
            UnsavablePayloadError: A payload holds what would not be read back as it is.
        """
        if self._saved is not None:
            return self._saved.take(rows)
        if self._objects is None:
            return None
        strings: list[bytes] = []
        for row in rows.tolist():
            payload = self._objects[row]
            if type(payload) is bytes:
                strings.append(payload)
            elif payload is NO_PAYLOAD:
                strings.append(b"")
            else:
                strings.append(encoded_payload(cast("Payload", payload), ids[row], indexed_fields))
        return Arena.of(strings)

    def _saved_of(self, rows: npt.NDArray[np.int64]) -> Arena | int:
        return len(rows) if self._saved is None else self._saved.take(rows)

    def _entries(self, rows: npt.NDArray[np.int64]) -> list[Payload | bytes]:
        if self._saved is not None:
            return [self._saved[row] for row in rows.tolist()]
        objects = self._objects
        if objects is None:
            return [NO_PAYLOAD] * len(rows)
        return [objects[row] for row in rows.tolist()]

    def _room(self) -> list[Payload | bytes]:
        if self._objects is None:
            self._objects = [NO_PAYLOAD] * self._capacity
        return self._objects
