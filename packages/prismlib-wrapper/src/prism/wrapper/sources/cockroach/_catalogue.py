"""What the catalogue says of tables, and the schemas made of it. Pure.

The catalogue tells types and keys. Which columns a row has is told by its message, since the
catalogue is asked later than the row was written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from prism.wrapper.sources._cast import kind_of_type
from prism.wrapper.sources._types import Column, ColumnKind, TableId, TableSchema
from prism.wrapper.sources.errors import SourceConfigurationError
from prism.wrapper.sources.postgres._sql import identifier, literal, qualified

__all__ = [
    "ColumnFacts",
    "Layout",
    "TableFacts",
    "columns_sql",
    "grant",
    "key_problem",
    "keys_sql",
    "kind_of",
    "layout_of",
    "rift",
    "split_name",
    "tables_sql",
]

_KINDS: Final = {
    "INT2": ColumnKind.INTEGER,
    "INT4": ColumnKind.INTEGER,
    "INT8": ColumnKind.INTEGER,
    "OID": ColumnKind.INTEGER,
    "FLOAT4": ColumnKind.FLOAT,
    "FLOAT8": ColumnKind.FLOAT,
    "STRING": ColumnKind.TEXT,
    "BYTES": ColumnKind.BYTES,
    "GEOMETRY": ColumnKind.OTHER,
    "GEOGRAPHY": ColumnKind.OTHER,
    "TSVECTOR": ColumnKind.OTHER,
    "TSQUERY": ColumnKind.OTHER,
    "VECTOR": ColumnKind.OTHER,
}
_WORD: Final = re.compile(r"[A-Za-z0-9_]+")
_COLLATED: Final = re.compile(r"\s+COLLATE\s.*", re.IGNORECASE | re.DOTALL)
_PART: Final = re.compile(r'"((?:[^"]|"")+)"|([^\W\d][\w$]*)')


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnFacts:
    """A column.

    Attributes:
        number: Its number in the table, which a rename keeps.
        type_name: As `crdb_sql_type` writes it, such as `DECIMAL(10,2)` or `STRING[]`.
        hidden: Whether `SELECT *` leaves it out, such as the `rowid` of a table without a key.
        virtual: Whether it is computed when read: changefeeds leave it out.
    """

    number: int
    name: str
    type_name: str
    hidden: bool = False
    virtual: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFacts:
    """A table.

    Attributes:
        oid: Its number in the cluster, which another table of the same name does not have.
        form: `r` for a table.
        readable: Whether the role may SELECT from it.
        key: Names of the primary key's columns in the index's order: that of a message's key.
    """

    oid: int
    table: TableId
    form: str
    readable: bool
    columns: tuple[ColumnFacts, ...]
    key: tuple[str, ...]

    @property
    def quoted(self) -> str:
        """The name as SQL writes it, with its schema."""
        return qualified(self.table.schema, self.table.name)

    @property
    def fingerprint(self) -> str:
        """A text that is another for another table, key or set of columns."""
        columns = ",".join(f"{c.number}:{c.name}:{c.type_name}" for c in self.columns)
        return f"{self.oid}|{self.table}|{','.join(self.key)}|{columns}"


@dataclass(frozen=True, slots=True)
class Layout:
    """How messages of one table with certain columns become changes.

    Attributes:
        schema: What is told.
        key_names: The key's columns in the message's order.
        key_order: For each key column of `schema.key`, its place in the message's key.
    """

    schema: TableSchema
    key_names: tuple[str, ...]
    key_order: tuple[int, ...]


def kind_of(type_name: str) -> ColumnKind:
    """The kind of a type as CockroachDB names it."""
    if type_name.endswith("[]"):
        return ColumnKind.ARRAY
    plain = _COLLATED.sub("", type_name)
    word = _WORD.match(plain)
    known = _KINDS.get(word[0].upper()) if word else None
    if known is not None:
        return known
    kind = kind_of_type(plain.lower())
    # A name of its own is an enum: its texts are its labels.
    return ColumnKind.TEXT if kind is ColumnKind.OTHER and "." in plain else kind


def layout_of(facts: TableFacts, told: Sequence[str] | None = None) -> Layout:
    """The layout of a table's messages.

    Args:
        facts: What the catalogue says.
        told: The columns of a message; None to guess them: what is neither hidden nor virtual.
    """
    if told is None:
        names = {c.name for c in facts.columns if not (c.hidden or c.virtual)}
    else:
        names = set(told)
    names |= set(facts.key)
    known = [
        Column(c.name, c.type_name, kind_of(c.type_name)) for c in facts.columns if c.name in names
    ]
    # Dropped since: of a type that nobody knows any more.
    gone = [
        Column(name, "unknown", ColumnKind.OTHER)
        for name in sorted(names - {column.name for column in known})
    ]
    columns = (*known, *gone)
    places = {column.name: place for place, column in enumerate(columns)}
    key = tuple(sorted(places[name] for name in facts.key))
    schema = TableSchema(facts.table, columns, key)
    order = tuple(facts.key.index(columns[place].name) for place in key)
    return Layout(schema, facts.key, order)


def rift(before: TableFacts, now: TableFacts | None) -> str | None:
    """Say why rows told so far are wrong after a change of the catalogue; None if they are right.

    Columns that came or went need nothing: the changefeed tells the rows again where it must.
    """
    name = str(before.table)
    if now is None or now.oid != before.oid:
        return f"{name} was dropped or made anew"
    if now.key != before.key:
        return f"the key of {name} is another one"
    names = {column.number: column.name for column in before.columns}
    for column in now.columns:
        known = names.get(column.number)
        if known is not None and known != column.name:
            return f"column {known} of {name} was renamed"
    return None


def key_problem(facts: TableFacts) -> tuple[str, str] | None:
    """Why a table cannot be followed, and the SQL that helps; None if it can."""
    if facts.form != "r":
        return f"{facts.quoted} is not a table", ""
    hidden = {column.name for column in facts.columns if column.hidden}
    if not facts.key or set(facts.key) <= hidden:
        return (
            f"{facts.quoted} has no primary key of its own",
            (
                f"ALTER TABLE {facts.quoted} ALTER PRIMARY KEY USING COLUMNS (...); "
                "-- columns that identify a row, NOT NULL"
            ),
        )
    return None


def split_name(name: str) -> tuple[str, str]:
    """Read a table's name as SQL writes it: schema, `public` if it has none, and name.

    Raises:
        SourceConfigurationError: It is no name of a table.
    """
    parts: list[str] = []
    at = 0
    while (match := _PART.match(name, at)) is not None:
        parts.append(match[1].replace('""', '"') if match[1] else match[2].lower())
        at = match.end()
        if at == len(name) or name[at] != ".":
            break
        at += 1
    if match is None or at != len(name) or len(parts) > 2:
        raise SourceConfigurationError(
            f"tables: {name!r} is no name of a table; write it as in SQL: products, shop.products "
            'or shop."Price List"'
        )
    return (parts[0], parts[1]) if len(parts) == 2 else ("public", parts[0])


def tables_sql(schemas: Iterable[str]) -> str:
    """The statement that lists the tables of some schemas."""
    wanted = ", ".join(map(literal, schemas))
    return (
        "SELECT c.oid::INT8, n.nspname::STRING, c.relname::STRING, c.relkind::STRING, "  # noqa: S608  # quoted literals and numbers
        "has_table_privilege(c.oid, 'SELECT') "
        "FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
        f"WHERE n.nspname IN ({wanted}) AND c.relkind IN ('r', 'v', 'm') "
        "ORDER BY n.nspname, c.relname"
    )


def columns_sql(oids: Iterable[int]) -> str:
    """The statement that lists the columns of some tables."""
    return (
        "SELECT a.attrelid::INT8, a.attnum::INT8, a.attname::STRING, i.crdb_sql_type, "  # noqa: S608  # quoted literals and numbers
        "i.is_hidden, a.attgenerated::STRING "
        "FROM pg_catalog.pg_attribute a "
        "JOIN pg_catalog.pg_class c ON c.oid = a.attrelid "
        "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
        "JOIN information_schema.columns i ON i.table_schema = n.nspname "
        "AND i.table_name = c.relname AND i.column_name = a.attname "
        f"WHERE a.attrelid IN ({_numbers(oids)}) AND a.attnum > 0 AND NOT a.attisdropped "
        "ORDER BY a.attrelid, a.attnum"
    )


def keys_sql(oids: Iterable[int]) -> str:
    """The statement that lists the columns of the primary keys of some tables, in their order."""
    return (
        "SELECT x.indrelid::INT8, s.column_name::STRING "  # noqa: S608  # quoted literals and numbers
        "FROM pg_catalog.pg_index x "
        "JOIN pg_catalog.pg_class k ON k.oid = x.indexrelid "
        "JOIN pg_catalog.pg_class c ON c.oid = x.indrelid "
        "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
        "JOIN information_schema.statistics s ON s.table_schema = n.nspname "
        "AND s.table_name = c.relname AND s.index_name = k.relname "
        f"WHERE x.indisprimary AND s.storing = 'NO' AND x.indrelid IN ({_numbers(oids)}) "
        "ORDER BY x.indrelid, s.seq_in_index"
    )


def grant(facts: TableFacts, role: str) -> str:
    """The statements that let a role read a table."""
    return (
        f"GRANT USAGE ON SCHEMA {identifier(facts.table.schema)} TO {identifier(role)};\n"
        f"GRANT SELECT ON TABLE {facts.quoted} TO {identifier(role)};"
    )


def _numbers(oids: Iterable[int]) -> str:
    return ", ".join(str(int(oid)) for oid in oids)
