"""The seam between a fabric and what carries its messages.

A fabric knows peers by name, agrees on keys with each, seals, orders and queues. A transport moves
sealed messages as they are, and owns the clock. It may lose, repeat, delay and reorder them: the
fabric drops what comes twice or late, and greets again where a session is gone. So one transport
is a set of gRPC streams, another a message broker, another a simulation, and nothing above knows.

Each pair of nodes has two lanes. `URGENT` carries heartbeats, leases and signals and has a
connection of its own, so that none of them waits behind a frame of answers; `BULK` has the rest.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Protocol

__all__ = ["Lane", "Port", "Transport"]


class Lane(IntEnum):
    """One of the two ways from a node to a peer.

    Attributes:
        URGENT: Small messages that must not wait.
        BULK: Everything else.
    """

    URGENT = 0
    BULK = 1


class Port(Protocol):
    """What a fabric shows to its transport. All methods may be called from any thread.

    None of them blocks on anything but a short lock, and none raises.
    """

    @property
    def node_id(self) -> str:
        """The fabric's own name."""

    @property
    def tenant_id(self) -> str:
        """Whose mesh it is."""

    @property
    def peers(self) -> tuple[str, ...]:
        """The names of the other nodes."""

    @property
    def tick_s(self) -> float:
        """How often `tick` is due, in seconds."""

    def received(self, peer: str, lane: Lane, message: bytes | memoryview) -> None:
        """Take a message.

        Args:
            peer: Who is said to have sent it; the seal proves it or does not.
            lane: On which lane it came.
            message: As the peer's `next_message` gave it; it is not changed afterwards.
        """

    def next_message(self, peer: str, lane: Lane) -> bytes | None:
        """Seal and give what is to be sent next; `None` if nothing waits.

        Take one only when it can be sent at once: what is not taken can still be replaced by
        something newer.
        """

    def opened(self, peer: str, lane: Lane) -> None:
        """Learn that a connection is new: keys are agreed on anew over it."""

    def lost(self, peer: str, lane: Lane) -> None:
        """Learn that a connection broke, so that the peer need not be waited for."""

    def tick(self) -> None:
        """Run what is due: heartbeats, deadlines, and the handlers of the heartbeat thread.

        Always called by one and the same thread.
        """


class Transport(Protocol):
    """What carries the messages of one node.

    Attributes:
        has_broker: Whether somebody between the nodes could read along: a secret is needed then.
    """

    has_broker: bool

    def now(self) -> float:
        """Give the time in seconds, of a clock that never goes back. From any thread."""

    async def start(self, port: Port) -> None:
        """Begin to carry messages, and to call `port.tick`.

        Raises:
            FabricConfigurationError: A peer has no address here, or another setting is wrong.
            OSError: The address to listen on is taken.
        """

    def wake(self, peer: str, lane: Lane) -> None:
        """Learn that `port.next_message(peer, lane)` has something. From any thread; no waiting."""

    def urge(self) -> None:
        """Have `port.tick` called at once, by its thread. From any thread; no waiting."""

    async def close(self) -> None:
        """End all connections. Safe to repeat; nothing is called on the port afterwards."""
