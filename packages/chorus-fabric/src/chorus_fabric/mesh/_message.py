"""What handlers are given, and which lane a type of frame takes."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from chorus_fabric._codec import MAX_DIMS
from chorus_fabric._columns import BytesColumn
from chorus_fabric._frame import Frame, FrameKind
from chorus_fabric.errors import FabricConfigurationError, InvalidFrameError, MalformedFrameError
from chorus_fabric.mesh._transport import Lane

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "COALESCABLE",
    "FRAME_TYPES",
    "FabricStatus",
    "MeshMessage",
    "Outgoing",
    "PeerStatus",
    "checked",
    "lane_of",
    "message_in",
    "number_in",
    "reply_to",
]

FRAME_TYPES: Final = frozenset(
    (
        FrameKind.TOKEN_SYNC,
        FrameKind.HEALTH,
        FrameKind.SIGNAL,
        FrameKind.CONFIG,
        FrameKind.INVALIDATE,
        FrameKind.LEASE,
    )
)
# A newer one makes an older one worth less, and what is lost is repaired by the layer above.
COALESCABLE: Final = frozenset(
    (FrameKind.TOKEN_SYNC, FrameKind.HEALTH, FrameKind.LEASE, FrameKind.HEARTBEAT)
)

_URGENT: Final = frozenset((FrameKind.HEARTBEAT, FrameKind.LEASE, FrameKind.SIGNAL))
_MOST_BYTES: Final = {Lane.URGENT: 64 << 10, Lane.BULK: 15 << 20}
_OVERHEAD_BYTES: Final = 160  # header, watermark, tag, and what a queue keeps beside them
_NUMBER: Final = struct.Struct("<Q")
_U64: Final = 1 << 64


def _no_arrays() -> npt.NDArray[np.float32]:
    return np.empty((0, 0), np.float32)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeshMessage:
    """What a peer sent.

    Attributes:
        sender: The peer.
        frame_type: What kind of frame it is; of a request, what it asks about.
        payload: What was given to `broadcast`, `send` or `request`.
        arrays: Shape `(n, dims)`, as it was sent to about 1e-6; `(0, 0)` where there was none.
        token: The sender's number, as of a lease; 0 for none.
        is_request: Whether an answer is waited for.
    """

    sender: str
    frame_type: FrameKind
    payload: bytes
    arrays: npt.NDArray[np.float32] = field(default_factory=_no_arrays)
    token: int = 0
    is_request: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerStatus:
    """A peer at one moment.

    Attributes:
        node_id: Its name.
        is_up: Whether both lanes are agreed on and it was heard of lately.
        since: When that began, in seconds of the fabric's clock.
        rtt_s: How long a heartbeat and its echo took, without the time that the peer held it;
            smoothed over about eight. `None` before the first.
        last_heard: When it was last heard of; `None` for never.
    """

    node_id: str
    is_up: bool
    since: float
    rtt_s: float | None
    last_heard: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FabricStatus:
    """What a fabric has counted since it was started. Heartbeats are left out.

    Attributes:
        sent: Frames handed to the transport.
        received: Frames opened and accepted.
        dropped: Frames that waited to be sent and made room for newer ones, by type.
        dropped_received: Frames that waited for the event loop and made room, by type, and those
            that found none.
        missed: Frames that waited to be sent when their peer went down.
        late: Frames that were overtaken by a newer one of their type, and so not given out.
        refused: Messages that did not hold: forged, repeated, or of keys that are gone.
        handler_errors: Handlers that raised.
        queued_bytes: What waits to be sent, to all peers.
        waiting_bytes: What waits for handlers, of all peers.
        requests: Requests that wait for their answer.
    """

    sent: int
    received: int
    dropped: Mapping[FrameKind, int]
    dropped_received: Mapping[FrameKind, int]
    missed: int
    late: int
    refused: int
    handler_errors: int
    queued_bytes: int
    waiting_bytes: int
    requests: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outgoing:
    """A frame that waits to be sent; it gets its number when it is.

    Attributes:
        kind: What it is on the wire.
        about: The type of a request or of the one that is answered; 0 for others.
        payload: Its content.
        arrays: Its vectors.
        token: The sender's number.
        flags: 1 on a reply that tells of a failure.
    """

    kind: FrameKind
    payload: bytes
    about: int = 0
    arrays: npt.NDArray[np.float32] = field(default_factory=_no_arrays)
    token: int = 0
    flags: int = 0

    @property
    def size_bytes(self) -> int:
        """About how much memory it takes, and how long its message is."""
        return _OVERHEAD_BYTES + len(self.payload) + self.arrays.nbytes + 4 * len(self.arrays)

    def frame(self, *, tenant_id: str, sender: str, seq: int) -> Frame:
        """Give the frame. Its payload is the first item of its metadata."""
        rows = max(1, len(self.arrays))
        items = [self.payload, *[b""] * (rows - 1)]
        return Frame(
            kind=self.kind,
            tenant_id=tenant_id,
            sender=sender,
            stream=self.about,
            epoch=self.token,
            seq=seq,
            flags=self.flags,
            vectors=self.arrays,
            metadata=BytesColumn.from_items(items),
        )


def lane_of(kind: FrameKind) -> Lane:
    """Give the lane of a type of frame, and of requests about it."""
    return Lane.URGENT if kind in _URGENT else Lane.BULK


def checked(
    frame_type: FrameKind,
    payload: bytes,
    *,
    arrays: npt.ArrayLike | None = None,
    token: int = 0,
    number: int | None = None,
) -> Outgoing:
    """Check what is to be sent, once for all peers.

    Args:
        frame_type: One of `FRAME_TYPES`.
        payload: Any bytes.
        arrays: Vectors of one width, or none. They are copied.
        token: Below 2**64.
        number: The number of a request; `None` for other frames.

    Raises:
        FabricConfigurationError: It is no type for sending, or the token is none.
        InvalidFrameError: It is too large, or vectors are not finite or of two dimensions.
    """
    if frame_type not in FRAME_TYPES:
        known = ", ".join(sorted(kind.name for kind in FRAME_TYPES))
        raise FabricConfigurationError(f"a mesh carries {known}; got {frame_type!r}")
    if not 0 <= token < _U64:
        raise FabricConfigurationError(f"token is 0 to {_U64 - 1}, got {token}")
    payload = bytes(payload)
    vectors = _no_arrays() if arrays is None else np.array(arrays, np.float32)
    if vectors.ndim != 2 or vectors.shape[1] > MAX_DIMS or not np.isfinite(vectors).all():
        raise InvalidFrameError(
            f"arrays has shape (n, dims), dims up to {MAX_DIMS}, and finite numbers; got shape "
            f"{vectors.shape}"
        )
    if not vectors.size:
        vectors = _no_arrays()
    is_request = number is not None
    outgoing = Outgoing(
        kind=FrameKind.REQUEST if is_request else frame_type,
        about=int(frame_type) if is_request else 0,
        payload=_NUMBER.pack(number) + payload if number is not None else payload,
        arrays=vectors,
        token=token,
    )
    most = _MOST_BYTES[lane_of(frame_type)]
    if outgoing.size_bytes > most + _OVERHEAD_BYTES + _NUMBER.size:
        raise InvalidFrameError(
            f"{frame_type.name} frames have up to {most} bytes of payload and arrays, got "
            f"{outgoing.size_bytes - _OVERHEAD_BYTES}: send it in parts"
        )
    return outgoing


def reply_to(number: int, about: FrameKind, payload: bytes, *, failed: bool) -> Outgoing:
    """Make the answer to a request."""
    return Outgoing(
        kind=FrameKind.REPLY,
        about=int(about),
        payload=_NUMBER.pack(number) + payload,
        flags=1 if failed else 0,
    )


def number_in(frame: Frame) -> tuple[int, bytes]:
    """Give the number and the content of a request or reply.

    Raises:
        MalformedFrameError: It has none.
    """
    payload = _payload(frame)
    if len(payload) < _NUMBER.size:
        raise MalformedFrameError(f"a {frame.kind.name} frame without a number")
    return _NUMBER.unpack_from(payload)[0], payload[_NUMBER.size :]


def message_in(frame: Frame) -> MeshMessage:
    """Give what handlers get of a frame.

    Raises:
        MalformedFrameError: It is not one of a mesh.
    """
    is_request = frame.kind is FrameKind.REQUEST
    try:
        frame_type = FrameKind(frame.stream) if is_request else frame.kind
    except ValueError:
        raise MalformedFrameError(f"a request about the unknown type {frame.stream}") from None
    if frame_type not in FRAME_TYPES:
        raise MalformedFrameError(f"a {frame_type.name} frame has no place in a mesh")
    return MeshMessage(
        sender=frame.sender,
        frame_type=frame_type,
        payload=number_in(frame)[1] if is_request else _payload(frame),
        arrays=frame.vectors,
        token=frame.epoch,
        is_request=is_request,
    )


def _payload(frame: Frame) -> bytes:
    if not len(frame.metadata):
        raise MalformedFrameError(f"a {frame.kind.name} frame without content")
    return frame.metadata[0]
