"""The two ends of one direction: frames become messages, messages become frames.

Sending:    check, rotate, serialise, watermark, seal.
Receiving:  size, version, counts; tenant and sender; key epoch; counter; seal; watermark; columns;
            rotate back; finite numbers. Only then does anything change on this side, so a message
            that is refused at any step leaves no trace.

On an *ordered* lane a message is accepted only as the next one: its counter must be the next, and
its watermark is made over the one before, through changes of keys as well. What is left out,
repeated or put elsewhere is refused. What is cut off at the end cannot be seen from what is there:
the layer above sends a MARK each second, and takes silence for a broken line.

On an *unordered* lane messages may overtake each other and get lost; each is accepted once, within
a window of 1,024.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from chorus_fabric._codec import (
    HEADER_BYTES,
    SEALED,
    UNORDERED,
    WATERMARK_BYTES,
    Header,
    body_parts,
    decode_body,
    header_of,
    name_hash,
    read_header,
)
from chorus_fabric._frame import Frame
from chorus_fabric._keys import Delivery, LaneKeys
from chorus_fabric._replay import Counters, ReplayWindow, StrictOrder
from chorus_fabric.errors import (
    ForgedFrameError,
    InvalidFrameError,
    KeyEpochError,
    MisroutedFrameError,
    SessionExpiredError,
)

__all__ = ["SessionOpener", "SessionSealer"]

_MOST_FRAMES: Final = 1 << 33
_MOST_BYTES: Final = 128 << 30


class _Lane:
    """What both ends know of their lane, and how much went over it under the present keys."""

    def __init__(
        self, *, tenant_id: str, sender: str, delivery: Delivery, is_sealed: bool,
        max_frame_bytes: int,
    ) -> None:  # fmt: skip
        self._tenant_id = tenant_id
        self._sender = sender
        self._tenant_hash = name_hash("tenant", tenant_id)
        self._sender_hash = name_hash("sender", sender)
        self._is_ordered = delivery == "ordered"
        self._transport = (SEALED if is_sealed else 0) | (0 if self._is_ordered else UNORDERED)
        self._max_frame_bytes = max_frame_bytes
        self._frames = 0
        self._bytes = 0
        self._end = ""
        self._room = np.empty(0, np.float32)

    @property
    def frames(self) -> int:
        """How many frames went through under the present keys."""
        return self._frames

    @property
    def bytes(self) -> int:
        """How many bytes they had."""
        return self._bytes

    def end(self, reason: str) -> None:
        """Refuse all further work, for this reason."""
        self._end = reason

    def _check_open(self) -> None:
        if self._end:
            raise SessionExpiredError(self._end)


class SessionSealer(_Lane):
    """Turns frames of one direction into messages. Not for several threads at once."""

    def install(self, key_epoch: int, keys: LaneKeys) -> None:
        """Use these keys from the next frame on."""
        self._key_epoch = key_epoch
        # The chain of an ordered lane goes on through a change of keys: the last frames before it
        # cannot be left out unnoticed.
        if key_epoch == 0 or not self._is_ordered:
            self._before = keys.root
        self._keys = keys
        self._frames = self._bytes = 0

    def seal(self, frame: Frame) -> bytes:
        """Give the message for a frame. On an ordered lane messages must be sent in this order.

        Args:
            frame: Of the session's tenant and own sender.

        Raises:
            InvalidFrameError: The frame contradicts itself or the session, holds a number that is
                not finite, or is too large.
            SessionExpiredError: The keys are too old or used up.
        """
        self._check_open()
        if self._frames >= _MOST_FRAMES or self._bytes >= _MOST_BYTES:
            raise SessionExpiredError("too much was sent under the same keys: rekey the session")
        if frame.tenant_id != self._tenant_id or frame.sender != self._sender:
            raise InvalidFrameError(
                f"a frame of tenant {frame.tenant_id!r} from {frame.sender!r} in a session of "
                f"tenant {self._tenant_id!r} from {self._sender!r}"
            )
        header = header_of(
            frame,
            tenant=self._tenant_hash,
            sender=self._sender_hash,
            transport=self._transport,
            key_epoch=self._key_epoch,
            counter=self._frames,
        )
        if header.message_bytes > self._max_frame_bytes:
            raise InvalidFrameError(
                f"a frame of {header.message_bytes} bytes, over the {self._max_frame_bytes} "
                "allowed: send its rows in several"
            )
        vectors = frame.vectors
        if vectors.size:
            vectors = self._keys.cipher.rotate(vectors, self._room_for(vectors))
            if not np.isfinite(vectors).all():
                raise InvalidFrameError("a vector holds a number that is infinite or none")
        packed = header.pack()
        parts = body_parts(frame, vectors)
        watermark = self._keys.watermarker.mark(packed, parts, self._before)
        parts.append(watermark)
        if self._keys.seal is None:
            message = b"".join((packed, *parts))
        else:
            message = self._keys.seal.close(packed, parts, self._frames)
        if self._is_ordered:
            self._before = watermark
        self._frames += 1
        self._bytes += len(message)
        return message

    def _room_for(self, vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Give memory for rotated vectors, the same each time: they are copied into the message."""
        if self._room.size < vectors.size:
            self._room = np.empty(vectors.size, np.float32)
        return self._room[: vectors.size].reshape(vectors.shape)


