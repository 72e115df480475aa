"""Move rows of vectors and text between machines: authentic, in order, for one tenant alone.

The frames, sessions and keys are values in, values out: they open no socket and know no clock.
"""

from __future__ import annotations

import logging

from chorus_fabric._cipher import TensorCipher
from chorus_fabric._codec import MAX_FRAME_BYTES
from chorus_fabric._columns import BytesColumn, TextColumn
from chorus_fabric._frame import Frame, FrameKind
from chorus_fabric._handshake import Initiator, Renewal, Responder, Session, session_named_by
from chorus_fabric._sealing import SessionOpener, SessionSealer
from chorus_fabric._session import SessionPolicy
from chorus_fabric.errors import (
    CertificateError,
    ChorusError,
    FabricConfigurationError,
    ForgedFrameError,
    FrameError,
    FrameOrderError,
    FrameTooLargeError,
    FrameVersionError,
    HandshakeError,
    IdentityError,
    InvalidFrameError,
    KeyEpochError,
    MalformedFrameError,
    MisroutedFrameError,
    PeerError,
    ReplayedFrameError,
    SessionExpiredError,
    UnsafeBindError,
)

__all__ = [
    "MAX_FRAME_BYTES",
    "BytesColumn",
    "CertificateError",
    "ChorusError",
    "FabricConfigurationError",
    "ForgedFrameError",
    "Frame",
    "FrameError",
    "FrameKind",
    "FrameOrderError",
    "FrameTooLargeError",
    "FrameVersionError",
    "HandshakeError",
    "IdentityError",
    "Initiator",
    "InvalidFrameError",
    "KeyEpochError",
    "MalformedFrameError",
    "MisroutedFrameError",
    "PeerError",
    "Renewal",
    "ReplayedFrameError",
    "Responder",
    "Session",
    "SessionExpiredError",
    "SessionOpener",
    "SessionPolicy",
    "SessionSealer",
    "TensorCipher",
    "TextColumn",
    "UnsafeBindError",
    "session_named_by",
]

logging.getLogger("chorus_fabric").addHandler(logging.NullHandler())
