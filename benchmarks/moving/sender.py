"""The process that sends: plain TCP, and gRPC with and without TLS, each on a port of its own."""

from __future__ import annotations

import asyncio
import json
import multiprocessing as mp
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent import futures
from contextlib import contextmanager
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import grpc
from google.protobuf.wrappers_pb2 import BytesValue

from chorus_fabric import Session, TLSConfig, server_credentials
from chorus_fabric._envelope import envelope_of
from moving.sample import responder, sample_frame, session_pair

SERVICE = "bench.Feed"
# gRPC's own limit is 4 MB; a frame may have 16.
OPTIONS = [
    ("grpc.max_receive_message_length", 17 << 20),
    ("grpc.max_send_message_length", 17 << 20),
]


class Ports(NamedTuple):
    """Where the sender listens."""

    raw: int
    insecure: int
    mtls: int
    threads: int


@contextmanager
def sender(certificates: Path) -> Iterator[Ports]:
    """Run the sender in a process of its own."""
    context = mp.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(theirs, str(certificates)), daemon=True)
    process.start()
    try:
        yield Ports(*ours.recv())
    finally:
        process.terminate()
        process.join()


@cache
def ready_message(rows: int) -> bytes:
    """Give a message that is ready to be sent: for measuring the way alone."""
    wrapper, _ = session_pair(is_sealed=False)
    return wrapper.sealer.seal(sample_frame(rows))


class _Feed:
    """Answers hellos, and streams what it is asked for."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}

    def hello(self, request: bytes) -> bytes:
        # Byte 5 of a hello says whether it is with a secret.
        reply, session = responder(is_sealed=request[5] == 2).answer(request, now=0.0)
        self._sessions[session.id.hex()] = session
        return reply

    def messages(self, request: bytes) -> Iterator[bytes]:
        asked: dict[str, Any] = json.loads(request)
        session = self._sessions.get(asked["session"])
        frame = sample_frame(asked["rows"])
        ready = ready_message(asked["rows"])
        for _ in range(asked["frames"]):
            yield ready if session is None else session.sealer.seal(frame)


def _cpu() -> bytes:
    return repr(time.process_time()).encode()


def _run(pipe: Connection, certificates: str) -> None:
    feed = _Feed()
    asyncio.run(_serve(pipe, feed, TLSConfig.in_folder(certificates)))


async def _serve(pipe: Connection, feed: _Feed, tls: TLSConfig) -> None:
    async def hello(request: bytes, _: object) -> bytes:
        return feed.hello(request)

    async def cpu(_: bytes, __: object) -> bytes:
        return _cpu()

    async def take(request: bytes, _: object) -> AsyncIterator[bytes]:
        for message in feed.messages(request):
            yield envelope_of(message)

    async def take_by_protobuf(request: bytes, _: object) -> AsyncIterator[bytes]:
        for message in feed.messages(request):
            yield BytesValue(value=message).SerializeToString()

    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers((_handlers(hello, cpu, take, take_by_protobuf),))
    insecure = server.add_insecure_port("127.0.0.1:0")
    mtls = server.add_secure_port("127.0.0.1:0", server_credentials(tls))
    await server.start()
    threaded = grpc.server(futures.ThreadPoolExecutor(4), options=OPTIONS)
    threaded.add_generic_rpc_handlers(
        (
            _handlers(
                lambda request, _: feed.hello(request),
                lambda _, __: _cpu(),
                lambda request, _: map(envelope_of, feed.messages(request)),
                lambda request, _: feed.messages(request),
            ),
        )
    )
    threads = threaded.add_secure_port("127.0.0.1:0", server_credentials(tls))
    threaded.start()
    plain = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=_serve_plain, args=(plain, feed), daemon=True).start()
    pipe.send((plain.getsockname()[1], insecure, mtls, threads))
    await server.wait_for_termination()


def _handlers(hello: Any, cpu: Any, take: Any, take_by_protobuf: Any) -> Any:
    methods = {
        "Hello": grpc.unary_unary_rpc_method_handler(hello),
        "Cpu": grpc.unary_unary_rpc_method_handler(cpu),
        "Take": grpc.unary_stream_rpc_method_handler(take),
        "TakeByProtobuf": grpc.unary_stream_rpc_method_handler(take_by_protobuf),
    }
    return grpc.method_handlers_generic_handler(SERVICE, methods)


def _serve_plain(server: socket.socket, feed: _Feed) -> None:
    """A line asks; messages with their length before them answer."""
    while True:
        connection, _ = server.accept()
        with connection, connection.makefile("rb") as lines:
            for message in feed.messages(lines.readline()):
                connection.sendall(len(message).to_bytes(4, "little"))
                connection.sendall(message)
