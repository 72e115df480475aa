"""What a CockroachDB database lacks to be followed, and the SQL that mends it: read-only.

`gather` asks the database, `findings` judges the answers (pure). Nothing is changed: the statements
are for whoever runs the database.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from prism.wrapper.sources._findings import Finding, Verdict
from prism.wrapper.sources.cockroach._catalogue import TableFacts, grant, key_problem
from prism.wrapper.sources.cockroach._session import Session
from prism.wrapper.sources.cockroach._settings import CockroachSettings
from prism.wrapper.sources.cockroach._source import find_tables
from prism.wrapper.sources.cockroach._statements import (
    OLDEST_VERSION,
    RANGEFEED_REMEDY,
    tells_json_null,
)
from prism.wrapper.sources.errors import SourceError

__all__ = ["CockroachFacts", "Finding", "Verdict", "check", "findings", "gather"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CockroachFacts:
    """The database's answers.

    Attributes:
        version: Such as (23, 1); None if the server is not CockroachDB.
        rangefeed: The cluster setting; None if the role may not see it.
        families: For each table's quoted name, how many column families it has, if that is known.
        tables: What was found for each name of the settings: facts, or why not.
    """

    version: tuple[int, int] | None
    database: str
    role: str
    rangefeed: bool | None
    families: dict[str, int]
    tables: tuple[tuple[str, TableFacts | str], ...]


def gather(settings: CockroachSettings) -> CockroachFacts:
    """Ask the database. Changes nothing.

    Raises:
        SourceError: It does not answer, or does not let us in.
    """
    session = Session(settings.dsn, connect_timeout_s=settings.connect_timeout_s)
    try:
        version = session.version()
        if version is None:
            return CockroachFacts(
                version=None,
                database=session.database,
                role=session.role,
                rangefeed=None,
                families={},
                tables=(),
            )
        session.rows("SET default_transaction_read_only = on")
        found = find_tables(session, settings.tables)
        return CockroachFacts(
            version=version,
            database=session.database,
            role=session.role,
            rangefeed=_rangefeed(session),
            families={
                facts.quoted: count
                for facts in found
                if isinstance(facts, TableFacts)
                and (count := _families(session, facts)) is not None
            },
            tables=tuple(zip(settings.tables, found, strict=True)),
        )
    finally:
        session.close()


def check(settings: CockroachSettings) -> list[Finding]:
    """Look at a database and say what it lacks; see `findings`.

    Raises:
        SourceError: It does not answer, or does not let us in.
    """
    return findings(gather(settings))


def findings(facts: CockroachFacts) -> list[Finding]:
    """Judge what was gathered: server, setting, tables. Pure."""
    return [*_server(facts), *_tables(facts)]


def _rangefeed(session: Session) -> bool | None:
    try:
        value = session.rows("SHOW CLUSTER SETTING kv.rangefeed.enabled")[0][0]
    except SourceError:
        return None  # the role may not see cluster settings
    return value if isinstance(value, bool) else str(value).lower() in ("true", "t", "on")


def _families(session: Session, facts: TableFacts) -> int | None:
    try:
        text = str(session.rows(f"SHOW CREATE TABLE {facts.quoted}")[0][1])
    except SourceError:
        return None
    return max(1, sum(line.strip().startswith("FAMILY ") for line in text.splitlines()))


def _server(facts: CockroachFacts) -> Iterator[Finding]:
    if facts.version is None:
        yield Finding(
            verdict=Verdict.PROBLEM,
            subject="version",
            message="the server is not CockroachDB; choose the flavor that it is",
        )
        return
    shown = f"CockroachDB {facts.version[0]}.{facts.version[1]}"
    if facts.version < OLDEST_VERSION:
        yield Finding(
            verdict=Verdict.PROBLEM, subject="version", message=f"{shown}; 22.1 is needed"
        )
    elif not tells_json_null(facts.version):
        yield Finding(
            verdict=Verdict.OK,
            subject="version",
            message=f"{shown}; before 25.2 JSON's null comes as NULL",
        )
    else:
        yield Finding(verdict=Verdict.OK, subject="version", message=shown)
    if facts.rangefeed is None:
        yield Finding(
            verdict=Verdict.WARNING,
            subject="kv.rangefeed.enabled",
            message=f"{facts.role} may not see it; it must be on",
            remedy=RANGEFEED_REMEDY,
        )
    elif facts.rangefeed:
        yield Finding(verdict=Verdict.OK, subject="kv.rangefeed.enabled", message="on")
    else:
        yield Finding(
            verdict=Verdict.PROBLEM,
            subject="kv.rangefeed.enabled",
            message="off; there is no changefeed without it",
            remedy=RANGEFEED_REMEDY,
        )


def _tables(facts: CockroachFacts) -> Iterator[Finding]:
    for name, found in facts.tables:
        if isinstance(found, str):
            yield Finding(verdict=Verdict.PROBLEM, subject=name, message=found)
            continue
        problems = list(_table(found, facts))
        yield from problems
        if not problems:
            yield Finding(verdict=Verdict.OK, subject=name, message="readable, rows have a key")


def _table(found: TableFacts, facts: CockroachFacts) -> Iterator[Finding]:
    name = found.quoted
    if not found.readable:
        yield Finding(
            verdict=Verdict.PROBLEM,
            subject=name,
            message=f"{facts.role} may not read it",
            remedy=grant(found, facts.role),
        )
        return  # what else it is, is not shown
    if (lack := key_problem(found)) is not None:
        yield Finding(verdict=Verdict.PROBLEM, subject=name, message=lack[0], remedy=lack[1])
    if facts.families.get(name, 1) > 1:
        yield Finding(
            verdict=Verdict.PROBLEM,
            subject=name,
            message=f"it has {facts.families[name]} column families, so its rows come in pieces; "
            "such a table is not followed",
        )
