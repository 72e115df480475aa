"""A driver that listens: takes the feed that a publisher dials out."""

from __future__ import annotations

import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import grpc

from chorus_fabric._bind import check_bind
from chorus_fabric._calls import seal_request
from chorus_fabric._channel import SERVER_OPTIONS, address
from chorus_fabric._client import PROTOCOL, ClientConfig, Welcome, read_envelope, read_welcome
from chorus_fabric._handshake import Initiator
from chorus_fabric._identity import peer_identity
from chorus_fabric._statuses import error_of, status_of
from chorus_fabric._tls import server_credentials
from chorus_fabric.errors import (
    ChorusError,
    FabricConfigurationError,
    FeedProtocolError,
    ServiceUnavailableError,
)
from chorus_fabric.v1 import wrapper_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from chorus_fabric._feed_writer import FeedPosition
    from chorus_fabric._handshake import Renewal, Session
    from chorus_fabric._tls import TLSConfig

__all__ = ["DriverListener"]

_SERVICE: Final = "chorus_fabric.v1.DriverService"
_THREADS: Final = 8
_POLL_S: Final = 0.2


class DriverListener:
    """Wait for a publisher to dial, one feed at a time; a newer one takes the place of the older.

    Args:
        host: Where to listen. Anything but loopback takes `tls` or `secret`.
        port: The port; 0 takes a free one.
        tls: Certificate, key and authority for mutual TLS.
        secret: The tenant's secret, for the check of the host; frames take it from the config.

    Raises:
        UnsafeBindError: It would listen beyond loopback with neither certificates nor secret.
        OSError: The port is taken.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 50051,
        tls: TLSConfig | None = None,
        secret: str | bytes | None = None,
    ) -> None:
        check_bind(host, tls, secret)
        self._tls = tls
        self._server = grpc.server(
            ThreadPoolExecutor(_THREADS, "chorus-driver"),
            options=SERVER_OPTIONS,
            maximum_concurrent_rpcs=_THREADS,
        )
        # Envelopes are bytes here: protobuf would copy the frames in them.
        feed = grpc.stream_stream_rpc_method_handler(
            self.Feed, request_deserializer=None, response_serializer=pb.Ack.SerializeToString
        )
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(_SERVICE, {"Feed": feed}),)
        )
        place = address(host, port)
        try:
            if tls is None:
                self.port = self._server.add_insecure_port(place)
            else:
                self.port = self._server.add_secure_port(place, server_credentials(tls))
        except RuntimeError as error:
            raise OSError(f"cannot listen on {place}: is another program there?") from error
        self._dialled: queue.SimpleQueue[_AcceptedLink] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._tenant_id = ""
        self._server.start()

    def Feed(  # noqa: N802  the protocol's name
        self, envelopes: Iterator[bytes], context: grpc.ServicerContext
    ) -> Iterator[pb.Ack]:
        """Take a feed; called by gRPC in a thread of its own."""
        try:
            auth: Mapping[str, Iterable[bytes]] | None = None
            if self._tls is not None:
                auth = context.auth_context()  # type: ignore[assignment]  # a tuple of bytes each
            link = _AcceptedLink(envelopes, context, auth)
        except ChorusError as error:
            context.abort(*status_of(error))
        self._dialled.put(link)
        yield from link.acks()

    def accept(self, config: ClientConfig) -> _AcceptedLink | None:
        """Wait for a publisher and say hello; `None` once this is closed.

        Raises:
            ChorusError: Whoever dialled is not who it should be.
        """
        while not self._closed.is_set():
            try:
                link = self._dialled.get(timeout=_POLL_S)
            except queue.Empty:
                continue
            while not self._dialled.empty():
                link.cancel()
                link = self._dialled.get()
            if link.is_over:
                continue
            try:
                link.greet(config)
            except BaseException:
                link.cancel()
                raise
            return link
        return None

    def close(self) -> None:
        """Stop listening. Safe to repeat."""
        if not self._closed.is_set():
            self._closed.set()
            self._server.stop(None)


class _AcceptedLink:
    """A feed from a publisher that dialled."""

    welcome: Welcome
    session: Session

    def __init__(
        self,
        envelopes: Iterator[bytes],
        context: grpc.ServicerContext,
        auth: Mapping[str, Iterable[bytes]] | None,
    ) -> None:
        self._envelopes = envelopes
        self._context = context
        self._identity = None if auth is None else peer_identity(auth)
        self._acks: queue.SimpleQueue[pb.Ack | None] = queue.SimpleQueue()
        self._over = threading.Event()
        self._renewal: Renewal | None = None
        context.add_callback(self._end)

    @property
    def is_over(self) -> bool:
        """Whether the publisher is gone already."""
        return self._over.is_set()

    def acks(self) -> Iterator[pb.Ack]:
        """Give what is to be sent, until the end."""
        while (ack := self._acks.get()) is not None:
            yield ack

    def greet(self, config: ClientConfig) -> None:
        """Say hello."""
        tenant_id = config.known_tenant()
        if tenant_id is None:
            raise FabricConfigurationError("a driver that listens needs tenant_id")
        if self._identity is not None:
            self._identity.check(tenant_id=tenant_id)
        initiator = Initiator(
            tenant_id=tenant_id, sender=config.name, secret=config.secret, policy=config.session
        )
        self._send(
            hello=pb.HelloRequest(
                protocol=PROTOCOL, tenant_id=tenant_id, handshake=initiator.hello()
            )
        )
        answer = self._receive()
        if not isinstance(answer, pb.HelloReply):
            raise FeedProtocolError("no answer to hello from the publisher that dialled")
        self.session = initiator.finish(answer.handshake, now=time.monotonic())
        if self._identity is not None:
            self._identity.check(tenant_id=tenant_id, node=self.session.peer)
        self.welcome = read_welcome(self.session, answer)

    def messages(
        self, position: FeedPosition, tables: tuple[str, ...]
    ) -> Iterator[bytes | memoryview]:
        """Ask for frames and give them."""
        body = pb.SubscribeBody(
            epoch=position.epoch, after=position.seq, base=position.base, tables=tables
        )
        frame = seal_request(self.session, "Subscribe", 1, body.SerializeToString())
        self._send(subscribe=pb.SubscribeRequest(session_id=self.session.id, frame=frame))
        while (content := self._receive()) is not None:
            if isinstance(content, pb.HelloReply):
                if self._renewal is None:
                    raise FeedProtocolError("an answer to a hello that was not said")
                self._renewal.finish(content.handshake, now=time.monotonic())
                self._renewal = None
            else:
                yield content

    def after(self, position: FeedPosition | None) -> None:
        """Tell the position, and renew keys if it is time."""
        if position is not None:
            self._send(position=pb.Position(epoch=position.epoch, seq=position.seq))
        now = time.monotonic()
        self.session.retire(now)
        if self._renewal is None and self.session.needs_rekey(now):
            self._renewal = self.session.renew()
            self._send(
                hello=pb.HelloRequest(
                    protocol=PROTOCOL,
                    tenant_id=self.session.tenant_id,
                    handshake=self._renewal.hello(),
                )
            )

    def cancel(self) -> None:
        """End it."""
        self._context.cancel()
        self._end()

    def _receive(self) -> bytes | memoryview | pb.HelloReply | None:
        try:
            envelope = next(self._envelopes, None)
        except grpc.RpcError as error:
            raise error_of(error, self._context.peer()) from None
        except Exception as error:
            raise ServiceUnavailableError(f"{self._context.peer()}: the feed broke off") from error
        return None if envelope is None else read_envelope(envelope)

    def _send(self, **content: object) -> None:
        self._acks.put(pb.Ack(**content))  # type: ignore[arg-type]  # one of its fields

    def _end(self) -> None:
        self._over.set()
        self._acks.put(None)
