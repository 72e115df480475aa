"""What can be configured, with its defaults."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from prism.wrapper._config.secrets import Secret

__all__ = [
    "ChorusSettings",
    "DatabaseSettings",
    "Flavor",
    "LogSettings",
    "PushSettings",
    "TableSettings",
    "VectorSettings",
    "Wire",
    "WrapperConfig",
    "WriteSettings",
]

Flavor: TypeAlias = Literal["postgresql", "mysql", "cockroachdb", "tidb"]
Plugin: TypeAlias = Literal["pgoutput", "wal2json"]
EmbedderName: TypeAlias = Literal["static", "minilm", "openai", "voyage", "ollama"]
Wire: TypeAlias = Literal["full", "projected"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseSettings:
    """Where the rows are.

    Attributes:
        flavor: `postgresql`, `mysql`, `cockroachdb` or `tidb`.
        dsn: How to connect, as the database's own tools take it. Given as `dsn`, as the name of an
            environment variable (`dsn_env`) or of a file (`dsn_file`).
        schemas: Whose tables are replicated where there are no `[[tables]]`.
        slot: Name of the replication slot; empty for `prism_<tenant>`.
        publication: Name of the publication; empty for `prism_<tenant>`.
        plugin: What the server writes changes with: `pgoutput`, or `wal2json` for old set-ups.
    """

    flavor: Flavor
    dsn: Secret
    schemas: tuple[str, ...] = ("public",)
    slot: str = ""
    publication: str = ""
    plugin: Plugin = "pgoutput"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChorusSettings:
    """Who may listen, and where.

    Attributes:
        tenant_id: Whose rows these are; drivers name the same.
        listen_host: Address to listen at. Beyond loopback TLS or a secret is needed.
        listen_port: Port to listen at; 0 takes a free one, which `status` tells.
        node_id: This wrapper's name among the tenant's nodes; empty for the machine's.
        secret_file: File with the tenant's secret, 32 bytes or more. Frames are sealed with it.
        certificate: This node's certificate; with `key` and `authority` for mutual TLS.
        key: Its private key.
        authority: The certificate of the authority that signs the drivers' certificates.
        heartbeat_s: Seconds between signs of life while nothing changes. Lower it to notice a dead
            wrapper sooner; each costs a frame of some hundred bytes per driver.
        drivers: `host:port` of drivers that listen and that the wrapper dials.
    """

    tenant_id: str
    listen_host: str = "127.0.0.1"
    listen_port: int = 50051
    node_id: str = ""
    secret_file: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    authority: Path | None = None
    heartbeat_s: float = 1.0
    drivers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSettings:
    """One table, and what its rows become.

    Attributes:
        name: `table` or `schema.table`.
        columns: The columns that are sent; none for all. The key is always among them.
        text: A template such as `"{name}: {description}"` for the text that is embedded; empty for
            `column: value` of `text_columns`.
        text_columns: The columns of the text; none for all that say something to a reader: not the
            key, nor times, bytes, documents and references (`..._id`).
        numeric: Column to a range `(low, high)`. In the text its values are followed by where they
            lie in the range: very low, low, medium, high or very high.
        embed: Whether rows get a vector. Without, they can be read by key and filter alone.
    """

    name: str
    columns: tuple[str, ...] = ()
    text: str = ""
    text_columns: tuple[str, ...] = ()
    numeric: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    embed: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorSettings:
    """How texts become vectors.

    Attributes:
        embedder: `static` (a table of token vectors: quick), `minilm` (a small transformer: finds
            more, and is many times slower), or `openai`, `voyage`, `ollama`.
        model: The provider's model, which `openai`, `voyage` and `ollama` need.
        wire: `full`: vectors travel at the embedder's width, scores are its cosines. `projected`:
            as 64 dimensions of the tenant's space: a quarter of the bytes, scores only near.
        batch: Texts that are embedded in one call. 64 to 256 is best for local models.
        text_chars: Longer texts are cut there. The columns are sent whole in any case.
    """

    embedder: EmbedderName = "static"
    model: str = ""
    wire: Wire = "full"
    batch: int = 128
    text_chars: int = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """The change log.

    Attributes:
        path: The file; `None` for `<state folder>/<tenant>.changes`, where the state folder is that
            of systemd (`StateDirectory=`) or `~/.local/state/prism`.
        kept_deletions: Deletions remembered for drivers that were away; those that were away for
            longer load everything anew. Each takes about 150 bytes.
    """

    path: Path | None = None
    kept_deletions: int = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteSettings:
    """What drivers may write.

    Attributes:
        tables: Tables that `driver.write` may upsert into; none for no writes at all.
        timeout_s: How long a statement may wait for locks in the database.
    """

    tables: tuple[str, ...] = ()
    timeout_s: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PushSettings:
    """Where a TiDB's changes are pushed to; for no other database.

    Attributes:
        listen_host: Address of the endpoint. Beyond loopback `[chorus]` needs its certificate.
        listen_port: Its HTTP port.
        grpc_port: Its gRPC port; None for no gRPC.
        token_file: File with the token that pushers show, 16 characters or more.
        token_env: Name of an environment variable with it instead.
        partitions: How many partitions of the changefeed push, numbered from 0.
        time_zone: That of TiCDC (`cdc server --tz`), which writes TIMESTAMP columns in it.
        spool: Folder for what was acknowledged; None for `<log path>.push`.
        memory_bytes: Beyond, pushes are answered 429 while rows wait for the change log.
        window_bytes: The most that may come between two resolved marks.
        batch_bytes: The longest push that is taken.
    """

    listen_host: str = "127.0.0.1"
    listen_port: int = 50061
    grpc_port: int | None = None
    token_file: Path | None = None
    token_env: str = ""
    partitions: int = 1
    time_zone: str = "+00:00"
    spool: Path | None = None
    memory_bytes: int = 64 << 20
    window_bytes: int = 1 << 30
    batch_bytes: int = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class WrapperConfig:
    """All of it. Its `repr` holds no secret."""

    database: DatabaseSettings
    chorus: ChorusSettings
    tables: tuple[TableSettings, ...] = ()
    vectors: VectorSettings = field(default_factory=VectorSettings)
    log: LogSettings = field(default_factory=LogSettings)
    write: WriteSettings = field(default_factory=WriteSettings)
    push: PushSettings = field(default_factory=PushSettings)

    @property
    def log_path(self) -> Path:
        """The change log's file."""
        if self.log.path is not None:
            return self.log.path
        state = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
        if state:
            return Path(state) / f"{self._file_name}.changes"
        home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
        return Path(home) / "prism" / f"{self._file_name}.changes"

    @property
    def slot(self) -> str:
        """The replication slot's name."""
        return self.database.slot or self._database_name

    @property
    def publication(self) -> str:
        """The publication's name."""
        return self.database.publication or self._database_name

    @property
    def _file_name(self) -> str:
        return re.sub(r"[^A-Za-z0-9._-]", "_", self.chorus.tenant_id)

    @property
    def _database_name(self) -> str:
        # What a slot may be called, and at most 63 characters.
        return "prism_" + re.sub(r"[^a-z0-9_]", "_", self.chorus.tenant_id.lower())[:57]
