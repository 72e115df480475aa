"""What a run would find: looked at read-only, nothing is listened to or written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeAlias

from prism.wrapper.sources.errors import SourceError
from prism.wrapper.sources.tidb._endpoint import check_endpoint
from prism.wrapper.sources.tidb._follow import chosen, follow
from prism.wrapper.sources.tidb._session import Session
from prism.wrapper.sources.tidb._settings import TidbSettings, parse_dsn

__all__ = ["Found", "findings"]

Found: TypeAlias = tuple[Literal["ok", "note", "missing"], str, str, str]
"""Verdict, what about, finding, remedy."""


def findings(settings: TidbSettings) -> Iterator[Found]:
    """Look at endpoint, database and tables. Never raises for what it finds."""
    try:
        tls = check_endpoint(settings)
    except SourceError as error:
        yield "missing", "push", str(error), ""
    else:
        place = f"{settings.listen_host}:{settings.listen_port}"
        with_tls = "TLS and a token" if tls is not None else "a token, without TLS"
        yield "ok", "push", f"pushes come to {place} with {with_tls}", ""
    address = parse_dsn(settings.dsn)
    try:
        session = Session(
            address,
            time_zone=settings.time_zone,
            connect_timeout_s=settings.connect_timeout_s,
        )
    except SourceError as error:
        yield "missing", "database", str(error), ""
        return
    try:
        yield from _database(session, settings, address.database)
    except SourceError as error:
        yield "missing", "database", str(error), ""
    finally:
        session.close()


def _database(session: Session, settings: TidbSettings, database: str) -> Iterator[Found]:
    if session.is_tidb:
        yield "ok", "database", f"{session.version}, database {database}", ""
    else:
        yield (
            "missing",
            "database",
            f"{session.version} is no TiDB",
            'For MySQL and MariaDB set flavor = "mysql"',
        )
        return
    session.begin_snapshot()
    session.end_snapshot()
    yield "ok", "snapshot", "a consistent snapshot can be read", ""
    schemas, wanted = follow(settings.tables, database)
    found = session.tables(schemas)
    for name, facts in found.items():
        if not wanted and not facts.key:
            yield (
                "note",
                name,
                (
                    "has neither a primary key nor a unique index of NOT NULL columns; it is "
                    "left out"
                ),
                f"ALTER TABLE {facts.quoted} ADD PRIMARY KEY (...);",
            )
    try:
        names = ", ".join(chosen(found, wanted, database))
    except SourceError as error:
        yield "missing", "tables", str(error), ""
        return
    yield "ok", "tables", f"followed: {names}", ""
    yield (
        "note",
        "changefeed",
        "cannot be seen from here",
        (
            "It needs protocol=canal-json&enable-tidb-extension=true, or open-protocol; no "
            "column selectors; large-message-handle-option none"
        ),
    )
