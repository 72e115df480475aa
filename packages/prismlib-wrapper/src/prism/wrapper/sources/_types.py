"""What a source speaks of: tables, their columns, and changes of their rows.

A value is the text that the database itself writes for it, `None` for NULL, or `UNCHANGED` where it
did not say. Nothing is lost or rounded on the way; `cast` makes JSON of a value where that is
wanted.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

__all__ = [
    "UNCHANGED",
    "Change",
    "Column",
    "ColumnKind",
    "Op",
    "TableId",
    "TableSchema",
    "Unchanged",
    "Value",
]


class Unchanged(enum.Enum):
    """The type of `UNCHANGED`."""

    UNCHANGED = "unchanged"

    def __repr__(self) -> str:
        return "UNCHANGED"


UNCHANGED: Final = Unchanged.UNCHANGED
"""A value that was not sent, since the change left it as it was (a large value stored out of line).

Take what you hold for the row; `Source.fetch` asks the database where nobody holds it. Never NULL.
"""

Value: TypeAlias = str | Unchanged | None


class ColumnKind(enum.Enum):
    """What a column's texts mean, as far as they are told apart."""

    TEXT = "text"  # also enums, UUIDs, network addresses: their text is their meaning
    INTEGER = "integer"
    FLOAT = "float"
    NUMERIC = "numeric"  # exact decimals
    BOOLEAN = "boolean"
    TEMPORAL = "temporal"  # dates, times, timestamps, intervals
    JSON = "json"
    BYTES = "bytes"
    ARRAY = "array"
    OTHER = "other"  # ranges, row types, geometry: text that only the database interprets


class Op(enum.Enum):
    """What a change does."""

    UPSERT = "upsert"  # the row is there with these values, whether or not it was there before
    DELETE = "delete"  # the row of this key is gone
    TRUNCATE = "truncate"  # every row of the table is gone


@dataclass(frozen=True, slots=True)
class TableId:
    """A table's place. Names are as stored, without quotes."""

    database: str
    schema: str
    name: str

    def __str__(self) -> str:
        return f"{_quoted(self.schema)}.{_quoted(self.name)}"


@dataclass(frozen=True, slots=True)
class Column:
    """A column.

    Attributes:
        name: As stored, without quotes.
        type_name: As the database names the type, such as `numeric(10,2)` or `shop.mood[]`.
        kind: What its texts mean.
    """

    name: str
    type_name: str
    kind: ColumnKind


@dataclass(frozen=True, slots=True)
class TableSchema:
    """A table's published columns and what identifies a row.

    Attributes:
        table: Which table.
        columns: In the order of `Change.values`.
        key: Positions in `columns` whose values together identify a row, rising.
    """

    table: TableId
    columns: tuple[Column, ...]
    key: tuple[int, ...]

    def position(self, name: str) -> int:
        """The position of the column with this name.

        Raises:
            KeyError: The table has no such column.
        """
        for position, column in enumerate(self.columns):
            if column.name == name:
                return position
        raise KeyError(name)


class Change(NamedTuple):
    """One change of one table. An immutable tuple, since millions are made.

    Attributes:
        op: What happened.
        schema: The table as it was at this change; the same object for all changes of one schema.
        key: The row's key as texts, in the order of `schema.key`. Empty for TRUNCATE.
        values: The row as it now is, in the order of `schema.columns`. Empty but for UPSERT.
    """

    op: Op
    schema: TableSchema
    key: tuple[str, ...] = ()
    values: tuple[Value, ...] = ()


def _quoted(name: str) -> str:
    plain = name.isascii() and name.isidentifier() and name == name.lower()
    return name if plain else '"' + name.replace('"', '""') + '"'
