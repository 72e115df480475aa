"""`prism-wrapper check` for MySQL and MariaDB."""

from __future__ import annotations

from collections.abc import Iterator

from prism.wrapper._cli.finding import CONNECT_S, Finding, of_source, over, problem
from prism.wrapper._config import WrapperConfig
from prism.wrapper._origin_mysql import candidates, followed, mysql_settings
from prism.wrapper._rows import RowPlan, TableRule
from prism.wrapper.errors import WrapperError
from prism.wrapper.sources.mysql._catalogue import schema_of, table_problem
from prism.wrapper.sources.mysql._check import findings, gather
from prism.wrapper.sources.mysql._session import Session

__all__ = ["mysql_findings"]


def mysql_findings(config: WrapperConfig) -> Iterator[Finding]:
    """Look at the server and its tables. Never raises for what it finds."""
    yield from over(
        lambda: Session(config.database.dsn.reveal(), connect_timeout_s=CONNECT_S),
        lambda session: _database(session, config),
    )


def _database(session: Session, config: WrapperConfig) -> Iterator[Finding]:
    if not config.tables:
        for table in candidates(session, config):
            if lack := table_problem(table):
                yield Finding(
                    about=table.quoted,
                    verdict="note",
                    text=f"{lack[0]}; it is left out",
                    statements=lack[1],
                )
    try:
        names = followed(session, config)
    except WrapperError as error:
        yield problem("tables", error)
        return
    facts = gather(mysql_settings(config, names))
    yield from map(of_source, findings(facts))
    if isinstance(facts.tables, str):
        return
    for table in facts.tables:
        if table.key:
            rule = _rule(config, table.database, table.name)
            for text in RowPlan(schema_of(table), rule).problems():
                yield Finding(
                    about=table.quoted, verdict="missing", text=text, remedy="Correct [[tables]]"
                )


def _rule(config: WrapperConfig, database: str, name: str) -> TableRule:
    for table in config.tables:
        if table.name in (name, f"{database}.{name}"):
            return TableRule(
                columns=table.columns,
                text=table.text,
                text_columns=table.text_columns,
                numeric=table.numeric,
            )
    return TableRule()
