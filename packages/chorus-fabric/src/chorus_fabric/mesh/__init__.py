"""A mesh of nodes: frames to all peers, requests to one, and who is up.

`CHORUSFabric` over gRPC for up to about twenty nodes, over NATS (`chorus_fabric.mesh.nats`) for
more, over `SimulatedNetwork` in tests. `chorus_fabric.mesh.conformance` is what all of them pass.
"""

from __future__ import annotations

from chorus_fabric._frame import FrameKind
from chorus_fabric.mesh._config import FabricConfig
from chorus_fabric.mesh._fabric import CHORUSFabric
from chorus_fabric.mesh._grpc import GrpcTransport
from chorus_fabric.mesh._message import FabricStatus, MeshMessage, PeerStatus
from chorus_fabric.mesh._simulated import SimulatedNetwork
from chorus_fabric.mesh._transport import Lane, Port, Transport

__all__ = [
    "CHORUSFabric",
    "FabricConfig",
    "FabricStatus",
    "FrameKind",
    "GrpcTransport",
    "Lane",
    "MeshMessage",
    "PeerStatus",
    "Port",
    "SimulatedNetwork",
    "Transport",
]
