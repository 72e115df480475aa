"""What can go wrong, split by what the caller does next.

    ChorusError
    ├── FabricConfigurationError (ValueError)    fix a setting; the message names it
    │   ├── CertificateError                     issue the certificate anew, or name the right file
    │   └── UnsafeBindError                      bind to loopback, or give certificates or a secret
    ├── InvalidFrameError (ValueError)           fix the frame: it cannot be sent as it is
    ├── SessionExpiredError                      say hello again: keys are too old or used up
    ├── ConflictError                            read again: another was first
    ├── PositionGoneError (LookupError)          read the change log from 0 of its current epoch
    ├── CallRefusedError                         a service did nothing: its message says why
    │   ├── InvalidCallError (ValueError)        fix the call
    │   ├── NotAllowedError (PermissionError)    ask whoever runs the service
    │   ├── WrongStateError                      change the set-up, or the data
    │   ├── NotReadyError                        retry later
    │   └── RequestFailedError                   look into the log of the node that was asked
    ├── ServiceUnavailableError                  try again: a service is away, or went away
    │   ├── SubscriberTooSlowError               resume: nothing was taken for too long
    │   ├── PeerDownError                        try again once the node is up
    │   ├── QueueFullError                       try again later, or send less
    │   └── RequestTimeoutError (TimeoutError)   try again: it may have been done, or not
    ├── PeerError                                the other side broke the rules
    │   ├── FeedProtocolError                    subscribe again: a frame does not fit those before
    │   ├── HandshakeError                       wrong secret or tenant, or not a hello at all
    │   ├── IdentityError                        its certificate does not name what it claims
    │   └── FrameError                           its message was refused, and nothing has changed
    │       ├── MalformedFrameError              not a frame, or one that contradicts itself
    │       │   └── FrameTooLargeError           longer than this side accepts
    │       ├── FrameVersionError                another version of the format: upgrade one side
    │       ├── MisroutedFrameError              for another tenant, or from another sender
    │       ├── KeyEpochError                    keys that are gone, or not yet here
    │       ├── ReplayedFrameError               seen before, or too old to tell
    │       ├── FrameOrderError                  one or more before it are missing
    │       └── ForgedFrameError                 seal or watermark does not hold

A refused frame leaves its session as it was: the next genuine frame is accepted.
"""

from __future__ import annotations

__all__ = [
    "CallRefusedError",
    "CertificateError",
    "ChorusError",
    "ConflictError",
    "FabricConfigurationError",
    "FeedProtocolError",
    "ForgedFrameError",
    "FrameError",
    "FrameOrderError",
    "FrameTooLargeError",
    "FrameVersionError",
    "HandshakeError",
    "IdentityError",
    "InvalidCallError",
    "InvalidFrameError",
    "KeyEpochError",
    "MalformedFrameError",
    "MisroutedFrameError",
    "NotAllowedError",
    "NotReadyError",
    "PeerDownError",
    "PeerError",
    "PositionGoneError",
    "QueueFullError",
    "ReplayedFrameError",
    "RequestFailedError",
    "RequestTimeoutError",
    "ServiceUnavailableError",
    "SessionExpiredError",
    "SubscriberTooSlowError",
    "UnsafeBindError",
    "WrongStateError",
]


class ChorusError(Exception):
    """Anything that chorus_fabric raises on purpose."""


class FabricConfigurationError(ChorusError, ValueError):
    """A setting or an argument is outside what is accepted."""


class CertificateError(FabricConfigurationError):
    """A certificate or key file is missing, unreadable, or not what it should be.

    Attributes:
        path: The file; empty when it is not about one.
    """

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path


class UnsafeBindError(FabricConfigurationError):
    """A server would be open to the network with neither certificates nor a secret."""


class InvalidFrameError(ChorusError, ValueError):
    """A frame or column cannot be sent as it is; nothing was sent and no counter moved."""


class SessionExpiredError(ChorusError):
    """The keys of a session are too old or used up, or the session was closed."""


class PeerError(ChorusError):
    """The other side broke the rules, or somebody between did."""


class HandshakeError(PeerError):
    """A hello or its answer does not hold: another secret, another tenant, or damaged."""


class IdentityError(PeerError):
    """A peer's certificate does not name the tenant or node it claims to be."""


class FrameError(PeerError):
    """A message was refused. Nothing of it was used and the session is as it was."""


class MalformedFrameError(FrameError):
    """A message is not a frame, or its parts contradict each other."""


class FrameTooLargeError(MalformedFrameError):
    """A message is longer than this side accepts, or declares that it would be."""


class FrameVersionError(FrameError):
    """A message has another version of the format."""


class MisroutedFrameError(FrameError):
    """A frame names another tenant, or another sender, than those of the session."""


class KeyEpochError(FrameError):
    """A frame was made with keys that this side no longer has, or does not have yet.

    Attributes:
        is_newer: Whether the frame's keys are newer than this side's. While an own rekey is on its
            way, finish that and open the same message again.
    """

    def __init__(self, message: str, *, is_newer: bool) -> None:
        super().__init__(message)
        self.is_newer = is_newer


class ReplayedFrameError(FrameError):
    """A frame was accepted before, or is too old for this side to tell."""


class FrameOrderError(FrameError):
    """A frame of an ordered stream came before its turn: one or more are missing."""


class ForgedFrameError(FrameError):
    """Seal or watermark of a frame does not hold: its peer did not make it, or not like this."""


class PositionGoneError(ChorusError, LookupError):
    """A log cannot be read on from that position; begin at 0 of its current epoch."""


class CallRefusedError(ChorusError):
    """A service did not do what was asked, and nothing was changed; the message says why."""


class InvalidCallError(CallRefusedError, ValueError):
    """The call is wrong in itself: fix it. A column, a type, a width, a table's name."""


class NotAllowedError(CallRefusedError, PermissionError):
    """The caller may not do that here: ask whoever runs the service."""


class WrongStateError(CallRefusedError):
    """The service is not set up for that, or the data forbids it (a constraint)."""


class NotReadyError(CallRefusedError):
    """The service cannot do that at the moment: retry later."""


class FeedProtocolError(PeerError):
    """A frame does not follow from those before it; subscribe again.

    Attributes:
        begin_anew: Whether to do so from nothing, because the position is of no use.
    """

    def __init__(self, message: str, *, begin_anew: bool = False) -> None:
        super().__init__(message)
        self.begin_anew = begin_anew


class ServiceUnavailableError(ChorusError):
    """A service cannot be reached, went away, or did not answer in time; try again.

    Attributes:
        code: The name of the gRPC status.
    """

    def __init__(self, message: str, *, code: str = "UNAVAILABLE") -> None:
        super().__init__(message)
        self.code = code


class SubscriberTooSlowError(ServiceUnavailableError):
    """A subscriber took nothing for too long and was cut off; it resumes from its position."""


class PeerDownError(ServiceUnavailableError):
    """A node of the mesh is down, or went down before it answered; it may have done what it read.

    Attributes:
        node_id: The node.
    """

    def __init__(self, message: str, *, node_id: str) -> None:
        super().__init__(message)
        self.node_id = node_id


class QueueFullError(ServiceUnavailableError):
    """Too much waits to be sent to a node already; nothing was sent."""


class RequestTimeoutError(ServiceUnavailableError, TimeoutError):
    """A node did not answer a request in time; it may have done what was asked, or not."""


class RequestFailedError(CallRefusedError):
    """A node's handler failed, or it has none for the request; its log says why."""


class ConflictError(ChorusError):
    """A value in a store is not as it was read; nothing was written."""
