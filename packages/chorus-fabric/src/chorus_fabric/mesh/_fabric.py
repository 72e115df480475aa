"""A node's place in a mesh: say something to all peers, ask one, hear them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import threading
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from chorus_fabric._frame import FrameKind
from chorus_fabric._hello import check_name
from chorus_fabric.errors import (
    FabricConfigurationError,
    FrameError,
    PeerDownError,
    QueueFullError,
    WrongStateError,
)
from chorus_fabric.mesh._config import FabricConfig
from chorus_fabric.mesh._grpc import GrpcTransport
from chorus_fabric.mesh._inbox import Inbox
from chorus_fabric.mesh._message import (
    FRAME_TYPES,
    FabricStatus,
    MeshMessage,
    Outgoing,
    PeerStatus,
    checked,
    lane_of,
    message_in,
    number_in,
    reply_to,
)
from chorus_fabric.mesh._peer import Peer
from chorus_fabric.mesh._requests import Requests
from chorus_fabric.mesh._transport import Lane, Transport

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    import numpy.typing as npt

    from chorus_fabric._frame import Frame
    from chorus_fabric._tls import TLSConfig
    from chorus_fabric.mesh._inbox import Answer, Handler

__all__ = ["CHORUSFabric"]

_log = logging.getLogger("chorus_fabric.mesh")

_MOST_LEASES_WAITING: Final = 1024


class CHORUSFabric:
    """One node of a mesh.

    Frames reach each peer that is up at most once, and in order for each type; a peer that is
    down gets nothing, then or later. What must not be lost is a `request`. LEASE, SIGNAL and
    heartbeats have a connection of their own, and heartbeats a thread: neither a large frame nor a
    busy event loop makes a node look dead.

    Handlers run in the event loop in which `start` was awaited; those of LEASE frames, and what
    was given to `on_peer` and `on_tick`, on the heartbeat thread, where they must be plain
    functions and quick: while one runs, no heartbeat is sent. All methods but `start`, `close`
    and `request` may be called from any thread, and none of those waits for the network.

    Args:
        node_id: This node's name; with `tls` it must be the certificate's.
        peers: The other nodes: their names and addresses (`host:port` or `unix:/path`) for a gRPC
            mesh, their names alone for another transport.
        listen: Where to listen, for a gRPC mesh; port 0 takes a free one.
        transport: What carries messages, instead of `listen`.
        tenant_id: Whose mesh it is. Nodes of another tenant are refused.
        tls: Certificate, key and authority for mutual TLS between nodes.
        secret: What all nodes hold: every frame is sealed with keys that come from it.
        config: Settings.

    Raises:
        FabricConfigurationError: An argument is not acceptable; the message names it.
        UnsafeBindError: It would listen beyond loopback with neither certificates nor secret.
    """

    def __init__(
        self,
        *,
        node_id: str,
        peers: Mapping[str, str] | Iterable[str],
        listen: str | None = None,
        transport: Transport | None = None,
        tenant_id: str = "default",
        tls: TLSConfig | None = None,
        secret: str | bytes | None = None,
        config: FabricConfig | None = None,
    ) -> None:
        self._node_id = check_name("node_id", node_id)
        self._tenant_id = check_name("tenant_id", tenant_id)
        names = tuple(check_name("a peer's name", name) for name in peers)
        if node_id in names or len(set(names)) != len(names):
            raise FabricConfigurationError(
                f"peers are the other nodes, each once; got {names} for {node_id!r}"
            )
        if (transport is None) == (listen is None):
            raise FabricConfigurationError("give either `listen` (a gRPC mesh) or `transport`")
        if transport is None:
            if not isinstance(peers, Mapping):
                raise FabricConfigurationError(
                    "peers of a gRPC mesh come with their addresses: {'node-2': '10.0.0.2:50061'}"
                )
            transport = GrpcTransport(listen=listen or "", addresses=peers, tls=tls, secret=secret)
        elif tls is not None:
            raise FabricConfigurationError("tls goes with `listen`: a transport has its own")
        if transport.has_broker and secret is None:
            raise FabricConfigurationError(
                "frames go through a broker that could read them: set a secret"
            )
        self._transport: Transport = transport
        self._config = config or FabricConfig()
        self._secret = secret
        now = transport.now()
        self._peers = {
            name: Peer(
                name,
                tenant_id=tenant_id,
                node_id=node_id,
                secret=secret,
                config=self._config,
                now=now,
            )
            for name in names
        }
        self._handlers: dict[FrameKind, Handler] = {}
        self._on_peer: list[Callable[[PeerStatus], None]] = []
        self._on_tick: list[Callable[[float], None]] = []
        self._requests = Requests(most=self._config.most_requests)
        self._inbox: Inbox | None = None
        self._leases: deque[tuple[MeshMessage, Answer | None]] = deque()
        self._lease_lock = threading.Lock()
        self._leases_dropped = 0
        self._malformed = 0
        self._handler_errors = 0
        self._last_tick: float | None = None
        self._patient_until = now
        self._is_closed = False

    @property
    def node_id(self) -> str:
        """This node's name."""
        return self._node_id

    @property
    def tenant_id(self) -> str:
        """Whose mesh it is."""
        return self._tenant_id

    @property
    def transport(self) -> Transport:
        """What carries the messages."""
        return self._transport

    def now(self) -> float:
        """Give the time of the mesh's clock in seconds; in a simulation that of the simulation."""
        return self._transport.now()

    def on(self, frame_type: FrameKind, handler: Handler) -> None:
        """Have frames of a type, and requests about it, handled; in place of an earlier handler.

        Args:
            frame_type: TOKEN_SYNC, HEALTH, SIGNAL, CONFIG, INVALIDATE or LEASE.
            handler: Takes a `MeshMessage`; for a request, gives the answer's bytes. A coroutine
                function will do, except for LEASE.

        Raises:
            FabricConfigurationError: It is another type, or a coroutine function for LEASE.
        """
        if frame_type not in FRAME_TYPES:
            known = ", ".join(sorted(kind.name for kind in FRAME_TYPES))
            raise FabricConfigurationError(f"a mesh carries {known}; got {frame_type!r}")
        if frame_type is FrameKind.LEASE and asyncio.iscoroutinefunction(handler):
            raise FabricConfigurationError(
                "the handler of LEASE frames runs on the heartbeat thread: give a plain function"
            )
        self._handlers[frame_type] = handler

    def on_peer(self, callback: Callable[[PeerStatus], None]) -> None:
        """Have a function called when a peer goes up or down, on the heartbeat thread."""
        self._on_peer.append(callback)

    def on_tick(self, callback: Callable[[float], None]) -> None:
        """Have a function called with the time, each `tick_s` or so, on the heartbeat thread."""
        self._on_tick.append(callback)

    async def start(self) -> None:
        """Find the peers, and be found; returns without waiting for them.

        Raises:
            FabricConfigurationError: A setting is not acceptable.
            CertificateError: Certificate files are missing or do not belong together.
            WrongStateError: It was started before.
            OSError: The address to listen on is taken.
        """
        if self._inbox is not None:
            raise WrongStateError("a fabric is started once: make another")
        self._inbox = Inbox(self._peers, config=self._config, handler_of=self._handlers.get)
        try:
            await self._transport.start(_Port(self))
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Leave the mesh. Requests that wait fail, handlers that run are ended. Safe to repeat."""
        if self._is_closed:
            return
        self._is_closed = True
        await self._transport.close()
        for name in self._peers:
            self._requests.fail(name, "this node left the mesh")
        if self._inbox is not None:
            await self._inbox.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def peers(self) -> dict[str, PeerStatus]:
        """Give every peer's status, up or not."""
        return {name: peer.status for name, peer in self._peers.items()}

    def status(self) -> FabricStatus:
        """Give what was counted."""
        ends = [end for peer in self._peers.values() for end in peer.lanes.values()]
        dropped: Counter[FrameKind] = Counter()
        for end in ends:
            dropped.update(end.dropped())
        inbox = self._inbox
        received: Counter[FrameKind] = Counter() if inbox is None else inbox.dropped()
        received[FrameKind.LEASE] += self._leases_dropped
        return FabricStatus(
            sent=sum(end.sent for end in ends),
            received=sum(end.received for end in ends),
            dropped={kind: dropped[kind] for kind in FRAME_TYPES if dropped[kind]},
            dropped_received={kind: received[kind] for kind in FRAME_TYPES if received[kind]},
            missed=sum(end.missed for end in ends),
            late=sum(end.late for end in ends),
            refused=sum(end.refused for end in ends) + self._malformed,
            handler_errors=self._handler_errors + (inbox.handler_errors if inbox else 0),
            queued_bytes=sum(end.queued_bytes for end in ends),
            waiting_bytes=0 if inbox is None else inbox.size_bytes,
            requests=len(self._requests),
        )

    def broadcast(
        self,
        frame_type: FrameKind,
        payload: bytes,
        *,
        arrays: npt.ArrayLike | None = None,
        token: int = 0,
    ) -> int:
        """Send a frame to every peer that is up.

        Args:
            frame_type: One of the types that `on` takes.
            payload: Up to 64 KiB for LEASE and SIGNAL, else up to 15 MiB together with `arrays`.
            arrays: Vectors, shape `(n, dims)`, finite; received to about 1e-6.
            token: A number below 2**64 that goes in the frame's header, such as a lease's.

        Returns:
            To how many peers it was queued; a peer whose queue is full is not counted.

        Raises:
            InvalidFrameError: It is too large, or not finite.
            FabricConfigurationError: A type or token that is none.
            WrongStateError: The fabric is not started, or closed.
        """
        self._check_open()
        outgoing = checked(frame_type, payload, arrays=arrays, token=token)
        lane = lane_of(frame_type)
        return sum(peer.is_up and self._push(peer, lane, outgoing) for peer in self._peers.values())

    def send(
        self,
        peer: str,
        frame_type: FrameKind,
        payload: bytes,
        *,
        arrays: npt.ArrayLike | None = None,
        token: int = 0,
    ) -> bool:
        """Send a frame to one peer; see `broadcast`.

        Returns:
            Whether it was queued: the peer is up, and there was room.

        Raises:
            InvalidFrameError: It is too large, or not finite.
            FabricConfigurationError: No such peer, or a type or token that is none.
            WrongStateError: The fabric is not started, or closed.
        """
        self._check_open()
        to = self._peer(peer)
        outgoing = checked(frame_type, payload, arrays=arrays, token=token)
        return to.is_up and self._push(to, lane_of(frame_type), outgoing)

    async def request(
        self,
        peer: str,
        frame_type: FrameKind,
        payload: bytes,
        *,
        timeout_s: float = 5.0,
        arrays: npt.ArrayLike | None = None,
        token: int = 0,
    ) -> bytes:
        """Ask one peer, and wait for its answer. It is asked once: retries are the caller's.

        Args:
            peer: Its name.
            frame_type: Whose handler answers there.
            payload: The question.
            timeout_s: How long to wait, by the fabric's clock.
            arrays: As for `broadcast`.
            token: As for `broadcast`.

        Raises:
            PeerDownError: It is down, or went down; in the latter case it may have read it.
            RequestTimeoutError: No answer in time; it may have been done.
            QueueFullError: Too much waits for that peer; it was not asked.
            RequestFailedError: Its handler raised, or it has none, or no room for the request.
            InvalidFrameError: The question is too large, or not finite.
            FabricConfigurationError: No such peer, or a type, token or timeout that is none.
            WrongStateError: The fabric is not started, or closed.
        """
        self._check_open()
        to = self._peer(peer)
        if not timeout_s > 0:
            raise FabricConfigurationError(f"timeout_s is above 0, got {timeout_s!r}")
        number = self._requests.next_number()
        outgoing = checked(frame_type, payload, arrays=arrays, token=token, number=number)
        waiting = self._requests.begin(number, peer, deadline=self.now() + timeout_s)
        try:
            # Only now: a peer that goes down from here on fails what has begun.
            if not to.is_up:
                raise PeerDownError(f"{peer} is down", node_id=peer)
            if not self._push(to, lane_of(frame_type), outgoing):
                raise QueueFullError(
                    f"{to.lanes[lane_of(frame_type)].queued_bytes} bytes wait for {peer} already"
                )
            return await waiting
        finally:
            self._requests.end(number)

    def _check_open(self) -> None:
        if self._inbox is None or self._is_closed:
            raise WrongStateError(
                "the fabric is closed" if self._is_closed else "the fabric is not started"
            )

    def _peer(self, name: str) -> Peer:
        try:
            return self._peers[name]
        except KeyError:
            raise FabricConfigurationError(
                f"{name!r} is no peer; there are {', '.join(self._peers) or 'none'}"
            ) from None

    def _push(self, peer: Peer, lane: Lane, outgoing: Outgoing) -> bool:
        if not peer.lanes[lane].push(outgoing):
            return False
        self._transport.wake(peer.name, lane)
        return True

    # What the transport calls, through `_Port`.

    def _received(self, name: str, lane: Lane, message: bytes | memoryview) -> None:
        peer = self._peers.get(name)
        if peer is None or self._is_closed:
            self._malformed += 1
            return
        now = self.now()
        was_ready = peer.is_ready
        frame, has_control = peer.lanes[lane].receive(message, now)
        if has_control:
            self._transport.wake(name, lane)
        if frame is not None:
            peer.heard(frame, now)
            try:
                self._deliver(peer, lane, frame)
            except FrameError as error:
                self._malformed += 1
                _log.warning("a frame of %s is refused: %s", name, error)
        if peer.is_ready and not (was_ready and peer.is_up):
            self._transport.urge()

    def _deliver(self, peer: Peer, lane: Lane, frame: Frame) -> None:
        if frame.kind is FrameKind.HEARTBEAT:
            return
        if frame.kind is FrameKind.REPLY:
            number, payload = number_in(frame)
            self._requests.answer(number, peer.name, None if frame.flags & 1 else payload)
            return
        message = message_in(frame)
        answer: Answer | None = None
        if message.is_request:
            number, _ = number_in(frame)

            def answer(reply: bytes | None) -> None:
                self._reply(peer, lane, number, message.frame_type, reply)

        if message.frame_type is FrameKind.LEASE:
            with self._lease_lock:
                if len(self._leases) >= _MOST_LEASES_WAITING:
                    self._leases.popleft()
                    self._leases_dropped += 1
                self._leases.append((message, answer))
            self._transport.urge()
        elif self._inbox is not None and not self._inbox.put(message, lane, answer) and answer:
            answer(None)

    def _reply(
        self, peer: Peer, lane: Lane, number: int, about: FrameKind, reply: bytes | None
    ) -> None:
        failed = reply is None
        self._push(peer, lane, reply_to(number, about, reply or b"", failed=failed))

    def _tick(self) -> None:
        now = self.now()
        # Whoever was stopped itself has heard of nobody, and must not think that all others died.
        if self._last_tick is not None and now - self._last_tick > self._config.heartbeat_s * 2:
            self._patient_until = now + 3 * self._config.heartbeat_s
        self._last_tick = now
        changed = []
        for peer in self._peers.values():
            for lane in peer.tick(now):
                self._transport.wake(peer.name, lane)
            if peer.judge(now, is_patient=now < self._patient_until):
                changed.append(peer)
        self._requests.expire(now)
        for peer in changed:
            self._changed(peer)
        self._handle_leases()
        for callback in self._on_tick:
            with self._counted("a callback of on_tick failed"):
                callback(now)

    def _changed(self, peer: Peer) -> None:
        status = peer.status
        _log.info("%s is %s", peer.name, "up" if status.is_up else "down")
        if not status.is_up:
            self._requests.fail(peer.name, f"{peer.name} went down")
        for callback in self._on_peer:
            with self._counted("a callback of on_peer failed"):
                callback(status)

    def _handle_leases(self) -> None:
        # Not those that come while these are handled: other peers' heartbeats are due as well.
        for _ in itertools.repeat(None, len(self._leases)):
            with self._lease_lock:
                if not self._leases:
                    return
                message, answer = self._leases.popleft()
            handler = self._handlers.get(FrameKind.LEASE)
            reply: object = None
            if handler is not None:
                with self._counted("the handler of LEASE frames failed"):
                    reply = handler(message) or b""
            if answer is not None:
                answer(reply if isinstance(reply, bytes) else None)

    def _counted(self, what: str) -> contextlib.AbstractContextManager[None]:
        return _Counted(self, what)


class _Counted(contextlib.AbstractContextManager[None]):
    """Log and count what an application's function raises."""

    def __init__(self, fabric: CHORUSFabric, what: str) -> None:
        self._fabric = fabric
        self._what = what

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        self._fabric._handler_errors += 1
        _log.error("%s", self._what, exc_info=error)
        return True


class _Port:
    """The side of a fabric that its transport sees."""

    def __init__(self, fabric: CHORUSFabric) -> None:
        self._fabric = fabric
        self._peers = fabric._peers
        self.node_id = fabric.node_id
        self.tenant_id = fabric.tenant_id
        self.peers = tuple(fabric._peers)
        self.tick_s = fabric._config.tick_s

    def received(self, peer: str, lane: Lane, message: bytes | memoryview) -> None:
        self._fabric._received(peer, lane, message)

    def next_message(self, peer: str, lane: Lane) -> bytes | None:
        return self._peers[peer].lanes[lane].next_message()

    def opened(self, peer: str, lane: Lane) -> None:
        self.lost(peer, lane)

    def lost(self, peer: str, lane: Lane) -> None:
        self._peers[peer].lost(lane, self._fabric.now())
        self._fabric._transport.urge()

    def tick(self) -> None:
        self._fabric._tick()
