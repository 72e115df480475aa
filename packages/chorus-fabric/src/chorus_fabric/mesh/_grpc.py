"""A mesh of gRPC streams: two between each pair of nodes, one for each lane.

The node whose name sorts first dials, the other listens; `/chorus_fabric.v1.MeshService/Urgent`
and `/Bulk` are streams both ways, each on a TCP connection of its own. A gRPC message is one
message of the fabric as it is, with no protobuf around it. The caller names itself in the call's
metadata; with mutual TLS its certificate must name the same node, and the caller asks TLS to find
the name of the node it dials. Without TLS a name is a claim until keys are agreed on: whoever can
reach the port can then break connections, and neither read nor forge a frame.

Each stream has a thread at either end that waits to send and one that waits to receive. They are
gRPC's blocking streams rather than those of asyncio: no event loop, busy or not, is between a
heartbeat and its connection.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from concurrent import futures
from typing import TYPE_CHECKING, Any, Final

import grpc

from chorus_fabric._backoff import Backoff
from chorus_fabric._bind import check_bind
from chorus_fabric._channel import CHANNEL_OPTIONS, SERVER_OPTIONS
from chorus_fabric._identity import node_host, peer_identity
from chorus_fabric._statuses import error_of, status_of
from chorus_fabric._tls import channel_credentials, server_credentials
from chorus_fabric.errors import (
    ChorusError,
    FabricConfigurationError,
    IdentityError,
    NotAllowedError,
    ServiceUnavailableError,
)
from chorus_fabric.mesh._pacer import Pacer, steady_s
from chorus_fabric.mesh._transport import Lane

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from chorus_fabric._tls import TLSConfig
    from chorus_fabric.mesh._transport import Port

__all__ = ["GrpcTransport"]

_log = logging.getLogger("chorus_fabric.mesh")

_SERVICE: Final = "chorus_fabric.v1.MeshService"
_METHODS: Final = {Lane.URGENT: "Urgent", Lane.BULK: "Bulk"}
_NODE, _TENANT = "chorus-node", "chorus-tenant"
_FIRST_S: Final = 0.05
_MOST_S: Final = 0.6  # with what a connection takes, a peer that is back is found within a second
_STOP_S: Final = 5.0


class GrpcTransport:
    """Carry a fabric's messages over gRPC.

    Args:
        listen: `host:port`, port 0 for a free one, or `unix:/path`.
        addresses: Where each peer listens, as `host:port` or `unix:/path`.
        tls: Certificate, key and authority for mutual TLS.
        secret: The fabric's secret, if it has one: a bind beyond loopback takes this or `tls`.

    Attributes:
        port: The port it listens on; `None` before `start` and on a unix socket.

    Raises:
        UnsafeBindError: It would listen beyond loopback with neither certificates nor secret.
        FabricConfigurationError: `listen` or an address is none.
    """

    has_broker = False

    def __init__(
        self,
        *,
        listen: str,
        addresses: Mapping[str, str],
        tls: TLSConfig | None = None,
        secret: str | bytes | None = None,
    ) -> None:
        check_bind(_host_of("listen", listen), tls, secret)
        for name, address in addresses.items():
            _host_of(f"the address of {name}", address)
        self._listen = listen
        self._addresses = dict(addresses)
        self._tls = tls
        self._lock = threading.Lock()
        self._outlets: dict[tuple[str, Lane], _Outlet] = {}
        self._calls: dict[tuple[str, Lane], Any] = {}
        self._closing = threading.Event()
        self._server: grpc.Server | None = None
        self._pacer: Pacer | None = None
        self._dialers: list[threading.Thread] = []
        self.port: int | None = None

    def now(self) -> float:
        """Give the time of the machine since it was started."""
        return steady_s()

    async def start(self, port: Port) -> None:
        """Listen, and dial the peers whose names sort after this node's."""
        unknown = [peer for peer in port.peers if peer not in self._addresses]
        if unknown:
            raise FabricConfigurationError(f"no address for {', '.join(unknown)}")
        if self._tls is not None:
            self._tls.identity.check(tenant_id=port.tenant_id, node=port.node_id)
        self._serve(port)
        self._pacer = Pacer(port.tick, every_s=port.tick_s)
        self._pacer.start()
        for peer in port.peers:
            if port.node_id < peer:
                for lane in Lane:
                    thread = threading.Thread(
                        target=self._dial,
                        args=(port, peer, lane),
                        name=f"chorus-mesh-{lane.name.lower()}-{peer}",
                        daemon=True,
                    )
                    self._dialers.append(thread)
                    thread.start()

    def wake(self, peer: str, lane: Lane) -> None:
        """Have the stream's thread look for something to send."""
        outlet = self._outlets.get((peer, lane))
        if outlet is not None:
            outlet.wake()

    def urge(self) -> None:
        """Have the heartbeat thread run now."""
        if self._pacer is not None:
            self._pacer.urge()

    async def close(self) -> None:
        """End all streams."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._closing.set()
        if self._pacer is not None:
            self._pacer.stop()
        with self._lock:
            outlets, calls = list(self._outlets.values()), list(self._calls.values())
        for outlet in outlets:
            outlet.close()
        for call in calls:
            call.cancel()
        if self._server is not None:
            self._server.stop(None).wait(_STOP_S)
        for thread in self._dialers:
            thread.join(_STOP_S)

    def _serve(self, port: Port) -> None:
        server = grpc.server(
            _Threads(),  # type: ignore[arg-type]  # any executor will do
            options=SERVER_OPTIONS,
            # Each peer has two streams, and two more while it reconnects.
            maximum_concurrent_rpcs=8 + 4 * len(port.peers),
        )
        handlers = {
            name: grpc.stream_stream_rpc_method_handler(self._accept(port, lane))
            for lane, name in _METHODS.items()
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))
        try:
            if self._tls is None:
                found = server.add_insecure_port(self._listen)
            else:
                found = server.add_secure_port(self._listen, server_credentials(self._tls))
        except RuntimeError as error:
            raise OSError(
                f"cannot listen on {self._listen}: is another program there, or the address not "
                "this machine's?"
            ) from error
        server.start()
        self._server = server
        self.port = None if self._listen.startswith("unix") else found
        _log.info("%s listens on %s", port.node_id, self._listen)

    # The side that is called.

    def _accept(
        self, port: Port, lane: Lane
    ) -> Callable[[Iterator[bytes], grpc.ServicerContext], Iterator[bytes]]:
        def stream(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            try:
                peer = self._caller(port, context)
            except ChorusError as error:
                _log.warning("refused a node at %s: %s", context.peer(), error)
                context.abort(*status_of(error))
            outlet = self._open(port, peer, lane)
            # A stream that ends wakes the thread that waits to send on it.
            if not context.add_callback(outlet.close):
                outlet.close()
            context.send_initial_metadata(())
            reader = threading.Thread(
                target=self._read, args=(port, outlet, requests), daemon=True,
                name=f"chorus-mesh-{lane.name.lower()}-{peer}",
            )  # fmt: skip
            reader.start()
            return outlet.messages()

        return stream

    def _caller(self, port: Port, context: grpc.ServicerContext) -> str:
        claims = dict(context.invocation_metadata())
        peer, tenant_id = _named(claims, _NODE), _named(claims, _TENANT)
        if self._tls is not None:
            peer_identity(context.auth_context()).check(  # type: ignore[arg-type]  # lists of bytes
                tenant_id=port.tenant_id, node=peer
            )
        if tenant_id != port.tenant_id:
            raise NotAllowedError(
                f"this mesh is of tenant {port.tenant_id!r}, the caller's of {tenant_id!r}"
            )
        if peer not in port.peers:
            raise NotAllowedError(f"{peer!r} is none of the peers of {port.node_id!r}: add it")
        if peer > port.node_id:
            raise NotAllowedError(f"{port.node_id!r} dials {peer!r}, not the other way round")
        return peer

    # The side that calls.

    def _dial(self, port: Port, peer: str, lane: Lane) -> None:
        backoff = Backoff(first_s=_FIRST_S, most_s=_MOST_S, rng=random.random)
        told = ""
        while not self._closing.is_set():
            try:
                self._call(port, peer, lane, backoff)
                error: ChorusError = ServiceUnavailableError(f"{peer} ended the stream")
            except ChorusError as caught:
                error = caught
            if self._closing.is_set():
                return
            if not isinstance(error, ServiceUnavailableError) and str(error) != told:
                told = str(error)
                _log.warning("cannot reach %s: %s", peer, error)
            self._closing.wait(backoff.next_s())

    def _call(self, port: Port, peer: str, lane: Lane, backoff: Backoff) -> None:
        # A channel for each attempt: it takes the certificates as they are now, and has no waits
        # of its own before it connects.
        with self._channel(port, peer) as channel:
            stream = channel.stream_stream(f"/{_SERVICE}/{_METHODS[lane]}", None, None)
            outlet = _Outlet(port, peer, lane)
            claims = (
                (_NODE, port.node_id.encode().hex()),
                (_TENANT, port.tenant_id.encode().hex()),
            )
            call: Any = stream(outlet.messages(), metadata=claims)
            with self._lock:
                self._calls[peer, lane] = call
            if self._closing.is_set():
                call.cancel()
            try:
                # It comes when the other side has accepted the stream.
                call.initial_metadata()
                if call.is_active():
                    backoff.reset()
                    self._install(port, outlet)
                    self._read(port, outlet, call)
                call.result()
            except grpc.RpcError as error:
                raise error_of(error, self._addresses[peer]) from None
            except grpc.FutureCancelledError:
                return
            finally:
                outlet.close()

    def _channel(self, port: Port, peer: str) -> grpc.Channel:
        options: list[tuple[str, str | int]] = list(CHANNEL_OPTIONS)
        address = self._addresses[peer]
        if self._tls is None:
            return grpc.insecure_channel(address, options=options)
        options.append(("grpc.ssl_target_name_override", node_host(port.tenant_id, peer)))
        return grpc.secure_channel(address, channel_credentials(self._tls), options=options)

    # Both.

    def _open(self, port: Port, peer: str, lane: Lane) -> _Outlet:
        outlet = _Outlet(port, peer, lane)
        self._install(port, outlet)
        return outlet

    def _install(self, port: Port, outlet: _Outlet) -> None:
        """Let a stream be the one of its peer and lane; the one before ends."""
        with self._lock:
            before = self._outlets.get(outlet.place)
            self._outlets[outlet.place] = outlet
        if before is not None:
            before.close()
        port.opened(*outlet.place)
        outlet.begin()

    def _read(self, port: Port, outlet: _Outlet, messages: Iterator[bytes]) -> None:
        """Take messages until the stream ends."""
        try:
            for message in messages:
                if outlet.is_closed or self._closing.is_set():
                    break
                port.received(*outlet.place, message)
        except grpc.RpcError:
            pass  # the call's own status says why
        finally:
            outlet.close()
            with self._lock:
                is_current = self._outlets.get(outlet.place) is outlet
                if is_current:
                    del self._outlets[outlet.place]
            if is_current and not self._closing.is_set():
                port.lost(*outlet.place)


class _Outlet:
    """What is to be sent on one stream; gRPC's thread waits in `messages`."""

    def __init__(self, port: Port, peer: str, lane: Lane) -> None:
        self._port = port
        self.place = (peer, lane)
        self._begun = threading.Event()
        self._woken = threading.Event()
        self.is_closed = False

    def begin(self) -> None:
        """Let messages go."""
        self._begun.set()

    def wake(self) -> None:
        """Look for something to send."""
        self._woken.set()

    def close(self) -> None:
        """End the stream from this side. Safe to repeat."""
        self.is_closed = True
        self._begun.set()
        self._woken.set()

    def messages(self) -> Iterator[bytes]:
        """Give messages as they can be sent, until closed."""
        self._begun.wait()
        while True:
            # In this order: whoever closes sets first the one and then the other.
            self._woken.clear()
            if self.is_closed:
                return
            while message := self._port.next_message(*self.place):
                yield message
                if self.is_closed:
                    return
            self._woken.wait()


class _Threads(futures.Executor):
    """A thread for each stream: a stream lasts as long as its connection.

    They are daemons, so a program that forgets to close its fabric can still end.
    """

    def submit(  # type: ignore[override]  # what gRPC passes has no keyword arguments
        self, work: Callable[..., Any], *args: Any
    ) -> futures.Future[Any]:
        """Run it in a new thread."""
        future: futures.Future[Any] = futures.Future()

        def run() -> None:
            try:
                future.set_result(work(*args))
            except BaseException as error:  # noqa: BLE001  it is the future's now
                future.set_exception(error)

        threading.Thread(target=run, name="chorus-mesh-stream", daemon=True).start()
        return future


def _host_of(what: str, address: str) -> str:
    if address.startswith(("unix:", "unix-abstract:")):
        return address
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise FabricConfigurationError(f"{what} is host:port or unix:/path, got {address!r}")
    return host


def _named(claims: Mapping[str, str | bytes], key: str) -> str:
    try:
        return bytes.fromhex(str(claims[key])).decode()
    except (KeyError, ValueError):
        raise IdentityError(f"the caller does not say its {key}: is it a node of a mesh?") from None
