"""A client of `WrapperService`: one connection, one session, blocking calls."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from chorus_fabric._calls import open_reply, seal_request
from chorus_fabric._channel import CHANNEL_OPTIONS, address
from chorus_fabric._envelope import frame_in
from chorus_fabric._handshake import Initiator
from chorus_fabric._identity import EVERY_TENANT
from chorus_fabric._publisher_config import check_port, node_name
from chorus_fabric._session import SessionPolicy
from chorus_fabric._statuses import error_of
from chorus_fabric._tls import TLSFiles, channel_credentials, channel_options
from chorus_fabric.errors import (
    FabricConfigurationError,
    FeedProtocolError,
    HandshakeError,
    MalformedFrameError,
    SessionExpiredError,
)
from chorus_fabric.v1 import wrapper_pb2 as pb
from chorus_fabric.v1 import wrapper_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chorus_fabric._feed_writer import FeedPosition
    from chorus_fabric._handshake import Renewal, Session
    from chorus_fabric._tls import TLSConfig

__all__ = ["ClientConfig", "FeedCall", "ServiceClient", "Welcome"]

PROTOCOL: Final = 1

Reply = TypeVar("Reply", bound=Message)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientConfig:
    """How to reach a service, and who asks.

    Attributes:
        host: Its host.
        port: Its port.
        tenant_id: Whose rows are wanted. `None` takes the tenant of `tls`'s certificate, else
            whichever the service serves.
        node_id: The caller's name; `None` takes the certificate's, else one of host and process.
        tls: Certificate, key and authority for mutual TLS.
        secret: The tenant's secret.
        timeout_s: How long to wait for an answer to Hello.
        session: When keys are renewed.

    Raises:
        FabricConfigurationError: A setting is not acceptable; the message names it.
    """

    host: str
    port: int = 50051
    tenant_id: str | None = None
    node_id: str | None = None
    tls: TLSConfig | None = None
    secret: str | bytes | None = field(default=None, repr=False)
    timeout_s: float = 5.0
    session: SessionPolicy = field(default_factory=SessionPolicy)

    def __post_init__(self) -> None:
        if not self.host or not isinstance(self.host, str):
            raise FabricConfigurationError(f"host names a machine, got {self.host!r}")
        check_port(self.port, least=1)
        if self.tenant_id is not None and self.tenant_id in ("", EVERY_TENANT):
            raise FabricConfigurationError(f"tenant_id names one tenant, got {self.tenant_id!r}")
        if not self.timeout_s > 0:
            raise FabricConfigurationError(f"timeout_s is above 0, got {self.timeout_s!r}")

    @property
    def address(self) -> str:
        """Host and port."""
        return address(self.host, self.port)

    @property
    def name(self) -> str:
        """The caller's name."""
        return node_name(self.node_id, self.tls)

    def known_tenant(self) -> str | None:
        """Give the tenant, if it is known before asking.

        Raises:
            FabricConfigurationError: The certificate is for every tenant, so one has to be named.
        """
        if self.tenant_id is not None or self.tls is None:
            return self.tenant_id
        tenant = self.tls.identity.tenant_id
        if tenant == EVERY_TENANT:
            raise FabricConfigurationError("the certificate is for every tenant: set tenant_id")
        return tenant


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """What a service announced in Hello.

    Attributes:
        tenant_id: Whose rows it serves.
        node_id: Its name.
        epoch: Epoch of its log.
        head: Highest position in it.
        model_id: The embedder that makes the vectors; empty if it did not say.
        dim: Width of that embedder's vectors; 0 if it did not say.
        wire: `full` or `projected`.
        tables: Full names of the tables.
        version: Its version.
        is_sealed: Whether frames are encrypted.
    """

    tenant_id: str
    node_id: str
    epoch: int
    head: int
    model_id: str
    dim: int
    wire: str
    tables: tuple[str, ...]
    version: str
    is_sealed: bool


