"""A replicated row, kept as it came and decoded when somebody looks into it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from prism.ffi._row_block import RowBlock, RowValues

__all__ = ["Row", "RowMatch"]


class Row(Mapping[str, object]):
    """One row of the replica; it does not change: a newer version is another object.

    `columns` gives its values. As a mapping, it gives them as `where=` compares them, which is the
    same but for lists and objects: those are texts of JSON there.
    """

    __slots__ = ("_columns", "_place", "_source")

    def __init__(self, source: RowBlock | RowValues, place: int = 0) -> None:
        # The table's writer may take a row out of its block while others look at it: they read
        # `_source` once, and both hold the same values.
        self._source = source
        self._place = place
        self._columns: Mapping[str, object] | None = None

    @property
    def row_id(self) -> str:
        """Its identity in the table."""
        source = self._source
        return source.row_id if type(source) is RowValues else source.ids[self._place]

    @property
    def table(self) -> str:
        """Full name of its table."""
        return self._source.table

    @property
    def text_repr(self) -> str:
        """The text that was embedded."""
        source = self._source
        return source.text_repr if type(source) is RowValues else source.text(self._place)

    @property
    def seq(self) -> int:
        """The position of its last change in the change log."""
        source = self._source
        return source.seq if type(source) is RowValues else source.seqs.item(self._place)

    @property
    def number(self) -> int:
        """Its number in the index; -1 for a row that is in none."""
        source = self._source
        return source.number if type(source) is RowValues else source.numbers.item(self._place)

    @property
    def encoded(self) -> bytes:
        """Its columns as JSON."""
        source = self._source
        return source.encoded if type(source) is RowValues else source.encoded(self._place)

    @property
    def block(self) -> RowBlock | None:
        """The block that its values are still in; `None` for none."""
        source = self._source
        return None if type(source) is RowValues else source

    def leave_block(self) -> None:
        """Take the values out of their block, if they are in one; for the table's writer alone."""
        source = self._source
        if type(source) is RowBlock:
            self._source = source.values(self._place)

    @property
    def columns(self) -> Mapping[str, object]:
        """Its values by column; decoded at the first look."""
        if self._columns is None:
            encoded = self.encoded
            read = json.loads(encoded) if encoded else {}
            self._columns = MappingProxyType(read if isinstance(read, dict) else {})
        return self._columns

    def __getitem__(self, column: str) -> object:
        value = self.columns[column]
        if isinstance(value, (list, dict)):
            return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    def __repr__(self) -> str:
        return f"Row(table={self.table!r}, row_id={self.row_id!r}, seq={self.seq})"


class RowMatch(NamedTuple):
    """One row that answers a query.

    Attributes:
        row_id: Its identity in its table.
        score: The cosine, in [-1, 1]: at full width, or in 64 dimensions where the query or the
            wire has no more.
        text_repr: The text that was embedded.
        table: Full name of its table.
        row: The row as the query saw it.
    """

    row_id: str
    score: float
    text_repr: str
    table: str
    row: Row

    @property
    def columns(self) -> Mapping[str, object]:
        """Its values by column."""
        return self.row.columns
