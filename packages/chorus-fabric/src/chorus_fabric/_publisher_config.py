"""What the user of a publisher chooses, checked once."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chorus_fabric._session import SessionPolicy
from chorus_fabric.errors import FabricConfigurationError

if TYPE_CHECKING:
    from chorus_fabric._tls import TLSConfig

__all__ = ["DriverEndpoint", "PublisherConfig"]

_WIRES = ("full", "projected")


@dataclass(frozen=True, slots=True, kw_only=True)
class PublisherConfig:
    """Settings of a publisher.

    Attributes:
        tenant_id: Whose rows it publishes. Subscribers of another tenant are refused.
        host: Where it listens; `None` for not at all, if it only dials out to drivers. Anything but
            loopback takes `tls` or `secret`.
        port: The port; 0 takes a free one.
        node_id: Its name; `None` makes one of host name and process id, or takes the
            certificate's.
        tls: Certificate, key and authority for mutual TLS.
        secret: The tenant's secret: every frame is sealed with keys that come from it.
        model_id: The embedder that makes the vectors; drivers embed texts with the same one.
        dim: Width of that embedder's vectors; 0 if it is not known.
        wire: `full`, or `projected` when the vectors in the log are 64 dimensions of the tenant's
            space.
        version: Version of the program that publishes, for `Hello`.
        heartbeat_s: Seconds between marks while nothing changes. Raising it lets drivers notice
            later that they are behind.
        batch_bytes: About how much goes into one read of the log, and a frame at most. Lower it for
            sooner first rows, raise it for fewer messages.
        queue_bytes: How much may wait, sealed, for one subscriber. Memory is at most this and a
            batch for each.
        slow_after_s: A subscriber that takes no message for so long is cut off and told to resume
            from its position.
        max_subscribers: How many feeds run at once.
        drain_s: How long a stopping publisher goes on to bring subscribers to the log's head.
        session: When keys are renewed.

    Raises:
        FabricConfigurationError: A setting is outside of that; the message names it.
    """

    tenant_id: str = "default"
    host: str | None = "127.0.0.1"
    port: int = 50051
    node_id: str | None = None
    tls: TLSConfig | None = None
    secret: str | bytes | None = field(default=None, repr=False)
    model_id: str = ""
    dim: int = 0
    wire: str = "full"
    version: str = ""
    heartbeat_s: float = 1.0
    batch_bytes: int = 512 * 1024
    queue_bytes: int = 4 * 2**20
    slow_after_s: float = 30.0
    max_subscribers: int = 256
    drain_s: float = 5.0
    session: SessionPolicy = field(default_factory=SessionPolicy)

    def __post_init__(self) -> None:
        if self.tenant_id in ("", "*"):
            raise FabricConfigurationError(f"tenant_id names one tenant, got {self.tenant_id!r}")
        check_port(self.port, least=0)
        if self.wire not in _WIRES:
            raise FabricConfigurationError(f"wire is 'full' or 'projected', got {self.wire!r}")
        for name in ("heartbeat_s", "batch_bytes", "queue_bytes", "slow_after_s"):
            if not getattr(self, name) > 0:
                raise FabricConfigurationError(f"{name} is above 0, got {getattr(self, name)!r}")
        if self.max_subscribers < 1:
            raise FabricConfigurationError(
                f"max_subscribers is 1 or more, got {self.max_subscribers!r}"
            )
        if self.drain_s < 0:
            raise FabricConfigurationError(f"drain_s is 0 or more, got {self.drain_s!r}")

    @property
    def name(self) -> str:
        """The node's name."""
        return node_name(self.node_id, self.tls)


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverEndpoint:
    """A driver that listens, for networks where only the publisher may open connections.

    Attributes:
        host: Its host.
        port: Its port.
        tenant_id: Its tenant; must be the publisher's.
    """

    host: str
    port: int = 50051
    tenant_id: str = "default"

    def __post_init__(self) -> None:
        if not self.host:
            raise FabricConfigurationError("host names the machine of the driver, got nothing")
        check_port(self.port, least=1)


def check_port(port: int, *, least: int) -> None:
    """Refuse what is no port.

    Raises:
        FabricConfigurationError: It is none.
    """
    if type(port) is not int or not least <= port <= 65535:
        raise FabricConfigurationError(f"port is {least} to 65535, got {port!r}")


def node_name(given: str | None, tls: TLSConfig | None) -> str:
    """Give a node's name: the given one, the certificate's, or one of host and process."""
    if given:
        return given
    if tls is not None:
        return tls.identity.node
    return f"{socket.gethostname()}-{os.getpid()}"
