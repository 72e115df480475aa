"""Tables as the database's catalogue describes them, and what may be followed. Pure.

`_session` asks the questions (the SQL is here, beside what reads the answers).

A row is identified by the columns that the server logs for updates and deletes:

- REPLICA IDENTITY USING INDEX: that index;
- DEFAULT, FULL: the primary key;
- FULL without a primary key: the first unique index over NOT NULL columns;
- never a deferrable index;
- otherwise the table is refused. Rows without a key cannot be told apart: of two equal rows one may
  be deleted, and a replica could not say which.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from prism.wrapper.sources._cast import kind_of_type
from prism.wrapper.sources._types import Column, ColumnKind, TableId, TableSchema
from prism.wrapper.sources.errors import TableRefusedError
from prism.wrapper.sources.postgres import _pgoutput as wire
from prism.wrapper.sources.postgres._assembler import Resolved
from prism.wrapper.sources.postgres._sql import identifier, qualified

__all__ = [
    "COLUMNS_SQL",
    "INDEXES_SQL",
    "LEAVES_SQL",
    "TABLES_SQL",
    "TYPES_SQL",
    "ColumnFacts",
    "IndexFacts",
    "Leaf",
    "TableFacts",
    "TypeFacts",
    "choose_key",
    "key_problem",
    "kind_of",
    "resolve_relation",
    "rewritten",
    "schema_of",
]

TABLES_SQL: Final = """
SELECT c.oid::bigint, current_database(), n.nspname, c.relname, c.relkind::text,
       c.relpersistence::text, c.relreplident::text, pg_get_userbyid(c.relowner),
       has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'),
       pg_has_role(c.relowner, 'USAGE'), c.relrowsecurity
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = ANY(%s::oid[])
"""
COLUMNS_SQL: Final = """
SELECT a.attrelid::bigint, a.attnum, a.attname, a.atttypid::bigint, a.atttypmod,
       format_type(a.atttypid, a.atttypmod), a.attgenerated::text,
       a.atthasdef OR a.atthasmissing OR a.attidentity <> ''
FROM pg_attribute a
WHERE a.attrelid = ANY(%s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum
"""
INDEXES_SQL: Final = """
SELECT i.indrelid::bigint, c.relname, i.indisprimary, i.indisreplident, i.indimmediate,
       array_agg(a.attname ORDER BY k.place)::text[], bool_and(a.attnotnull)
FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid
CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, place)
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
WHERE i.indrelid = ANY(%s::oid[]) AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
      AND i.indexprs IS NULL AND k.place <= i.indnkeyatts
GROUP BY i.indrelid, i.indexrelid, c.relname, i.indisprimary, i.indisreplident, i.indimmediate
ORDER BY i.indrelid, i.indisprimary DESC, count(*), c.relname
"""
TYPES_SQL: Final = """
WITH RECURSIVE base AS (
  SELECT t.oid AS named, t.oid, t.typtype, t.typcategory, t.typbasetype, t.typelem
  FROM pg_type t WHERE t.oid = ANY(%s::oid[])
  UNION ALL
  SELECT b.named, t.oid, t.typtype, t.typcategory, t.typbasetype, t.typelem
  FROM base b JOIN pg_type t ON t.oid = b.typbasetype WHERE b.typtype = 'd'
)
SELECT named::bigint, format_type(oid, NULL), typtype::text, typcategory::text
FROM base WHERE typtype <> 'd'
"""
LEAVES_SQL: Final = """
SELECT c.oid::bigint, n.nspname, c.relname, pg_relation_filenode(c.oid)::bigint,
       pg_relation_size(c.oid) / current_setting('block_size')::int, c.reltuples::float8
FROM (SELECT relid::oid FROM pg_partition_tree(%(oid)s) UNION SELECT %(oid)s::oid) p
JOIN pg_class c ON c.oid = p.relid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind <> 'p'
ORDER BY 2, 3
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeFacts:
    """A type, with domains followed to what they are based on.

    Attributes:
        base_name: The name of that base, without modifiers.
        category: pg_type.typcategory of it, such as A for arrays.
        form: pg_type.typtype of it: b, e for enums, r and m for ranges, c for row types.
    """

    base_name: str
    category: str
    form: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnFacts:
    """A column as pg_attribute has it.

    Attributes:
        number: Stays the same under another name; a new column has a higher one than all before.
        filled: Whether rows that were there before the column may have a value in it.
    """

    number: int
    name: str
    type_oid: int
    type_modifier: int
    type_name: str
    generated: bool
    filled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexFacts:
    """A unique, whole, valid index over plain columns."""

    name: str
    primary: bool
    identity: bool
    immediate: bool
    columns: tuple[str, ...]
    not_null: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """A table that holds rows: a plain one, or a partition.

    Attributes:
        filenode: Becomes another when the table is rewritten or emptied.
        rows_estimate: Below 0 if the database has not counted.
    """

    oid: int
    schema: str
    name: str
    filenode: int
    blocks: int
    rows_estimate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFacts:
    """A table as the catalogue has it."""

    oid: int
    table: TableId
    form: str
    persistence: str
    identity: str
    owner: str
    readable: bool
    owned: bool
    row_security: bool
    columns: tuple[ColumnFacts, ...]
    indexes: tuple[IndexFacts, ...]

    @property
    def quoted(self) -> str:
        """Its name in SQL."""
        return qualified(self.table.schema, self.table.name)


