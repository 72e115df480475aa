"""What `prism-wrapper check` says of a CockroachDB database."""

from __future__ import annotations

from collections.abc import Iterator

from prism.wrapper._cli.finding import CONNECT_S, Finding, of_source, over, problem
from prism.wrapper._config import WrapperConfig
from prism.wrapper._origin_cockroach import cockroach_settings, followed_names
from prism.wrapper._rows import RowPlan, TableRule
from prism.wrapper.errors import WrapperError
from prism.wrapper.sources import TableId, cockroach
from prism.wrapper.sources.cockroach._catalogue import TableFacts, grant, key_problem, layout_of
from prism.wrapper.sources.cockroach._session import Session
from prism.wrapper.sources.cockroach._source import find_tables

__all__ = ["look_at_cockroach"]


def look_at_cockroach(config: WrapperConfig) -> Iterator[Finding]:
    """Look at the database. Never raises for what it finds."""
    if config.write.tables:
        yield Finding(
            about="[write]",
            verdict="missing",
            text="drivers cannot write to CockroachDB in this version",
            remedy="Remove [write], and let the app write to the database itself",
        )
    yield from over(
        lambda: Session(config.database.dsn.reveal(), connect_timeout_s=CONNECT_S),
        lambda session: _database(session, config),
    )


def _database(session: Session, config: WrapperConfig) -> Iterator[Finding]:
    yield Finding(about="database", verdict="ok", text=f"{session.database}, role {session.role}")
    if not config.tables:
        yield from _left_out(session, config)
    try:
        names = followed_names(session, config)
    except WrapperError as error:
        yield problem("tables", error)
        return
    settings = cockroach_settings(config, names)
    yield from map(of_source, cockroach.check(settings))
    for facts in find_tables(session, names):
        if isinstance(facts, TableFacts):
            plan = RowPlan(layout_of(facts).schema, _rule(config, facts.table))
            for text in plan.problems():
                yield Finding(
                    about=facts.quoted, verdict="missing", text=text, remedy="Correct [[tables]]"
                )


def _left_out(session: Session, config: WrapperConfig) -> Iterator[Finding]:
    for facts in session.tables(config.database.schemas):
        if facts.form != "r":
            continue
        if not facts.readable:
            yield Finding(
                about=facts.quoted,
                verdict="note",
                text="the role may not read it; it is left out",
                statements=grant(facts, session.role),
            )
        elif lack := key_problem(facts):
            text, remedy = lack
            yield Finding(
                about=facts.quoted,
                verdict="note",
                text=f"{text}; it is left out",
                statements=remedy,
            )


def _rule(config: WrapperConfig, table: TableId) -> TableRule:
    for settings in config.tables:
        if settings.name in (table.name, f"{table.schema}.{table.name}"):
            return TableRule(
                columns=settings.columns,
                text=settings.text,
                text_columns=settings.text_columns,
                numeric=settings.numeric,
            )
    return TableRule()
