"""Many nodes act as one: who is GREEN, proven by a lease of a majority."""

import logging as _logging

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

__all__ = [
    "ClusterClosedError",
    "ClusterConfigurationError",
    "LeaseConfig",
    "MalformedMessageError",
    "NotGreenError",
    "PrismClusterError",
    "Role",
    "StaleTokenError",
    "TermFileError",
]

_logging.getLogger("prism.cluster").addHandler(_logging.NullHandler())