def kind_of(facts: TypeFacts) -> ColumnKind:
    """What the texts of a type mean."""
    if facts.category == "A":
        return ColumnKind.ARRAY
    if facts.form == "e" or facts.category == "S":
        return ColumnKind.TEXT
    return kind_of_type(facts.base_name) if facts.form == "b" else ColumnKind.OTHER


def key_problem(facts: TableFacts) -> tuple[str, str] | None:
    """Say why a table's rows have no key that we can use, and the statement that helps."""
    if _key_index(facts) is not None:
        return None
    name = facts.quoted
    usable = [i for i in facts.indexes if i.not_null and i.immediate]
    primary = next((i for i in facts.indexes if i.primary), None)
    if facts.identity == "n" and usable:
        problem = "its replica identity is NOTHING, so updates do not say which row"
        remedy = "REPLICA IDENTITY DEFAULT" if primary in usable else _using_index(usable[0])
    elif usable:
        problem, remedy = "it has no primary key", _using_index(usable[0])
    elif primary is not None:
        columns = ", ".join(map(identifier, primary.columns))
        problem = "its primary key is deferrable, so two rows can have the same for a while"
        remedy = f"DROP CONSTRAINT {identifier(primary.name)}, ADD PRIMARY KEY ({columns})"
    else:
        problem = "its rows have no key, so they cannot be told apart"
        remedy = "ADD COLUMN row_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
    return f"{name}: {problem}", f"ALTER TABLE {name} {remedy};"


def _using_index(index: IndexFacts) -> str:
    return f"REPLICA IDENTITY USING INDEX {identifier(index.name)}"


def choose_key(facts: TableFacts) -> tuple[str, ...]:
    """The columns that identify a row, by the rules above.

    Raises:
        TableRefusedError: There are none.
    """
    index = _key_index(facts)
    if index is None:
        problem, remedy = key_problem(facts) or ("", "")
        raise TableRefusedError(problem, table=facts.quoted, remedy=remedy)
    return index.columns


def _key_index(facts: TableFacts) -> IndexFacts | None:
    # A deferrable key is checked late: two rows may share it in between, and "delete the row of
    # this key" would then take the wrong one.
    usable = [i for i in facts.indexes if i.not_null and i.immediate]
    if facts.identity == "i":
        return next((i for i in usable if i.identity), None)
    primary = next((i for i in usable if i.primary), None)
    if facts.identity == "f":
        return primary or next(iter(usable), None)
    return primary if facts.identity == "d" else None


def schema_of(
    facts: TableFacts, published: Sequence[str], types: Mapping[int, TypeFacts]
) -> TableSchema:
    """The schema that a snapshot of these columns has.

    Raises:
        TableRefusedError: No key, or it is not among the published columns.
    """
    key = choose_key(facts)
    wanted = set(published)
    columns = [column for column in facts.columns if column.name in wanted]
    names = [column.name for column in columns]
    if missing := [name for name in key if name not in wanted]:
        raise TableRefusedError(
            f"{facts.quoted}: the publication does not publish its key column {missing[0]!r}",
            table=facts.quoted,
        )
    return TableSchema(
        facts.table,
        tuple(Column(c.name, c.type_name, kind_of(types[c.type_oid])) for c in columns),
        tuple(sorted(names.index(name) for name in key)),
    )


def rewritten(before: TableFacts, after: TableFacts) -> str | None:
    """Say why rows may differ though no change was logged, or return None.

    ALTER TABLE logs no rows. Those that are there stay right under it only if columns were dropped,
    or added at the end without a default, so that they are NULL in all rows.
    """
    now = {column.number: column for column in after.columns}
    for column in before.columns:
        same = now.pop(column.number, None)
        if same is None:
            continue
        if same.name != column.name:
            return f"column {column.name!r} of {before.quoted} is now {same.name!r}"
        if (same.type_oid, same.type_modifier, same.generated) != (
            column.type_oid,
            column.type_modifier,
            column.generated,
        ):
            return f"column {column.name!r} of {before.quoted} has another type"
    for column in now.values():
        if column.filled or column.generated:
            return f"{before.quoted} has a new column {column.name!r} with values"
    return None


def resolve_relation(
    relation: wire.Relation,
    *,
    table: TableId,
    key: Iterable[str],
    type_names: Mapping[tuple[int, int], str],
    types: Mapping[int, TypeFacts],
) -> Resolved | None:
    """The schema that the rows after a Relation message have, or None if the key is another one.

    The server marks the columns of the key. Under REPLICA IDENTITY FULL it marks all; then the key
    stays the one we had.
    """
    names = [column.name for column in relation.columns]
    marked = {column.name for column in relation.columns if column.in_key}
    wanted = set(key)
    if (relation.identity == "f" and not wanted <= set(names)) or (
        relation.identity != "f" and marked != wanted
    ):
        return None
    columns = tuple(
        Column(c.name, type_names[c.type_oid, c.type_modifier], kind_of(types[c.type_oid]))
        for c in relation.columns
    )
    return Resolved(
        TableSchema(table, columns, tuple(sorted(map(names.index, wanted)))),
        tuple(column.type_oid for column in relation.columns),
    )
