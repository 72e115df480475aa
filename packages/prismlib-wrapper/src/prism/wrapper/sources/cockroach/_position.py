"""Moments of a CockroachDB cluster, and whether a changefeed can go on from one. Pure.

Every change has the hybrid logical time of its commit: nanoseconds of the wall clock and a counter
for what happened within one. A changefeed that is started with `cursor = T` tells every change
after T, so any moment up to which all is known is a place to resume from.

A new snapshot is made when:

1. nothing is resumed;
2. the position is of another cluster, or of other tables, keys or columns.

That the cluster has forgotten the moment (its garbage collection went past it) is told by the
changefeed itself.

Source: CockroachDB manual, "AS OF SYSTEM TIME" and "Changefeed Messages, Resolved messages".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

__all__ = ["Moment", "Position", "obstacle"]

_MOMENT: Final = re.compile(r"(\d{1,19})(?:\.(\d{1,10}))?")
_POSITION: Final = re.compile(r"crdb/([0-9a-f-]{1,64})/(\d{1,19}\.\d{10})/([0-9a-f]{12})")


class Moment(NamedTuple):
    """A hybrid logical time; moments of one cluster are ordered.

    Attributes:
        wall_ns: Nanoseconds since 1970.
        logical: Counts what happened at the same nanosecond.
    """

    wall_ns: int
    logical: int

    def __str__(self) -> str:
        return f"{self.wall_ns}.{self.logical:010d}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a time as changefeeds write it, such as `1536242855577149065.0000000000`.

        Raises:
            ValueError: It is not one.
        """
        match = _MOMENT.fullmatch(text)
        if match is None:
            raise ValueError(f"not a time of a changefeed: {text[:40]!r}")
        # The digits behind the point are a decimal fraction of 10 places.
        return cls(int(match[1]), int((match[2] or "").ljust(10, "0")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """A moment of one cluster, and the tables that were followed."""

    cluster: str
    moment: Moment
    tables: str

    def __str__(self) -> str:
        return f"crdb/{self.cluster}/{self.moment}/{self.tables}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` wrote.

        Raises:
            ValueError: It is not a position of CockroachDB.
        """
        match = _POSITION.fullmatch(text)
        if match is None:
            raise ValueError(f"not a position of a CockroachDB source: {text!r}")
        return cls(cluster=match[1], moment=Moment.parse(match[2]), tables=match[3])


def obstacle(resume: Position, *, cluster: str, tables: str) -> str | None:
    """Say why a changefeed cannot go on from a position, or return None if it may."""
    if resume.cluster != cluster:
        return f"this is another database cluster ({cluster})"
    if resume.tables != tables:
        return "the set of tables, a key or the columns are others"
    return None