class FeedCall:
    """A running `Subscribe`.

    Args:
        call: What gRPC gave.
        where: The address, for errors.
    """

    def __init__(self, call: grpc.Call, where: str) -> None:
        self._call = call
        self._where = where

    def __iter__(self) -> Iterator[bytes | memoryview]:
        """Give frames as they come; raises a `ChorusError` when the stream breaks."""
        try:
            for envelope in self._call:  # type: ignore[attr-defined]  # a stream of bytes
                content = read_envelope(envelope)
                if isinstance(content, pb.HelloReply):
                    raise FeedProtocolError("an answer to a hello in a feed that was called")
                yield content
        except grpc.RpcError as error:
            raise error_of(error, self._where) from None

    def cancel(self) -> None:
        """End it, from any thread."""
        self._call.cancel()


class ServiceClient:
    """Talk to one service. All methods may be called from several threads.

    Args:
        config: Where it is, and who asks.
    """

    def __init__(self, config: ClientConfig) -> None:
        self._config = config
        self._where = config.address
        self._lock = threading.Lock()
        self._session: Session | None = None
        self._number = random.getrandbits(32)
        self._tenant_id = config.known_tenant()
        self._welcome: Welcome | None = None
        self._files = None if config.tls is None else TLSFiles(config.tls)
        self._channel = self._open_channel()
        self._stub = wrapper_pb2_grpc.WrapperServiceStub(self._channel)

    @property
    def session(self) -> Session:
        """The session.

        Raises:
            SessionExpiredError: `hello` was not said.
        """
        if self._session is None:
            raise SessionExpiredError("say hello first")
        return self._session

    def hello(self) -> Welcome:
        """Begin a session, or another one.

        Raises:
            ServiceUnavailableError: The service cannot be reached.
            ChorusError: It refuses, or is not who it should be.
        """
        config = self._config
        tenant_id = self._tenant_id
        if tenant_id is None:
            tenant_id = self._say(pb.HelloRequest(protocol=PROTOCOL)).tenant_id
            if not tenant_id:
                raise HandshakeError("the service did not name its tenant: set tenant_id")
        initiator = Initiator(
            tenant_id=tenant_id, sender=config.name, secret=config.secret, policy=config.session
        )
        request = pb.HelloRequest(
            protocol=PROTOCOL, tenant_id=tenant_id, handshake=initiator.hello()
        )
        reply = self._say(request)
        session = initiator.finish(reply.handshake, now=time.monotonic())
        welcome = read_welcome(session, reply)
        with self._lock:
            self._session = session
        self._welcome = welcome
        return welcome

    def renew(self) -> None:
        """Renew the session's keys if it is time; to be called each second or so.

        Raises:
            ChorusError: It failed; say hello again.
        """
        session = self.session
        with self._lock:
            now = time.monotonic()
            session.retire(now)
            if not session.needs_rekey(now):
                return
            renewal: Renewal = session.renew()
            request = pb.HelloRequest(
                protocol=PROTOCOL, tenant_id=session.tenant_id, handshake=renewal.hello()
            )
            renewal.finish(self._say(request).handshake, now=time.monotonic())

    def subscribe(self, position: FeedPosition, tables: tuple[str, ...]) -> FeedCall:
        """Begin the feed of this session; its frames go through `session.opener`."""
        body = pb.SubscribeBody(
            epoch=position.epoch, after=position.seq, base=position.base, tables=tables
        )
        with self._lock:
            session = self.session
            self._number += 1
            frame = seal_request(session, "Subscribe", self._number, body.SerializeToString())
        request = pb.SubscribeRequest(session_id=session.id, frame=frame)
        # Envelopes of frames go past protobuf, which copies them.
        subscribe = self._channel.unary_stream(
            "/chorus_fabric.v1.WrapperService/Subscribe",
            request_serializer=pb.SubscribeRequest.SerializeToString,
            response_deserializer=None,
        )
        return FeedCall(subscribe(request), self._where)

    def query(self, body: pb.QueryBody, *, timeout_s: float) -> pb.QueryMatches:
        """Have the service search.

        Raises:
            ChorusError: As the service says, or `ServiceUnavailableError`.
        """
        return self._call("Query", body, pb.QueryRequest, pb.QueryMatches, timeout_s)

    def write(self, body: pb.WriteBody, *, timeout_s: float) -> pb.WriteDone:
        """Have the service write.

        Raises:
            ChorusError: As the service says. After `ServiceUnavailableError` it may be done or not.
        """
        return self._call("Write", body, pb.WriteRequest, pb.WriteDone, timeout_s)

    def health(self, *, timeout_s: float) -> pb.HealthReply:
        """Ask how the service is."""
        try:
            reply: pb.HealthReply = self._stub.Health(pb.HealthRequest(), timeout=timeout_s)
        except grpc.RpcError as error:
            raise error_of(error, self._where) from None
        return reply

    def close(self) -> None:
        """End the session and the connection."""
        with self._lock:
            if self._session is not None:
                self._session.close()
        self._channel.close()

    def _call(
        self,
        method: str,
        body: Message,
        envelope: type[pb.QueryRequest | pb.WriteRequest],
        kind: type[Reply],
        timeout_s: float,
    ) -> Reply:
        self._follow_files()
        try:
            return self._call_once(method, body, envelope, kind, timeout_s)
        except (HandshakeError, SessionExpiredError):
            # The service was started anew, or keys are too old. It has opened nothing, so nothing
            # was done.
            self.hello()
            return self._call_once(method, body, envelope, kind, timeout_s)

    def _call_once(
        self,
        method: str,
        body: Message,
        envelope: type[pb.QueryRequest | pb.WriteRequest],
        kind: type[Reply],
        timeout_s: float,
    ) -> Reply:
        self.renew()
        with self._lock:
            session = self.session
            self._number += 1
            number = self._number
            frame = seal_request(session, method, number, body.SerializeToString())
        request = envelope(frame=frame, session_id=session.id, tenant_id=session.tenant_id)
        try:
            reply = getattr(self._stub, method)(request, timeout=timeout_s)
        except grpc.RpcError as error:
            raise error_of(error, self._where) from None
        with self._lock:
            encoded = open_reply(session, reply.frame, method, number)
        try:
            return kind.FromString(encoded)
        except DecodeError:
            raise MalformedFrameError(f"the reply to {method} cannot be read") from None

    def _say(self, request: pb.HelloRequest) -> pb.HelloReply:
        try:
            reply: pb.HelloReply = self._stub.Hello(request, timeout=self._config.timeout_s)
        except grpc.RpcError as error:
            raise error_of(error, self._where) from None
        return reply

    def _follow_files(self) -> None:
        """Connect anew if other certificates are there: a channel keeps those it began with."""
        if self._files is not None and self._files.changed():
            # The channel before ends with the last call in it, which may be another thread's.
            self._channel = self._open_channel()
            self._stub = wrapper_pb2_grpc.WrapperServiceStub(self._channel)

    def _open_channel(self) -> grpc.Channel:
        config = self._config
        options: list[tuple[str, str | int]] = list(CHANNEL_OPTIONS)
        if config.tls is None:
            return grpc.insecure_channel(self._where, options=options)
        tenant_id = self._tenant_id or ""
        options += channel_options(tenant_id)
        credentials = channel_credentials(config.tls)
        return grpc.secure_channel(self._where, credentials, options=options)


def read_envelope(envelope: bytes) -> bytes | memoryview | pb.HelloReply:
    """Give what a serialised `Envelope` holds; a frame lies in the memory of that.

    Raises:
        FeedProtocolError: It is no envelope.
    """
    frame = frame_in(envelope)
    if frame is not None:
        return frame
    try:
        content = pb.Envelope.FromString(envelope)
    except DecodeError:
        raise FeedProtocolError("a message of the feed is no Envelope") from None
    return content.hello if content.WhichOneof("content") == "hello" else content.frame


def read_welcome(session: Session, reply: pb.HelloReply) -> Welcome:
    """Read what a service announced.

    Raises:
        ChorusError: It is not from the service, or makes no sense.
    """
    try:
        word = pb.Welcome.FromString(open_reply(session, reply.welcome, "Hello", 0))
    except DecodeError:
        raise MalformedFrameError("the announcement cannot be read") from None
    return Welcome(
        tenant_id=session.tenant_id,
        node_id=session.peer,
        epoch=word.epoch,
        head=word.head,
        model_id=word.model_id,
        dim=word.dim,
        wire=word.wire,
        tables=tuple(table.name for table in word.tables),
        version=word.version,
        is_sealed=word.sealed,
    )
