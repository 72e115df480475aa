"""Many nodes act as one: who is GREEN, proven by a lease of a majority."""

import logging as _logging

from prism.cluster._fencing import FencingGuard
from prism.cluster._lease_config import LeaseConfig
from prism.cluster._lease_messages import Role
from prism.cluster.errors import (
    ClusterClosedError,
    ClusterConfigurationError,
    MalformedMessageError,
    NotGreenError,
    PrismClusterError,
    StaleTokenError,
    TermFileError,
)
from prism.cluster.node import ClusterNode, NodeStatus, RoleChange

__all__ = [
    "ClusterClosedError",
    "ClusterConfigurationError",
    "ClusterNode",
    "FencingGuard",
    "LeaseConfig",
    "MalformedMessageError",
    "NodeStatus",
    "NotGreenError",
    "PrismClusterError",
    "Role",
    "RoleChange",
    "StaleTokenError",
    "TermFileError",
]

_logging.getLogger("prism.cluster").addHandler(_logging.NullHandler())
