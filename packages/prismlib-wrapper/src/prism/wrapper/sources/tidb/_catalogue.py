"""What information_schema says of tables, and what a change of it means for rows told. Pure.

TiCDC sends no columns that are generated when they are read, so such columns are left out. A row is
known by its primary key, or by the first unique index of columns that are never NULL: the same that
TiCDC calls a handle.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final, Self

from prism.wrapper.sources._cast import kind_of_type
from prism.wrapper.sources._types import Column, ColumnKind, TableId, TableSchema

__all__ = ["COLUMNS_SQL", "INDEXES_SQL", "ColumnFacts", "TableFacts", "gather", "names", "rift"]

# Names in small letters, whatever the server calls its own columns.
COLUMNS_SQL: Final = (
    "SELECT c.TABLE_SCHEMA, c.TABLE_NAME, c.COLUMN_NAME, c.COLUMN_TYPE, c.IS_NULLABLE, "
    "c.COLUMN_DEFAULT, c.EXTRA FROM information_schema.columns c "
    "JOIN information_schema.tables t ON t.TABLE_SCHEMA = c.TABLE_SCHEMA "
    "AND t.TABLE_NAME = c.TABLE_NAME "
    "WHERE c.TABLE_SCHEMA IN ({schemas}) AND t.TABLE_TYPE = 'BASE TABLE' "
    "ORDER BY c.TABLE_SCHEMA, c.TABLE_NAME, c.ORDINAL_POSITION"
)
INDEXES_SQL: Final = (
    "SELECT TABLE_SCHEMA, TABLE_NAME, INDEX_NAME, COLUMN_NAME FROM information_schema.statistics "
    "WHERE TABLE_SCHEMA IN ({schemas}) AND NON_UNIQUE = 0 "
    "ORDER BY TABLE_SCHEMA, TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX"
)
_MEMBER: Final = re.compile(r"'((?:[^']|'')*)'")
_BASE: Final = re.compile(r"[a-z0-9_]+")
_LENGTHENED: Final = frozenset(("char", "varchar", "tinytext", "text", "mediumtext", "longtext"))
_TEXTS: Final = _LENGTHENED | {"enum", "set"}
_KINDS: Final = {
    **dict.fromkeys(_TEXTS, ColumnKind.TEXT),
    # A number to whoever reads it: its bits.
    "bit": ColumnKind.INTEGER,
    **dict.fromkeys(("tinyblob", "mediumblob", "longblob"), ColumnKind.BYTES),
    "year": ColumnKind.INTEGER,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnFacts:
    """A column. `type_name` is COLUMN_TYPE: `bigint(20) unsigned`, `enum('a','b')`."""

    name: str
    type_name: str
    nullable: bool
    has_default: bool

    @property
    def base(self) -> str:
        """The type without what follows it: `bigint`."""
        match = _BASE.match(self.type_name.lower())
        return match[0] if match else ""

    @property
    def members(self) -> list[str]:
        """The names of an ENUM or SET, in the order of their numbers."""
        return [found.replace("''", "'") for found in _MEMBER.findall(self.type_name)]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFacts:
    """A table. `key` names columns; empty if no index identifies a row."""

    schema: str
    name: str
    columns: tuple[ColumnFacts, ...]
    key: tuple[str, ...]

    @property
    def full_name(self) -> str:
        """`schema.table`."""
        return f"{self.schema}.{self.name}"

    @property
    def quoted(self) -> str:
        """As SQL takes it."""
        return f"{_quoted(self.schema)}.{_quoted(self.name)}"

    @property
    def column_list(self) -> str:
        """All columns, as SQL takes them."""
        return ", ".join(_quoted(column.name) for column in self.columns)

    @property
    def condition(self) -> str:
        """A place for each value of the key, as SQL and PyMySQL take it."""
        return " AND ".join(f"{_quoted(name)} = %s" for name in self.key)

    def told(self) -> TableSchema:
        """The table as a source tells it."""
        columns = tuple(
            Column(
                column.name,
                column.type_name,
                _KINDS.get(column.base) or kind_of_type(column.type_name.lower()),
            )
            for column in self.columns
        )
        positions = {column.name: number for number, column in enumerate(self.columns)}
        return TableSchema(
            table=TableId("", self.schema, self.name),
            columns=columns,
            key=tuple(sorted(positions[name] for name in self.key)),
        )

    def to_json(self) -> dict[str, object]:
        """For a file."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, object]) -> Self:
        """Read what `to_json` gave.

        Raises:
            ValueError: It is something else.
        """
        match content:
            case {"schema": str(schema), "name": str(name), "columns": columns, "key": key} if (
                isinstance(columns, (list, tuple)) and isinstance(key, (list, tuple))
            ):
                return cls(
                    schema=schema,
                    name=name,
                    columns=tuple(ColumnFacts(**column) for column in columns),
                    key=tuple(str(one) for one in key),
                )
        raise ValueError("not a table's facts")


