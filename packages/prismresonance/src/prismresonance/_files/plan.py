"""Which segments a save keeps, which it writes anew, and where it merges.

Rule: a segment stays as it is while it holds more living rows than all newer ones together. A row
is written again only into a segment at least twice the size of the one it was in (or of what
deaths have left of that), so it is written O(log n) times; and there are at most `log2(n) + 1`
segments. The exceptions pay for themselves or happen once: a segment of which more than half is
dead is written anew by itself, and so is one that lacks arrays the index has by now.

Source: J. Bentley, J. Saxe, *Decomposable searching problems I: static-to-dynamic transformation*
(1980), the logarithmic method.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Group", "Kept", "planned"]


class Kept(NamedTuple):
    """A segment of the last save.

    Attributes:
        rows: Rows in its file.
        living: How many of them are alive now.
        fits: Whether its arrays are those that the index has now.
    """

    rows: int
    living: int
    fits: bool


class Group(NamedTuple):
    """Neighbouring segments that become one.

    Attributes:
        first: The first of them.
        stop: The first one that no longer belongs to them.
        write: Whether a file is written; otherwise it is one segment that stays.
        with_new: Whether the rows that are in no segment yet come too, behind them.
    """

    first: int
    stop: int
    write: bool
    with_new: bool


def planned(segments: Sequence[Kept], new_rows: int) -> list[Group]:
    """Plan a save.

    Args:
        segments: Those of the last save, in order.
        new_rows: Living rows that are in none of them.

    Returns:
        Groups in order. Segments without living rows are in none, or in a larger group's range.
    """
    count = len(segments)
    groups = [Group(count, count, write=True, with_new=True)] if new_rows else []
    newer = new_rows
    for number in range(count - 1, -1, -1):
        rows, living, fits = segments[number]
        if living and living <= newer:
            groups = [Group(number, count, write=True, with_new=new_rows > 0)]
        elif living:
            write = not fits or 2 * living < rows
            groups.append(Group(number, number + 1, write=write, with_new=False))
        newer += living
    return groups[::-1]
