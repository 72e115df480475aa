"""What a CockroachDB source is told: see `CockroachSettings`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from prism.wrapper.sources.cockroach._catalogue import split_name
from prism.wrapper.sources.errors import SourceConfigurationError

__all__ = ["CockroachSettings"]

_POSITIVE: Final = (
    "resolved_interval_s",
    "snapshot_rows",
    "memory_bytes",
    "part_rows",
    "idle_interval_s",
    "watch_interval_s",
    "silence_s",
    "connect_timeout_s",
    "first_contact_s",
    "longest_backoff_s",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CockroachSettings:
    """Which database, which tables, and how.

    Attributes:
        dsn: A libpq connection string or URI, such as `postgresql://prism@db:26257/shop`. Never
            shown by `repr`.
        tables: Tables to follow, written as in SQL: `products`, `shop.products`, `"Mixed".case`.
        resolved_interval_s: How often the cluster says up to which moment all is told. Changes wait
            for that. Lowering it makes changes come sooner and costs the cluster more; below the
            cluster's own `kv.closed_timestamp.target_duration` (3 s as delivered) it gains nothing.
        snapshot_rows: Rows in one `SnapshotRows`, at most.
        memory_bytes: Memory for changes that wait; beyond, their values go to a file.
        spool_folder: Where that file goes; None for the system's temporary folder.
        part_rows: Changes in one `Changes`, at most.
        idle_interval_s: How often the position moves on while nothing changes.
        watch_interval_s: How often the catalogue is asked for what no message tells, such as a
            column that was renamed.
        silence_s: A changefeed that sends nothing for so long is started anew; at least ten times
            `resolved_interval_s` counts.
        connect_timeout_s: For each attempt to connect.
        first_contact_s: How long to try before `SourceUnavailableError`, if no connection was ever
            made. Later, attempts go on for ever.
        longest_backoff_s: The longest wait between attempts to connect.
    """

    dsn: str = field(repr=False)
    tables: tuple[str, ...]
    resolved_interval_s: float = 1.0
    snapshot_rows: int = 1000
    memory_bytes: int = 64 << 20
    spool_folder: Path | None = None
    part_rows: int = 1000
    idle_interval_s: float = 10.0
    watch_interval_s: float = 30.0
    silence_s: float = 60.0
    connect_timeout_s: float = 10.0
    first_contact_s: float = 30.0
    longest_backoff_s: float = 30.0

    def __post_init__(self) -> None:
        if not self.tables:
            raise SourceConfigurationError("tables: name at least one table to follow")
        if len({split_name(name) for name in self.tables}) != len(self.tables):
            raise SourceConfigurationError(f"tables: one is named twice in {list(self.tables)}")
        for name in _POSITIVE:
            if not getattr(self, name) > 0:
                raise SourceConfigurationError(f"{name}: must be above 0")