class _Epoch:
    """The keys of one epoch on the receiving side, and which counters came under them."""

    __slots__ = ("counters", "keys")

    def __init__(self, keys: LaneKeys, counters: Counters) -> None:
        self.keys = keys
        self.counters = counters


class SessionOpener(_Lane):
    """Turns messages of one direction into frames. Not for several threads at once."""

    def install(self, key_epoch: int, keys: LaneKeys) -> None:
        """Accept frames under these keys too."""
        if key_epoch == 0:
            self._epochs: dict[int, _Epoch] = {}
            self._before = keys.root
        counters: Counters = StrictOrder() if self._is_ordered else ReplayWindow()
        self._epochs[key_epoch] = _Epoch(keys, counters)
        self._newest = key_epoch
        self._frames = self._bytes = 0

    def retire(self, before: int) -> None:
        """Forget the keys of all epochs before this one."""
        for epoch in [epoch for epoch in self._epochs if epoch < before]:
            del self._epochs[epoch]

    def open(self, message: bytes | bytearray | memoryview) -> Frame:
        """Give the frame of a message.

        Args:
            message: As it came. Columns of a frame that is not sealed lie in its memory: do not
                change it.

        Raises:
            FrameError: It was refused, each reason a class of its own; nothing has changed.
            SessionExpiredError: The keys are too old.
        """
        self._check_open()
        view = memoryview(message).cast("B").toreadonly()
        header = read_header(view, max_bytes=self._max_frame_bytes)
        epoch = self._expected(header)
        body, watermark = self._authentic(header, epoch.keys, view)
        frame = decode_body(
            header,
            body,
            tenant_id=self._tenant_id,
            sender=self._sender,
            restore=epoch.keys.cipher.restore,
            is_borrowed=epoch.keys.seal is not None,
        )
        epoch.counters.accept(header.counter)
        if self._is_ordered:
            self._before = watermark
            self.retire(header.key_epoch)
        self._frames += 1
        self._bytes += len(view)
        return frame

    def _expected(self, header: Header) -> _Epoch:
        """Find the keys for a header, if a frame like this could come now."""
        if header.transport != self._transport:
            if header.is_sealed != bool(self._transport & SEALED):
                raise ForgedFrameError("a frame is not sealed as the session agreed")
            raise MisroutedFrameError("a frame of an unordered lane in an ordered one, or reversed")
        if header.tenant != self._tenant_hash:
            raise MisroutedFrameError("a frame of another tenant")
        if header.sender != self._sender_hash:
            raise MisroutedFrameError("a frame from another sender")
        epoch = self._epochs.get(header.key_epoch)
        if epoch is None:
            is_newer = header.key_epoch > self._newest
            raise KeyEpochError(
                f"a frame under keys of epoch {header.key_epoch}, "
                f"{'not here yet' if is_newer else 'which are gone'}; this side has {self._newest}",
                is_newer=is_newer,
            )
        refusal = epoch.counters.refusal(header.counter)
        if refusal is not None:
            raise refusal
        return epoch

    def _authentic(
        self, header: Header, keys: LaneKeys, view: memoryview
    ) -> tuple[memoryview, bytes]:
        """Give body and watermark of a message, if its peer made them so and here."""
        rest: memoryview | None = view[HEADER_BYTES:]
        if keys.seal is not None:
            rest = keys.seal.open(view, header.counter)
            if rest is None:
                raise ForgedFrameError("the seal of a frame does not hold")
        assert rest is not None  # noqa: S101  for the type checker
        body, watermark = rest[:-WATERMARK_BYTES], bytes(rest[-WATERMARK_BYTES:])
        before = self._before if self._is_ordered else keys.root
        if not keys.watermarker.holds(watermark, view[:HEADER_BYTES], (body,), before):
            raise ForgedFrameError(
                "the watermark of a frame does not hold: it was changed, or one before is missing"
            )
        return body, watermark
