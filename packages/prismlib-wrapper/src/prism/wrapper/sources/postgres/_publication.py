"""The publication: made, completed or checked; and which tables with which columns it gives us."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from prism.wrapper.sources._digest import tables_digest
from prism.wrapper.sources._types import TableSchema
from prism.wrapper.sources.errors import (
    SourceAccessError,
    SourceConfigurationError,
    TableRefusedError,
)
from prism.wrapper.sources.postgres._catalogue import TableFacts, choose_key, schema_of
from prism.wrapper.sources.postgres._session import Session
from prism.wrapper.sources.postgres._settings import PostgresSettings
from prism.wrapper.sources.postgres._sql import create_publication, identifier

__all__ = [
    "FollowedTable",
    "find_tables",
    "follow",
    "followed_digest",
    "grants",
    "published_tables",
    "table_oid",
]

_OPERATIONS: Final = "insert, update, delete, truncate"


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowedTable:
    """A table that we follow.

    Attributes:
        facts: What the catalogue says.
        schema: Its published columns and key.
        row_filter: The publication's WHERE, as SQL; None without.
    """

    facts: TableFacts
    schema: TableSchema
    row_filter: str | None

    @property
    def key(self) -> tuple[str, ...]:
        """Names of the key's columns."""
        return tuple(self.schema.columns[position].name for position in self.schema.key)


def followed_digest(tables: Sequence[FollowedTable]) -> str:
    """What makes positions of one set of tables differ from those of another.

    A table that was dropped and made anew is another one: its rows were never seen to go. Columns
    count too, since ALTER TABLE can change rows without a trace in the log; what is harmless is
    sorted out while the stream runs (`Ground.rift`).
    """
    return tables_digest(
        f"{t.facts.oid} {t.facts.quoted} {t.key} {t.row_filter} {t.schema.columns}" for t in tables
    )


def table_oid(session: Session, name: str) -> int | None:
    """Look a table up by its name as in SQL, also in a schema that the role may not use yet."""
    try:
        found = session.rows("SELECT to_regclass(%s)::oid::bigint", (name,))[0][0]
    except SourceAccessError:
        rows = session.rows(
            "SELECT c.oid::bigint FROM parse_ident(%s) p JOIN pg_namespace n ON n.nspname = p[1] "
            "JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p[2]",
            (name,),
        )
        found = rows[0][0] if rows else None
    return None if found is None else int(found)


def find_tables(session: Session, names: Sequence[str]) -> list[TableFacts]:
    """Look tables up by the names the settings give.

    Raises:
        SourceConfigurationError: There is none of that name, or it is no table.
        SourceAccessError: The role may not read it.
    """
    oids = []
    for name in names:
        found = table_oid(session, name)
        if found is None:
            raise SourceConfigurationError(
                f"tables: the database has no table {name}; names are written as in SQL, so "
                'mixed case needs quotes: "Shop"."Products"'
            )
        oids.append(found)
    if len(set(oids)) != len(oids):
        raise SourceConfigurationError(f"tables: two names mean the same table in {list(names)}")
    tables = session.describe(oids)
    for facts in tables:
        _check_form(facts)
        if not facts.readable:
            raise SourceAccessError(
                f"{facts.quoted}: the role may not read it", remedy=grants(facts, session.role)
            )
    return tables


def _check_form(facts: TableFacts) -> None:
    if facts.form not in ("r", "p"):
        raise TableRefusedError(
            f"{facts.quoted}: it is a view, a foreign table or the like; only tables are logged",
            table=facts.quoted,
        )
    if facts.persistence != "p":
        raise TableRefusedError(
            f"{facts.quoted}: it is unlogged or temporary, so its changes are not in the log",
            table=facts.quoted,
            remedy=f"ALTER TABLE {facts.quoted} SET LOGGED;" if facts.persistence == "u" else "",
        )


def grants(facts: TableFacts, role: str) -> str:
    """The statements that let a role read a table."""
    schema, who = identifier(facts.table.schema), identifier(role)
    return f"GRANT USAGE ON SCHEMA {schema} TO {who};\nGRANT SELECT ON {facts.quoted} TO {who};"


