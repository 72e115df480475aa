"""How long a lease lasts, and what it assumes about clocks."""

from __future__ import annotations

from dataclasses import dataclass

from prism.cluster.errors import ClusterConfigurationError

__all__ = ["LeaseConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseConfig:
    """Times of the lease; the same on every node.

    Attributes:
        lease_s: How long a promise binds a voter. Raising it tolerates longer pauses of GREEN and
            slower networks; lowering it finds a dead GREEN sooner: a takeover takes about
            `lease_s` plus one heartbeat. Take 2 s across regions or on burstable machines.
        heartbeat_s: GREEN renews this often. At most a third of the lease, so that a lost message
            costs nothing.
        max_drift: By how much the rate of a node's clock may differ from true time: 0.01 is 1 %.
            GREEN counts `lease_s * (1 - 2 * max_drift)` for itself. Clocks that drift more can
            show two GREEN; ordinary ones drift by less than 0.0005.

    Raises:
        ClusterConfigurationError: A value is not acceptable; the message names it.
    """

    lease_s: float = 0.75
    heartbeat_s: float = 0.125
    max_drift: float = 0.01

    def __post_init__(self) -> None:
        if not self.lease_s > 0:
            raise ClusterConfigurationError(f"lease_s is above 0, got {self.lease_s!r}")
        if not 0 < self.heartbeat_s <= self.lease_s / 3:
            raise ClusterConfigurationError(
                f"heartbeat_s is above 0 and at most a third of lease_s ({self.lease_s:g}), "
                f"got {self.heartbeat_s!r}"
            )
        if not 0 <= self.max_drift < 0.25:
            raise ClusterConfigurationError(
                f"max_drift is at least 0 and below 0.25, got {self.max_drift!r}"
            )
