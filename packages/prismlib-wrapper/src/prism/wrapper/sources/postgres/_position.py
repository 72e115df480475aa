"""Places in a PostgreSQL log, and whether the stream can go on from one. Pure.

A position holds what tells the log apart from another of the same numbers: the cluster's system
identifier, the timeline, and a digest of the tables followed. Rules, of which the first that fits
decides; all but the last mean a new snapshot:

1. nothing is resumed;
2. the position is of another cluster, or of other tables;
3. the slot is gone, or cannot give changes any more;
4. the slot has moved past the position: what lies between is lost. Since a slot is moved only after
   the position is on the wrapper's disk, this means that one of the two was made anew or restored;
5. the position is on another timeline, beyond the place where the present one branched off, or
   beyond the end of the log: the database went back in time, as in a failover that lost a tail;
6. go on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self

__all__ = [
    "LogEnd",
    "Position",
    "SlotFacts",
    "format_lsn",
    "obstacle",
    "parse_lsn",
]

_POSITION: Final = re.compile(r"pg/(\d+)/(\d+)/([0-9A-F]{16})/([0-9a-f]{12})")
_LSN: Final = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")


def parse_lsn(text: str) -> int:
    """Read a log sequence number as PostgreSQL writes it, such as `16/B374D848`.

    Raises:
        ValueError: It is not one.
    """
    match = _LSN.fullmatch(text)
    if match is None:
        raise ValueError(f"not a log sequence number: {text!r}")
    return int(match[1], 16) << 32 | int(match[2], 16)


def format_lsn(lsn: int) -> str:
    """Write a log sequence number as PostgreSQL does."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """A place in the log of one cluster."""

    system: int
    timeline: int
    lsn: int
    tables: str

    def __str__(self) -> str:
        return f"pg/{self.system}/{self.timeline}/{self.lsn:016X}/{self.tables}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` wrote.

        Raises:
            ValueError: It is not a position of PostgreSQL.
        """
        match = _POSITION.fullmatch(text)
        if match is None:
            raise ValueError(f"not a position of a PostgreSQL source: {text!r}")
        return cls(
            system=int(match[1]), timeline=int(match[2]), lsn=int(match[3], 16), tables=match[4]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotFacts:
    """What pg_replication_slots says of a slot.

    Attributes:
        wal_status: reserved, extended, unreserved or lost; None before it has any.
        invalidation_reason: PostgreSQL 17 and later; None if valid or older.
        confirmed: Confirmed flush position.
        active_pid: Who reads it now.
        retained_bytes: Log kept for it.
    """

    plugin: str
    wal_status: str | None
    invalidation_reason: str | None
    confirmed: int | None
    active_pid: int | None
    retained_bytes: int | None
    failover: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEnd:
    """Where a cluster's log ends now, and how it came to its timeline.

    Attributes:
        branches: Pairs (timeline, lsn): earlier timelines, each with the place where it was left.
    """

    system: int
    timeline: int
    lsn: int
    branches: tuple[tuple[int, int], ...] = ()


def obstacle(
    resume: Position | None, *, end: LogEnd, tables: str, slot: SlotFacts | None, plugin: str
) -> str | None:
    """Say why the stream cannot go on from a position, or return None if it can."""
    if resume is None:
        return "no position to resume from"
    if resume.system != end.system:
        return f"this is another database cluster (system identifier {end.system})"
    if resume.tables != tables:
        return "the set of tables, or a key, is another one"
    if slot is None:
        return "the replication slot is gone"
    if slot.wal_status == "lost" or slot.invalidation_reason:
        why = f" ({slot.invalidation_reason})" if slot.invalidation_reason else ""
        return f"the replication slot was invalidated by the server{why}"
    if slot.plugin != plugin:
        return f"the replication slot was made for {slot.plugin}"
    if slot.confirmed is not None and slot.confirmed > resume.lsn:
        return (
            f"the replication slot stands at {format_lsn(slot.confirmed)}, past our position "
            f"{format_lsn(resume.lsn)}"
        )
    if resume.timeline != end.timeline:
        left = dict(end.branches).get(resume.timeline)
        if left is None or left < resume.lsn:
            return (
                f"the cluster went from timeline {resume.timeline} to {end.timeline} and does not "
                "have all that we have"
            )
    if resume.lsn > end.lsn:
        return f"the database's log ends at {format_lsn(end.lsn)}, before our position"
    return None
