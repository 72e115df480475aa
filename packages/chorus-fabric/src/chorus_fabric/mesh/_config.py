"""What the user of a fabric may choose, checked once."""

from __future__ import annotations

from dataclasses import dataclass, field

from chorus_fabric._session import SessionPolicy
from chorus_fabric.errors import FabricConfigurationError

__all__ = ["FabricConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FabricConfig:
    """Settings of a fabric. All nodes of a mesh should have the same.

    Attributes:
        heartbeat_s: Seconds between heartbeats to each peer. Lowering it finds a dead peer sooner,
            for about 0.1 ms of work a heartbeat.
        down_after_s: A peer that was not heard of for so long is down; several heartbeats. A broken
            connection tells sooner. Raise it where processes stall for longer (small shared
            machines, links between regions).
        tick_s: How often deadlines are looked at and `on_tick` callbacks run.
        queue_bytes: How much may wait to be sent to one peer on the bulk lane, and as much again of
            what it sent for the event loop.
        urgent_queue_bytes: The same for the urgent lane.
        most_requests: How many requests to one peer may wait for an answer.
        concurrent_requests: How many requests of one peer are answered at once.
        session: When keys are renewed.

    Raises:
        FabricConfigurationError: A setting is outside of that; the message names it.
    """

    heartbeat_s: float = 0.125
    down_after_s: float = 1.0
    tick_s: float = 0.05
    queue_bytes: int = 8 << 20
    urgent_queue_bytes: int = 1 << 20
    most_requests: int = 1024
    concurrent_requests: int = 64
    session: SessionPolicy = field(default_factory=SessionPolicy)

    def __post_init__(self) -> None:
        for name in (
            "heartbeat_s", "down_after_s", "tick_s", "queue_bytes", "urgent_queue_bytes",
            "most_requests", "concurrent_requests",
        ):  # fmt: skip
            if not getattr(self, name) > 0:
                raise FabricConfigurationError(f"{name} is above 0, got {getattr(self, name)!r}")
        if self.down_after_s < 2 * self.heartbeat_s:
            raise FabricConfigurationError(
                f"down_after_s is at least two heartbeats ({2 * self.heartbeat_s:g} s), got "
                f"{self.down_after_s!r}"
            )
        if self.tick_s > self.heartbeat_s:
            raise FabricConfigurationError(
                f"tick_s is at most heartbeat_s ({self.heartbeat_s:g} s), got {self.tick_s!r}"
            )
