"""A mesh over NATS, for those who outgrow streams between each two nodes.

Each node has two connections to the servers, one for each lane, with a thread each. A message for
a peer goes to `chorus.mesh.<tenant>.<lane>.<receiver>.<sender>`, names as the hashes that stand in
a frame's header. This is NATS without JetStream: at most once, nothing is stored. The servers see
who talks to whom and when, and sealed frames: a secret is required. Every peer's copy is sealed
for it alone, as in the other meshes, so a broadcast costs a message for each.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import nats
from nats.errors import Error as NatsError

from chorus_fabric._codec import name_hash
from chorus_fabric.errors import FabricConfigurationError, ServiceUnavailableError
from chorus_fabric.mesh._pacer import Pacer, steady_s
from chorus_fabric.mesh._parts import Assembler, parts_of
from chorus_fabric.mesh._transport import Lane

if TYPE_CHECKING:
    import os
    import ssl

    from nats.aio.client import Client
    from nats.aio.msg import Msg

    from chorus_fabric.mesh._transport import Port

__all__ = ["NatsServers", "NatsTransport"]

_log = logging.getLogger("chorus_fabric.mesh")

_FLUSH_BYTES: Final = 256 << 10
_RECEIVE_BYTES: Final = {Lane.URGENT: 4 << 20, Lane.BULK: 64 << 20}
_START_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NatsServers:
    """How to reach a cluster of NATS servers.

    Attributes:
        urls: Some or all of them, as `nats://host:port` or `tls://host:port`.
        tls: What their certificates are checked with, and the client's own.
        user: Name, where the servers ask for one.
        password: And password.
        credentials: A file of credentials, instead.

    Raises:
        FabricConfigurationError: There is no server.
    """

    urls: tuple[str, ...]
    tls: ssl.SSLContext | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    credentials: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        if not self.urls or isinstance(self.urls, str):
            raise FabricConfigurationError(
                f"urls names at least one server: ('nats://10.0.0.1:4222',); got {self.urls!r}"
            )

    async def connect(self, name: str) -> Client:
        """Connect, and go on trying for ever once that has worked.

        Raises:
            ServiceUnavailableError: No server can be reached.
        """
        try:
            return await nats.connect(
                servers=list(self.urls),
                name=name,
                tls=self.tls,
                user=self.user,
                password=self.password,
                user_credentials=None if self.credentials is None else str(self.credentials),
                error_cb=_tell,
                connect_timeout=2,
                reconnect_time_wait=0,  # on to the next server at once
                max_reconnect_attempts=-1,
                ping_interval=2,
                max_outstanding_pings=2,
            )
        except (NatsError, OSError) as error:
            raise ServiceUnavailableError(
                f"no NATS server of {', '.join(self.urls)} can be reached: {error!r}"
            ) from error


class NatsTransport:
    """Carry a fabric's messages through NATS.

    Args:
        servers: Where they are.
    """

    has_broker = True

    def __init__(self, servers: NatsServers) -> None:
        self._lanes = {lane: _LaneConnection(servers, lane) for lane in Lane}
        self._pacer: Pacer | None = None

    def now(self) -> float:
        """Give the time of the machine since it was started."""
        return steady_s()

    async def start(self, port: Port) -> None:
        """Connect.

        Raises:
            ServiceUnavailableError: No server can be reached.
        """
        for lane in self._lanes.values():
            await asyncio.to_thread(lane.start, port)
        self._pacer = Pacer(port.tick, every_s=port.tick_s)
        self._pacer.start()

    def wake(self, peer: str, lane: Lane) -> None:
        """Have the lane's thread look for something to send."""
        self._lanes[lane].wake(peer)

    def urge(self) -> None:
        """Have the heartbeat thread run now."""
        if self._pacer is not None:
            self._pacer.urge()

    async def close(self) -> None:
        """End both connections."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        if self._pacer is not None:
            self._pacer.stop()
        for lane in self._lanes.values():
            lane.stop()


class _LaneConnection:
    """One lane: a connection, and a thread with an event loop for it."""

    def __init__(self, servers: NatsServers, lane: Lane) -> None:
        self._servers = servers
        self._lane = lane
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._started = threading.Event()
        self._fault: BaseException | None = None
        self._lock = threading.Lock()
        self._awake: dict[str, None] = {}
        self._work: asyncio.Event | None = None
        self._is_over = False

    def start(self, port: Port) -> None:
        """Connect and subscribe."""
        self._thread = threading.Thread(
            target=self._run,
            args=(port,),
            name=f"chorus-nats-{self._lane.name.lower()}",
            daemon=True,
        )
        self._thread.start()
        self._started.wait(_START_S)
        if self._fault is not None:
            raise self._fault
        if not self._started.is_set():
            self.stop()
            raise ServiceUnavailableError(f"no NATS server answered within {_START_S:g} s")

    def wake(self, peer: str) -> None:
        """Have a peer's frames sent."""
        with self._lock:
            if self._is_over or self._loop is None or self._work is None:
                return
            is_first = not self._awake
            self._awake[peer] = None
            if is_first:
                self._loop.call_soon_threadsafe(self._work.set)

    def stop(self) -> None:
        """End. Safe to repeat."""
        with self._lock:
            was_over, self._is_over = self._is_over, True
            if not was_over and self._loop is not None and self._work is not None:
                self._loop.call_soon_threadsafe(self._work.set)
        if self._thread is not None and threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self, port: Port) -> None:
        try:
            asyncio.run(self._serve(port))
        except BaseException as error:  # noqa: BLE001  it is raised by `start`, or logged
            self._fault = error
            if self._started.is_set():
                _log.exception("the connection to NATS ended")
        finally:
            self._started.set()

    async def _serve(self, port: Port) -> None:
        client = await self._servers.connect(f"{port.node_id} {self._lane.name.lower()}")
        try:
            await self._subscribe(client, port)
            work = asyncio.Event()
            with self._lock:
                self._loop, self._work = asyncio.get_running_loop(), work
            self._started.set()
            await self._send(client, port, work)
        finally:
            with self._lock:
                self._loop = None
            await client.close()

    async def _subscribe(self, client: Client, port: Port) -> None:
        peers = {name_hash("sender", peer).hex(): peer for peer in port.peers}
        assemblers = {peer: Assembler() for peer in port.peers}

        async def receive(message: Msg) -> None:
            peer = peers.get(message.subject.rpartition(".")[2])
            if peer is None or self._is_over:
                return
            whole = assemblers[peer].receive(message.data)
            if whole is not None:
                port.received(peer, self._lane, whole)

        await client.subscribe(
            self._subject(port, port.node_id, "*"),
            cb=receive,
            pending_bytes_limit=_RECEIVE_BYTES[self._lane],
        )
        await client.flush()

    async def _send(self, client: Client, port: Port, work: asyncio.Event) -> None:
        own = name_hash("sender", port.node_id).hex()
        numbers = itertools.count()
        unflushed = 0
        while True:
            await work.wait()
            work.clear()
            with self._lock:
                if self._is_over:
                    return
                awake, self._awake = self._awake, {}
            for peer in awake:
                subject = self._subject(port, peer, own)
                # What is not taken while no server is there can still be replaced by newer frames.
                while client.is_connected and (message := port.next_message(peer, self._lane)):
                    number = next(numbers) & 0xFFFF_FFFF
                    try:
                        for part in parts_of(message, number, most_bytes=client.max_payload):
                            await client.publish(subject, part)
                            unflushed += len(part)
                            if unflushed >= _FLUSH_BYTES:
                                unflushed = 0
                                await client.flush()
                    except (NatsError, OSError) as error:
                        _log.debug("a message to %s is lost: %r", peer, error)

    def _subject(self, port: Port, receiver: str, sender: str) -> str:
        tenant = name_hash("tenant", port.tenant_id).hex()
        to = name_hash("sender", receiver).hex()
        return f"chorus.mesh.{tenant}.{self._lane.name.lower()}.{to}.{sender}"


async def _tell(error: Exception) -> None:
    _log.debug("NATS: %r", error)
