"""What a database lacks to be followed, and the SQL that mends it: read-only.

`gather` asks the database, `findings` judges the answers (pure). Nothing is changed: the statements
are for whoever runs the database.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from prism.wrapper.sources._findings import Finding, Verdict
from prism.wrapper.sources.errors import SourceError
from prism.wrapper.sources.postgres._catalogue import TableFacts, key_problem
from prism.wrapper.sources.postgres._position import SlotFacts
from prism.wrapper.sources.postgres._publication import grants, published_tables, table_oid
from prism.wrapper.sources.postgres._rights import MAY_REPLICATE_SQL
from prism.wrapper.sources.postgres._server import OLDEST_VERSION
from prism.wrapper.sources.postgres._session import Session
from prism.wrapper.sources.postgres._settings import PostgresSettings
from prism.wrapper.sources.postgres._slots import slot_facts
from prism.wrapper.sources.postgres._sql import create_publication, identifier

__all__ = ["Finding", "PostgresFacts", "Verdict", "check", "findings", "gather"]

_LARGE_WAL_BYTES = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresFacts:
    """The database's answers.

    Attributes:
        version: Such as 150018.
        parameters: Server parameters by name; those that a version lacks are missing.
        slots_used: Replication slots of the whole cluster.
        may_create: Whether the role may make publications in this database.
        tables: What was found for each name of the settings: facts, or why not.
        published: Tables of the publication as (schema, name); None if there is no publication.
        publication_options: (all kinds of changes, via partition root, owned by us).
        slot: Our slot, if there is one.
    """

    version: int
    database: str
    role: str
    is_superuser: bool
    may_replicate: bool
    may_create: bool
    in_recovery: bool
    encoding: str
    parameters: dict[str, str]
    slots_used: int
    tables: tuple[tuple[str, TableFacts | str], ...]
    published: frozenset[tuple[str, str]] | None
    publication_options: tuple[bool, bool, bool] | None
    slot: SlotFacts | None


_PARAMETERS = (
    "wal_level",
    "max_replication_slots",
    "max_wal_senders",
    "max_slot_wal_keep_size",
    "idle_replication_slot_timeout",
    "output_plugin_libraries",
)


def gather(settings: PostgresSettings) -> PostgresFacts:
    """Ask the database. Changes nothing.

    Raises:
        SourceError: It does not answer, or does not let us in.
    """
    session = Session(settings.dsn, connect_timeout_s=settings.connect_timeout_s)
    try:
        session.rows("SET default_transaction_read_only = on")
        return _gather(session, settings)
    finally:
        session.close()


def check(settings: PostgresSettings) -> list[Finding]:
    """Look at a database and say what it lacks; see `findings`.

    Raises:
        SourceError: It does not answer, or does not let us in.
    """
    return findings(gather(settings), settings)


def _gather(session: Session, settings: PostgresSettings) -> PostgresFacts:
    ((database, role, superuser, replication, create, recovery, encoding, used),) = session.rows(
        f"SELECT current_database(), current_user::text, rolsuper, {MAY_REPLICATE_SQL}, "  # noqa: S608
        "has_database_privilege(current_database(), 'CREATE'), pg_is_in_recovery(), "
        "current_setting('server_encoding'), (SELECT count(*) FROM pg_replication_slots) "
        "FROM pg_roles r WHERE rolname = current_user"
    )
    parameters = dict(
        session.rows(
            "SELECT name, setting FROM pg_settings WHERE name = ANY(%s)", (list(_PARAMETERS),)
        )
    )
    options = session.rows(
        "SELECT pubinsert AND pubupdate AND pubdelete AND pubtruncate, pubviaroot, "
        "pg_has_role(pubowner, 'USAGE') FROM pg_publication WHERE pubname = %s",
        (settings.publication,),
    )
    return PostgresFacts(
        version=session.server_version,
        database=database,
        role=role,
        is_superuser=superuser,
        may_replicate=replication,
        may_create=create,
        in_recovery=recovery,
        encoding=encoding,
        parameters=parameters,
        slots_used=used,
        tables=tuple((name, _look_up(session, name)) for name in settings.tables),
        published=frozenset(published_tables(session, settings.publication)) if options else None,
        publication_options=options[0] if options else None,
        slot=slot_facts(session, settings.slot),
    )


def _look_up(session: Session, name: str) -> TableFacts | str:
    try:
        oid = table_oid(session, name)
    except SourceError as error:
        return str(error)
    if oid is None:
        return "there is no such table; names are written as in SQL, mixed case in quotes"
    return session.describe([oid])[0]


def findings(facts: PostgresFacts, settings: PostgresSettings) -> list[Finding]:
    """Judge what was gathered: server, rights, tables, publication, slot. Pure."""
    return [
        *_server(facts, settings),
        *_rights(facts),
        *_tables(facts, settings),
        *(_publication(facts, settings) if settings.plugin == "pgoutput" else ()),
        *_slot(facts, settings),
    ]


def _server(facts: PostgresFacts, settings: PostgresSettings) -> Iterator[Finding]:
    major = facts.version // 10000
    if facts.version < OLDEST_VERSION:
        yield Finding(
            verdict=Verdict.PROBLEM, subject="version", message=f"PostgreSQL {major}; 14 is needed"
        )
    else:
        yield Finding(verdict=Verdict.OK, subject="version", message=f"PostgreSQL {major}")
    level = facts.parameters.get("wal_level", "")
    if level == "logical":
        yield Finding(verdict=Verdict.OK, subject="wal_level", message="logical")
    else:
        yield Finding(
            verdict=Verdict.PROBLEM,
            subject="wal_level",
            message=f"{level}; changes can be read only with logical",
            remedy="ALTER SYSTEM SET wal_level = logical; -- then restart the server",
        )
    yield from _limits(facts)
    libraries = facts.parameters.get("output_plugin_libraries")
    if libraries is not None and settings.plugin not in {
        name.strip().strip('"') for name in libraries.split(",")
    }:
        yield Finding(
            verdict=Verdict.PROBLEM,
            subject="output_plugin_libraries",
            message=f"does not name {settings.plugin}",
            remedy=f"ALTER SYSTEM SET output_plugin_libraries = {libraries}, {settings.plugin}; "
            "-- names without quotes\nSELECT pg_reload_conf();",
        )
    if facts.encoding == "SQL_ASCII":
        yield Finding(
            verdict=Verdict.WARNING,
            subject="encoding",
            message="the database has no encoding (SQL_ASCII); bytes that are not UTF-8 are shown "
            "as \\xNN",
        )
    if facts.in_recovery and facts.version < 160000:
        yield Finding(
            verdict=Verdict.PROBLEM,
            subject="standby",
            message="this is a standby; before PostgreSQL 16 only the primary can be followed",
        )


def _limits(facts: PostgresFacts) -> Iterator[Finding]:
    limit = int(facts.parameters.get("max_replication_slots", "0"))
    if facts.slot is None and facts.slots_used >= limit:
        yield Finding(
            verdict=Verdict.PROBLEM,
            subject="max_replication_slots",
            message=f"all {limit} slots are used",
            remedy=f"ALTER SYSTEM SET max_replication_slots = {limit + 10}; "
            "-- then restart the server",
        )
    keep = facts.parameters.get("max_slot_wal_keep_size", "-1")
    if keep == "-1":
        yield Finding(
            verdict=Verdict.WARNING,
            subject="max_slot_wal_keep_size",
            message="unlimited: a wrapper that is down for long fills the server's disk",
            remedy="ALTER SYSTEM SET max_slot_wal_keep_size = '50GB'; SELECT pg_reload_conf();",
        )
    idle = facts.parameters.get("idle_replication_slot_timeout", "0")
    if idle not in ("0", ""):
        yield Finding(
            verdict=Verdict.WARNING,
            subject="idle_replication_slot_timeout",
            message=f"a wrapper that is down for {idle} s loses its slot and makes a new snapshot",
        )


def _rights(facts: PostgresFacts) -> Iterator[Finding]:
    if facts.may_replicate:
        yield Finding(verdict=Verdict.OK, subject="replication", message=f"{facts.role} may")
    else:
        yield Finding(
            verdict=Verdict.PROBLEM,
            subject="replication",
            message=f"{facts.role} may not read the log",
            remedy=f"ALTER ROLE {identifier(facts.role)} REPLICATION;",
        )


def _tables(facts: PostgresFacts, settings: PostgresSettings) -> Iterator[Finding]:
    for name, found in facts.tables:
        if isinstance(found, str):
            yield Finding(verdict=Verdict.PROBLEM, subject=name, message=found)
            continue
        problems = list(_table(found, facts, settings))
        yield from problems
        if not problems:
            yield Finding(verdict=Verdict.OK, subject=name, message="readable, rows have a key")


def _table(
    found: TableFacts, facts: PostgresFacts, settings: PostgresSettings
) -> Iterator[Finding]:
    name = found.quoted
    if found.form not in ("r", "p"):
        yield Finding(verdict=Verdict.PROBLEM, subject=name, message="it is not a table")
        return
    if found.persistence != "p":
        yield Finding(
            verdict=Verdict.PROBLEM,
            subject=name,
            message="it is unlogged or temporary, so its changes are not in the log",
            remedy=f"ALTER TABLE {name} SET LOGGED;" if found.persistence == "u" else "",
        )
    if found.form == "p" and settings.plugin == "wal2json":
        yield Finding(
            verdict=Verdict.PROBLEM,
            subject=name,
            message="it is partitioned, which wal2json does not show; use the plugin pgoutput",
        )
    if not found.readable:
        yield Finding(
            verdict=Verdict.PROBLEM,
            subject=name,
            message=f"{facts.role} may not read it",
            remedy=grants(found, facts.role),
        )
    if (problem := key_problem(found)) is not None:
        yield Finding(verdict=Verdict.PROBLEM, subject=name, message=problem[0], remedy=problem[1])
    if found.row_security and not facts.is_superuser:
        yield Finding(
            verdict=Verdict.WARNING,
            subject=name,
            message="row security is on: the snapshot fails unless the role may bypass it",
            remedy=f"ALTER ROLE {identifier(facts.role)} BYPASSRLS;",
        )


def _publication(facts: PostgresFacts, settings: PostgresSettings) -> Iterator[Finding]:
    subject = f"publication {settings.publication}"
    quoted = identifier(settings.publication)
    tables = [
        found
        for _, found in facts.tables
        if isinstance(found, TableFacts) and found.form in ("r", "p")
    ]
    if facts.published is None or facts.publication_options is None:
        owned = all(found.owned for found in tables)
        mine = facts.is_superuser or (facts.may_create and owned)
        yield Finding(
            verdict=Verdict.OK if mine else Verdict.PROBLEM,
            subject=subject,
            message="is not there; the wrapper makes it"
            if mine
            else f"is not there, and {facts.role} may not make it: it needs CREATE on the database "
            "and must own the tables",
            remedy=""
            if mine
            else create_publication(
                settings.publication,
                [found.quoted for found in tables],
                server_version=facts.version,
            )
            + ";",
        )
        return
    all_kinds, via_root, owned = facts.publication_options
    missing = _missing(tables, facts.published)
    if not all_kinds:
        yield Finding(
            verdict=Verdict.PROBLEM,
            subject=subject,
            message="leaves out some kinds of changes",
            remedy=f"ALTER PUBLICATION {quoted} "
            "SET (publish = 'insert, update, delete, truncate');",
        )
    if not via_root and any(found.form == "p" for found in tables):
        yield Finding(
            verdict=Verdict.PROBLEM,
            subject=subject,
            message="publishes partitions, not the partitioned table",
            remedy=f"ALTER PUBLICATION {quoted} SET (publish_via_partition_root = true);",
        )
    elif missing:
        yield Finding(
            verdict=Verdict.WARNING if owned else Verdict.PROBLEM,
            subject=subject,
            message=f"lacks {', '.join(missing)}" + ("; the wrapper adds them" if owned else ""),
            remedy="" if owned else f"ALTER PUBLICATION {quoted} ADD TABLE {', '.join(missing)};",
        )
    elif all_kinds:
        yield Finding(verdict=Verdict.OK, subject=subject, message="publishes all tables")


def _missing(tables: Sequence[TableFacts], published: frozenset[tuple[str, str]]) -> list[str]:
    return [f.quoted for f in tables if (f.table.schema, f.table.name) not in published]


def _slot(facts: PostgresFacts, settings: PostgresSettings) -> Iterator[Finding]:
    subject = f"slot {settings.slot}"
    slot = facts.slot
    if slot is None:
        yield Finding(
            verdict=Verdict.OK, subject=subject, message="is not there; the first snapshot makes it"
        )
        return
    if slot.wal_status == "lost" or slot.invalidation_reason:
        yield Finding(
            verdict=Verdict.WARNING,
            subject=subject,
            message="was invalidated by the server; the wrapper makes a new snapshot",
        )
        return
    reader = "nobody reads it" if slot.active_pid is None else f"read by process {slot.active_pid}"
    kept = slot.retained_bytes or 0
    large = kept > _LARGE_WAL_BYTES
    yield Finding(
        verdict=Verdict.WARNING if large or slot.wal_status == "unreserved" else Verdict.OK,
        subject=subject,
        message=f"{slot.wal_status}, {reader}, keeps {kept / 1e6:.1f} MB of the server's log",
    )
