"""A replicated row, kept as it came and decoded when somebody looks into it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

__all__ = ["Row", "RowMatch"]


class Row(Mapping[str, object]):
    """One row of the replica; it does not change: a newer version is another object.

    `columns` gives its values. As a mapping, it gives them as `where=` compares them, which is the
    same but for lists and objects: those are texts of JSON there.

    Attributes:
        table: Full name of its table.
        row_id: Its identity in the table.
        text_repr: The text that was embedded.
        seq: The position of its last change in the change log.
    """

    __slots__ = ("_columns", "encoded", "number", "row_id", "seq", "table", "text_repr")

    def __init__(
        self, *, table: str, row_id: str, text_repr: str, seq: int, number: int, encoded: bytes
    ) -> None:
        self.table = table
        self.row_id = row_id
        self.text_repr = text_repr
        self.seq = seq
        self.number = number
        self.encoded = encoded
        self._columns: Mapping[str, object] | None = None

    @property
    def columns(self) -> Mapping[str, object]:
        """Its values by column; decoded at the first look."""
        if self._columns is None:
            read = json.loads(self.encoded) if self.encoded else {}
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
