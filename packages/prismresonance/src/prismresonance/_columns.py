"""What a chunk keeps of its rows beside numbers: ids and payloads."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn, final

import numpy as np
import numpy.typing as npt

from prismresonance._row_ids import OTHER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prismresonance._records import Payload, RowId
    from prismresonance._row_ids import RowIds

__all__ = ["NO_PAYLOAD", "IdColumn", "PayloadColumn"]


@final
class _NoPayload(dict[str, object]):
    """The empty mapping of all rows that were added without a payload.

    A `dict`, so that it can be written as JSON as any other payload, but one that cannot change:
    all those rows share it.
    """

    __slots__ = ()

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("a row without a payload has none to change; add it with one")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> str:
        return "NO_PAYLOAD"


NO_PAYLOAD = _NoPayload()
"""The payload of a row that has none."""


class IdColumn:
    """Ids of a chunk's rows: 8 bytes a row, 8 more in a chunk that holds any other than a number.

    One writer writes rows that no reader looks at yet; see `Chunk`.

    Attributes:
        numbers: Shape `(capacity,)`; `OTHER` where the id is in `others`.
        others: The ids that are no numbers, at their rows; `None` while there are none.
    """

    __slots__ = ("numbers", "others")

    def __init__(self, capacity: int) -> None:
        self.numbers: npt.NDArray[np.int64] = np.empty(capacity, np.int64)
        self.others: list[RowId | None] | None = None

    def __getitem__(self, row: int) -> RowId:
        number = self.numbers.item(row)
        if number == OTHER and self.others is not None:
            other = self.others[row]
            if other is not None:
                return other
        return number

    @property
    def size_bytes(self) -> int:
        """Allocated bytes, without the texts."""
        return self.numbers.nbytes + (0 if self.others is None else sys.getsizeof(self.others))

    def write(self, start: int, ids: RowIds, chosen: slice) -> None:
        """Write some ids of a batch from row `start` on."""
        stop = start + chosen.stop - chosen.start
        self.numbers[start:stop] = ids.numbers[chosen]
        if ids.others is not None:
            self._other_room()[start:stop] = ids.others[chosen]

    def copy_rows(self, start: int, source: IdColumn, rows: npt.NDArray[np.int64]) -> None:
        """Copy rows of another column to row `start` and on."""
        numbers = source.numbers[rows]
        self.numbers[start : start + len(rows)] = numbers
        if source.others is not None:
            others = self._other_room()
            for place in np.flatnonzero(numbers == OTHER).tolist():
                others[start + place] = source.others[int(rows[place])]

    def _other_room(self) -> list[RowId | None]:
        if self.others is None:
            self.others = [None] * len(self.numbers)
        return self.others


class PayloadColumn:
    """Payloads of a chunk's rows, kept by reference; none costs nothing.

    A chunk of rows without payloads allocates no room for them; with the first payload it does, 8
    bytes a row.
    """

    __slots__ = ("_capacity", "_objects")

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._objects: list[Payload] | None = None

    def __getitem__(self, row: int) -> Payload:
        objects = self._objects
        return NO_PAYLOAD if objects is None else objects[row]

    @property
    def size_bytes(self) -> int:
        """Allocated bytes, without the payloads."""
        return 0 if self._objects is None else sys.getsizeof(self._objects)

    def write(self, start: int, payloads: Sequence[Payload] | None, chosen: slice) -> None:
        """Write some payloads of a batch from row `start` on; `None` is a batch without."""
        count = chosen.stop - chosen.start
        if payloads is not None:
            self._room()[start : start + count] = payloads[chosen]
        elif self._objects is not None:
            self._objects[start : start + count] = [NO_PAYLOAD] * count

    def copy_rows(self, start: int, source: PayloadColumn, rows: npt.NDArray[np.int64]) -> None:
        """Refer to payloads of another column from row `start` on."""
        objects = source._objects
        if objects is not None:
            self._room()[start : start + len(rows)] = [objects[row] for row in rows.tolist()]

    def _room(self) -> list[Payload]:
        if self._objects is None:
            self._objects = [NO_PAYLOAD] * self._capacity
        return self._objects
