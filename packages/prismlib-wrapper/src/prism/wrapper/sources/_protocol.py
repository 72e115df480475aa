"""The contract of a source: see `Source`."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from prism.wrapper.sources._events import SourceEvent
from prism.wrapper.sources._types import TableSchema

__all__ = ["Phase", "Source", "SourceStatus"]


class Phase(enum.Enum):
    """What a source is doing."""

    WAITING = "waiting"  # not begun, or waiting to connect again
    SNAPSHOT = "snapshot"
    STREAM = "stream"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStatus:
    """A source at one moment. What is not known, or does not exist there, is None.

    Attributes:
        phase: What it is doing.
        connected: Whether the stream or the snapshot has a connection now.
        confirmed: The last position that was confirmed.
        slot: The replication slot's name.
        wal_status: The slot's state in the database's words: reserved, extended, unreserved, lost.
        retained_bytes: How much log the database keeps for us.
        lag_bytes: How far the last position told is behind the end of the database's log.
        lag_s: Age of the last transaction told at the moment it was told, in seconds.
        snapshot_rows: Rows of the present or last snapshot so far.
        snapshot_total_estimate: Rows it will have, estimated.
        spooled_bytes: Bytes held of transactions whose end has not come yet.
        reconnects: How often a connection was lost since the source was made.
        last_error: The last failure that was repaired, in words. Never a secret.
    """

    phase: Phase
    connected: bool
    confirmed: str | None = None
    slot: str | None = None
    wal_status: str | None = None
    retained_bytes: int | None = None
    lag_bytes: int | None = None
    lag_s: float | None = None
    snapshot_rows: int = 0
    snapshot_total_estimate: int | None = None
    spooled_bytes: int = 0
    reconnects: int = 0
    last_error: str | None = None


class Source(Protocol):
    """A database as a stream of events: a snapshot of the tables, then every committed change.

    What always holds: who applies the events in order and resumes from the last position that was
    on their disk ends with the tables' rows, whatever died between. Nothing committed is left out,
    nothing rolled back appears; changes may come twice.

    `events` runs in one thread. The other methods may be called from any.
    """

    def events(self, resume: str | None) -> Iterator[SourceEvent]:
        """Tell what happens, for ever. Blocks between events; ends soon after `close`.

        Connects again by itself, waiting longer each time. If `resume` is no longer a place in the
        database's log, it says so with `SnapshotStarted`.

        Args:
            resume: The last position that is on disk, or None for a new snapshot.

        Raises:
            SourceConfigurationError: A setting is wrong.
            SourceAccessError: A right or a server setting is missing.
            TableRefusedError: A table cannot be followed.
            SourceBusyError: Something in the database blocked the start of a snapshot too long.
            SourceProtocolError: The database sent what this version does not understand.
        """
        ...

    def confirm(self, position: str) -> None:
        """Let the database forget its log up to here. Call it when all until here is on disk.

        Returns at once; the database hears of it soon. A position older than one confirmed before
        is ignored.

        Raises:
            ValueError: Not a position of this source.
        """
        ...

    def fetch(
        self, schema: TableSchema, keys: Sequence[tuple[str, ...]]
    ) -> Mapping[tuple[str, ...], tuple[str | None, ...]]:
        """Read rows by key as they are now: for values that are `UNCHANGED` and held by nobody.

        Returns:
            Values in the schema's order by key. A key without a row is not in it; its deletion is
            still to come in the stream.

        Raises:
            SourceUnavailableError: The database does not answer.
            SourceAccessError: The role may not read the table.
            SourceClosedError: The source was closed.
        """
        ...

    def status(self) -> SourceStatus:
        """Tell how the source is. Asks the database, briefly; never raises for its failures."""
        ...

    def close(self) -> None:
        """End `events` soon and free what is held. May be called more than once."""
        ...
