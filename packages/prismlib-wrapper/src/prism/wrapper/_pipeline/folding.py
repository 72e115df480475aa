"""Changes to the last state of each row. Pure.

Of several changes of one row only the last remains. A value that the database did not send again is
taken from the change before, if that one has it; what is still UNCHANGED after that is what the log
holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import repeat

from prism.wrapper._changelog.entries import RowKey
from prism.wrapper._rows import row_id
from prism.wrapper.sources import UNCHANGED, Change, Op, RowBatch, Value

__all__ = ["Folded"]

_ROW_BYTES = 64


@dataclass(slots=True)
class Folded:
    """What changed since the last batch.

    Attributes:
        clears: Tables that were emptied, before the rows below.
        rows: Values by row, in the order of the table's columns; `None` for a deleted row.
        lacks: Whether a value of any row may be UNCHANGED.
        size_bytes: About how much memory the values take.
        position: How far the changes of whole transactions reach; `None` if not known yet.
        committed_ns: When the last of these was committed.
    """

    clears: dict[int, None] = field(default_factory=dict)
    rows: dict[RowKey, tuple[Value, ...] | None] = field(default_factory=dict)
    lacks: bool = False
    size_bytes: int = 0
    position: str | None = None
    committed_ns: int | None = None

    def add(self, changes: Sequence[Change], stream: int) -> list[RowKey]:
        """Take changes of one table; return the rows they were of."""
        if isinstance(changes, RowBatch):
            return self._add_batch(changes, stream)
        rows = self.rows
        touched: list[RowKey] = []
        for op, _, key, values in changes:
            if op is Op.TRUNCATE:
                self._clear(stream)
                continue
            place = (stream, row_id(key))
            touched.append(place)
            if op is Op.DELETE:
                rows[place] = None
                continue
            if UNCHANGED in values:
                values = _filled(values, rows.get(place))
                self.lacks = self.lacks or UNCHANGED in values
            rows[place] = values
            self.size_bytes += _ROW_BYTES + sum(map(len, filter(_is_text, values)))  # type: ignore[arg-type]
        return touched

    def _add_batch(self, batch: RowBatch, stream: int) -> list[RowKey]:
        columns = [batch.column(place).to_list() for place in range(len(batch.schema.columns))]
        parts = zip(*(columns[place] for place in batch.schema.key), strict=True)
        touched = list(zip(repeat(stream, len(batch)), map(row_id, parts), strict=True))
        self.rows.update(zip(touched, zip(*columns, strict=True), strict=True))
        self.size_bytes += _ROW_BYTES * len(batch) + batch.text_bytes
        return touched

    def _clear(self, stream: int) -> None:
        self.clears[stream] = None
        for key in [key for key in self.rows if key[0] == stream]:
            del self.rows[key]

    def is_empty(self) -> bool:
        """Say whether nothing changed."""
        return not self.rows and not self.clears


def _is_text(value: Value) -> bool:
    return isinstance(value, str)


def _filled(values: tuple[Value, ...], earlier: tuple[Value, ...] | None) -> tuple[Value, ...]:
    if earlier is None:
        return values
    return tuple(
        before if value is UNCHANGED else value
        for value, before in zip(values, earlier, strict=True)
    )
