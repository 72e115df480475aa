"""One peer: two lanes, each with keys and a queue, and what its heartbeats tell.

Up means: keys are agreed on both lanes, and it was heard of within `down_after_s`. A heartbeat
carries the sender's clock and gives the receiver's last one back, with how long it was held: so
the round trip is known without comparing clocks (as in RFC 5905, section 8).
"""

from __future__ import annotations

import struct
import threading
from typing import TYPE_CHECKING, Final

from chorus_fabric._frame import FrameKind
from chorus_fabric.errors import ChorusError
from chorus_fabric.mesh._link import Link
from chorus_fabric.mesh._message import Outgoing, PeerStatus
from chorus_fabric.mesh._queue import FrameQueue
from chorus_fabric.mesh._transport import Lane

if TYPE_CHECKING:
    from chorus_fabric._frame import Frame
    from chorus_fabric.mesh._config import FabricConfig

__all__ = ["LaneEnd", "Peer"]

_BEAT: Final = struct.Struct("<QQQ")  # own clock, the other's last, how long it was held; ns
_SMOOTHING: Final = 1 / 8


class LaneEnd:
    """This side of one lane with one peer. Safe to share between threads.

    What waits has a lock of its own: to queue a frame never waits for another that is sealed.
    """

    def __init__(
        self,
        *,
        lane: Lane,
        tenant_id: str,
        node_id: str,
        peer: str,
        secret: str | bytes | None,
        config: FabricConfig,
    ) -> None:
        self._tenant_id = tenant_id
        self._node_id = node_id
        self._link = Link(
            tenant_id=tenant_id, node_id=node_id, peer=peer, secret=secret, policy=config.session
        )
        bound = config.urgent_queue_bytes if lane is Lane.URGENT else config.queue_bytes
        self._queue: FrameQueue[Outgoing] = FrameQueue(bound)
        self._link_lock = threading.Lock()
        self._queue_lock = threading.Lock()
        self._seq = 0
        self._newest: dict[FrameKind, int] = {}
        self._generation = 0
        self.is_confirmed = False
        self.sent = 0
        self.received = 0
        self.late = 0
        self.missed = 0
        self.unsendable = 0

    @property
    def is_up(self) -> bool:
        """Whether keys are agreed on."""
        return self._link.is_up

    @property
    def refused(self) -> int:
        """Messages that did not hold, and frames that turned out not to be sendable."""
        return self._link.refused + self.unsendable

    @property
    def queued_bytes(self) -> int:
        """What waits to be sent."""
        return self._queue.size_bytes

    def dropped(self) -> dict[FrameKind, int]:
        """Frames that made room, by type."""
        with self._queue_lock:
            return dict(self._queue.dropped)

    def push(self, outgoing: Outgoing) -> bool:
        """Queue a frame; gives whether there was room."""
        with self._queue_lock:
            return self._queue.push(outgoing.kind, outgoing.size_bytes, outgoing)

    def clear(self) -> None:
        """Forget what waits: the peer is down."""
        with self._queue_lock:
            self.missed += self._queue.clear()

    def reset(self, now: float) -> None:
        """Forget all keys."""
        with self._link_lock:
            self._link.reset(now)

    def tick(self, now: float) -> bool:
        """Do what is due for the keys; gives whether there is something to send."""
        with self._link_lock:
            self._link.tick(now)
            return self._link.has_control

    def next_message(self) -> bytes | None:
        """Seal and give what is to be sent next. By one thread at a time."""
        with self._link_lock:
            control = self._link.next_control()
            if control is not None:
                return control
            while self._link.is_up:
                with self._queue_lock:
                    outgoing = self._queue.pop()
                if outgoing is None:
                    return None
                frame = outgoing.frame(
                    tenant_id=self._tenant_id, sender=self._node_id, seq=self._seq
                )
                try:
                    message = self._link.seal(frame)
                except ChorusError:
                    self.unsendable += 1
                    continue
                self._seq += 1
                if outgoing.kind is not FrameKind.HEARTBEAT:
                    self.sent += 1
                return message
        return None

    def receive(self, message: bytes | memoryview, now: float) -> tuple[Frame | None, bool]:
        """Open a message.

        Returns:
            The frame, if it was one that holds and is not late, and whether there is something to
            send at once.
        """
        with self._link_lock:
            frame = self._link.receive(message, now)
            if self._link.generation != self._generation:
                self._generation = self._link.generation
                self._newest.clear()
                self.is_confirmed = False
            if frame is not None:
                self.is_confirmed = True
                if frame.kind is not FrameKind.HEARTBEAT:
                    self.received += 1
                if frame.kind not in (FrameKind.REQUEST, FrameKind.REPLY):
                    if frame.seq <= self._newest.get(frame.kind, -1):
                        self.late += frame.kind is not FrameKind.HEARTBEAT
                        frame = None
                    else:
                        self._newest[frame.kind] = frame.seq
            return frame, self._link.has_control


