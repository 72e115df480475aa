"""What a TiDB source is told: see `TidbSettings`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias
from urllib.parse import unquote, urlsplit

from prism.wrapper.sources.errors import SourceConfigurationError

__all__ = ["Encoding", "TidbAddress", "TidbSettings", "parse_dsn"]

Encoding: TypeAlias = Literal["canal-json", "open-protocol"]

_SCHEMES: Final = ("mysql", "tidb")
_PORT: Final = 4000
_TOKEN_CHARACTERS: Final = 16
_ZONE: Final = re.compile(r"[+-]\d{2}:\d{2}|[A-Za-z_]+(?:/[A-Za-z_+-]+)*")
_POSITIVE: Final = (
    "memory_bytes",
    "window_bytes",
    "batch_bytes",
    "segment_bytes",
    "part_rows",
    "partitions",
    "connect_timeout_s",
    "first_contact_s",
    "longest_backoff_s",
    "silent_s",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TidbAddress:
    """Where TiDB is, as a DSN says it."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    database: str
    tls: bool


def parse_dsn(dsn: str) -> TidbAddress:
    """Read `mysql://user:password@host:4000/database`; `?tls=true` asks for TLS.

    Raises:
        SourceConfigurationError: It is something else. Never quotes it, since it may hold a secret.
    """
    parts = urlsplit(dsn)
    try:
        port = parts.port
    except ValueError:
        raise SourceConfigurationError("dsn: the port is no number from 1 to 65535") from None
    if parts.scheme not in _SCHEMES or not parts.hostname:
        raise SourceConfigurationError(
            "dsn: write it as mysql://user:password@host:4000/database, with %40 for an @ in the "
            "password"
        )
    database = unquote(parts.path.lstrip("/"))
    if not database:
        raise SourceConfigurationError("dsn: name the database at its end: .../database")
    if parts.query not in ("", "tls=true", "tls=false"):
        raise SourceConfigurationError("dsn: after the ? only tls=true or tls=false is known")
    return TidbAddress(
        host=parts.hostname,
        port=port or _PORT,
        user=unquote(parts.username or "root"),
        password=unquote(parts.password or ""),
        database=database,
        tls=parts.query == "tls=true",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TidbSettings:
    """Which database, which tables, and where TiCDC's messages are pushed to.

    Attributes:
        dsn: `mysql://user:password@host:4000/database`. Never shown by `repr`.
        tables: Tables to follow, `table` or `database.table`; none for all with a key.
        spool: Folder for what was acknowledged and is not yet in the change log. It belongs to one
            source, and is as precious as the change log: without it a new snapshot is made.
        token: What pushers show as `Authorization: Bearer ...`; 16 characters or more.
        listen_host: Where the endpoint listens. Beyond loopback it needs a certificate.
        listen_port: Its HTTP port; 0 takes a free one.
        grpc_port: Its gRPC port; 0 takes a free one, None is for no gRPC.
        certificate: The endpoint's certificate, with `key`: both ports then speak TLS alone.
        key: Its private key.
        partitions: How many partitions push. All must send marks before anything is released.
        time_zone: Of TIMESTAMP columns, in which the snapshot is read. It must be that of TiCDC
            (`cdc server --tz`), which writes them without one.
        memory_bytes: Beyond, pushes are answered 429 as long as rows wait for the change log.
        window_bytes: What may come between two marks, which is held in memory. Beyond, pushes are
            answered 429 for good, and the log says so.
        batch_bytes: The longest body that is taken.
        segment_bytes: Size of a file of the spool.
        part_rows: Changes in one `Changes`, and rows in one `SnapshotRows`, at most.
        connect_timeout_s: For each attempt to connect to the database.
        first_contact_s: How long to try before `SourceUnavailableError`, if no connection was ever
            made. Later, attempts go on for ever.
        longest_backoff_s: The longest wait between attempts to connect.
        silent_s: Without a mark for so long, the source counts as not connected.
    """

    dsn: str = field(repr=False)
    tables: tuple[str, ...] = ()
    spool: Path
    token: str = field(repr=False)
    listen_host: str = "127.0.0.1"
    listen_port: int = 50061
    grpc_port: int | None = None
    certificate: Path | None = None
    key: Path | None = None
    partitions: int = 1
    time_zone: str = "+00:00"
    memory_bytes: int = 64 << 20
    window_bytes: int = 1 << 30
    batch_bytes: int = 16 << 20
    segment_bytes: int = 64 << 20
    part_rows: int = 1000
    connect_timeout_s: float = 10.0
    first_contact_s: float = 30.0
    longest_backoff_s: float = 30.0
    silent_s: float = 60.0

    def __post_init__(self) -> None:
        parse_dsn(self.dsn)
        if len(set(self.tables)) != len(self.tables):
            raise SourceConfigurationError(f"tables: one is named twice in {list(self.tables)}")
        if len(self.token) < _TOKEN_CHARACTERS or not self.token.isascii():
            raise SourceConfigurationError(
                f"token: give {_TOKEN_CHARACTERS} characters or more of ASCII, such as the output "
                "of `openssl rand -hex 32`"
            )
        if not _ZONE.fullmatch(self.time_zone):
            raise SourceConfigurationError(
                f"time_zone: {self.time_zone!r} is none; write +00:00 or Europe/Berlin"
            )
        if (self.certificate is None) != (self.key is None):
            raise SourceConfigurationError("certificate and key: give both or neither")
        if self.window_bytes < self.memory_bytes:
            raise SourceConfigurationError("window_bytes: must be memory_bytes or more")
        for name in _POSITIVE:
            if not getattr(self, name) > 0:
                raise SourceConfigurationError(f"{name}: must be above 0")
