"""The source that a configuration names, and which tables it follows where none are named."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from prism.wrapper._config import WrapperConfig
from prism.wrapper._open_tidb import open_tidb
from prism.wrapper._origin_cockroach import open_cockroach
from prism.wrapper._origin_mysql import open_mysql
from prism.wrapper.errors import WrapperConfigurationError
from prism.wrapper.sources import Phase, Source, SourceEvent, SourceStatus, TableSchema
from prism.wrapper.sources.errors import (
    SourceAccessError,
    SourceClosedError,
    SourceUnavailableError,
)
from prism.wrapper.sources.postgres import PostgresSettings, PostgresSource
from prism.wrapper.sources.postgres._catalogue import key_problem
from prism.wrapper.sources.postgres._rights import may_replicate
from prism.wrapper.sources.postgres._session import Session
from prism.wrapper.sources.postgres._sql import identifier

if TYPE_CHECKING:
    from prism.wrapper.sources.postgres._catalogue import TableFacts

__all__ = [
    "OPENERS",
    "Opener",
    "Origin",
    "candidate_tables",
    "followed_names",
    "postgres_settings",
]

_log = logging.getLogger("prism.wrapper")

_CONNECT_S = 10.0
_FIRST_CONTACT_S = 30.0
_FOR_EVER_S = 3e9
_AGAIN_S = 2.0

# Partitions are followed through the table they are parts of.
_TABLES_SQL = """
SELECT c.oid::bigint FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY(%s) AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND c.relpersistence = 'p'
ORDER BY n.nspname, c.relname
"""


def candidate_tables(session: Session, schemas: Sequence[str]) -> list[TableFacts]:
    """The tables of some schemas that could be followed if they have a key."""
    oids = [int(row[0]) for row in session.rows(_TABLES_SQL, (list(schemas),))]
    return session.describe(oids)


def followed_names(session: Session, config: WrapperConfig) -> tuple[str, ...]:
    """Names of the tables to follow: those of the configuration, or all that have a key.

    Raises:
        WrapperConfigurationError: There is none.
    """
    if config.tables:
        return tuple(table.name for table in config.tables)
    schemas = config.database.schemas
    names = []
    for facts in candidate_tables(session, schemas):
        if problem := key_problem(facts):
            _log.warning("%s; it is not replicated. Remedy: %s", *problem)
        elif not facts.readable:
            _log.warning("%s: the role may not read it; it is not replicated", facts.quoted)
        else:
            names.append(facts.quoted)
    if not names:
        raise WrapperConfigurationError(
            f"[database] no table of schema {', '.join(schemas)} has a key and may be read; "
            "name other schemas in [database] schemas, or see `prism-wrapper check`"
        )
    return tuple(names)


def postgres_settings(
    config: WrapperConfig, tables: tuple[str, ...], *, patient: bool = False
) -> PostgresSettings:
    """What the configuration says to the PostgreSQL source."""
    return PostgresSettings(
        dsn=config.database.dsn.reveal(),
        tables=tables,
        slot=config.slot,
        publication=config.publication,
        plugin=config.database.plugin,
        first_contact_s=_FOR_EVER_S if patient else _FIRST_CONTACT_S,
    )


def _open_postgres(config: WrapperConfig, patient: bool) -> Source:  # noqa: FBT001 - as `Opener` says
    session = Session(config.database.dsn.reveal(), connect_timeout_s=_CONNECT_S)
    try:
        if not may_replicate(session):
            raise SourceAccessError(
                f"role {session.role} may not read the database's stream of changes",
                remedy=f"ALTER ROLE {identifier(session.role)} REPLICATION;",
            )
        tables = followed_names(session, config)
    finally:
        session.close()
    return PostgresSource(postgres_settings(config, tables, patient=patient))


Opener: TypeAlias = Callable[[WrapperConfig, bool], Source]
"""Makes the source of a configuration; told whether to wait for ever at the first contact.

It may ask the database; `SourceUnavailableError` has it called again.
"""

OPENERS: Final[Mapping[str, Opener]] = {
    "postgresql": _open_postgres,
    "mysql": open_mysql,
    "cockroachdb": open_cockroach,
    "tidb": open_tidb,
}
"""By flavor."""


class Origin:
    """The configured source, made when it is first read: that may need the database.

    Args:
        config: The configuration.
        patient: Whether to wait for ever for a database that does not answer at the start: there
            is something to serve meanwhile.
    """

    def __init__(self, config: WrapperConfig, *, patient: bool) -> None:
        self._config = config
        self._patient = patient
        self._closing = threading.Event()
        self._inner: Source | None = None
        self._problem: str | None = None

    def events(self, resume: str | None) -> Iterator[SourceEvent]:
        """See `Source.events`."""
        inner = self._make()
        if inner is None:
            return
        self._inner = inner
        if self._closing.is_set():
            inner.close()
        yield from inner.events(resume)

    def confirm(self, position: str) -> None:
        """See `Source.confirm`."""
        if self._inner is not None:
            self._inner.confirm(position)

    def fetch(
        self, schema: TableSchema, keys: Sequence[tuple[str, ...]]
    ) -> Mapping[tuple[str, ...], tuple[str | None, ...]]:
        """See `Source.fetch`."""
        if self._inner is None:
            raise SourceClosedError("the source is not open")
        return self._inner.fetch(schema, keys)

    def status(self) -> SourceStatus:
        """See `Source.status`."""
        if self._inner is None:
            return SourceStatus(phase=Phase.WAITING, connected=False, last_error=self._problem)
        return self._inner.status()

    def close(self) -> None:
        """See `Source.close`."""
        self._closing.set()
        if self._inner is not None:
            self._inner.close()

    def _make(self) -> Source | None:
        flavor = self._config.database.flavor
        opener = OPENERS.get(flavor)
        if opener is None:
            known = ", ".join(f'"{name}"' for name in OPENERS)
            raise WrapperConfigurationError(
                f'[database] flavor = "{flavor}" is not in this version; it has {known}'
            )
        return self._until_it_answers(lambda: opener(self._config, self._patient))

    def _until_it_answers(self, work: Callable[[], Source]) -> Source | None:
        tries = 0
        while not self._closing.is_set():
            try:
                return work()
            except SourceUnavailableError as error:
                self._problem = str(error)
                tries += 1
                if not self._patient and tries * _AGAIN_S >= _FIRST_CONTACT_S:
                    raise
                _log.warning("%s; trying again", error)
                self._closing.wait(_AGAIN_S)
        return None
