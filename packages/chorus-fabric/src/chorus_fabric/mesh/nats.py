"""NATS behind a mesh: a transport, a store with compare-and-swap, leases, and feeds.

Takes the extra `chorus-fabric[nats]`, and servers of NATS 2.10.23 or later; JetStream for all but
the transport. Everything that the servers carry or keep is sealed with keys from the secret.
"""

from __future__ import annotations

try:
    import nats as _nats_py  # noqa: F401
except ImportError as error:
    raise ImportError(
        "a mesh over NATS takes nats-py: pip install 'chorus-fabric[nats]'"
    ) from error

from chorus_fabric.mesh._nats import NatsServers, NatsTransport
from chorus_fabric.mesh._nats_feed import JetStreamPublisher, JetStreamSubscriber, StreamPosition
from chorus_fabric.mesh._nats_store import NatsLease, NatsStore, Stored

__all__ = [
    "JetStreamPublisher",
    "JetStreamSubscriber",
    "NatsLease",
    "NatsServers",
    "NatsStore",
    "NatsTransport",
    "Stored",
    "StreamPosition",
]
