"""A change log at one moment."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from dataclasses import dataclass

from prism.wrapper._changelog.state import LogState

__all__ = ["LogStatus", "log_status"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogStatus:
    """A change log at one moment.

    Attributes:
        epoch: The epoch that is served; 0 for none.
        complete: Whether it holds a whole snapshot.
        head: Its highest number.
        floor: The highest number among its forgotten deletions.
        building: The epoch that is built beside it; `None` for none.
        building_head: How many numbers that one has given out.
        position: Where the source resumes; `None` for a new snapshot.
        committed_ns: When the last transaction in the log was committed, by the source's clock.
        size_bytes: Size of the file and its write-ahead log.
        quarantined: Rows whose vector could not be made.
    """

    epoch: int
    complete: bool
    head: int
    floor: int
    building: int | None
    building_head: int
    position: str | None
    committed_ns: int | None
    size_bytes: int
    quarantined: int


def log_status(connection: sqlite3.Connection, state: LogState, *, path: str) -> LogStatus:
    """Add to what is known what has to be counted and measured."""
    (quarantined,) = connection.execute(
        "SELECT count(*) FROM quarantine WHERE epoch = ?", (state.current,)
    ).fetchone()
    size = 0
    for suffix in ("", "-wal"):
        with contextlib.suppress(OSError):
            size += os.stat(path + suffix).st_size  # noqa: PTH116
    building = state.building if state.building != state.current else None
    return LogStatus(
        epoch=state.current,
        complete=state.served.complete,
        head=state.served.head,
        floor=state.served.floor,
        building=building,
        building_head=state.epochs[building].head if building else 0,
        position=state.position,
        committed_ns=state.committed_ns,
        size_bytes=size,
        quarantined=quarantined,
    )
