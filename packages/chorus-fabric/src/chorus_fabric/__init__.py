"""Move rows of vectors and text between machines: authentic, in order, for one tenant alone.

Frames, sessions and keys are values in, values out: they open no socket and know no clock. What
touches files and gRPC is `TLSConfig` and the functions beside it.
"""

from __future__ import annotations

import logging

from chorus_fabric._bind import check_bind
from chorus_fabric._cipher import TensorCipher
from chorus_fabric._client import ClientConfig, ServiceClient, Welcome
from chorus_fabric._codec import MAX_FRAME_BYTES
from chorus_fabric._columns import BytesColumn, TextColumn
from chorus_fabric._feed import FeedBatch, FeedLog, FeedPart, RowChange, StreamColumn, StreamSchema
from chorus_fabric._feed_stream import SubscriberStatus
from chorus_fabric._feed_writer import FeedPosition
from chorus_fabric._frame import Frame, FrameKind
from chorus_fabric._handlers import (
    Caller,
    HealthHandler,
    HealthReport,
    QueryAnswer,
    QueryCall,
    QueryHandler,
    QueryRow,
    WriteCall,
    WriteHandler,
    WriteResult,
)
from chorus_fabric._handshake import Initiator, Renewal, Responder, Session, session_named_by
from chorus_fabric._identity import Identity, peer_identity, tenant_host
from chorus_fabric._listener import DriverListener
from chorus_fabric._memory_log import MemoryLog
from chorus_fabric._publisher import CHORUSPublisher, PublisherStatus
from chorus_fabric._publisher_config import DriverEndpoint, PublisherConfig
from chorus_fabric._sealing import SessionOpener, SessionSealer
from chorus_fabric._secret_files import read_secret
from chorus_fabric._session import SessionPolicy
from chorus_fabric._subscriber import Connected, Disconnected, Subscriber
from chorus_fabric._subscription import (
    Began,
    Cleared,
    Deleted,
    Described,
    FeedEvent,
    Reached,
    Upserted,
)
from chorus_fabric._tls import (
    TLSConfig,
    TLSFiles,
    channel_credentials,
    channel_options,
    server_credentials,
)
from chorus_fabric.errors import (
    CallRefusedError,
    CertificateError,
    ChorusError,
    ConflictError,
    FabricConfigurationError,
    FeedProtocolError,
    ForgedFrameError,
    FrameError,
    FrameOrderError,
    FrameTooLargeError,
    FrameVersionError,
    HandshakeError,
    IdentityError,
    InvalidCallError,
    InvalidFrameError,
    KeyEpochError,
    MalformedFrameError,
    MisroutedFrameError,
    NotAllowedError,
    NotReadyError,
    PeerDownError,
    PeerError,
    PositionGoneError,
    QueueFullError,
    ReplayedFrameError,
    RequestFailedError,
    RequestTimeoutError,
    ServiceUnavailableError,
    SessionExpiredError,
    SubscriberTooSlowError,
    UnsafeBindError,
    WrongStateError,
)
from chorus_fabric.mesh import CHORUSFabric

__all__ = [
    "MAX_FRAME_BYTES",
    "Began",
    "BytesColumn",
    "CHORUSFabric",
    "CHORUSPublisher",
    "CallRefusedError",
    "Caller",
    "CertificateError",
    "ChorusError",
    "Cleared",
    "ClientConfig",
    "ConflictError",
    "Connected",
    "Deleted",
    "Described",
    "Disconnected",
    "DriverEndpoint",
    "DriverListener",
    "FabricConfigurationError",
    "FeedBatch",
    "FeedEvent",
    "FeedLog",
    "FeedPart",
    "FeedPosition",
    "FeedProtocolError",
    "ForgedFrameError",
    "Frame",
    "FrameError",
    "FrameKind",
    "FrameOrderError",
    "FrameTooLargeError",
    "FrameVersionError",
    "HandshakeError",
    "HealthHandler",
    "HealthReport",
    "Identity",
    "IdentityError",
    "Initiator",
    "InvalidCallError",
    "InvalidFrameError",
    "KeyEpochError",
    "MalformedFrameError",
    "MemoryLog",
    "MisroutedFrameError",
    "NotAllowedError",
    "NotReadyError",
    "PeerDownError",
    "PeerError",
    "PositionGoneError",
    "PublisherConfig",
    "PublisherStatus",
    "QueryAnswer",
    "QueryCall",
    "QueryHandler",
    "QueryRow",
    "QueueFullError",
    "Reached",
    "Renewal",
    "ReplayedFrameError",
    "RequestFailedError",
    "RequestTimeoutError",
    "Responder",
    "RowChange",
    "ServiceClient",
    "ServiceUnavailableError",
    "Session",
    "SessionExpiredError",
    "SessionOpener",
    "SessionPolicy",
    "SessionSealer",
    "StreamColumn",
    "StreamSchema",
    "Subscriber",
    "SubscriberStatus",
    "SubscriberTooSlowError",
    "TLSConfig",
    "TLSFiles",
    "TensorCipher",
    "TextColumn",
    "UnsafeBindError",
    "Upserted",
    "Welcome",
    "WriteCall",
    "WriteHandler",
    "WriteResult",
    "WrongStateError",
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
