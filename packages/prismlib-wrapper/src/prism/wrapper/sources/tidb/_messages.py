"""What TiCDC says, whatever it was encoded in. Pure.

A value is a text, bytes where the column holds bytes, or `None` for NULL: not yet the text that a
source tells, since a message knows too little of its columns for that (see `_values`).

A timestamp (ts) is TiDB's: milliseconds since 1970 in the upper bits, a counter in the lower 18.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

__all__ = [
    "DdlEvent",
    "DdlKind",
    "Event",
    "MessageError",
    "RawRow",
    "RawValue",
    "ResolvedMark",
    "RowEvent",
    "committed_ns",
]

RawValue: TypeAlias = str | bytes | None
RawRow: TypeAlias = Mapping[str, RawValue]

_LOGICAL_BITS: Final = 18


class MessageError(ValueError):
    """A message is not what its protocol says, or lacks what is needed. Holds no row's value."""


class DdlKind(enum.Enum):
    """What a statement does, as far as rows are concerned."""

    TRUNCATE = "truncate"  # every row of the table is gone
    OTHER = "other"  # the catalogue tells


@dataclass(frozen=True, slots=True)
class RowEvent:
    """A row changed in a transaction.

    Attributes:
        ts: When it was committed.
        before: The row before, or as much of it as was sent; None for an insert.
        after: The row after; None for a delete.
    """

    ts: int
    schema: str
    table: str
    before: RawRow | None
    after: RawRow | None


@dataclass(frozen=True, slots=True)
class DdlEvent:
    """A statement changed tables. Schema and table may be empty: then it may concern any."""

    ts: int
    schema: str
    table: str
    query: str
    kind: DdlKind


@dataclass(frozen=True, slots=True)
class ResolvedMark:
    """Every event of this partition with a lower ts was sent."""

    ts: int


Event: TypeAlias = RowEvent | DdlEvent | ResolvedMark


def committed_ns(ts: int) -> int:
    """The moment of a timestamp by the cluster's clock, in nanoseconds since 1970."""
    return (ts >> _LOGICAL_BITS) * 1_000_000
