"""What information_schema says of tables: columns, keys, and what keeps one from being followed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from prism.wrapper.sources._digest import tables_digest
from prism.wrapper.sources._types import Column, TableId, TableSchema
from prism.wrapper.sources.errors import (
    SourceAccessError,
    SourceConfigurationError,
    SourceError,
    TableRefusedError,
)
from prism.wrapper.sources.mysql._charsets import codec_of
from prism.wrapper.sources.mysql._session import Session, identifier
from prism.wrapper.sources.mysql._settings import MySQLSettings, split_name
from prism.wrapper.sources.mysql._types import ColumnFacts, type_of

__all__ = [
    "FollowedTable",
    "TableFacts",
    "charsets",
    "describe",
    "find_tables",
    "follow",
    "followed_digest",
    "schema_of",
    "table_problem",
]

_TABLES_SQL: Final = """
SELECT t.TABLE_SCHEMA, t.TABLE_NAME, t.TABLE_TYPE, COALESCE(t.ENGINE, ''), t.TABLE_ROWS,
       COALESCE(e.TRANSACTIONS, 'NO')
FROM information_schema.TABLES t LEFT JOIN information_schema.ENGINES e ON e.ENGINE = t.ENGINE
WHERE t.TABLE_SCHEMA = %s
"""
_COLUMNS_SQL: Final = """
SELECT TABLE_NAME, COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, COALESCE(CHARACTER_SET_NAME, ''),
       IS_NULLABLE, EXTRA
FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = %s ORDER BY TABLE_NAME, ORDINAL_POSITION
"""
_KEYS_SQL: Final = """
SELECT TABLE_NAME, INDEX_NAME, COALESCE(COLUMN_NAME, ''), SUB_PART
FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = %s AND NON_UNIQUE = 0
ORDER BY TABLE_NAME, INDEX_NAME <> 'PRIMARY', INDEX_NAME, SEQ_IN_INDEX
"""
_CASCADES_SQL: Final = """
SELECT TABLE_NAME, CONSTRAINT_NAME FROM information_schema.REFERENTIAL_CONSTRAINTS
WHERE CONSTRAINT_SCHEMA = %s
  AND (DELETE_RULE IN ('CASCADE', 'SET NULL', 'SET DEFAULT')
       OR UPDATE_RULE IN ('CASCADE', 'SET NULL', 'SET DEFAULT'))
