"""The CockroachDB source of a configuration, and which tables it follows where none are named."""

from __future__ import annotations

import logging

from prism.wrapper._config import WrapperConfig
from prism.wrapper.errors import WrapperConfigurationError
from prism.wrapper.sources import Source
from prism.wrapper.sources.cockroach import CockroachSettings, CockroachSource
from prism.wrapper.sources.cockroach._catalogue import key_problem
from prism.wrapper.sources.cockroach._session import Session

__all__ = ["cockroach_settings", "followed_names", "open_cockroach"]

_log = logging.getLogger("prism.wrapper")

_CONNECT_S = 10.0
_FIRST_CONTACT_S = 30.0
_FOR_EVER_S = 3e9


def followed_names(session: Session, config: WrapperConfig) -> tuple[str, ...]:
    """Names of the tables to follow: those of the configuration, or all that have a key.

    Raises:
        WrapperConfigurationError: There is none.
    """
    if config.tables:
        return tuple(table.name for table in config.tables)
    schemas = config.database.schemas
    names = []
    for facts in session.tables(schemas):
        if facts.form != "r":
            continue
        if not facts.readable:
            _log.warning("%s: the role may not read it; it is not replicated", facts.quoted)
        elif problem := key_problem(facts):
            _log.warning("%s; it is not replicated. Remedy: %s", *problem)
        else:
            names.append(facts.quoted)
    if not names:
        raise WrapperConfigurationError(
            f"[database] no table of schema {', '.join(schemas)} has a key and may be read; "
            "name other schemas in [database] schemas, or see `prism-wrapper check`"
        )
    return tuple(names)


def cockroach_settings(
    config: WrapperConfig, tables: tuple[str, ...], *, patient: bool = False
) -> CockroachSettings:
    """What the configuration says to the CockroachDB source."""
    return CockroachSettings(
        dsn=config.database.dsn.reveal(),
        tables=tables,
        first_contact_s=_FOR_EVER_S if patient else _FIRST_CONTACT_S,
    )


def open_cockroach(config: WrapperConfig, patient: bool) -> Source:  # noqa: FBT001 - as `Opener` says
    """Make the source; asks the database which tables there are.

    Raises:
        WrapperConfigurationError: The configuration wants what this source does not offer.
    """
    if config.write.tables:
        raise WrapperConfigurationError(
            "[write] tables: drivers cannot write to CockroachDB in this version; remove [write] "
            "and let the app write to the database itself"
        )
    session = Session(config.database.dsn.reveal(), connect_timeout_s=_CONNECT_S)
    try:
        tables = followed_names(session, config)
    finally:
        session.close()
    return CockroachSource(cockroach_settings(config, tables, patient=patient))
