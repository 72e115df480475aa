"""Rows as they came: columns of one batch, of which a row takes its values when it is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, final

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from chorus_fabric import BytesColumn, TextColumn

__all__ = ["RowBlock", "RowValues"]


@final
class RowValues(NamedTuple):
    """What a row holds.

    Attributes:
        row_id: Its identity in its table.
        table: Full name of its table.
        text_repr: The text that was embedded.
        seq: The position of its last change.
        number: Its number in the index.
        encoded: Its columns as JSON.
    """

    row_id: str
    table: str
    text_repr: str
    seq: int
    number: int
    encoded: bytes


class RowBlock:
    """The rows of one batch in columns, in memory of their own. Nothing of it changes.

    Args:
        table: Full name of their table.
        ids: One a row.
        texts: One a row.
        columns: One a row: JSON.
        numbers: Shape `(rows,)`: their numbers in the index.
        seqs: Shape `(rows,)`.

    Attributes:
        table: As given.
        ids: As given.
        numbers: As given.
        seqs: As given.
        living: How many of the rows are there still; kept by the table.
    """

    __slots__ = (
        "__weakref__",
        "_column_ends",
        "_columns",
        "_text_ends",
        "_texts",
        "ids",
        "living",
        "numbers",
        "seqs",
        "table",
    )  # fmt: skip

    def __init__(
        self,
        *,
        table: str,
        ids: list[str],
        texts: TextColumn,
        columns: BytesColumn,
        numbers: npt.NDArray[np.int64],
        seqs: npt.NDArray[np.uint64],
    ) -> None:
        self.table = table
        self.ids = ids
        self._texts = bytes(texts.blob)
        self._text_ends = texts.ends.astype(np.uint32)
        self._columns = bytes(columns.blob)
        self._column_ends = columns.ends.astype(np.uint32)
        self.numbers = numbers
        self.seqs = seqs.astype(np.uint64)
        self.living = len(numbers)

    def __len__(self) -> int:
        return len(self.numbers)

    def text(self, place: int) -> str:
        """Give a row's text."""
        ends = self._text_ends
        return str(self._texts[ends.item(place - 1) if place else 0 : ends.item(place)], "utf-8")

    def encoded(self, place: int) -> bytes:
        """Give a row's columns as JSON."""
        ends = self._column_ends
        return self._columns[ends.item(place - 1) if place else 0 : ends.item(place)]

    def values(self, place: int) -> RowValues:
        """Give all of a row, in memory of its own."""
        return RowValues(
            self.ids[place],
            self.table,
            self.text(place),
            self.seqs.item(place),
            self.numbers.item(place),
            self.encoded(place),
        )
