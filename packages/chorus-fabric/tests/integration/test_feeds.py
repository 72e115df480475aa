"""Feeds over real connections, between processes, with real kills."""

from __future__ import annotations

import asyncio
import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path

import grpc
import numpy as np
import pytest
from certificates import Authority
from grpc_health.v1 import health_pb2, health_pb2_grpc
from publishing import Follower, PublisherProcess, gone, row, until

from chorus_fabric import (
    CHORUSPublisher,
    ClientConfig,
    DriverEndpoint,
    DriverListener,
    FabricConfigurationError,
    FeedPosition,
    FeedProtocolError,
    FrameKind,
    HandshakeError,
    MemoryLog,
    NotAllowedError,
    PublisherConfig,
    Reached,
    RowChange,
    ServiceClient,
    ServiceUnavailableError,
    SessionPolicy,
    Subscriber,
    UnsafeBindError,
    Upserted,
)
from chorus_fabric._calls import open_request, seal_reply, seal_request
from chorus_fabric._client import read_envelope
from chorus_fabric._feed_writer import FeedWriter
from chorus_fabric._handshake import Responder
from chorus_fabric.v1 import wrapper_pb2 as pb
from chorus_fabric.v1 import wrapper_pb2_grpc

SECRET = "sixteen bytes and a few more"  # noqa: S105  of these tests


