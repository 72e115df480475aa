"""What can go wrong, split by what the caller does next.

    PrismClusterError
    ├── ClusterConfigurationError (ValueError)   fix a setting; the message names it
    ├── TermFileError              the file of the node's term is damaged or foreign
    ├── NotGreenError              this node does not hold the lease: ask the one that does
    ├── StaleTokenError            a later holder has written: the work is not ours any more
    ├── MalformedMessageError      a peer sent what no node of this version sends
    └── ClusterClosedError         the node or cache is closed, or not started yet

Asking whether this node is GREEN raises none of these: without a lease the answer is no.
"""

from __future__ import annotations

__all__ = [
    "ClusterClosedError",
    "ClusterConfigurationError",
    "MalformedMessageError",
    "NotGreenError",
    "PrismClusterError",
    "StaleTokenError",
    "TermFileError",
]


class PrismClusterError(Exception):
    """Anything that prism.cluster raises on purpose."""


class ClusterConfigurationError(PrismClusterError, ValueError):
    """A setting or an argument is outside what is accepted."""


class TermFileError(PrismClusterError):
    """The file that keeps a node's term cannot be read, and guessing would reuse a token.

    Attributes:
        path: The file.
    """

    def __init__(self, message: str, *, path: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path


class NotGreenError(PrismClusterError):
    """This node does not hold the lease.

    Attributes:
        green: The node that seems to hold it; `None` when none is known.
    """

    def __init__(self, message: str, *, green: str | None = None) -> None:
        super().__init__(message)
        self.green = green


class StaleTokenError(PrismClusterError):
    """A fencing token is lower than one that was seen before.

    Attributes:
        token: The refused token.
        highest: The highest one seen.
    """

    def __init__(self, *, token: int, highest: int) -> None:
        super().__init__(
            f"fencing token {token} is older than {highest}, which a later GREEN has used; "
            "stop this work: the node that does it lost its lease"
        )
        self.token = token
        self.highest = highest


class MalformedMessageError(PrismClusterError):
    """A peer sent bytes that are no message of this version."""


class ClusterClosedError(PrismClusterError):
    """The node or cache is closed, or was not started yet."""
