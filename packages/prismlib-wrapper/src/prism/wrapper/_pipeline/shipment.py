"""What rows are composed for, and what goes to the log at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from prism.wrapper._changelog import LogBatch
from prism.wrapper._changelog.entries import RowKey
from prism.wrapper._recipe import Recipe
from prism.wrapper._rows import RowPlan

__all__ = ["Shipment", "Target"]


@dataclass(slots=True)
class Target:
    """An epoch that rows are composed for, and how."""

    epoch: int
    recipe: Recipe
    plans: dict[int, RowPlan] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Shipment:
    """What goes to the log at once.

    Attributes:
        batches: One for each epoch that is written.
        position: What may be confirmed to the source afterwards; `None` inside a transaction.
        committed_ns: When that was committed.
        sightings: Rows that somebody waits for, each with the position of its transaction.
        vectorize: Fills the rows' vectors, which takes longer than all else; `None` where there are
            none to fill. To be called once, after those of all earlier shipments.
    """

    batches: Mapping[int, LogBatch]
    position: str | None
    committed_ns: int | None
    sightings: Sequence[tuple[RowKey, str]] = ()
    vectorize: Callable[[], None] | None = None

    @property
    def size_bytes(self) -> int:
        """About how much memory it takes."""
        return sum(batch.size_bytes for batch in self.batches.values())