def config(port: int, **more: object) -> ClientConfig:
    return ClientConfig(host="127.0.0.1", port=port, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("secret", [None, SECRET])
def test_rows_come_change_and_go(secret: str | None) -> None:
    with PublisherProcess(secret=secret) as publisher:
        publisher.put(row("1", "one"), row("2", "two"))
        with Follower(config(publisher.port, secret=secret)) as follower:
            answer = publisher.put(row("3", "three"), gone("1"), row("2", "zwei"))
            until(lambda: follower.has(answer))
            assert follower.texts() == {"2": "zwei", "3": "three"}
            answer = publisher.tell(clear="products")
            until(lambda: follower.has(answer))
            assert follower.texts() == {}
            assert follower.resets == 1


def test_a_killed_publisher_is_followed_when_it_is_back() -> None:
    with PublisherProcess() as publisher:
        answer = publisher.put(row("1", "one"))
        with Follower(config(publisher.port)) as follower:
            until(lambda: follower.has(answer))
            publisher.kill()
            until(lambda: follower.errors)
            assert follower.texts() == {"1": "one"}
            assert isinstance(follower.errors[0], ServiceUnavailableError)
            with publisher.again() as second:
                answer = second.put(row("2", "two"))
                until(lambda: follower.has(answer))
                # Its log was in memory, so this is another epoch.
                assert follower.texts() == {"2": "two"}
                assert follower.resets == 2


def test_a_stopped_publisher_is_noticed_by_its_silence() -> None:
    with PublisherProcess() as publisher:
        answer = publisher.put(row("1", "one"))
        with Follower(config(publisher.port), silence_s=2.0) as follower:
            until(lambda: follower.has(answer))
            os.kill(publisher.pid, signal.SIGSTOP)
            until(lambda: follower.errors)
            os.kill(publisher.pid, signal.SIGCONT)
            answer = publisher.put(row("2", "two"))
            until(lambda: follower.has(answer))
            assert follower.texts() == {"1": "one", "2": "two"}
            assert follower.resets == 1


def test_a_subscriber_that_comes_back_gets_what_it_lacks_and_no_more() -> None:
    with PublisherProcess() as publisher:
        answer = publisher.put(*(row(str(n), f"v{n}") for n in range(500)))
        with Follower(config(publisher.port)) as follower:
            until(lambda: follower.has(answer))
            position = follower.position
        answer = publisher.put(row("7", "new"), gone("8"))
        with Follower(config(publisher.port), position=position) as follower:
            until(lambda: follower.has(answer))
            assert follower.resets == 0
            assert follower.texts() == {"7": "new"}


def test_a_subscriber_too_far_behind_begins_anew() -> None:
    with PublisherProcess(max_tombstones=3) as publisher:
        answer = publisher.put(*(row(str(n), f"v{n}") for n in range(20)))
        with Follower(config(publisher.port)) as follower:
            until(lambda: follower.has(answer))
            position = follower.position
        answer = publisher.put(*(gone(str(n)) for n in range(10)))
        with Follower(config(publisher.port), position=position) as follower:
            until(lambda: follower.has(answer))
            assert follower.resets == 1
            assert set(follower.texts()) == {str(n) for n in range(10, 20)}


def test_a_new_epoch_resets_a_running_feed() -> None:
    with PublisherProcess() as publisher:
        answer = publisher.put(row("1", "one"))
        with Follower(config(publisher.port)) as follower:
            until(lambda: follower.has(answer))
            answer = publisher.tell(renew=True)
            until(lambda: follower.has(answer))
            assert (follower.resets, follower.connects) == (2, 1)
            assert follower.texts() == {"1": "one"}


def test_only_the_tables_asked_for_come() -> None:
    with PublisherProcess() as publisher:
        publisher.put(row("1", "one", table="shop.products"), row("2", "two", table="shop.orders"))
        with Follower(config(publisher.port), tables=("products",)) as follower:
            answer = publisher.put(row("3", "three", table="shop.orders"))
            until(lambda: follower.has(answer))
            assert follower.texts() == {"1": "one"}


def test_a_subscriber_that_takes_nothing_is_cut_off_and_the_others_go_on() -> None:
    settings = {"slow_after_s": 2.0, "queue_bytes": 65536, "batch_bytes": 65536}
    with (
        PublisherProcess(**settings) as publisher,
        Follower(config(publisher.port)) as slow,
        Follower(config(publisher.port)) as other,
    ):
        answer = publisher.put(row("0", "first"))
        until(lambda: slow.has(answer) and other.has(answer))
        slow.paused.set()
        for start in range(0, 40_000, 2_000):
            answer = publisher.put(
                *(row(str(n), f"{n:0>1000}") for n in range(start, start + 2_000))
            )
        until(lambda: other.has(answer))
        until(lambda: len(publisher.tell(status=True)["subscribers"]) == 1)
        slow.paused.clear()
        until(lambda: slow.has(answer))
        assert any("resume from your position" in str(error) for error in slow.errors)
        assert slow.rows == other.rows
        assert slow.resets == 1


def test_memory_stays_bounded_beside_a_subscriber_that_never_reads() -> None:
    with PublisherProcess(slow_after_s=60.0, queue_bytes=1 << 20, batch_bytes=1 << 18) as publisher:
        publisher.put(*(row(str(n), "x" * 1000) for n in range(2_000)))
        with Follower(config(publisher.port)) as slow:
            slow.paused.set()
            before = resident_bytes(publisher.pid)
            # The same 2,000 rows, 30 times: 60 MB that a queue without bound would hold.
            for turn in range(30):
                publisher.put(*(row(str(n), f"{turn:0>1000}") for n in range(2_000)))
            seen = publisher.tell(status=True)["subscribers"]
            assert all(queued <= (1 << 20) + (1 << 19) for _, queued, _, _ in seen)
            assert resident_bytes(publisher.pid) - before < 30e6


def test_keys_are_renewed_while_rows_flow() -> None:
    log = MemoryLog(epoch=1)
    policy = SessionPolicy(rekey_after_s=0.05, overlap_s=5.0)

    async def main() -> None:
        publisher = CHORUSPublisher(
            PublisherConfig(port=0, tenant_id="t", secret=SECRET, heartbeat_s=0.05), log=log
        )
        async with publisher:
            assert publisher.port is not None
            with Follower(config(publisher.port, secret=SECRET, session=policy)) as follower:
                for number in range(60):
                    log.append([RowChange(table="p", row_id=str(number), vector=[1.0])])
                    await asyncio.sleep(0.01)
                await asyncio.to_thread(until, lambda: follower.position.seq == 60)
                (stream,) = publisher._service.streams
                assert stream._shelved.session.key_epoch >= 3
                assert not follower.errors
                assert len(follower.rows) == 60

    asyncio.run(main())


def test_wrong_secrets_and_tenants_are_refused() -> None:
    with PublisherProcess(secret=SECRET) as publisher:
        for given, kind in (
            ({"secret": "another secret of that length"}, HandshakeError),
            ({}, HandshakeError),
            ({"secret": SECRET, "tenant_id": "other"}, NotAllowedError),
        ):
            client = ServiceClient(config(publisher.port, **given))
            with pytest.raises(kind):
                client.hello()
            client.close()


def test_calls_without_a_frame_are_refused_where_a_secret_is_set() -> None:
    with PublisherProcess(secret=SECRET) as publisher:
        publisher.put(row("1", "one"))
        with grpc.insecure_channel(f"127.0.0.1:{publisher.port}") as channel:
            stub = wrapper_pb2_grpc.WrapperServiceStub(channel)
            with pytest.raises(grpc.RpcError) as caught:
                stub.Write(pb.WriteRequest(body=pb.WriteBody(row_id="2", values=b"{}")))
            assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
            session_id = bytes(16)
            with pytest.raises(grpc.RpcError) as caught:
                stub.Write(pb.WriteRequest(frame=b"forged", session_id=session_id))
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
            with pytest.raises(grpc.RpcError) as caught:
                list(stub.Subscribe(pb.SubscribeRequest(session_id=session_id, frame=b"")))
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_a_call_is_done_once_however_often_it_is_sent() -> None:
    with PublisherProcess(secret=SECRET) as publisher:
        head = publisher.put(row("1", "one"))["head"]
        client = ServiceClient(config(publisher.port, secret=SECRET))
        client.hello()
        sent: list[pb.WriteRequest] = []
        stub = client._stub

        class Tapped:
            def __getattr__(self, name: str) -> object:
                def call(request: pb.WriteRequest, timeout: float) -> object:
                    sent.append(request)
                    return getattr(stub, name)(request, timeout=timeout)

                return call

        client._stub = Tapped()  # type: ignore[assignment]
        client.write(pb.WriteBody(row_id="2", values=b"{}", wait_ms=100), timeout_s=10)
        assert publisher.tell(status=True)["head"] == head + 1
        for method in ("Write", "Query"):
            kind = pb.WriteRequest if method == "Write" else pb.QueryRequest
            again = kind(frame=sent[0].frame, session_id=sent[0].session_id)
            with pytest.raises(grpc.RpcError) as caught:
                getattr(stub, method)(again)
            assert caught.value.code() in (
                grpc.StatusCode.UNAUTHENTICATED,
                grpc.StatusCode.FAILED_PRECONDITION,
            )
        assert publisher.tell(status=True)["head"] == head + 1
        client.close()


def test_thin_clients_call_without_frames_where_no_secret_is_set() -> None:
    with PublisherProcess() as publisher:
        publisher.put(row("1", "one"))
        with grpc.insecure_channel(f"127.0.0.1:{publisher.port}") as channel:
            stub = wrapper_pb2_grpc.WrapperServiceStub(channel)
            reply = stub.Write(
                pb.WriteRequest(body=pb.WriteBody(row_id="2", values=b'{"name": "x"}', wait_ms=10))
            )
            assert reply.done.row_id == "2"
            assert reply.done.position.seq == 2
            with pytest.raises(grpc.RpcError) as caught:
                stub.Query(pb.QueryRequest(body=pb.QueryBody(text="x")))
            assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
            health = stub.Health(pb.HealthRequest())
            assert (health.serving, health.position.seq) == (True, 2)
            standard = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
            assert standard.status == health_pb2.HealthCheckResponse.SERVING


def test_certificates_name_tenant_and_node(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    served = authority.node("t", "wrapper-1")
    files = {name: str(getattr(served, name)) for name in ("certificate", "key", "authority")}
    with PublisherProcess(tls=files) as publisher:
        answer = publisher.put(row("1", "one"))
        good = authority.node("t", "app-1")
        with Follower(config(publisher.port, tls=good)) as follower:
            until(lambda: follower.has(answer))
            assert follower.texts() == {"1": "one"}
        for tls, more in (
            (authority.node("other", "app-1"), {"tenant_id": "t"}),
            (authority.node("t", "app-1"), {"node_id": "app-2"}),
            (None, {}),
        ):
            client = ServiceClient(config(publisher.port, tls=tls, **more))
            with pytest.raises((NotAllowedError, HandshakeError, ServiceUnavailableError)):
                client.hello()
            client.close()


@pytest.mark.parametrize("secret", [None, SECRET])
def test_a_publisher_dials_a_driver_that_listens(secret: str | None) -> None:
    listener = DriverListener(port=0)
    policy = SessionPolicy(rekey_after_s=0.2, overlap_s=5.0)
    client = ClientConfig(host="127.0.0.1", port=1, tenant_id="t", secret=secret, session=policy)
    with Follower(client, listen=listener) as follower:
        with PublisherProcess(host=None, drivers=[listener.port], secret=secret) as publisher:
            answer = publisher.put(row("1", "one"))
            until(lambda: follower.has(answer))
            until(lambda: publisher.tell(status=True)["subscribers"][0][3] == answer["head"])
            publisher.kill()
            until(lambda: follower.errors)
        with PublisherProcess(host=None, drivers=[listener.port], secret=secret) as publisher:
            answer = publisher.put(row("2", "two"))
            until(lambda: follower.has(answer))
            assert follower.texts() == {"2": "two"}


def test_a_client_made_of_the_generated_code_reads_the_same_stream() -> None:
    with PublisherProcess(secret=SECRET) as publisher:
        publisher.put(*(row(str(n), f"text {n}") for n in range(50)))
        client = ServiceClient(config(publisher.port, secret=SECRET))
        client.hello()
        session = client.session
        asked = pb.SubscribeRequest(
            session_id=session.id,
            frame=seal_request(session, "Subscribe", 7, pb.SubscribeBody().SerializeToString()),
        )
        ids: list[str] = []
        with grpc.insecure_channel(f"127.0.0.1:{publisher.port}") as channel:
            call = wrapper_pb2_grpc.WrapperServiceStub(channel).Subscribe(asked, timeout=30)
            for envelope in call:
                assert isinstance(envelope, pb.Envelope)
                frame = session.opener.open(envelope.frame)
                ids += frame.ids
                if frame.kind is FrameKind.MARK:
                    break
            call.cancel()
        client.close()
        assert ids == [str(n) for n in range(50)]


def test_a_publisher_made_of_the_generated_code_feeds_a_driver_that_listens() -> None:
    listener = DriverListener(port=0)
    client = ClientConfig(host="127.0.0.1", port=1, tenant_id="t", secret=SECRET)
    responder = Responder(tenant_id="t", sender="w", secret=SECRET)
    said: queue.SimpleQueue[pb.Envelope | None] = queue.SimpleQueue()
    writer = FeedWriter(tenant_id="t", sender="w", position=FeedPosition())
    log = MemoryLog(epoch=1)
    log.append([RowChange(table="p", row_id="1", vector=[1.0, 2.0], text="one")])
    batch = log.read(epoch=1, after=0, base=0, limit_bytes=10**6, streams=None)
    frames = writer.reset(epoch=1, floor=0)
    frames += writer.batch(batch, log.schemas(), head=1, is_live=True, source_age_s=0.0)
    with (
        Follower(client, listen=listener) as follower,
        grpc.insecure_channel(f"127.0.0.1:{listener.port}") as channel,
    ):
        stub = wrapper_pb2_grpc.DriverServiceStub(channel)
        for ack in stub.Feed(iter(said.get, None), timeout=30):
            if ack.HasField("hello"):
                handshake, session = responder.answer(ack.hello.handshake, now=0.0)
                welcome = seal_reply(session, "Hello", 0, pb.Welcome(epoch=1).SerializeToString())
                said.put(pb.Envelope(hello=pb.HelloReply(handshake=handshake, welcome=welcome)))
            elif ack.HasField("subscribe"):
                open_request(session, ack.subscribe.frame, "Subscribe")
                for frame in frames:
                    said.put(pb.Envelope(frame=session.sealer.seal(frame)))
            elif ack.HasField("position"):
                assert ack.position.seq == 1
                break
        said.put(None)
        assert follower.texts() == {"1": "one"}


def test_a_message_that_is_no_envelope_is_an_error_of_the_feed() -> None:
    with pytest.raises(FeedProtocolError, match="no Envelope"):
        read_envelope(b"\x0a\x05abc")
    assert read_envelope(pb.Envelope(frame=b"").SerializeToString()) == b""
    hello = pb.HelloReply(protocol=1)
    assert read_envelope(pb.Envelope(hello=hello).SerializeToString()) == hello


def test_a_publisher_runs_from_a_queue() -> None:
    async def main() -> None:
        publisher = CHORUSPublisher(PublisherConfig(port=0, tenant_id="prod"))
        queue: asyncio.Queue[RowChange | None] = asyncio.Queue()
        running = asyncio.create_task(publisher.run(queue))
        while publisher.port is None:
            await asyncio.sleep(0)
        queue.put_nowait(RowChange(table="p", row_id="1", vector=[1.0, 2.0], text="one"))
        queue.put_nowait(RowChange(table="p", row_id="2", vector=[1.0]))  # another width
        queue.put_nowait(RowChange(table="p", row_id="3", vector=[float("nan"), 1.0]))
        queue.put_nowait(RowChange(table="p", row_id="4", vector=np.ones(2)))
        await queue.join()
        assert publisher.status.refused_changes == 2
        subscriber = Subscriber(config(publisher.port))
        ids: list[str] = []
        async for event in subscriber:
            if isinstance(event, Upserted):
                ids += event.frame.ids
            if isinstance(event, Reached) and event.is_live:
                break
        subscriber.close()
        assert ids == ["1", "4"]
        queue.put_nowait(None)
        await running

    asyncio.run(main())


def test_a_stopping_publisher_brings_its_subscribers_to_the_head() -> None:
    async def main() -> None:
        log = MemoryLog(epoch=1)
        publisher = CHORUSPublisher(
            PublisherConfig(port=0, tenant_id="t", batch_bytes=4096, drain_s=20), log=log
        )
        await publisher.start()
        assert publisher.port is not None
        with Follower(config(publisher.port)) as follower:
            await asyncio.to_thread(until, lambda: follower.connects)
            log.append(
                [RowChange(table="p", row_id=str(n), vector=[1.0] * 64) for n in range(5_000)]
            )
            await publisher.stop()
            assert follower.position.seq == 5_000 or await asyncio.to_thread(
                lambda: until(lambda: follower.position.seq == 5_000) is None
            )

    asyncio.run(main())


def test_what_cannot_be_served_is_refused_at_once() -> None:
    with pytest.raises(UnsafeBindError):
        CHORUSPublisher(PublisherConfig(host="0.0.0.0"))  # noqa: S104  that is the point
    publisher = CHORUSPublisher(PublisherConfig(tenant_id="prod"))
    publisher.add_driver(DriverEndpoint(host="10.0.1.50", port=50051, tenant_id="prod"))
    with pytest.raises(FabricConfigurationError, match="tenant"):
        publisher.add_driver(DriverEndpoint(host="10.0.1.50", tenant_id="other"))
    with pytest.raises(FabricConfigurationError, match="port"):
        PublisherConfig(port=70_000)
    with pytest.raises(FabricConfigurationError, match="wire"):
        PublisherConfig(wire="half")


def test_a_port_that_is_taken_is_told() -> None:
    async def main(port: int) -> None:
        with pytest.raises(OSError, match="cannot listen"):
            await CHORUSPublisher(PublisherConfig(port=port)).serve()

    with PublisherProcess() as publisher:
        asyncio.run(main(publisher.port))


def test_a_closed_subscriber_ends_in_any_state() -> None:
    before = threading.active_count()
    with PublisherProcess() as publisher:
        for port in (1, publisher.port):
            with Follower(config(port)) as follower:
                until(lambda follower=follower: follower.errors or follower.connects)
    until(lambda: threading.active_count() <= before)


def resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_a_program_that_forgets_to_stop_ends_all_the_same() -> None:
    program = """
import asyncio
from chorus_fabric import *

async def main():
    publisher, queue = CHORUSPublisher(PublisherConfig(port=0)), asyncio.Queue()
    running = asyncio.create_task(publisher.run(queue))
    queue.put_nowait(RowChange(table="p", row_id="1", vector=[1.0]))
    await queue.join()
    subscriber = Subscriber(ClientConfig(host="127.0.0.1", port=publisher.port))
    async for event in subscriber:
        if isinstance(event, Reached):
            break
    if STOPS:
        subscriber.close()

asyncio.run(main())
"""
    for stops in ("True", "False"):
        done = subprocess.run(
            [sys.executable, "-c", program.replace("STOPS", stops)],
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