def gather(
    columns: Iterable[Sequence[str | None]], indexes: Iterable[Sequence[str | None]]
) -> dict[str, TableFacts]:
    """Make tables of what the two queries gave, by full name."""
    found: dict[tuple[str, str], list[ColumnFacts]] = {}
    for schema, table, name, type_name, nullable, default, extra in columns:
        assert schema is not None and table is not None and name is not None  # noqa: S101, PT018 - never NULL there
        here = found.setdefault((schema, table), [])
        if "VIRTUAL GENERATED" in (extra or "").upper():
            continue
        here.append(
            ColumnFacts(
                name=name,
                type_name=type_name or "",
                nullable=nullable == "YES",
                has_default=default is not None or "GENERATED" in (extra or "").upper(),
            )
        )
    unique: dict[tuple[str, str], dict[str, list[str | None]]] = {}
    for schema, table, index, column in indexes:
        by_name = unique.setdefault((schema or "", table or ""), {})
        by_name.setdefault(index or "", []).append(column)
    return {
        f"{schema}.{table}": TableFacts(
            schema=schema,
            name=table,
            columns=tuple(here),
            key=_key(here, unique.get((schema, table), {})),
        )
        for (schema, table), here in found.items()
    }


def names(tables: Mapping[str, TableFacts]) -> tuple[str, ...]:
    """The full names of tables whose rows can be told apart."""
    return tuple(name for name, facts in tables.items() if facts.key)


def rift(before: TableFacts, after: TableFacts | None) -> str | None:
    """Say why rows told of the table before are no longer right, or return None if they are."""
    name = before.full_name
    if after is None:
        return f"{name} is gone"
    if before.key != after.key:
        return f"the key of {name} is another one"
    old = {column.name: column for column in before.columns}
    new = {column.name: column for column in after.columns}
    added, removed = new.keys() - old.keys(), old.keys() - new.keys()
    if added and removed:
        return f"columns of {name} were renamed, or came and went at once"
    for column in sorted(added):
        if new[column].has_default or not new[column].nullable:
            return f"column {column} of {name} came with values in rows that are there"
    for column in sorted(old.keys() & new.keys()):
        if _is_rewritten(old[column], new[column]):
            return f"column {column} of {name} has another type"
    return None


def _is_rewritten(before: ColumnFacts, after: ColumnFacts) -> bool:
    if before.type_name == after.type_name:
        return False
    if before.base != after.base:
        return True
    if before.base in ("enum", "set"):
        # Members that came at the end leave the numbers of the others as they were.
        known, now = before.members, after.members
        return now[: len(known)] != known
    # A longer text holds the same texts.
    return before.base not in _LENGTHENED


def _key(
    columns: Sequence[ColumnFacts], unique: Mapping[str, Sequence[str | None]]
) -> tuple[str, ...]:
    never_null = {column.name for column in columns if not column.nullable}
    for index in sorted(unique, key=lambda name: (name.upper() != "PRIMARY", name)):
        found = [column for column in unique[index] if column is not None]
        # An index of an expression has parts without a column.
        if len(found) == len(unique[index]) and never_null.issuperset(found):
            return tuple(found)
    return ()


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
