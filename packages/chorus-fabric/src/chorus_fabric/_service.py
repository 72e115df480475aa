"""`WrapperService` over a log and handlers: the shell between gRPC and everything else."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from typing import TYPE_CHECKING, Final, TypeVar, cast

import grpc
from google.protobuf.message import Message

from chorus_fabric._bodies import decode_query, decode_write, parsed
from chorus_fabric._calls import open_request, seal_reply
from chorus_fabric._envelope import envelope_of
from chorus_fabric._feed_stream import FeedStream
from chorus_fabric._feed_writer import FeedPosition
from chorus_fabric._guard import guarded
from chorus_fabric._handlers import Caller, HealthReport
from chorus_fabric._handshake import Responder, session_named_by
from chorus_fabric._identity import peer_identity
from chorus_fabric._shelf import SessionShelf, ShelvedSession
from chorus_fabric._welcome import welcome_of
from chorus_fabric.errors import (
    HandshakeError,
    IdentityError,
    NotAllowedError,
    NotReadyError,
    SubscriberTooSlowError,
    WrongStateError,
)
from chorus_fabric.v1 import wrapper_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from concurrent.futures import Executor

    Context = grpc.aio.ServicerContext[Message, Message]

    from chorus_fabric._feed import FeedLog
    from chorus_fabric._handlers import HealthHandler, QueryHandler, WriteHandler
    from chorus_fabric._publisher_config import PublisherConfig

__all__ = ["PROTOCOL", "SERVICE", "WrapperService"]

_log = logging.getLogger("chorus_fabric.service")

PROTOCOL: Final = 1
SERVICE: Final = "chorus_fabric.v1.WrapperService"
_SESSIONS_PER_SUBSCRIBER: Final = 4

Body = TypeVar("Body", bound=Message)
Result = TypeVar("Result")


class WrapperService:
    """Answer what `protos/chorus_fabric/v1/wrapper.proto` says. Belongs to one event loop.

    Args:
        config: The publisher's settings.
        log: What is streamed.
        executor: Where the log is read and handlers run.
        queries: Answers `Query`; `None` refuses it.
        writes: Answers `Write`; `None` refuses it.
        health: Answers `Health`; `None` tells of the log alone.
    """

    def __init__(
        self,
        *,
        config: PublisherConfig,
        log: FeedLog,
        executor: Executor,
        queries: QueryHandler | None,
        writes: WriteHandler | None,
        health: HealthHandler | None,
    ) -> None:
        self._config = config
        self._log = log
        self._executor = executor
        self._queries = queries
        self._writes = writes
        self._health = health
        self._responder = Responder(
            tenant_id=config.tenant_id,
            sender=config.name,
            secret=config.secret,
            policy=config.session,
        )
        self._shelf = SessionShelf(most=max(64, _SESSIONS_PER_SUBSCRIBER * config.max_subscribers))
        self._is_closing = False
        self._empty = asyncio.Event()
        self._empty.set()
        self.streams: set[FeedStream] = set()

    # What gRPC calls; the names are the protocol's.

    async def Hello(  # noqa: N802
        self, request: pb.HelloRequest, context: Context
    ) -> pb.HelloReply:
        """Agree on keys, and announce what is served."""

        async def answer() -> pb.HelloReply:
            return self.hello(request, self._auth(context))

        return await guarded(context, answer)

    async def Subscribe(  # noqa: N802
        self, request: pb.SubscribeRequest, context: Context
    ) -> None:
        """Stream frames until the subscriber goes."""

        async def answer() -> None:
            await self.stream(
                request,
                lambda message: context.write(envelope_of(message)),  # type: ignore[arg-type]
                peer=context.peer(),
            )

        await guarded(context, answer)

    async def Query(  # noqa: N802
        self, request: pb.QueryRequest, context: Context
    ) -> pb.QueryReply:
        """Search."""

        async def answer() -> pb.QueryReply:
            queries = self._queries
            if queries is None:
                raise WrongStateError("this service answers no queries: ask a replica")
            body, caller, seal = self._open("Query", request, pb.QueryBody, context)
            call = decode_query(body)
            found = await self._in_thread(lambda: queries.query(call, caller))
            reply = pb.QueryMatches(
                matches=[
                    pb.Match(
                        table=row.table,
                        row_id=row.row_id,
                        score=row.score,
                        text=row.text,
                        columns=row.columns,
                    )
                    for row in found.rows
                ],
                position=pb.Position(epoch=found.epoch, seq=found.seq),
            )
            if seal is None:
                return pb.QueryReply(matches=reply)
            return pb.QueryReply(frame=seal(reply))

        return await guarded(context, answer)

    async def Write(  # noqa: N802
        self, request: pb.WriteRequest, context: Context
    ) -> pb.WriteReply:
        """Upsert a row."""

        async def answer() -> pb.WriteReply:
            writes = self._writes
            if writes is None:
                raise WrongStateError("this service takes no writes")
            body, caller, seal = self._open("Write", request, pb.WriteBody, context)
            call = decode_write(body)
            done = await self._in_thread(lambda: writes.write(call, caller))
            reply = pb.WriteDone(event_id=done.event_id, row_id=done.row_id)
            if done.epoch:
                reply.position.CopyFrom(pb.Position(epoch=done.epoch, seq=done.seq))
            if seal is None:
                return pb.WriteReply(done=reply)
            return pb.WriteReply(frame=seal(reply))

        return await guarded(context, answer)

    async def Health(  # noqa: N802
        self, _request: pb.HealthRequest, context: Context
    ) -> pb.HealthReply:
        """Tell how the service is."""

        async def answer() -> pb.HealthReply:
            self._identify(self._auth(context))
            report = HealthReport(is_serving=not self._is_closing, state="serving")
            if self._health is not None:
                report = await self._in_thread(self._health.health)
            return pb.HealthReply(
                serving=report.is_serving,
                state=report.state,
                details=json.dumps(dict(report.details)).encode(),
                position=pb.Position(epoch=self._log.epoch, seq=self._log.head()),
                subscribers=len(self.streams),
            )

        return await guarded(context, answer)

    def handlers(self) -> grpc.GenericRpcHandler[Message, Message]:
        """Give what a server is to know; frames go past protobuf, which copies them."""
        unary = grpc.unary_unary_rpc_method_handler
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Hello": unary(self.Hello, pb.HelloRequest.FromString, _serialised),
                "Subscribe": grpc.unary_stream_rpc_method_handler(
                    self.Subscribe, pb.SubscribeRequest.FromString
                ),
                "Query": unary(self.Query, pb.QueryRequest.FromString, _serialised),
                "Write": unary(self.Write, pb.WriteRequest.FromString, _serialised),
                "Health": unary(self.Health, pb.HealthRequest.FromString, _serialised),
            },
        )

    # What the reversed service uses as well.

    def hello(
        self,
        request: pb.HelloRequest,
        auth: Mapping[str, Iterable[bytes]] | None,
        *,
        is_called: bool = True,
    ) -> pb.HelloReply:
        """Answer a Hello, new or of a renewal.

        Args:
            request: The Hello.
            auth: What gRPC knows of a caller; `None` without TLS.
            is_called: Whether the peer called; else it was dialled, and TLS has proven its tenant.

        Raises:
            ChorusError: The peer is not who it claims to be.
        """
        config = self._config
        node = self._identify(auth)
        if request.tenant_id and request.tenant_id != config.tenant_id:
            raise NotAllowedError(
                f"tenant {config.tenant_id!r} is served here, asked for was {request.tenant_id!r}"
            )
        reply = pb.HelloReply(protocol=PROTOCOL, tenant_id=config.tenant_id)
        if not request.handshake:
            return reply
        if request.protocol != PROTOCOL:
            raise HandshakeError(
                f"protocol {PROTOCOL} is spoken here, the caller speaks {request.protocol}: "
                "upgrade the older side"
            )
        now = time.monotonic()
        name = session_named_by(request.handshake)
        if name is not None:
            shelved = self._shelf.find(name)
            with shelved.lock:
                _check_node(node, shelved.session.peer)
                reply.handshake = shelved.session.answer(request.handshake, now=now)
            return reply
        reply.handshake, session = self._responder.answer(request.handshake, now=now)
        _check_node(node, session.peer)
        reply.welcome = seal_reply(
            session, "Hello", 0, welcome_of(config, self._log, is_sealed=session.is_sealed)
        )
        is_proven = (
            node is not None or config.secret is not None or (not is_called and bool(config.tls))
        )
        self._shelf.put(ShelvedSession(session, is_proven=is_proven))
        return reply

    async def stream(
        self,
        request: pb.SubscribeRequest,
        send: Callable[[bytes], Awaitable[object]],
        *,
        peer: str,
        begun: Callable[[FeedStream], None] | None = None,
    ) -> None:
        """Send a feed until the service stops, or the task is cancelled.

        Raises:
            ChorusError: The request is refused, or the subscriber was too slow.
        """
        config = self._config
        shelved = self._shelf.find(request.session_id)
        with shelved.lock:
            _, encoded = open_request(shelved.session, request.frame, "Subscribe")
        body = parsed(pb.SubscribeBody, encoded)
        if shelved.is_streaming:
            raise WrongStateError("a feed runs in this session: say hello again for another")
        if self._is_closing:
            raise NotReadyError("the service is stopping: connect again in a moment")
        if len(self.streams) >= config.max_subscribers:
            raise NotReadyError(
                f"{config.max_subscribers} subscribers are here: raise max_subscribers"
            )
        stream = FeedStream(
            log=self._log,
            shelved=shelved,
            position=FeedPosition(body.epoch, body.after, body.base),
            tables=tuple(body.tables),
            config=config,
            executor=self._executor,
            peer=peer,
        )
        shelved.is_used = shelved.is_streaming = True
        self.streams.add(stream)
        self._empty.clear()
        if begun is not None:
            begun(stream)
        _log.info("subscriber %s at %s begins", shelved.session.peer, peer)
        try:
            async for message in stream.messages():
                try:
                    async with asyncio.timeout(config.slow_after_s):
                        await send(message)
                except TimeoutError:
                    _log.warning(
                        "subscriber %s took nothing for %g s and is cut off",
                        shelved.session.peer,
                        config.slow_after_s,
                    )
                    raise SubscriberTooSlowError(
                        f"nothing taken for {config.slow_after_s:g} s: resume from your position"
                    ) from None
        finally:
            await stream.end()
            self.streams.discard(stream)
            if not self.streams:
                self._empty.set()
            shelved.is_streaming = False
            _log.info("subscriber %s ends", shelved.session.peer)

    def close(self) -> None:
        """Let streams end once their subscribers have everything; take no new ones."""
        self._is_closing = True
        for stream in self.streams:
            stream.close()

    async def drained(self, timeout_s: float) -> None:
        """Wait until no stream runs, but not longer than that."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), timeout_s)

    def tick(self) -> None:
        """Forget old keys; to be called each second or so."""
        self._shelf.tick(time.monotonic())

    def _auth(self, context: Context) -> Mapping[str, Iterable[bytes]] | None:
        return None if self._config.tls is None else context.auth_context()

    def _identify(self, auth: Mapping[str, Iterable[bytes]] | None) -> str | None:
        """Give the node that a certificate names; `None` where there is no TLS."""
        if auth is None:
            return None
        identity = peer_identity(auth)
        identity.check(tenant_id=self._config.tenant_id)
        return identity.node

    def _open(
        self,
        method: str,
        request: pb.QueryRequest | pb.WriteRequest,
        kind: type[Body],
        context: Context,
    ) -> tuple[Body, Caller, Callable[[Message], bytes] | None]:
        """Give a call's body, who calls, and how the reply is sealed, if it is."""
        config = self._config
        node = self._identify(self._auth(context))
        if request.tenant_id and request.tenant_id != config.tenant_id:
            raise NotAllowedError(
                f"tenant {config.tenant_id!r} is served here, asked for was {request.tenant_id!r}"
            )
        if request.WhichOneof("content") != "frame":
            if config.secret is not None:
                raise NotAllowedError("a secret is set here: send calls in frames of a session")
            caller = Caller(
                tenant_id=config.tenant_id,
                node_id=node or "",
                peer=context.peer(),
                is_proven=node is not None,
            )
            return cast("Body", request.body), caller, None
        shelved = self._shelf.find(request.session_id)
        with shelved.lock:
            _check_node(node, shelved.session.peer)
            number, encoded = open_request(shelved.session, request.frame, method)
        shelved.is_used = True

        def seal(reply: Message) -> bytes:
            with shelved.lock:
                return seal_reply(shelved.session, method, number, reply.SerializeToString())

        caller = Caller(
            tenant_id=config.tenant_id,
            node_id=shelved.session.peer,
            peer=context.peer(),
            is_proven=shelved.is_proven,
        )
        return parsed(kind, encoded), caller, seal

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)


def _serialised(reply: Message) -> bytes:
    return reply.SerializeToString()


def _check_node(node: str | None, peer: str) -> None:
    if node is not None and node != peer:
        raise IdentityError(f"the certificate is of node {node!r}, the caller says {peer!r}")
