"""What a PostgreSQL source is told: see `PostgresSettings`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from prism.wrapper.sources.errors import SourceConfigurationError

__all__ = ["Plugin", "PostgresSettings"]

Plugin = Literal["pgoutput", "wal2json"]

_SLOT: Final = re.compile(r"[a-z0-9_]{1,63}")
_POSITIVE: Final = (
    "snapshot_batch_bytes",
    "memory_bytes",
    "part_rows",
    "status_interval_s",
    "idle_interval_s",
    "watch_interval_s",
    "connect_timeout_s",
    "first_contact_s",
    "slot_timeout_s",
    "longest_backoff_s",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresSettings:
    """Which database, which tables, and how.

    Attributes:
        dsn: A libpq connection string or URI. Never shown by `repr`.
        tables: Tables to follow, written as in SQL: `products`, `shop.products`, `"Mixed".case`.
        slot: The replication slot's name; one for each wrapper.
        publication: The publication's name. It is made if it is missing and the role may; tables
            it lacks are added if the role owns it.
        plugin: The output plugin. wal2json takes no publication and follows no partitioned table.
        failover: Let a standby keep a copy of the slot (PostgreSQL 17 and later).
        snapshot_batch_bytes: Text of rows in one `SnapshotRows`, roughly. Raising it makes fewer
            and larger ones.
        memory_bytes: Memory for transactions that have not ended; beyond, they go to files.
        spool_folder: Where those files go; None for the system's temporary folder.
        part_rows: Changes in one `Changes`, at most.
        status_interval_s: How often the server is told that we live; a third of its
            `wal_sender_timeout` if that is less.
        idle_interval_s: How often the position moves on while nothing concerns us. Lowering it
            frees the server's log sooner and writes more often.
        watch_interval_s: How often the catalogue is asked for what no message tells: tables dropped
            or rewritten, partitions attached or detached.
        connect_timeout_s: For each attempt to connect.
        first_contact_s: How long to try before `SourceUnavailableError`, if no connection was ever
            made. Later, attempts go on for ever.
        slot_timeout_s: How long making or taking over a slot may wait for others.
        longest_backoff_s: The longest wait between attempts to connect.
    """

    dsn: str = field(repr=False)
    tables: tuple[str, ...]
    slot: str = "prism_default"
    publication: str = "prism_default"
    plugin: Plugin = "pgoutput"
    failover: bool = False
    snapshot_batch_bytes: int = 1 << 20
    memory_bytes: int = 64 << 20
    spool_folder: Path | None = None
    part_rows: int = 1000
    status_interval_s: float = 10.0
    idle_interval_s: float = 10.0
    watch_interval_s: float = 30.0
    connect_timeout_s: float = 10.0
    first_contact_s: float = 30.0
    slot_timeout_s: float = 60.0
    longest_backoff_s: float = 30.0

    def __post_init__(self) -> None:
        if not self.tables:
            raise SourceConfigurationError("tables: name at least one table to follow")
        if len(set(self.tables)) != len(self.tables):
            raise SourceConfigurationError(f"tables: one is named twice in {list(self.tables)}")
        if not _SLOT.fullmatch(self.slot):
            raise SourceConfigurationError(
                f"slot: {self.slot!r} is no slot name; use a-z, 0-9 and _, at most 63"
            )
        if not self.publication or len(self.publication.encode()) > 63:
            raise SourceConfigurationError("publication: give a name of 1 to 63 bytes")
        if self.plugin not in ("pgoutput", "wal2json"):
            raise SourceConfigurationError(
                f"plugin: {self.plugin!r} is not known; use pgoutput or wal2json"
            )
        for name in _POSITIVE:
            if not getattr(self, name) > 0:
                raise SourceConfigurationError(f"{name}: must be above 0")
