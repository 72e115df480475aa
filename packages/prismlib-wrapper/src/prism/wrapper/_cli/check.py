"""`prism-wrapper check`: what a run would find, without changing anything.

Each finding says what it is about, whether it is well, and what to do. Statements that need rights
of the database's owner are gathered at the end, to be handed over as they are.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from chorus_fabric import ChorusError, TLSConfig, check_bind, read_secret
from prism.wrapper._cli.check_cockroach import look_at_cockroach
from prism.wrapper._cli.check_mysql import mysql_findings
from prism.wrapper._cli.check_tidb import tidb_findings
from prism.wrapper._cli.finding import CONNECT_S, Finding, of_source, over, problem
from prism.wrapper._config import WrapperConfig
from prism.wrapper._origin import candidate_tables, followed_names, postgres_settings
from prism.wrapper._recipe import make_embedder
from prism.wrapper._rows import RowPlan, TableRule
from prism.wrapper.errors import WrapperConfigurationError, WrapperError
from prism.wrapper.sources import postgres
from prism.wrapper.sources.errors import SourceError
from prism.wrapper.sources.postgres._catalogue import TableFacts, key_problem, schema_of
from prism.wrapper.sources.postgres._publication import find_tables, grants
from prism.wrapper.sources.postgres._session import Session

__all__ = ["DATABASES", "findings", "run_check"]

_MARKS = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "missing": "[red]missing[/]"}


def run_check(config: WrapperConfig, *, as_json: bool) -> int:
    """Print the findings; 1 if something is missing."""
    found = list(findings(config))
    is_missing = any(finding.verdict == "missing" for finding in found)
    console = Console(highlight=False)
    if as_json:
        console.print_json(
            json.dumps(
                {
                    "ok": not is_missing,
                    "findings": [
                        {
                            "about": finding.about,
                            "verdict": finding.verdict,
                            "text": finding.text,
                            "remedy": finding.remedy,
                            "sql": finding.statements,
                        }
                        for finding in found
                    ],
                }
            )
        )
        return 1 if is_missing else 0
    table = Table("about", "", "finding")
    for finding in found:
        said = f"{finding.text}. {finding.remedy}" if finding.remedy else finding.text
        table.add_row(finding.about, _MARKS[finding.verdict], said)
    console.print(table)
    statements = [finding.statements for finding in found if finding.statements]
    if statements:
        console.print("\nFor the database's owner:\n")
        for statement in statements:
            console.print(statement, soft_wrap=True, markup=False)
    return 1 if is_missing else 0


def findings(config: WrapperConfig) -> Iterator[Finding]:
    """Look at everything. Never raises for what it finds."""
    yield Finding(about="configuration", verdict="ok", text="is well-formed")
    yield _embedder(config)
    yield _log_folder(config)
    yield from _listener(config)
    look = DATABASES.get(config.database.flavor)
    if look is not None:
        yield from look(config)
        return
    known = ", ".join(f'"{name}"' for name in DATABASES)
    yield Finding(
        about="database",
        verdict="missing",
        text=f'flavor "{config.database.flavor}" is not in this version',
        remedy=f"It has {known}",
    )


def _postgres(config: WrapperConfig) -> Iterator[Finding]:
    yield from over(
        lambda: Session(config.database.dsn.reveal(), connect_timeout_s=CONNECT_S),
        lambda session: _database(session, config),
    )


def _embedder(config: WrapperConfig) -> Finding:
    try:
        embedder = make_embedder(config.vectors)
    except WrapperConfigurationError as error:
        return Finding(about="embedder", verdict="missing", text=str(error))
    return Finding(about="embedder", verdict="ok", text=embedder.model_id)


def _log_folder(config: WrapperConfig) -> Finding:
    path = config.log_path
    folder = next(one for one in (path.parent, *path.parent.parents) if one.exists())
    if not _is_writable(folder):
        return Finding(
            about="change log",
            verdict="missing",
            text=f"{folder} cannot be written by this user",
            remedy="Name another [log] path, or run the check as the wrapper's user",
        )
    state = "exists" if path.exists() else "will be created"
    return Finding(about="change log", verdict="ok", text=f"{path} {state}")


def _is_writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK)


def _listener(config: WrapperConfig) -> Iterator[Finding]:
    chorus = config.chorus
    tls = None
    try:
        if chorus.certificate and chorus.key and chorus.authority:
            tls = TLSConfig(
                certificate=chorus.certificate, key=chorus.key, authority=chorus.authority
            )
            yield Finding(about="certificate", verdict="ok", text=f"is of {tls.identity}")
        secret = read_secret(chorus.secret_file) if chorus.secret_file else None
        check_bind(chorus.listen_host, tls, secret)
    except (ChorusError, OSError) as error:
        yield Finding(about="drivers", verdict="missing", text=str(error))
        return
    protection = " and ".join(
        word for word, there in (("TLS", tls), ("a secret", secret)) if there is not None
    )
    place = f"{chorus.listen_host}:{chorus.listen_port}"
    yield Finding(
        about="drivers",
        verdict="ok",
        text=f"connect to {place} with {protection or 'neither TLS nor secret'}",
    )


def _database(session: Session, config: WrapperConfig) -> Iterator[Finding]:
    version = session.server_version
    yield Finding(
        about="database",
        verdict="ok",
        text=f"PostgreSQL {version // 10000}.{version % 10000}, role {session.role}",
    )
    if not config.tables:
        yield from _left_out(session, config)
    try:
        names = followed_names(session, config)
        settings = postgres_settings(config, names)
    except WrapperError as error:
        yield problem("tables", error)
        # What else is missing is told for the tables that could be followed.
        candidates = candidate_tables(session, config.database.schemas)
        names = tuple(facts.quoted for facts in candidates if key_problem(facts) is None)
        if not names:
            return
        settings = postgres_settings(config, names)
    yield from map(of_source, postgres.check(settings))
    for name in names:
        yield from _rules(session, config, name)


def _left_out(session: Session, config: WrapperConfig) -> Iterator[Finding]:
    for facts in candidate_tables(session, config.database.schemas):
        if lack := key_problem(facts):
            text, remedy = lack
            yield Finding(
                about=facts.quoted,
                verdict="note",
                text=f"{text}; it is left out",
                statements=remedy,
            )
        elif not facts.readable:
            yield Finding(
                about=facts.quoted,
                verdict="note",
                text="the role may not read it; it is left out",
                statements=grants(facts, session.role),
            )


def _rules(session: Session, config: WrapperConfig, name: str) -> Iterator[Finding]:
    """Whether what [[tables]] says fits the table."""
    try:
        (facts,) = find_tables(session, [name])
        types = session.types(column.type_oid for column in facts.columns)
        schema = schema_of(facts, [column.name for column in facts.columns], types)
    except SourceError:
        return  # told already
    for text in RowPlan(schema, _rule(config, facts)).problems():
        yield Finding(about=name, verdict="missing", text=text, remedy="Correct [[tables]]")


def _rule(config: WrapperConfig, facts: TableFacts) -> TableRule:
    for table in config.tables:
        if table.name in (facts.table.name, f"{facts.table.schema}.{facts.table.name}"):
            return TableRule(
                columns=table.columns,
                text=table.text,
                text_columns=table.text_columns,
                numeric=table.numeric,
            )
    return TableRule()


DATABASES: Final[Mapping[str, Callable[[WrapperConfig], Iterator[Finding]]]] = {
    "postgresql": _postgres,
    "mysql": mysql_findings,
    "cockroachdb": look_at_cockroach,
    "tidb": tidb_findings,
}
"""What looks at a database, by flavor."""
