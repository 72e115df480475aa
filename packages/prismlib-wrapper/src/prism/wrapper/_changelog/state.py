"""What a change log knows without reading rows: its epochs, its position, its tables."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

from chorus_fabric import StreamSchema

__all__ = ["REBUILD", "SNAPSHOT", "Epoch", "LogState", "load_state"]

SNAPSHOT, REBUILD = "snapshot", "rebuild"


@dataclass(frozen=True, slots=True)
class Epoch:
    """An epoch, as it is on disk.

    Attributes:
        kind: `SNAPSHOT` or `REBUILD`: where its rows come from.
        complete: Whether it was ever whole.
        head: Its highest number.
        floor: The highest number among its forgotten deletions.
        spec: How its vectors are made, in the daemon's words.
        cursor: Up to which number of the epoch before a rebuild has taken rows over.
    """

    kind: str
    complete: bool
    head: int
    floor: int
    spec: str
    cursor: int


@dataclass(frozen=True, slots=True)
class LogState:
    """All of it at one moment: replaced as a whole, so that readers need no lock.

    Attributes:
        current: The epoch that is served.
        building: The epoch that is not complete yet, if there is one.
        position: Where the source resumes.
        committed_ns: When the last transaction was committed.
        shape: What the rows were read with, in the daemon's words.
        epochs: Every epoch in the file.
        descriptions: The tables of each epoch, encoded.
        schemas: The same, decoded.
        refreshes: By epoch: tables of which rows up to a number have columns of an earlier schema.
    """

    current: int
    building: int | None
    position: str | None
    committed_ns: int | None
    shape: str
    epochs: Mapping[int, Epoch]
    descriptions: Mapping[int, tuple[bytes, ...]]
    schemas: Mapping[int, tuple[StreamSchema, ...]]
    refreshes: Mapping[int, Mapping[int, int]]

    @property
    def served(self) -> Epoch:
        """The epoch that is served."""
        return self.epochs[self.current]

    @property
    def rebuilding(self) -> int | None:
        """The epoch that a rebuild fills."""
        building = self.building
        if building is not None and self.epochs[building].kind == REBUILD:
            return building
        return None

    @property
    def target(self) -> int:
        """The epoch that rows of the source go to."""
        building = self.building
        if building is not None and self.epochs[building].kind == SNAPSHOT:
            return building
        return self.current


def load_state(connection: sqlite3.Connection, earlier: LogState | None) -> LogState:
    """Read it; a few rows, which SQLite has in memory. `earlier` spares decoding the tables."""
    execute = connection.execute
    current, building, position, committed_ns, shape = execute(
        "SELECT current, building, position, committed_ns, shape FROM meta"
    ).fetchone()
    epochs = {
        epoch: Epoch(kind, bool(complete), head, floor, spec, cursor)
        for epoch, kind, complete, head, floor, spec, cursor in execute(
            "SELECT epoch, kind, complete, head, floor, spec, cursor FROM epochs"
        )
    }
    described: dict[int, tuple[bytes, ...]] = {}
    refreshes: dict[int, dict[int, int]] = {}
    for epoch, stream, description, refresh in execute(
        "SELECT epoch, stream, description, refresh FROM streams ORDER BY epoch, stream"
    ):
        described[epoch] = (*described.get(epoch, ()), description)
        if refresh:
            refreshes.setdefault(epoch, {})[stream] = refresh
    if earlier is not None and earlier.descriptions == described:
        schemas = earlier.schemas
    else:
        schemas = {
            epoch: tuple(map(StreamSchema.from_json, descriptions))
            for epoch, descriptions in described.items()
        }
    return LogState(
        current or 0, building, position, committed_ns, shape, epochs, described, schemas, refreshes
    )