ORDER BY 1, 2
"""
_JSON_SQL: Final = """
SELECT TABLE_NAME, CHECK_CLAUSE FROM information_schema.CHECK_CONSTRAINTS
WHERE CONSTRAINT_SCHEMA = %s AND LOWER(CHECK_CLAUSE) LIKE 'json_valid(%%'
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFacts:
    """A table as the catalogue has it.

    Attributes:
        form: `BASE TABLE`, `VIEW`, `SYSTEM VERSIONED`, ...
        is_transactional: Whether its engine can roll back.
        columns: In order.
        key: Names of the columns that identify a row; empty if none do.
        cascades: Foreign keys by which another table's change changes rows here.
        rows_estimate: As the engine guesses.
    """

    database: str
    name: str
    form: str
    engine: str
    is_transactional: bool
    columns: tuple[ColumnFacts, ...]
    key: tuple[str, ...]
    cascades: tuple[str, ...]
    rows_estimate: int | None

    @property
    def quoted(self) -> str:
        """Its name as SQL."""
        return identifier(self.database, self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowedTable:
    """A table that we follow.

    Attributes:
        facts: What the catalogue says.
        schema: Its columns and key as we tell them: virtual columns are left out.
    """

    facts: TableFacts
    schema: TableSchema

    @property
    def told_types(self) -> Mapping[str, str]:
        """Types' names by column."""
        return {column.name: column.type_name for column in self.schema.columns}

    @property
    def hidden(self) -> frozenset[str]:
        """Columns that are not told."""
        return frozenset(column.name for column in self.facts.columns if column.is_virtual)

    @property
    def selected(self) -> tuple[ColumnFacts, ...]:
        """Columns that are told."""
        return tuple(column for column in self.facts.columns if not column.is_virtual)


def describe(session: Session, database: str) -> list[TableFacts]:
    """The tables and views of a database that the user may see."""
    columns: dict[str, list[ColumnFacts]] = {}
    json_columns = _json_columns(session, database) if session.is_mariadb else set()
    for table, name, data_type, column_type, charset, nullable, extra in session.rows(
        _COLUMNS_SQL, (database,)
    ):
        columns.setdefault(table, []).append(
            ColumnFacts(
                name,
                data_type,
                _text(column_type),
                charset,
                nullable == "YES",
                "VIRTUAL GENERATED" in extra.upper(),
                (table, name) in json_columns,
            )
        )
    keys = _keys(session, database, columns)
    cascades: dict[str, list[str]] = {}
    for table, constraint in session.rows(_CASCADES_SQL, (database,)):
        cascades.setdefault(table, []).append(constraint)
    return [
        TableFacts(
            database=schema,
            name=name,
            form=form,
            engine=engine,
            is_transactional=transactions == "YES",
            columns=tuple(columns.get(name, ())),
            key=keys.get(name, ()),
            cascades=tuple(cascades.get(name, ())),
            rows_estimate=None if count is None else int(count),
        )
        for schema, name, form, engine, count, transactions in sorted(
            session.rows(_TABLES_SQL, (database,)), key=lambda row: str(row[1])
        )
    ]


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _json_columns(session: Session, database: str) -> set[tuple[str, str]]:
    found = set()
    for table, clause in session.rows(_JSON_SQL, (database,)):
        name = _text(clause)[len("json_valid(") :].removesuffix(")").strip("`").replace("``", "`")
        found.add((table, name))
    return found


def _keys(
    session: Session, database: str, columns: Mapping[str, Sequence[ColumnFacts]]
) -> dict[str, tuple[str, ...]]:
    """The primary key, or the first unique one without NULLs and without parts of columns."""
    indexes: dict[tuple[str, str], list[tuple[str, object]]] = {}
    for table, index, column, part in session.rows(_KEYS_SQL, (database,)):
        indexes.setdefault((table, index), []).append((column, part))
    nullable = {(t, c.name) for t, some in columns.items() for c in some if c.is_nullable}
    virtual = {(t, c.name) for t, some in columns.items() for c in some if c.is_virtual}
    found: dict[str, tuple[str, ...]] = {}
    for (table, _), parts in indexes.items():
        usable = all(
            part is None and column and (table, column) not in nullable | virtual
            for column, part in parts
        )
        if usable and table not in found:
            found[table] = tuple(column for column, _ in parts)
    return found


def table_problem(facts: TableFacts) -> tuple[str, str] | None:
    """What keeps a table from being followed, and the statement that mends it; None if nothing."""
    name = facts.quoted
    if facts.form == "SYSTEM VERSIONED":
        return f"{name}: is system-versioned, which writes rows of the past to the log", ""
    if facts.form != "BASE TABLE":
        return f"{name}: is not a table ({facts.form.lower()})", ""
    if not facts.is_transactional:
        return (
            f"{name}: its engine {facts.engine} has no transactions: no snapshot fits its changes",
            f"ALTER TABLE {name} ENGINE = InnoDB;",
        )
    if not facts.key:
        return (
            f"{name}: its rows have no key: no primary key, and no unique one without NULLs",
            f"ALTER TABLE {name} ADD COLUMN id bigint unsigned AUTO_INCREMENT PRIMARY KEY;",
        )
    if facts.cascades:
        keys = ", ".join(facts.cascades)
        return (
            f"{name}: foreign keys that cascade ({keys}) change its rows, which is not logged",
            "\n".join(
                f"ALTER TABLE {name} DROP FOREIGN KEY {identifier(key)}; -- add it again with "
                "ON DELETE RESTRICT ON UPDATE RESTRICT"
                for key in facts.cascades
            ),
        )
    for column in facts.columns:
        if column.charset and column.charset != "binary" and codec_of(column.charset) is None:
            return (
                f"{name}: column {column.name} is in {column.charset}, which is not read",
                f"ALTER TABLE {name} CONVERT TO CHARACTER SET utf8mb4;",
            )
    return None


def find_tables(session: Session, settings: MySQLSettings) -> list[TableFacts]:
    """Look tables up by the names the settings give.

    Raises:
        SourceConfigurationError: There is none of that name.
    """
    wanted = [split_name(name, settings.database) for name in settings.tables]
    known = {
        (facts.database, facts.name): facts
        for database in sorted({database for database, _ in wanted})
        for facts in describe(session, database)
    }
    found = []
    for database, name in wanted:
        facts = known.get((database, name)) or known.get((database.lower(), name.lower()))
        if facts is None:
            raise SourceConfigurationError(
                f"tables: there is no table {identifier(database, name)}, or {session.user} may "
                f"not read it. For its owner: GRANT SELECT ON {identifier(database, name)} TO ...;"
            )
        found.append(facts)
    return found


def follow(session: Session, settings: MySQLSettings) -> list[FollowedTable]:
    """The tables of the settings, each of which can be followed.

    Raises:
        SourceConfigurationError: There is none of that name.
        SourceAccessError: The user may not read it.
        TableRefusedError: It cannot be followed.
    """
    tables = []
    for facts in find_tables(session, settings):
        if (problem := table_problem(facts)) is not None:
            raise TableRefusedError(problem[0], table=facts.quoted, remedy=problem[1])
        try:
            session.rows(f"SELECT 1 FROM {facts.quoted} LIMIT 0")  # noqa: S608  # quoted
        except SourceAccessError as error:
            raise SourceAccessError(
                str(error), remedy=f"GRANT SELECT ON {facts.quoted} TO {session.user};"
            ) from None
        tables.append(FollowedTable(facts=facts, schema=schema_of(facts)))
    return tables


def schema_of(facts: TableFacts) -> TableSchema:
    """A table's columns and key as we tell them."""
    columns = [column for column in facts.columns if not column.is_virtual]
    names = [column.name for column in columns]
    return TableSchema(
        TableId(facts.database, facts.database, facts.name),
        tuple(Column(column.name, *type_of(column)) for column in columns),
        tuple(sorted(names.index(name) for name in facts.key)),
    )


def followed_digest(tables: Iterable[FollowedTable]) -> str:
    """What makes positions of one set of tables and keys differ from those of another.

    Columns do not count: what changes them is in the log, after the position.
    """
    return tables_digest(f"{table.facts.quoted} {table.facts.key}" for table in tables)


def charsets(session: Session) -> dict[int, str]:
    """Character sets by collation."""
    if session.is_mariadb:
        # Since 10.10 a collation fits several character sets, each with a number of its own.
        try:
            rows = session.rows(
                "SELECT ID, CHARACTER_SET_NAME FROM "
                "information_schema.COLLATION_CHARACTER_SET_APPLICABILITY"
            )
        except SourceError:
            rows = []  # older ones do not have the numbers there
        if rows:
            return {int(number): name for number, name in rows if number is not None and name}
    rows = session.rows("SELECT ID, CHARACTER_SET_NAME FROM information_schema.COLLATIONS")
    return {int(number): name for number, name in rows if number is not None and name}