class Peer:
    """A peer. `tick` and `judge` belong to the heartbeat thread, the rest to any.

    Attributes:
        is_up: As last judged.
    """

    def __init__(
        self,
        name: str,
        *,
        tenant_id: str,
        node_id: str,
        secret: str | bytes | None,
        config: FabricConfig,
        now: float,
    ) -> None:
        self.name = name
        self._config = config
        self.lanes = {
            lane: LaneEnd(
                lane=lane,
                tenant_id=tenant_id,
                node_id=node_id,
                peer=name,
                secret=secret,
                config=config,
            )
            for lane in Lane
        }
        self.is_up = False
        self._since = now
        self._heard: float | None = None
        self._echo: tuple[int, float] | None = None
        self._rtt_s: float | None = None
        self._next_beat = dict.fromkeys(Lane, now)

    @property
    def status(self) -> PeerStatus:
        """How it stands."""
        return PeerStatus(
            node_id=self.name,
            is_up=self.is_up,
            since=self._since,
            rtt_s=self._rtt_s,
            last_heard=self._heard,
        )

    @property
    def is_ready(self) -> bool:
        """Whether keys are agreed on both lanes."""
        return all(end.is_up for end in self.lanes.values())

    def heard(self, frame: Frame, now: float) -> None:
        """Take note of a frame that holds."""
        self._heard = now
        if frame.kind is not FrameKind.HEARTBEAT or not len(frame.metadata):
            return
        beat = frame.metadata[0]
        if len(beat) != _BEAT.size:
            return
        theirs, ours, held = _BEAT.unpack(beat)
        self._echo = (theirs, now)
        if ours:
            rtt_s = now - (ours + held) / 1e9
            if 0.0 <= rtt_s < self._config.down_after_s:
                before = self._rtt_s
                self._rtt_s = rtt_s if before is None else before + _SMOOTHING * (rtt_s - before)

    def tick(self, now: float) -> list[Lane]:
        """Queue heartbeats and do what is due for keys; gives lanes with something to send."""
        awake = []
        for lane, end in self.lanes.items():
            has_control = end.tick(now)
            if end.is_up and now >= self._next_beat[lane]:
                end.push(Outgoing(kind=FrameKind.HEARTBEAT, payload=self._beat(now)))
                # On the bulk lane few will do, once the other side has shown that it has keys; one
                # that is down may be back with none, and say so.
                is_calm = lane is Lane.BULK and end.is_confirmed and self.is_up
                self._next_beat[lane] = now + (
                    self._config.down_after_s if is_calm else self._config.heartbeat_s
                )
                has_control = True
            elif not end.is_up:
                self._next_beat[lane] = now
            if has_control:
                awake.append(lane)
        return awake

    def judge(self, now: float, *, is_patient: bool) -> bool:
        """Say whether it went up or down since the last time.

        Args:
            now: The time.
            is_patient: Whether silence is no sign, because this node itself was held up.
        """
        is_heard = self._heard is not None and now - self._heard <= self._config.down_after_s
        is_up = self.is_ready and (is_heard or (self.is_up and is_patient))
        if is_up == self.is_up:
            return False
        self.is_up = is_up
        self._since = now
        if not is_up:
            self._rtt_s = self._echo = None
            self._next_beat = dict.fromkeys(Lane, now)
            for end in self.lanes.values():
                end.clear()
        return True

    def lost(self, lane: Lane, now: float) -> None:
        """Forget the keys of a connection that is gone or another."""
        self.lanes[lane].reset(now)
        if lane is Lane.URGENT:
            self._heard = None

    def _beat(self, now: float) -> bytes:
        echo = self._echo
        own = int(now * 1e9)
        if echo is None:
            return _BEAT.pack(own, 0, 0)
        return _BEAT.pack(own, echo[0], max(0, int((now - echo[1]) * 1e9)))
