"""Which rows of a snapshot a `where=` admits."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from prismresonance._filters import Condition, meets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prismresonance._snapshot import Snapshot
    from prismresonance._table import RowTable

__all__ = ["Admission", "admitted"]

_Seqs = npt.NDArray[np.int64]


class Admission(NamedTuple):
    """The rows that a `where=` admits.

    Attributes:
        seqs: Their numbers, ascending; some may be of rows that the snapshot does not have, which
            `Snapshot.locate` passes over.
        key: Names them among all of one snapshot; `None` when they follow from what payloads hold
            at this moment.
    """

    seqs: _Seqs
    key: tuple[tuple[str, Condition], ...] | None


def admitted(
    table: RowTable, conditions: tuple[tuple[str, Condition], ...]
) -> tuple[Snapshot, Admission | None]:
    """Take a snapshot and find which of its rows meet the conditions.

    Indexed fields go first, by their posting lists: O(rows they admit). For the other fields the
    payloads of the rows left are looked at one by one, of all rows if no field is indexed.

    Args:
        table: The rows.
        conditions: All must hold.

    Returns:
        The snapshot, and which rows; `None` for all.
    """
    fields = table.postings.fields
    indexed = [condition for condition in conditions if condition[0] in fields]
    others = tuple(condition for condition in conditions if condition[0] not in fields)
    postings = table.posting_lists() if indexed else table.postings
    while True:
        snapshot = table.snapshot
        lists = [postings.collect(field, condition) for field, condition in indexed]
        # A list purged of rows that this snapshot still has: then there is a newer snapshot.
        if not lists or postings.purged_epoch <= snapshot.epoch:
            break
    allowed = _common(sorted(lists, key=len)) if lists else None
    if others:
        return snapshot, Admission(_looked_at(snapshot, allowed, others), None)
    return snapshot, None if allowed is None else Admission(allowed, conditions)


def _common(lists: Sequence[_Seqs]) -> _Seqs:
    common = lists[0]
    for seqs in lists[1:]:
        common = np.intersect1d(common, seqs, assume_unique=True)
    return common


def _looked_at(
    snapshot: Snapshot, allowed: _Seqs | None, conditions: tuple[tuple[str, Condition], ...]
) -> _Seqs:
    if allowed is None:
        parts = [
            (chunk, chunk.living_rows(length, snapshot.epoch)) for chunk, length in snapshot.parts()
        ]
    else:
        parts = [(chunk, rows) for _, chunk, rows in snapshot.locate(allowed)]
    seqs: list[int] = []
    for chunk, rows in parts:
        numbers = chunk.seqs_of(rows).tolist()
        seqs += [
            seq
            for seq, row in zip(numbers, rows.tolist(), strict=True)
            if meets(chunk.payloads[row], conditions)
        ]
    # A chunk arranged in cells gives its rows in another order than that of their numbers.
    return np.sort(np.array(seqs, np.int64))
