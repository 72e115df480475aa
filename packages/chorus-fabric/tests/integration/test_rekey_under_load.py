"""A stream over real mutual TLS, whose keys are renewed again and again while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from certificates import Authority
from sessions import SECRET, frame, same

from chorus_fabric import (
    Initiator,
    KeyEpochError,
    Responder,
    Session,
    channel_credentials,
    channel_options,
    server_credentials,
    session_named_by,
)

FRAMES = 600
RENEWALS = 25


class Feed:
    """The wrapper's side: says hello, renews, and streams."""

    def __init__(self) -> None:
        self.responder = Responder(tenant_id="acme", sender="db-1", secret=SECRET)
        self.sessions: dict[bytes, Session] = {}

    async def hello(self, request: bytes, _: object) -> bytes:
        named = session_named_by(request)
        if named is not None:
            return self.sessions[named].answer(request, now=0.0)
        reply, session = self.responder.answer(request, now=0.0)
        self.sessions[session.id] = session
        return reply

    async def subscribe(self, request: bytes, _: object) -> AsyncIterator[bytes]:
        session = self.sessions[request]
        for seq in range(FRAMES):
            yield session.sealer.seal(frame(rows=20, seq=seq))


@pytest.mark.parametrize("is_secure", [True, False], ids=["mTLS", "plain"])
async def test_renewing_keys_loses_nothing(tmp_path: Path, is_secure: bool) -> None:
    authority, feed = Authority(tmp_path), Feed()
    server = grpc.aio.server()
    handlers = {
        "Hello": grpc.unary_unary_rpc_method_handler(feed.hello),
        "Subscribe": grpc.unary_stream_rpc_method_handler(feed.subscribe),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Feed", handlers),))
    if is_secure:
        credentials = server_credentials(authority.node("acme", "db-1"))
        port = server.add_secure_port("127.0.0.1:0", credentials)
        channel = grpc.aio.secure_channel(
            f"127.0.0.1:{port}",
            channel_credentials(authority.node("acme", "app-1")),
            channel_options("acme"),
        )
    else:
        port = server.add_insecure_port("127.0.0.1:0")
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    await server.start()
    try:
        async with channel:
            session = await _run(channel)
    finally:
        await server.stop(None)
    assert session.key_epoch == RENEWALS
    assert feed.sessions[session.id].key_epoch == RENEWALS


async def _run(channel: grpc.aio.Channel) -> Session:
    say_hello = channel.unary_unary("/test.Feed/Hello")
    initiator = Initiator(tenant_id="acme", sender="app-1", secret=SECRET)
    session = initiator.finish(await say_hello(initiator.hello()), now=0.0)
    arrived = asyncio.Semaphore(0)

    async def renew() -> None:
        for _ in range(RENEWALS):
            # A few frames for each key, the next renewal while more are on their way.
            for _ in range(FRAMES // RENEWALS - 4):
                await arrived.acquire()
            renewal = session.renew()
            renewal.finish(await say_hello(renewal.hello()), now=0.0)
            renewed.set()

    renewed = asyncio.Event()
    renewing = asyncio.create_task(renew())
    seq = 0
    async for message in channel.unary_stream("/test.Feed/Subscribe")(session.id):
        while True:
            try:
                opened = session.opener.open(message)
                break
            except KeyEpochError as error:
                # Under keys whose answer has not arrived: the same message, once it has.
                if not error.is_newer:
                    raise
                renewed.clear()
                await renewed.wait()
        if seq % 50 == 0:
            assert same(opened, frame(rows=20, seq=seq))
        assert opened.seq == seq
        seq += 1
        arrived.release()
    await renewing
    assert seq == FRAMES
    return session
