"""How a driver stands, and how old its replica is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["DriverStatus", "Freshness", "WriteAck"]


class WriteAck(NamedTuple):
    """A committed write.

    Attributes:
        event_id: Names the commit; what `wait_for` takes.
        row_id: The row's identity.
        is_seen: Whether this driver's replica has it.
    """

    event_id: str
    row_id: str
    is_seen: bool


@dataclass(frozen=True, slots=True)
class Freshness:
    """When the replica last held all that the database had.

    Attributes:
        at: The moment, by a monotonic clock, in seconds; `None` while it is not known.
    """

    at: float | None = None

    def after_mark(self, *, now: float, is_live: bool, source_age_s: float | None) -> Freshness:
        """Give what is known after a mark.

        A mark that is live says that the wrapper had nothing more; how old that is, it says itself.
        Both together bound the replica's age without comparing two machines' clocks: the time on
        the way is not counted.
        """
        if not is_live or source_age_s is None:
            return self
        moment = now - source_age_s
        return self if self.at is not None and moment <= self.at else Freshness(moment)

    def lag_s(self, now: float) -> float | None:
        """Give the replica's age; `None` while it is not known."""
        return None if self.at is None else max(0.0, now - self.at)


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverStatus:
    """A driver at one moment.

    Attributes:
        is_connected: Whether the feed runs.
        is_ready: Whether the replica is whole: from the wrapper, or from a snapshot file.
        is_building: Whether a new replica is being built beside the one that answers.
        building_rows: How many rows it has so far.
        rows: Rows in the replica that answers.
        tables: Rows by table.
        epoch: Epoch of the change log that it holds.
        seq: Position in it up to which everything is applied.
        head: The log's highest position, as the wrapper last said.
        lag_rows: `head - seq`: changes that are known to be missing. Of a row that changed several
            times only the last is sent, so fewer may come.
        lag_s: Seconds since the replica was last known to hold all that the database had committed.
            Between marks it grows to about a second. `None` while it is not known.
        wrapper: The wrapper's address.
        wrapper_version: Its version; empty before the first contact.
        tenant_id: Whose rows they are; empty before the first contact.
        model_id: The embedder of the vectors.
        is_sealed: Whether frames are encrypted with keys from the secret.
        reconnects: How often the feed was interrupted.
        last_error: Why it was interrupted last; empty if it never was.
        missed_changes: Notices that `on_change` callbacks missed because they were too slow.
    """

    is_connected: bool
    is_ready: bool
    is_building: bool
    building_rows: int
    rows: int
    tables: Mapping[str, int]
    epoch: int
    seq: int
    head: int
    lag_rows: int
    lag_s: float | None
    wrapper: str
    wrapper_version: str
    tenant_id: str
    model_id: str
    is_sealed: bool
    reconnects: int
    last_error: str
    missed_changes: int
