"""What a MySQL or MariaDB server lacks to be followed, and the SQL that mends it: read-only.

`gather` asks the server, `findings` judges the answers (pure).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prism.wrapper.sources._findings import Finding, Verdict
from prism.wrapper.sources.errors import SourceError
from prism.wrapper.sources.mysql._catalogue import TableFacts, find_tables, table_problem
from prism.wrapper.sources.mysql._server import VARIABLES, lacks
from prism.wrapper.sources.mysql._session import Session, identifier
from prism.wrapper.sources.mysql._settings import MySQLSettings

__all__ = ["Finding", "ServerFacts", "Verdict", "check", "findings", "gather", "may_replicate"]

_SHORT_DAYS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """The server's answers.

    Attributes:
        version: As it tells it.
        user: `name@host`, as whom it knows us.
        grants: As SHOW GRANTS tells them.
        variables: By name; those that a version lacks are missing.
        tables: The tables of the settings, or why they were not found.
    """

    version: str
    is_mariadb: bool
    user: str
    grants: tuple[str, ...]
    variables: Mapping[str, str]
    tables: tuple[TableFacts, ...] | str


def gather(settings: MySQLSettings) -> ServerFacts:
    """Ask the server. Changes nothing.

    Raises:
        SourceError: It does not answer, or does not let us in.
    """
    session = Session(settings.dsn, connect_timeout_s=settings.connect_timeout_s)
    try:
        session.rows("SET SESSION TRANSACTION READ ONLY")
        tables: tuple[TableFacts, ...] | str
        try:
            tables = tuple(find_tables(session, settings))
        except SourceError as error:
            tables = str(error)
        return ServerFacts(
            version=session.version,
            is_mariadb=session.is_mariadb,
            user=str(session.rows("SELECT CURRENT_USER()")[0][0]),
            grants=tuple(str(row[0]) for row in session.rows("SHOW GRANTS")),
            variables=session.variables(*VARIABLES),
            tables=tables,
        )
    finally:
        session.close()


def check(settings: MySQLSettings) -> list[Finding]:
    """Look at a server and say what it lacks; see `findings`.

    Raises:
        SourceError: It does not answer, or does not let us in.
    """
    return list(findings(gather(settings)))


def may_replicate(grants: tuple[str, ...]) -> bool:
    """Whether the grants let a user read the binary log. Pure."""
    for grant in grants:
        rights, _, rest = grant.upper().partition(" ON *.* TO ")
        if rest and (
            "ALL PRIVILEGES" in rights
            or "REPLICATION SLAVE" in rights.replace("REPLICATION SLAVE ADMIN", "")
            or "REPLICATION REPLICA" in rights.replace("REPLICATION REPLICA ADMIN", "")
        ):
            return True
    return False


def findings(facts: ServerFacts) -> Iterator[Finding]:
    """Judge what was gathered: server, rights, tables. Pure."""
    name = "MariaDB" if facts.is_mariadb else "MySQL"
    yield Finding(verdict=Verdict.OK, subject="version", message=f"{name} {facts.version}")
    found = list(lacks(facts.variables, is_mariadb=facts.is_mariadb))
    for lack in found:
        yield Finding(
            verdict=Verdict.PROBLEM,
            subject=lack.variable,
            message=lack.message,
            remedy=lack.remedy,
        )
    if not found:
        yield Finding(
            verdict=Verdict.OK, subject="binary log", message="whole rows, with columns' names"
        )
    yield _keeping(facts)
    yield _rights(facts)
    yield from _tables(facts)


def _keeping(facts: ServerFacts) -> Finding:
    seconds = float(facts.variables.get("binlog_expire_logs_seconds") or 0)
    days = float(facts.variables.get("expire_logs_days") or 0) or seconds / 86400
    if not days:
        return Finding(
            verdict=Verdict.OK, subject="log's age", message="binary logs are kept for ever"
        )
    text = f"binary logs are kept for {days:g} days"
    if days < _SHORT_DAYS:
        return Finding(
            verdict=Verdict.WARNING,
            subject="log's age",
            message=f"{text}: a wrapper that is away for longer makes a new snapshot",
            remedy="SET GLOBAL binlog_expire_logs_seconds = 604800;",
        )
    return Finding(verdict=Verdict.OK, subject="log's age", message=text)


def _rights(facts: ServerFacts) -> Finding:
    if may_replicate(facts.grants):
        return Finding(
            verdict=Verdict.OK, subject="replication", message=f"{facts.user} may read the log"
        )
    user, _, host = facts.user.rpartition("@")
    extra = "BINLOG MONITOR" if facts.is_mariadb else "REPLICATION CLIENT"
    return Finding(
        verdict=Verdict.PROBLEM,
        subject="replication",
        message=f"{facts.user} may not read the binary log",
        remedy=f"GRANT REPLICATION SLAVE, {extra} ON *.* TO {identifier(user)}@{identifier(host)};",
    )


def _tables(facts: ServerFacts) -> Iterator[Finding]:
    if isinstance(facts.tables, str):
        yield Finding(verdict=Verdict.PROBLEM, subject="tables", message=facts.tables)
        return
    for table in facts.tables:
        problem = table_problem(table)
        if problem is None:
            yield Finding(
                verdict=Verdict.OK, subject=table.quoted, message="readable, rows have a key"
            )
        else:
            yield Finding(
                verdict=Verdict.PROBLEM,
                subject=table.quoted,
                message=problem[0],
                remedy=problem[1],
            )
