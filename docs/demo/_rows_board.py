"""Counts what the replica did: how late changes came, what reads cost, whether it was equal."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from _scoreboard import percentile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from _shop import Change, Product

__all__ = ["Arrivals", "Check", "Crash", "Latencies", "RowsBoard", "Seen", "Write", "differences"]

TAIL = 8
"""How many of the latest changes are kept for display."""


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison of the replica with what the database says.

    Attributes:
        rows: How many rows the table had.
        different: Ids of rows that are not the same on both sides.
        waited_s: How long the replica took to become equal after the last COMMIT.
    """

    rows: int
    different: tuple[str, ...]
    waited_s: float

    @property
    def equal(self) -> bool:
        """Whether every row was the same."""
        return not self.different


@dataclass(frozen=True, slots=True)
class Crash:
    """What happened when the wrapper was killed.

    Attributes:
        away_s: From the kill until the new process took connections.
        changes: Transactions that were committed meanwhile.
        reads: Reads that the app answered meanwhile.
        check: The comparison afterwards; its `waited_s` counts from the restart.
    """

    away_s: float
    changes: int
    reads: int
    check: Check


@dataclass(frozen=True, slots=True)
class Write:
    """A row written through the driver.

    Attributes:
        row_id: Its id.
        seconds: Until it was committed and seen in this replica.
        in_database: Whether the database has it.
        in_replica: Whether the next read had it.
    """

    row_id: str
    seconds: float
    in_database: bool
    in_replica: bool


@dataclass(frozen=True, slots=True)
class Seen:
    """A change that has arrived, and how long that took."""

    change: Change
    lag_s: float


@dataclass(slots=True)
class Latencies:
    """How long one kind of read took, in seconds; only one thread records."""

    values: list[float] = field(default_factory=list)

    def at(self, share: float) -> float | None:
        """Give a percentile; None of none."""
        return percentile(list(self.values), share)


class Arrivals:
    """Pairs each COMMIT with the moment at which reads see it. Safe for threads.

    The clock starts just before the COMMIT is sent, so the commit itself is in the figure.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._on_their_way: dict[str, tuple[Change, float]] = {}
        self.lags_s: list[float] = []
        self.latest: deque[Seen] = deque(maxlen=TAIL)
        self.ids_seen: set[str] = set()
        self.is_measuring = True
        """Whether lags count; not while the wrapper is away on purpose."""

    def sending(self, change: Change) -> None:
        """Note that a change's COMMIT is about to be sent."""
        with self._lock:
            self._on_their_way[change.product_id] = (change, self._clock())

    def settled(self, product_id: str) -> bool:
        """Tell whether no change of a row is on its way."""
        return product_id not in self._on_their_way

    def seen(self, product_ids: Iterable[str]) -> None:
        """Note which rows the replica has changed."""
        now = self._clock()
        with self._lock:
            for product_id in product_ids:
                self.ids_seen.add(product_id)
                sent = self._on_their_way.pop(product_id, None)
                if sent is not None and self.is_measuring:
                    self.lags_s.append(now - sent[1])
                    self.latest.append(Seen(sent[0], now - sent[1]))

    def forget(self) -> None:
        """Drop what is on its way: the replica told that it changed as a whole."""
        with self._lock:
            self._on_their_way.clear()


@dataclass(slots=True)
class RowsBoard:
    """All there is to show."""

    arrivals: Arrivals = field(default_factory=Arrivals)
    gets: Latencies = field(default_factory=Latencies)
    selects: Latencies = field(default_factory=Latencies)
    queries: Latencies = field(default_factory=Latencies)
    checks: list[Check] = field(default_factory=list)
    seconds: float = 0.0
    committed: int = 0
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    rolled_back: int = 0
    replica_rows: int = 0
    lag_rows: int = 0
    reads: int = 0
    question: str = ""
    found: Sequence[tuple[float, str]] = ()
    taken_back: int = 0
    """Rows of transactions that were rolled back and reached the replica: 0, or it is broken."""

    def lag_s(self, share: float) -> float | None:
        """Give a percentile of the time from COMMIT to visible."""
        return percentile(list(self.arrivals.lags_s), share)

    @property
    def equal(self) -> bool:
        """Whether every comparison was equal, and nothing that was taken back was seen."""
        return (
            bool(self.checks) and all(check.equal for check in self.checks) and not self.taken_back
        )


def differences(
    table: Mapping[str, Product],
    replica: Callable[[str], Product | None],
    *,
    replica_rows: int,
    gone: Iterable[str],
) -> tuple[str, ...]:
    """Compare row for row, in both directions.

    Args:
        table: What the database says.
        replica: Gives the replica's row of an id.
        replica_rows: How many rows it says it has.
        gone: Ids that were there once: those that the table lacks, the replica must lack.

    Returns:
        Ids that differ; a line about the count if the replica has rows that nobody knows.
    """
    wrong = [row_id for row_id, row in table.items() if replica(row_id) != row]
    wrong += [row_id for row_id in gone if row_id not in table and replica(row_id) is not None]
    if not wrong and replica_rows != len(table):
        wrong.append(f"{replica_rows} rows instead of {len(table)}")
    return tuple(wrong)
