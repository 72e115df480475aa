"""The MySQL or MariaDB source that a configuration names, and the tables it follows."""

from __future__ import annotations

import logging

from prism.wrapper._config import WrapperConfig
from prism.wrapper.errors import WrapperConfigurationError
from prism.wrapper.sources import Source
from prism.wrapper.sources.errors import SourceAccessError
from prism.wrapper.sources.mysql import MySQLSettings, MySQLSource
from prism.wrapper.sources.mysql._catalogue import TableFacts, describe, table_problem
from prism.wrapper.sources.mysql._check import may_replicate
from prism.wrapper.sources.mysql._session import Session, identifier
from prism.wrapper.sources.mysql._settings import connect_arguments

__all__ = ["candidates", "followed", "mysql_settings", "open_mysql"]

_log = logging.getLogger("prism.wrapper")

_CONNECT_S = 10.0
_FIRST_CONTACT_S = 30.0
_FOR_EVER_S = 3e9
# What the configuration says for databases that have schemas inside.
_NONE_NAMED = ("public",)


def open_mysql(config: WrapperConfig, patient: bool) -> Source:  # noqa: FBT001 - as `Opener` says
    """Make the source."""
    session = Session(config.database.dsn.reveal(), connect_timeout_s=_CONNECT_S)
    try:
        if not may_replicate(tuple(str(row[0]) for row in session.rows("SHOW GRANTS"))):
            raise SourceAccessError(
                f"user {session.user} may not read the server's binary log",
                remedy=f"GRANT REPLICATION SLAVE ON *.* TO {identifier(session.user)}; "
                "-- and see: prism-wrapper check",
            )
        names = followed(session, config)
    finally:
        session.close()
    return MySQLSource(mysql_settings(config, names, patient=patient))


def candidates(session: Session, config: WrapperConfig) -> list[TableFacts]:
    """The tables that could be followed if nothing keeps them from it; views are left out."""
    schemas = config.database.schemas
    if schemas == _NONE_NAMED:
        schemas = (str(connect_arguments(config.database.dsn.reveal())["database"]),)
    return [
        facts
        for schema in schemas
        for facts in describe(session, schema)
        if facts.form not in ("VIEW", "SYSTEM VIEW", "SEQUENCE")
    ]


def followed(session: Session, config: WrapperConfig) -> tuple[str, ...]:
    """Names of the tables to follow: those of the configuration, or all that can be.

    Raises:
        WrapperConfigurationError: There is none.
    """
    if config.tables:
        return tuple(table.name for table in config.tables)
    names = []
    for facts in candidates(session, config):
        if (problem := table_problem(facts)) is not None:
            _log.warning("%s; it is not replicated. Remedy: %s", *problem)
        else:
            names.append(facts.quoted)
    if not names:
        raise WrapperConfigurationError(
            "[database] no table of the DSN's database can be followed; name others in "
            "[database] schemas, or see `prism-wrapper check`"
        )
    return tuple(names)


def mysql_settings(
    config: WrapperConfig, tables: tuple[str, ...], *, patient: bool = False
) -> MySQLSettings:
    """What the configuration says to the source."""
    return MySQLSettings(
        dsn=config.database.dsn.reveal(),
        tables=tables,
        name=config.slot,
        first_contact_s=_FOR_EVER_S if patient else _FIRST_CONTACT_S,
    )
