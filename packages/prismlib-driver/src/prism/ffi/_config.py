"""What a user chooses, checked once."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from chorus_fabric import ChorusError, ClientConfig, FabricConfigurationError, read_secret
from prism.ffi.errors import DriverConfigurationError

if TYPE_CHECKING:
    from chorus_fabric import TLSConfig
    from prismresonance.embed import Embedder

__all__ = ["DriverConfig"]

_SECRET_VARIABLE = "PRISM_SECRET"  # noqa: S105  the name of it


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverConfig:
    """Settings of one driver; `wrapper_host` is enough where the wrapper needs no secret.

    Attributes:
        wrapper_host: The machine that `prism-wrapper` runs on. `None` only with `listen_port`.
        wrapper_port: Its port.
        tenant_id: Whose rows are wanted, as the wrapper's `tenant_id` says. `None` takes the tenant
            of the certificate in `tls`, else whichever the wrapper serves; naming it turns a
            mix-up of addresses into an error.
        node_id: This driver's name; `None` takes the certificate's, else one of host and process.
        tls: Certificate, key and authority, as `chorus-fabric issue` writes them. Needed where the
            wrapper has them.
        secret: The tenant's secret. `None` looks into `secret_file`, then into the environment
            variable `PRISM_SECRET`.
        secret_file: A file that holds the secret.
        tables: The tables wanted, by name, with or without schema and database; none for all.
        default_table: The table that calls without `table=` mean, where there are several.
        indexed_columns: By table name: columns for which `where=` costs about as much as the rows
            it admits. On any other column every row is looked at, and decoded at the first time.
        embedder: Makes vectors of texts for `text=`. `None` takes the one that the wrapper
            announces, if it is MiniLM or a static one and its extra is installed.
        max_lag_s: How old the replica may be, in seconds, for reads; `None` for any age. Its age is
            never known better than to a second or so: the wrapper marks each second.
        on_stale: What `query` does when the replica is older: `raise`, or `query`, which asks the
            wrapper. `get` raises in both cases: the wrapper has no read by id.
        snapshot_path: A file that keeps the replica over restarts of the app. It is not encrypted.
        snapshot_every_s: Seconds between two writes of it; it is also written at `close`.
        connect_timeout_s: How long `connect` waits for the wrapper's first answer.
        ready_timeout_s: How long `connect` waits until the replica is whole.
        listen_port: Waits on this port for the wrapper to dial (`add_driver`), instead of dialling
            it. Then there is no way to send calls: `write` and `on_stale="query"` are refused.
        listen_host: Where it listens. Anything but loopback takes `tls` or a secret.

    Raises:
        DriverConfigurationError: A setting is not acceptable; the message names it.
    """

    wrapper_host: str | None = None
    wrapper_port: int = 50051
    tenant_id: str | None = None
    node_id: str | None = None
    tls: TLSConfig | None = None
    secret: str | bytes | None = field(default=None, repr=False)
    secret_file: str | os.PathLike[str] | None = None
    tables: Sequence[str] = ()
    default_table: str | None = None
    indexed_columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    embedder: Embedder | None = None
    max_lag_s: float | None = None
    on_stale: Literal["raise", "query"] = "raise"
    snapshot_path: str | os.PathLike[str] | None = None
    snapshot_every_s: float = 300.0
    connect_timeout_s: float = 5.0
    ready_timeout_s: float = 300.0
    listen_port: int | None = None
    listen_host: str = "127.0.0.1"

    def __post_init__(self) -> None:
        if (self.wrapper_host is None) == (self.listen_port is None):
            raise DriverConfigurationError(
                "set wrapper_host to dial the wrapper, or listen_port to be dialled, and not both"
            )
        for name in ("snapshot_every_s", "connect_timeout_s", "ready_timeout_s"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not value > 0:
                raise DriverConfigurationError(f"{name} is above 0, got {value!r}")
        if self.max_lag_s is not None and not self.max_lag_s > 0:
            raise DriverConfigurationError(f"max_lag_s is above 0 or None, got {self.max_lag_s!r}")
        if self.on_stale not in ("raise", "query"):
            raise DriverConfigurationError(f"on_stale is 'raise' or 'query', got {self.on_stale!r}")
        if self.listen_port is not None:
            if self.on_stale == "query":
                raise DriverConfigurationError("on_stale='query' needs wrapper_host to ask")
            if self.tenant_id is None and self.tls is None:
                raise DriverConfigurationError("listen_port needs tenant_id: there is none to ask")
        for name in ("tables",):
            value = getattr(self, name)
            if isinstance(value, str) or not all(isinstance(one, str) and one for one in value):
                raise DriverConfigurationError(f"{name} is a sequence of names, got {value!r}")
        for table, columns in self.indexed_columns.items():
            if isinstance(columns, str):
                raise DriverConfigurationError(
                    f"indexed_columns[{table!r}] is a sequence of names, got {columns!r}"
                )
        self.client()

    def read_secret(self) -> str | bytes | None:
        """Give the secret: the given one, the file's, the environment's.

        Raises:
            DriverConfigurationError: The file cannot be read.
        """
        if self.secret is not None:
            return self.secret
        if self.secret_file is not None:
            try:
                return read_secret(self.secret_file)
            except (ChorusError, OSError) as error:
                raise DriverConfigurationError(f"secret_file: {error}") from error
        return os.environ.get(_SECRET_VARIABLE) or None

    def client(self) -> ClientConfig:
        """Give what the transport needs.

        Raises:
            DriverConfigurationError: A setting is not acceptable.
        """
        try:
            return ClientConfig(
                host=self.listen_host if self.wrapper_host is None else self.wrapper_host,
                port=self.wrapper_port if self.listen_port is None else self.listen_port or 1,
                tenant_id=self.tenant_id,
                node_id=self.node_id,
                tls=self.tls,
                secret=self.read_secret(),
                timeout_s=self.connect_timeout_s,
            )
        except FabricConfigurationError as error:
            raise DriverConfigurationError(f"wrapper_host, wrapper_port: {error}") from error
