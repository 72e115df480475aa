"""Store, leases and feeds against three real servers, which are killed."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Self

import nats
import pytest
from nats_servers import NatsCluster, cluster

from chorus_fabric import (
    Began,
    ConflictError,
    Deleted,
    Disconnected,
    FabricConfigurationError,
    ForgedFrameError,
    FrameOrderError,
    MemoryLog,
    Reached,
    RowChange,
    ServiceUnavailableError,
    Upserted,
    WrongStateError,
)
from chorus_fabric.mesh import CHORUSFabric
from chorus_fabric.mesh.nats import (
    JetStreamPublisher,
    JetStreamSubscriber,
    NatsLease,
    NatsServers,
    NatsStore,
    NatsTransport,
    StreamPosition,
)

SECRET = "held by all nodes of a tenant"  # noqa: S105  of the tests alone
TENANTS = (f"tenant-{number}" for number in itertools.count())
DEADLINE_S = 15.0


@pytest.fixture(scope="module")
def running() -> Iterator[NatsCluster]:
    with cluster() as found:
        yield found


@pytest.fixture
def servers(running: NatsCluster) -> NatsServers:
    return NatsServers(urls=running.urls)


@pytest.fixture
def tenant() -> str:
    return next(TENANTS)


async def until(condition: Callable[[], object], *, deadline_s: float = DEADLINE_S) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        await asyncio.sleep(0.01)


def change(row_id: str, text: str) -> RowChange:
    return RowChange(table="products", row_id=row_id, vector=[1.0, 2.0], text=text)


@contextlib.asynccontextmanager
async def publishing(
    servers: NatsServers, log: MemoryLog, tenant: str, **more: float
) -> AsyncIterator[JetStreamPublisher]:
    publisher = JetStreamPublisher(
        servers, log=log, tenant_id=tenant, secret=SECRET, heartbeat_s=0.1, **more
    )
    task = asyncio.create_task(publisher.run())
    try:
        yield publisher
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class Reader:
    """A subscriber and the rows it has."""

    def __init__(self, servers: NatsServers, tenant: str, *, before: Reader | None = None) -> None:
        self.rows: dict[str, str] = {} if before is None else dict(before.rows)
        self.began = 0
        self.errors: list[Exception] = []
        self.at: tuple[int, int] = (0, 0)
        position: StreamPosition | None = None if before is None else before.subscriber.position
        self.subscriber = JetStreamSubscriber(
            servers, tenant_id=tenant, secret=SECRET, position=position,
            schemas=() if before is None else tuple(before.schemas),
        )  # fmt: skip
        self.schemas: list[object] = []

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    @property
    def broken(self) -> list[Exception]:
        """Errors besides servers that took their time."""
        return [one for one in self.errors if not isinstance(one, ServiceUnavailableError)]

    def has(self, log: MemoryLog) -> bool:
        assert not self._task.done(), self._task.exception()
        return self.at == (log.epoch, log.head())

    async def _run(self) -> None:
        built = self.rows
        async for event in self.subscriber:
            if isinstance(event, Began):
                built = {}
                self.began += 1
            elif isinstance(event, Upserted):
                built |= dict(zip(event.frame.ids, event.frame.texts, strict=True))
                self.schemas = [event.schema]
            elif isinstance(event, Deleted):
                for row_id in event.frame.ids:
                    built.pop(row_id, None)
            elif isinstance(event, Disconnected):
                self.errors.append(event.error)
            elif isinstance(event, Reached):
                if event.is_first:
                    self.rows = built
                self.at = (event.position.epoch, event.position.seq)


async def test_a_store_compares_before_it_swaps(servers: NatsServers, tenant: str) -> None:
    both = (
        NatsStore(servers, bucket="shared", tenant_id=tenant, secret=SECRET),
        NatsStore(servers, bucket="shared", tenant_id=tenant, secret=SECRET),
    )
    async with both[0] as one, both[1] as other:
        assert await one.get("answers") is None
        first = await one.create("answers", b"1")
        with pytest.raises(ConflictError, match="another was first"):
            await other.create("answers", b"2")
        second = await other.update("answers", b"2", revision=first)
        assert second > first
        with pytest.raises(ConflictError):
            await one.update("answers", b"3", revision=first)
        found = await one.get("answers")
        assert found is not None
        assert (found.value, found.revision) == (b"2", second)
        with pytest.raises(ConflictError):
            await one.delete("answers", revision=first)
        await one.delete("answers", revision=second)
        assert await other.get("answers") is None
        assert await other.create("answers", b"4") > second
        # Counting together, nothing is lost.
        revision = await one.create("count", b"0")
        assert revision

        async def count(store: NatsStore) -> None:
            for _ in range(10):
                while True:
                    found = await store.get("count")
                    assert found is not None
                    with contextlib.suppress(ConflictError):
                        await store.update(
                            "count", b"%d" % (int(found.value) + 1), revision=found.revision
                        )
                        break

        await asyncio.gather(count(one), count(other))
        found = await one.get("count")
        assert found is not None
        assert found.value == b"20"


async def test_servers_see_neither_names_nor_values(servers: NatsServers, tenant: str) -> None:
    store = NatsStore(servers, bucket="sealed", tenant_id=tenant, secret=SECRET)
    async with store:
        await store.create("who-leads", b"node-1 leads")
        client = await nats.connect(servers=list(servers.urls))
        try:
            bucket = await client.jetstream().key_value("sealed")
            (key,) = await bucket.keys()
            entry = await bucket.get(key)
            assert "leads" not in key
            assert entry.value is not None
            assert b"node-1" not in entry.value
            await bucket.put(key, bytes(40))
        finally:
            await client.close()
        with pytest.raises(ForgedFrameError, match="without the secret"):
            await store.get("who-leads")


async def test_one_node_at_a_time_has_a_lease(servers: NatsServers, tenant: str) -> None:
    def store() -> NatsStore:
        return NatsStore(servers, bucket=f"l-{tenant}", tenant_id=tenant, secret=SECRET, ttl_s=1.0)

    async with store() as of_one, store() as of_other:
        one = NatsLease(of_one, "green", node_id="one")
        other = NatsLease(of_other, "green", node_id="other")
        assert await one.acquire()
        assert not await other.acquire()
        assert await other.holder() == "one"
        until_s = time.monotonic() + 1.5
        while time.monotonic() < until_s:  # longer than it lasts unrenewed
            assert await one.renew()
            assert not await other.acquire()
            assert not other.is_held
            await asyncio.sleep(0.1)
        tokens = [one.token]
        # Without renewals it ends by itself, the holder's side first.
        began = time.monotonic()
        while not await other.acquire():
            assert time.monotonic() - began < DEADLINE_S
            await asyncio.sleep(0.02)
        assert not one.is_held
        tokens.append(other.token)
        assert not await one.renew()
        await other.release()
        assert not other.is_held
        assert await one.acquire()
        tokens.append(one.token)
        assert tokens == sorted(set(tokens))
        with pytest.raises(FabricConfigurationError, match="ttl_s"):
            NatsLease(
                NatsStore(servers, bucket="x", tenant_id=tenant, secret=SECRET), "x", node_id="x"
            )


async def test_a_feed_through_a_stream_reaches_every_reader(
    servers: NatsServers, tenant: str
) -> None:
    log = MemoryLog()
    log.append([change(f"p{number}", "old") for number in range(500)])
    async with publishing(servers, log, tenant), Reader(servers, tenant) as early:
        await until(lambda: early.has(log))
        for number in range(20):
            log.append([change(f"p{number}", f"new {number}")])
        log.append([RowChange(table="products", row_id="p7", vector=None)])
        log.append([change("large", "x" * (3 << 20))])  # more than the servers carry at once
        async with Reader(servers, tenant) as late:
            await until(lambda: early.has(log) and late.has(log))
            assert early.rows == late.rows
            assert len(early.rows) == 500
            assert early.rows["p3"] == "new 3"
            assert "p7" not in early.rows
            assert len(early.rows["large"]) == 3 << 20
            assert (early.began, late.began) == (1, 1)
        assert not early.broken


async def test_a_reader_resumes_by_sequence_and_chain(servers: NatsServers, tenant: str) -> None:
    log = MemoryLog()
    log.append([change("a", "1"), change("b", "1")])
    async with publishing(servers, log, tenant):
        async with Reader(servers, tenant) as first:
            await until(lambda: first.has(log))
        kept = first.subscriber.position
        assert kept is not None
        log.append([change("b", "2"), change("c", "2")])
        async with Reader(servers, tenant, before=first) as again:
            await until(lambda: again.has(log))
            assert again.rows == {"a": "1", "b": "2", "c": "2"}
            assert again.began == 0
            assert not again.broken
        # From a place that is not its own, the chain does not fit; it begins anew by itself.
        first.subscriber.position = StreamPosition(
            sequence=kept.sequence, run=kept.run, counter=kept.counter, watermark=bytes(32),
            feed=kept.feed,
        )  # fmt: skip
        async with Reader(servers, tenant, before=first) as other:
            await until(lambda: other.began and other.has(log))
            assert any(isinstance(error, FrameOrderError) for error in other.errors)
            assert other.rows == {"a": "1", "b": "2", "c": "2"}


async def test_a_new_epoch_and_a_new_writer_are_followed(servers: NatsServers, tenant: str) -> None:
    log = MemoryLog()
    log.append([change("a", "1")])
    async with Reader(servers, tenant) as reader:
        async with publishing(servers, log, tenant):
            await until(lambda: reader.has(log))
            log.renew()
            log.append([change("b", "2")])
            await until(lambda: reader.has(log) and reader.rows == {"a": "1", "b": "2"})
            assert reader.began == 2
        log.append([change("c", "3")])
        async with publishing(servers, log, tenant, outgrown_bytes=1):
            await until(lambda: reader.has(log) and "c" in reader.rows)
            assert reader.rows == {"a": "1", "b": "2", "c": "3"}
            # What follows the snapshot outgrows it at once: run after run, and nothing is lost.
            for number in range(30):
                log.append([change("c", f"{number}")])
                await asyncio.sleep(0.01)
            await until(lambda: reader.has(log) and reader.rows["c"] == "29")
        async with publishing(servers, log, tenant):
            await until(lambda: reader.began > 3)


async def test_a_second_writer_ends_the_first(servers: NatsServers, tenant: str) -> None:
    log = MemoryLog()
    log.append([change("a", "1")])
    first = JetStreamPublisher(servers, log=log, tenant_id=tenant, secret=SECRET, heartbeat_s=0.05)
    task = asyncio.create_task(first.run())
    async with Reader(servers, tenant) as reader:
        await until(lambda: reader.has(log))
        async with publishing(servers, log, tenant):
            await until(task.done)
            assert isinstance(task.exception(), WrongStateError)
            log.append([change("a", "2")])
            await until(lambda: reader.has(log) and reader.rows == {"a": "2"})


async def test_who_lacks_the_secret_changes_nothing(servers: NatsServers, tenant: str) -> None:
    log = MemoryLog()
    log.append([change("a", "1")])
    async with Reader(servers, tenant) as reader:
        async with publishing(servers, log, tenant):
            await until(lambda: reader.has(log))
        client = await nats.connect(servers=list(servers.urls))
        try:
            stream = client.jetstream()
            subject = reader.subscriber._frame_subject
            for content in (b"", b"nonsense", bytes(8) + b"CHFR" + bytes(200)):
                await stream.publish(subject, content)
            await stream.publish(reader.subscriber._run_subject, b"CHRN" + bytes(64))
            await stream.publish(reader.subscriber._run_subject, b"")
        finally:
            await client.close()
        await until(lambda: reader.subscriber.refused >= 2)
        assert reader.rows == {"a": "1"}
        async with publishing(servers, log, tenant):
            log.append([change("a", "2")])
            await until(lambda: reader.has(log) and reader.rows == {"a": "2"})


@pytest.mark.chaos
@pytest.mark.slow
async def test_mesh_and_feed_outlive_each_server(running: NatsCluster, tenant: str) -> None:
    servers = NatsServers(urls=running.urls)
    log = MemoryLog()
    async with contextlib.AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(
                CHORUSFabric(
                    node_id=name,
                    peers=[other for other in "ab" if other != name],
                    transport=NatsTransport(servers),
                    tenant_id=tenant,
                    secret=SECRET,
                )
            )
            for name in "ab"
        ]
        await stack.enter_async_context(publishing(servers, log, tenant, patience_s=90.0))
        reader = await stack.enter_async_context(Reader(servers, tenant))
        for place in range(3):
            running.kill(place)
            for number in range(20):
                log.append([change(f"{place}-{number}", "x")])
            await until(lambda: reader.has(log), deadline_s=90.0)
            await until(lambda: all(one.is_up for n in nodes for one in n.peers().values()))
            running.start(place)
            await asyncio.to_thread(running.wait, place)
        assert len(reader.rows) == 60
        assert not any(isinstance(error, FrameOrderError) for error in reader.errors)


async def test_a_broker_takes_a_secret(servers: NatsServers) -> None:
    with pytest.raises(FabricConfigurationError, match="set a secret"):
        CHORUSFabric(node_id="a", peers=["b"], transport=NatsTransport(servers))