def follow(session: Session, settings: PostgresSettings) -> tuple[list[FollowedTable], str | None]:
    """Make sure that our tables are published, and say how.

    Returns:
        The tables, and why a position from before is void (the publication was made or changed
        now), or None.

    Raises:
        SourceError: A table or the publication is not as needed and the role may not mend it.
    """
    tables = find_tables(session, settings.tables)
    for facts in tables:
        choose_key(facts)
    types = session.types(c.type_oid for facts in tables for c in facts.columns)
    if settings.plugin == "wal2json":
        for facts in tables:
            if facts.form == "p":
                raise TableRefusedError(
                    f"{facts.quoted}: it is partitioned, which wal2json does not show; "
                    "use the plugin pgoutput",
                    table=facts.quoted,
                )
        return [
            FollowedTable(
                facts=facts,
                schema=schema_of(facts, [c.name for c in facts.columns if not c.generated], types),
                row_filter=None,
            )
            for facts in tables
        ], None
    changed = _publish(session, settings, tables)
    published = _published(session, settings.publication)
    followed = []
    for facts in tables:
        found = published.get((facts.table.schema, facts.table.name))
        if found is None:
            raise SourceAccessError(
                f"publication {settings.publication!r} does not publish {facts.quoted} under "
                "its own name",
                remedy=f"ALTER PUBLICATION {identifier(settings.publication)} "
                "SET (publish_via_partition_root = true);",
            )
        names, row_filter = found
        if names is None:
            names = [column.name for column in facts.columns if not column.generated]
        elif session.server_version < 180000:
            generated = {column.name for column in facts.columns if column.generated}
            names = [name for name in names if name not in generated]
        followed.append(
            FollowedTable(facts=facts, schema=schema_of(facts, names, types), row_filter=row_filter)
        )
    return followed, changed


def published_tables(session: Session, publication: str) -> set[tuple[str, str]]:
    """The tables of a publication, as schema and name."""
    return set(_published(session, publication))


def _published(
    session: Session, publication: str
) -> dict[tuple[str, str], tuple[list[str] | None, str | None]]:
    columns = "attnames::text[], rowfilter" if session.server_version >= 150000 else "NULL, NULL"
    rows = session.rows(
        f"SELECT schemaname, tablename, {columns} FROM pg_publication_tables "  # noqa: S608  # fixed texts
        "WHERE pubname = %s",
        (publication,),
    )
    return {(row[0], row[1]): (row[2], row[3]) for row in rows}


def _publish(
    session: Session, settings: PostgresSettings, tables: Sequence[TableFacts]
) -> str | None:
    """Make or complete the publication; say so if that was needed."""
    name = settings.publication
    quoted = identifier(name)
    found = session.rows(
        "SELECT puballtables, pubinsert AND pubupdate AND pubdelete AND pubtruncate, pubviaroot, "
        "pg_has_role(pubowner, 'USAGE') FROM pg_publication WHERE pubname = %s",
        (name,),
    )
    if not found:
        statement = create_publication(
            name, [facts.quoted for facts in tables], server_version=session.server_version
        )
        _mend(session, statement, f"there is no publication {name!r}")
        return f"the publication {name!r} was made now"
    _, all_operations, via_root, owned = found[0]
    if not all_operations:
        raise SourceAccessError(
            f"publication {name!r} leaves out some kinds of changes",
            remedy=f"ALTER PUBLICATION {quoted} SET (publish = '{_OPERATIONS}');",
        )
    if not via_root and any(facts.form == "p" for facts in tables):
        raise SourceAccessError(
            f"publication {name!r} publishes partitions, not the partitioned table",
            remedy=f"ALTER PUBLICATION {quoted} SET (publish_via_partition_root = true);",
        )
    published = _published(session, name)
    missing = [f.quoted for f in tables if (f.table.schema, f.table.name) not in published]
    if not missing:
        return None
    statement = f"ALTER PUBLICATION {quoted} ADD TABLE {', '.join(missing)}"
    problem = f"publication {name!r} lacks {', '.join(missing)}"
    if not owned:
        raise SourceAccessError(problem, remedy=statement + ";")
    _mend(session, statement, problem)
    return f"the publication {name!r} lacked {', '.join(missing)}"


def _mend(session: Session, statement: str, problem: str) -> None:
    try:
        session.rows(statement)
    except SourceAccessError as error:
        raise SourceAccessError(
            f"{problem}, and the role may not change that", remedy=statement + ";"
        ) from error
