"""What the server must be set to, and what is told of its log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from prism.wrapper.sources.errors import SourceAccessError, SourceError
from prism.wrapper.sources.mysql._gtid import MariaDBState, MySQLSet
from prism.wrapper.sources.mysql._position import LogFacts, Position
from prism.wrapper.sources.mysql._session import Session

__all__ = ["VARIABLES", "Lack", "lacks", "lag_bytes", "log_facts", "require_server"]

VARIABLES: Final = (
    "log_bin",
    "binlog_format",
    "binlog_row_image",
    "binlog_row_metadata",
    "gtid_mode",
    "binlog_transaction_compression",
    "binlog_row_value_options",
    "server_id",
    "expire_logs_days",
    "binlog_expire_logs_seconds",
)


class Lack(NamedTuple):
    """A server variable that must be another."""

    variable: str
    message: str
    remedy: str


def lacks(variables: Mapping[str, str], *, is_mariadb: bool) -> Iterator[Lack]:
    """What the server must be set to before its log can be followed. Pure."""
    keep = "SET GLOBAL" if is_mariadb else "SET PERSIST"
    in_file = "-- and in the server's configuration file, for the next start" if is_mariadb else ""
    if variables.get("log_bin", "OFF").upper() not in ("ON", "1"):
        yield Lack(
            "log_bin",
            "the server writes no binary log",
            "-- in the server's configuration file, then restart it:\n-- [mysqld]\n"
            "-- log_bin = binlog\n-- server_id = 1\n-- binlog_format = ROW\n"
            "-- binlog_row_metadata = FULL",
        )
        return
    for name, wanted, message in (
        ("binlog_format", "ROW", "changes are logged as statements, not as rows"),
        ("binlog_row_image", "FULL", "changes are logged without the whole row"),
        ("binlog_row_metadata", "FULL", "changes are logged without the columns' names"),
    ):
        value = variables.get(name, "")
        if value.upper() != wanted:
            yield Lack(
                name,
                f"{value or 'not known to this server'}: {message}",
                f"{keep} {name} = {wanted}; {in_file}".rstrip()
                if value
                else "-- MySQL 8.0.14 or MariaDB 10.5 is needed",
            )
    if is_mariadb:
        return
    if variables.get("gtid_mode", "OFF").upper() != "ON":
        yield Lack(
            "gtid_mode",
            "transactions have no GTID",
            "SET PERSIST enforce_gtid_consistency = ON; SET PERSIST gtid_mode = OFF_PERMISSIVE; "
            "SET PERSIST gtid_mode = ON_PERMISSIVE; SET PERSIST gtid_mode = ON;",
        )
    if variables.get("binlog_transaction_compression", "OFF").upper() == "ON":
        yield Lack(
            "binlog_transaction_compression",
            "transactions are compressed, which is not read",
            "SET PERSIST binlog_transaction_compression = OFF;",
        )


def require_server(session: Session) -> None:
    """Look whether the server's log can be followed.

    Raises:
        SourceAccessError: A setting is missing; the remedy sets all that are.
    """
    found = list(lacks(session.variables(*VARIABLES), is_mariadb=session.is_mariadb))
    if found:
        raise SourceAccessError(
            "; ".join(f"{lack.variable} is {lack.message}" for lack in found),
            remedy="\n".join(lack.remedy for lack in found),
        )


def log_facts(session: Session, resume: Position) -> LogFacts:
    """Ask the server about its log, as far as a position needs it."""
    if not session.is_mariadb:
        done, purged = session.rows("SELECT @@GLOBAL.gtid_executed, @@GLOBAL.gtid_purged")[0]
        return LogFacts(done=MySQLSet.parse(done), purged=MySQLSet.parse(purged))
    state = session.rows("SELECT @@GLOBAL.gtid_binlog_pos")[0][0]
    there = None
    if resume.file:
        told = session.rows("SELECT BINLOG_GTID_POS(%s, %s)", (resume.file, resume.offset))[0][0]
        there = None if told is None else MariaDBState.parse(_text(told))
        # The same numbers in another log: then events hardly begin at the same places.
        if not _begins_event(session, resume):
            there = MariaDBState({})
    return LogFacts(done=MariaDBState.parse(_text(state)), there=there)


def _begins_event(session: Session, place: Position) -> bool:
    """Whether an event begins or the file ends at a place; true where the user may not ask."""
    try:
        session.rows("SHOW BINLOG EVENTS IN %s FROM %s LIMIT 1", (place.file, place.offset))
    except SourceError as error:
        return "(error 1220)" not in str(error) or "target log" in str(error)
    return True


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def lag_bytes(session: Session, file: str, offset: int) -> int | None:
    """How much of the log is behind a place; None if the user may not ask."""
    try:
        logs = [(str(row[0]), int(row[1])) for row in session.rows("SHOW BINARY LOGS")]
    except SourceError:
        return None
    names = [name for name, _ in logs]
    if file not in names:
        return None
    return max(0, sum(size for _, size in logs[names.index(file) :]) - offset)
