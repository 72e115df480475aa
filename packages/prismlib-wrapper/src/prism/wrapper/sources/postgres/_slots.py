"""Replication slots: what there is, and how one is dropped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from prism.wrapper.sources.errors import SourceBusyError, SourceConfigurationError
from prism.wrapper.sources.postgres._position import SlotFacts, parse_lsn
from prism.wrapper.sources.postgres._session import Session

__all__ = ["SlotListing", "drop_slot", "list_slots", "slot_facts"]

_SQL: Final = """
SELECT slot_name, database, plugin, wal_status, {invalidation}, confirmed_flush_lsn::text,
       active_pid,
       pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
                       ELSE pg_current_wal_lsn() END, restart_lsn)::bigint,
       {failover}
FROM pg_replication_slots WHERE slot_type = 'logical' {which}
ORDER BY slot_name
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotListing:
    """A slot of the cluster, ours or not.

    Attributes:
        name: The slot's name.
        database: The database it decodes.
        facts: Its state. Another wrapper's has `active_pid` while that one runs.
    """

    name: str
    database: str
    facts: SlotFacts


def _read(session: Session, name: str | None) -> list[SlotListing]:
    version = session.server_version
    sql = _SQL.format(
        invalidation="invalidation_reason" if version >= 170000 else "NULL",
        failover="failover" if version >= 170000 else "false",
        which="AND slot_name = %(name)s" if name is not None else "",
    )
    return [
        SlotListing(
            name=row[0],
            database=row[1],
            facts=SlotFacts(
                plugin=row[2],
                wal_status=row[3],
                invalidation_reason=row[4],
                confirmed=None if row[5] is None else parse_lsn(row[5]),
                active_pid=row[6],
                retained_bytes=row[7],
                failover=row[8],
            ),
        )
        for row in session.rows(sql, {"name": name})
    ]


def slot_facts(session: Session, name: str) -> SlotFacts | None:
    """The state of one slot, or None if there is none of this name."""
    found = _read(session, name)
    return found[0].facts if found else None


def list_slots(dsn: str, *, connect_timeout_s: float = 10.0) -> list[SlotListing]:
    """List the cluster's logical slots.

    Raises:
        SourceError: The database does not answer, or refuses.
    """
    session = Session(dsn, connect_timeout_s=connect_timeout_s)
    try:
        return _read(session, None)
    finally:
        session.close()


def drop_slot(dsn: str, name: str, *, connect_timeout_s: float = 10.0) -> None:
    """Drop a slot. The wrapper that used it begins with a new snapshot.

    Raises:
        SourceBusyError: Somebody reads it; stop that wrapper first.
        SourceConfigurationError: There is no such slot.
        SourceError: The database does not answer, or refuses.
    """
    session = Session(dsn, connect_timeout_s=connect_timeout_s)
    try:
        facts = slot_facts(session, name)
        if facts is None:
            raise SourceConfigurationError(f"there is no logical replication slot {name!r}")
        if facts.active_pid is not None:
            raise SourceBusyError(
                f"slot {name!r} is read by server process {facts.active_pid}; "
                "stop the wrapper that uses it first"
            )
        session.rows("SELECT pg_drop_replication_slot(%s)", (name,))
    finally:
        session.close()
