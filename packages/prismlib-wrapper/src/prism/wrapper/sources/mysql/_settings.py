"""What a MySQL or MariaDB source is told: see `MySQLSettings`."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from prism.wrapper.sources.errors import SourceConfigurationError

__all__ = ["MySQLSettings", "connect_arguments", "split_name"]

_SCHEMES: Final = ("mysql", "mariadb")
_OPTIONS: Final = ("unix_socket", "ssl_ca", "ssl_cert", "ssl_key", "ssl_verify_identity")
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_EXAMPLE: Final = "mysql://user:password@host:3306/database"
_NAME: Final = re.compile(r"(?:`((?:[^`]|``)+)`|([^`.]+))(?:\.(?:`((?:[^`]|``)+)`|([^`.]+)))?")
_POSITIVE: Final = (
    "snapshot_batch_bytes",
    "part_rows",
    "heartbeat_s",
    "idle_interval_s",
    "connect_timeout_s",
    "first_contact_s",
    "longest_backoff_s",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MySQLSettings:
    """Which database, which tables, and how.

    Attributes:
        dsn: `mysql://user:password@host:port/database` or `mariadb://...`; characters of names and
            passwords that URLs reserve as `%40`. After `?`: unix_socket, ssl_ca, ssl_cert, ssl_key,
            ssl_verify_identity. Never shown by `repr`.
        tables: Tables to follow: `products`, `shop.products`; a dot inside a name needs backticks.
        server_id: What we are to the server among its replicas: each has one of its own. 0 makes
            one of `name`.
        name: Tells wrappers of one server apart.
        snapshot_batch_bytes: Bytes of rows in one `SnapshotRows`, roughly. Raising it makes fewer
            and larger ones.
        part_rows: Changes in one `Changes`, at most, but for rows that come in one event.
        heartbeat_s: How often the server says that it lives while nothing happens.
        idle_interval_s: How often the position moves on while nothing concerns us.
        connect_timeout_s: For each attempt to connect.
        first_contact_s: How long to try before `SourceUnavailableError`, if no connection was ever
            made. Later, attempts go on for ever.
        longest_backoff_s: The longest wait between attempts to connect.
    """

    dsn: str = field(repr=False)
    tables: tuple[str, ...]
    server_id: int = 0
    name: str = "prism_default"
    snapshot_batch_bytes: int = 1 << 20
    part_rows: int = 1000
    heartbeat_s: float = 0.5
    idle_interval_s: float = 10.0
    connect_timeout_s: float = 10.0
    first_contact_s: float = 30.0
    longest_backoff_s: float = 30.0

    def __post_init__(self) -> None:
        connect_arguments(self.dsn)
        if not self.tables:
            raise SourceConfigurationError("tables: name at least one table to follow")
        if len(set(self.tables)) != len(self.tables):
            raise SourceConfigurationError(f"tables: one is named twice in {list(self.tables)}")
        if not 0 <= self.server_id < 1 << 32:
            raise SourceConfigurationError("server_id: must be from 1 to 4294967295, or 0")
        for name in _POSITIVE:
            if not getattr(self, name) > 0:
                raise SourceConfigurationError(f"{name}: must be above 0")

    @property
    def replica_id(self) -> int:
        """The server id that is used."""
        # Above what people number their servers with.
        return self.server_id or 1 << 31 | zlib.crc32(self.name.encode()) >> 1

    @property
    def database(self) -> str:
        """The database of tables that are named without one."""
        return str(connect_arguments(self.dsn)["database"])


def connect_arguments(dsn: str) -> dict[str, Any]:
    """What PyMySQL's `connect` takes.

    Raises:
        SourceConfigurationError: The DSN is none. The message does not repeat it.
    """
    try:
        parts = urlsplit(dsn.strip())
        port = parts.port or 3306
        options = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
    except ValueError:
        raise SourceConfigurationError(f"dsn: is no URL; write {_EXAMPLE}") from None
    if parts.scheme not in _SCHEMES:
        raise SourceConfigurationError(f"dsn: must begin with mysql:// or mariadb://: {_EXAMPLE}")
    database = unquote(parts.path.removeprefix("/"))
    if not parts.username or not database or "/" in database:
        raise SourceConfigurationError(f"dsn: needs a user and a database: {_EXAMPLE}")
    unknown = [name for name in options if name not in _OPTIONS]
    if unknown:
        raise SourceConfigurationError(
            f"dsn: option {unknown[0]} is not known; known are {', '.join(_OPTIONS)}"
        )
    arguments: dict[str, Any] = {
        "user": unquote(parts.username),
        "password": unquote(parts.password or ""),
        "database": database,
        "host": parts.hostname or "localhost",
        "port": port,
    }
    arguments |= {name: value for name, value in options.items() if name != "ssl_verify_identity"}
    if "ssl_verify_identity" in options:
        arguments["ssl_verify_identity"] = options["ssl_verify_identity"].lower() in ("1", "true")
    is_here = "unix_socket" in options or arguments["host"] in _LOOPBACK
    if is_here and not any(name.startswith("ssl_") for name in options):
        # Beyond this machine the library takes TLS where the server has it. Here it would cost a
        # tenth of a second of CPU for each connection.
        arguments["ssl_disabled"] = True
    return arguments


def split_name(name: str, database: str) -> tuple[str, str]:
    """Database and table of a name as the settings give it.

    Raises:
        SourceConfigurationError: It is no name.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise SourceConfigurationError(
            f"tables: {name!r} is no table; write table or database.table, with backticks around a "
            "part that has a dot"
        )
    first = match[1].replace("``", "`") if match[1] else match[2]
    second = match[3].replace("``", "`") if match[3] else match[4]
    return (first, second) if second else (database, first)
