"""What the server must be, and its refusals in words that say what to do."""

from __future__ import annotations

from prism.wrapper.sources.errors import (
    SourceAccessError,
    SourceConfigurationError,
    SourceError,
    SourceUnavailableError,
)
from prism.wrapper.sources.postgres._replication import ServerRefusedError
from prism.wrapper.sources.postgres._session import Session
from prism.wrapper.sources.postgres._settings import PostgresSettings
from prism.wrapper.sources.postgres._sql import identifier

__all__ = ["OLDEST_VERSION", "advise", "require_server", "status_interval"]

OLDEST_VERSION = 140000
# A slot in use, gone or invalidated, a publication that is not there yet at this place of the log,
# too many walsenders: the next attempt looks at all of it anew.
_PASSING = ("55006", "55000", "42704", "53300", "XX000")
_SLOTS_SQL = (
    "SELECT slot_name, active, wal_status FROM pg_replication_slots; -- drop one with:\n"
    "SELECT pg_drop_replication_slot('...'); -- or raise the limit and restart the server:\n"
    "ALTER SYSTEM SET max_replication_slots = 20;"
)


def require_server(session: Session, settings: PostgresSettings) -> None:
    """Refuse a server that cannot serve us.

    Raises:
        SourceAccessError: A setting of the server is missing.
        SourceConfigurationError: It is too old, or too old for a setting.
    """
    if session.server_version < OLDEST_VERSION:
        raise SourceConfigurationError(
            f"the server is PostgreSQL {session.server_version // 10000}; 14 is the oldest that "
            "streams large transactions as they are written"
        )
    if settings.failover and session.server_version < 170000:
        raise SourceConfigurationError(
            f"failover: slots outlive a failover from PostgreSQL 17 on, the server is "
            f"{session.server_version // 10000}"
        )
    level = session.rows("SHOW wal_level")[0][0]
    if level != "logical":
        raise SourceAccessError(
            f"the server's wal_level is {level}, which leaves out what changes are read from",
            remedy="ALTER SYSTEM SET wal_level = logical; -- then restart the server",
        )


def status_interval(session: Session, settings: PostgresSettings) -> float:
    """How often the server must hear of us: in time for its own limit, if it has one."""
    limit_ms = int(
        session.rows("SELECT setting FROM pg_settings WHERE name = 'wal_sender_timeout'")[0][0]
    )
    if limit_ms <= 0:
        return settings.status_interval_s
    return max(0.1, min(settings.status_interval_s, limit_ms / 3000))


def advise(error: ServerRefusedError, settings: PostgresSettings, *, role: str) -> SourceError:
    """Turn a refusal of a replication command into what to do about it."""
    text = str(error)
    state = error.sqlstate
    plugin = settings.plugin
    if state == "53400" or "replication slots are in use" in text:
        return SourceAccessError(f"the server has no free slot: {text}", remedy=_SLOTS_SQL)
    if "wal_level" in text:
        return SourceAccessError(
            text, remedy="ALTER SYSTEM SET wal_level = logical; -- then restart the server"
        )
    if "output plugin" in text:
        return SourceAccessError(
            f"the server refuses the output plugin {plugin}: {text}",
            remedy="ALTER SYSTEM SET output_plugin_libraries = pgoutput, test_decoding, "
            f"{plugin}; -- names without quotes\nSELECT pg_reload_conf();",
        )
    if state in ("42704", "58P01") and plugin in text:
        return SourceAccessError(
            f"the server has no output plugin {plugin}: {text}. Install it "
            f"(postgresql-NN-{plugin} on Debian) or use the plugin pgoutput"
        )
    if state == "42501":
        return SourceAccessError(text, remedy=f"ALTER ROLE {identifier(role)} REPLICATION;")
    if state in _PASSING:
        return SourceUnavailableError(text)
    return SourceError(f"the server refused: {text} (SQLSTATE {state})")
