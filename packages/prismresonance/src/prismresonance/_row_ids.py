"""The ids of one batch, as numbers where they are numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeGuard

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prismresonance._records import RowId

__all__ = ["OTHER", "RowIds", "is_number"]

OTHER = int(np.iinfo(np.int64).min)
"""Stands in an array of ids for an id that is none of its numbers: a text, or an integer that
int64 cannot hold. This number itself, as an id, counts as one of those too."""

_MOST = int(np.iinfo(np.int64).max)


def is_number(row_id: RowId) -> TypeGuard[int]:
    """Say whether an id fits an array of ids."""
    return not isinstance(row_id, str) and OTHER < row_id <= _MOST


class RowIds:
    """Checked ids in order; not to be changed.

    Attributes:
        numbers: Shape `(n,)`, int64, C-contiguous; `OTHER` where the id is in `others`.
        others: The other ids, at their places, and `None` between them; `None` for none at all.
    """

    __slots__ = ("numbers", "others")

    def __init__(
        self, numbers: npt.NDArray[np.int64], others: list[RowId | None] | None = None
    ) -> None:
        self.numbers = numbers
        self.others = others

    @classmethod
    def following(cls, first: int, count: int) -> RowIds:
        """Give the integers from `first` on."""
        if first > OTHER and first + count - 1 <= _MOST:
            return cls(np.arange(first, first + count, dtype=np.int64))
        return cls.of(range(first, first + count))

    @classmethod
    def of(cls, ids: Sequence[RowId]) -> RowIds:
        """Give ids that are exact integers or texts; O(n) in Python only if some are no numbers."""
        if set(map(type, ids)) <= {int}:
            try:
                numbers = np.array(ids, np.int64)
            except OverflowError:
                pass
            else:
                if not len(numbers) or numbers.min() > OTHER:
                    return cls(numbers)
        numbers = np.full(len(ids), OTHER, np.int64)
        others: list[RowId | None] = [None] * len(ids)
        for place, row_id in enumerate(ids):
            if is_number(row_id):
                numbers[place] = row_id
            else:
                others[place] = row_id
        return cls(numbers, others)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, place: int) -> RowId:
        if self.others is not None:
            other = self.others[place]
            if other is not None:
                return other
        return self.numbers.item(place)

    def tolist(self) -> list[RowId]:
        """List the ids."""
        ids: list[RowId] = self.numbers.tolist()
        for place, row_id in self.strays():
            ids[place] = row_id
        return ids

    def strays(self) -> list[tuple[int, RowId]]:
        """List the other ids with their places."""
        if self.others is None:
            return []
        return [(place, other) for place, other in enumerate(self.others) if other is not None]

    def take(self, places: npt.NDArray[np.int64]) -> RowIds:
        """Choose some."""
        others = self.others
        if others is not None:
            others = [others[place] for place in places.tolist()]
        return RowIds(self.numbers[places], others)

    def place_of(self, row_id: RowId) -> int | None:
        """Find an id; O(n)."""
        if is_number(row_id):
            places = np.flatnonzero(self.numbers == row_id)
            return int(places[0]) if len(places) else None
        if self.others is None or row_id not in self.others:
            return None
        return self.others.index(row_id)

    def highest(self) -> int | None:
        """Give the highest integer; `None` when all ids are texts."""
        highest = int(self.numbers.max()) if len(self.numbers) else OTHER
        integers = [row_id for _, row_id in self.strays() if isinstance(row_id, int)]
        if highest > OTHER:
            integers.append(highest)
        return max(integers, default=None)

    def repeated(self) -> RowId | None:
        """Find an id that is there twice; O(n) if the numbers ascend, else O(n log n)."""
        numbers = self.numbers
        if self.others is not None:
            seen: set[RowId] = set()
            for _, row_id in self.strays():
                if row_id in seen:
                    return row_id
                seen.add(row_id)
            numbers = numbers[numbers > OTHER]
        if (numbers[1:] > numbers[:-1]).all():
            return None
        ordered = np.sort(numbers)
        twice = np.flatnonzero(ordered[1:] == ordered[:-1])
        return int(ordered[twice[0]]) if len(twice) else None
