"""Posting lists: for each value of an indexed field, the rows that have it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from prismresonance._filters import MISSING, Condition, OneOf

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

__all__ = ["Postings"]

_Seqs = npt.NDArray[np.int64]


class _Posting:
    """Ascending row numbers; grows in place, is replaced when many of its rows are dead."""

    __slots__ = ("dead", "length", "seqs")

    def __init__(self, seqs: _Seqs) -> None:
        self.seqs = seqs
        self.length = len(seqs)
        self.dead = 0

    def append(self, seq: int) -> None:
        if self.length == len(self.seqs):
            grown = np.empty(max(4, 2 * self.length), np.int64)
            grown[: self.length] = self.seqs
            self.seqs = grown
        self.seqs[self.length] = seq
        self.length += 1

    def read(self) -> _Seqs:
        # The length first: an array fetched after it holds at least that many rows.
        length = self.length
        return self.seqs[:length]


class Postings:
    """Posting lists of the indexed fields.

    One writer at a time, under the table's lock; readers take none. A list may name rows that are
    dead or not published yet: readers look each row up in their snapshot, which knows. The only
    danger is a list from which the writer has purged a row that the reader's snapshot still has;
    `purged_epoch` tells.

    Attributes:
        fields: The indexed fields, in order.
        purged_epoch: No row that was alive in this epoch or later has been purged. Set before any
            purge: a reader that reads it *after* its lists and finds it later than its snapshot
            starts again with a newer snapshot.
    """

    __slots__ = ("_lists", "fields", "purged_epoch")

    def __init__(self, fields: tuple[str, ...]) -> None:
        self.fields = fields
        self.purged_epoch = 0
        self._lists: tuple[dict[Hashable, _Posting], ...] = tuple({} for _ in fields)

    def append(self, seqs: Sequence[int], keys: Sequence[Sequence[Hashable]] | None) -> None:
        """Add rows; `keys` holds for each field the rows' values of it, `None` is no values."""
        if keys is None:
            return
        for lists, values in zip(self._lists, keys, strict=True):
            for seq, value in zip(seqs, values, strict=True):
                if value is MISSING:
                    continue
                posting = lists.get(value)
                if posting is None:
                    lists[value] = _Posting(np.array([seq], np.int64))
                else:
                    posting.append(seq)

    def bury(self, keys: Sequence[Hashable], epoch: int, living: Callable[[_Seqs], _Seqs]) -> None:
        """Note that a row has died, and purge the lists of which half the rows are dead.

        Args:
            keys: The row's value of each field.
            epoch: The published epoch in which it is dead.
            living: Tells which of some row numbers are alive in that epoch.
        """
        for lists, value in zip(self._lists, keys, strict=True):
            posting = lists.get(value)
            if value is MISSING or posting is None:
                continue
            posting.dead += 1
            if 2 * posting.dead < posting.length:
                continue
            self.purged_epoch = epoch
            left = living(posting.read())
            if len(left):
                lists[value] = _Posting(left)
            else:
                del lists[value]

    def collect(self, field: str, condition: Condition) -> _Seqs:
        """Give the rows whose value meets a condition, ascending.

        Costs O(rows found), sorted when several values are met; a `Between` looks at every
        distinct value of the field as well.
        """
        lists = self._lists[self.fields.index(field)]
        if isinstance(condition, OneOf):
            found = [p for p in map(lists.get, condition.values) if p is not None]
        else:
            # list() of a dict's items is one step for other threads; iterating it is not.
            found = [p for value, p in list(lists.items()) if condition.holds(value)]
        if len(found) == 1:
            return found[0].read()
        if not found:
            return np.empty(0, np.int64)
        return np.sort(np.concatenate([posting.read() for posting in found]))
