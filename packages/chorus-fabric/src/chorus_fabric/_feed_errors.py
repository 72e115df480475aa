"""Errors of feeds and calls; `chorus_fabric.errors` gives them out and draws the tree."""

from __future__ import annotations

from chorus_fabric.errors import ChorusError, PeerError

__all__ = [
    "CallRefused",
    "FeedProtocolError",
    "InvalidCall",
    "NotAllowed",
    "NotReady",
    "PositionGone",
    "ServiceUnavailable",
    "SubscriberTooSlow",
    "WrongState",
]


class PositionGone(ChorusError, LookupError):
    """A log cannot be read on from that position; begin at 0 of its current epoch."""


class CallRefused(ChorusError):
    """A service did not do what was asked, and nothing was changed; the message says why."""


class InvalidCall(CallRefused, ValueError):
    """The call is wrong in itself: fix it. A column, a type, a width, a table's name."""


class NotAllowed(CallRefused, PermissionError):
    """The caller may not do that here: ask whoever runs the service."""


class WrongState(CallRefused):
    """The service is not set up for that, or the data forbids it (a constraint)."""


class NotReady(CallRefused):
    """The service cannot do that at the moment: retry later."""


class FeedProtocolError(PeerError):
    """A frame does not follow from those before it; subscribe again.

    Attributes:
        begin_anew: Whether to do so from nothing, because the position is of no use.
    """

    def __init__(self, message: str, *, begin_anew: bool = False) -> None:
        super().__init__(message)
        self.begin_anew = begin_anew


class ServiceUnavailable(ChorusError):
    """A service cannot be reached, went away, or did not answer in time; try again.

    Attributes:
        code: The name of the gRPC status.
    """

    def __init__(self, message: str, *, code: str = "UNAVAILABLE") -> None:
        super().__init__(message)
        self.code = code


class SubscriberTooSlow(ServiceUnavailable):
    """A subscriber took nothing for too long and was cut off; it resumes from its position."""
