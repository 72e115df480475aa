"""Move rows of vectors and text between machines: authentic, in order, for one tenant alone.

Frames, sessions and keys are values in, values out: they open no socket and know no clock. What
touches files and gRPC is `TLSConfig` and the functions beside it.
"""

from __future__ import annotations

import logging

from chorus_fabric._bind import check_bind
from chorus_fabric._cipher import TensorCipher
from chorus_fabric._codec import MAX_FRAME_BYTES
from chorus_fabric._columns import BytesColumn, TextColumn
from chorus_fabric._frame import Frame, FrameKind
from chorus_fabric._handshake import Initiator, Renewal, Responder, Session, session_named_by
from chorus_fabric._identity import Identity, peer_identity, tenant_host
from chorus_fabric._sealing import SessionOpener, SessionSealer
from chorus_fabric._secret_files import read_secret
from chorus_fabric._session import SessionPolicy
from chorus_fabric._tls import (
    TLSConfig,
    TLSFiles,
    channel_credentials,
    channel_options,
    server_credentials,
)
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
    "Identity",
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
    "TLSConfig",
    "TLSFiles",
    "TensorCipher",
    "TextColumn",
    "UnsafeBindError",
    "channel_credentials",
    "channel_options",
    "check_bind",
    "peer_identity",
    "read_secret",
    "server_credentials",
    "session_named_by",
    "tenant_host",
]

logging.getLogger("chorus_fabric").addHandler(logging.NullHandler())
