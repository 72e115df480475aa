"""PostgreSQL as a source: a snapshot, then the stream of a logical replication slot.

Needs PostgreSQL 14 or later with `wal_level = logical`; see `docs/how-to/postgresql.md`.
"""

from __future__ import annotations

from prism.wrapper.sources.postgres._check import (
    Finding,
    PostgresFacts,
    Verdict,
    check,
    findings,
    gather,
)
from prism.wrapper.sources.postgres._position import Position, SlotFacts
from prism.wrapper.sources.postgres._settings import PostgresSettings
from prism.wrapper.sources.postgres._slots import SlotListing, drop_slot, list_slots
from prism.wrapper.sources.postgres._source import PostgresSource

__all__ = [
    "Finding",
    "Position",
    "PostgresFacts",
    "PostgresSettings",
    "PostgresSource",
    "SlotFacts",
    "SlotListing",
    "Verdict",
    "check",
    "drop_slot",
    "findings",
    "gather",
    "list_slots",
]
