"""Tests that hold any implementation of `Transport` to what a fabric promises.

With pytest and pytest-asyncio in auto mode, subclass and say how a node is made; each test then
runs on a mesh of its own::

    from chorus_fabric.mesh.conformance import MeshConformance


    class TestMyTransport(MeshConformance):
        def make_fabric(self, node_id, peers, *, tenant_id, secret, config):
            return CHORUSFabric(node_id=node_id, peers=..., transport=..., ...)

What a transport does not offer is found out from the class. Its tests do not exist in that class,
and `not_applicable` names them with the reason.

- *lossless*: `is_lossless` is true, as it is unless said otherwise: what is sent while nothing
  breaks arrives.
- *threaded*: `is_threaded` is true: heartbeats have a thread of their own.
- *cuttable*: `cut` and `heal` are overridden.

It kills no process, since only the implementation knows how.
"""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, ClassVar, Final

from chorus_fabric._frame import FrameKind
from chorus_fabric.errors import (
    ChorusError,
    PeerDownError,
    RequestFailedError,
    RequestTimeoutError,
    ServiceUnavailableError,
)
from chorus_fabric.mesh._config import FabricConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable

    from chorus_fabric.mesh._fabric import CHORUSFabric
    from chorus_fabric.mesh._message import MeshMessage

__all__ = ["MeshConformance"]

_SECRET: Final = "held by every node of the mesh"  # noqa: S105  of these tests alone
_PATIENCE_S: Final = 20.0
_BACK_WITHIN_S: Final = 1.0
_TYPES: Final = (
    FrameKind.TOKEN_SYNC,
    FrameKind.HEALTH,
    FrameKind.SIGNAL,
    FrameKind.CONFIG,
    FrameKind.INVALIDATE,
    FrameKind.LEASE,
)
# What a transport must offer for a test to make sense; see `MeshConformance`.
_NEEDS: Final = {
    "test_brings_everything_while_nothing_breaks": "lossless",
    "test_finds_a_peer_that_came_back_within_a_second": "lossless",
    "test_a_busy_event_loop_does_not_look_dead": "threaded",
    "test_leases_pass_a_flood_of_answers": "threaded",
    "test_tells_a_cut_and_its_end": "cuttable",
}


class MeshConformance:
    """The suite; see the module.

    Attributes:
        is_lossless: Whether everything arrives while nothing breaks.
        is_threaded: Whether heartbeats have a thread of their own.
        config: The settings of every node.
        not_applicable: Tests that do not exist here, and why.
    """

    is_lossless: ClassVar[bool] = True
    is_threaded: ClassVar[bool] = True
    config: ClassVar[FabricConfig] = FabricConfig()
    not_applicable: ClassVar[dict[str, str]] = {}

    def __init_subclass__(cls) -> None:
        """Leave out tests of what this transport does not offer."""
        super().__init_subclass__()
        offers = {
            "lossless": cls.is_lossless,
            "threaded": cls.is_threaded,
            "cuttable": cls.cut is not MeshConformance.cut,
        }
        cls.not_applicable = {
            test: f"the transport is not {need}"
            for test, need in _NEEDS.items()
            if not offers[need]
        }
        for test in cls.not_applicable:
            setattr(cls, test, None)

    # What a subclass says.

    def make_fabric(
        self,
        node_id: str,
        peers: Iterable[str],
        *,
        tenant_id: str,
        secret: str,
        config: FabricConfig,
    ) -> CHORUSFabric:
        """Make a node, not started; under the same name again it is found at the same place."""
        raise NotImplementedError

    async def wait(self) -> None:
        """Let a little time pass."""
        await asyncio.sleep(0.005)

    async def cut(self, node_id: str) -> None:
        """Let nothing through to or from a node."""
        raise NotImplementedError

    async def heal(self) -> None:
        """Let everything through again."""
        raise NotImplementedError

    # What the tests use.

    async def until(
        self, condition: Callable[[], object], what: str, *, patience_s: float = _PATIENCE_S
    ) -> None:
        """Wait until a condition holds.

        Raises:
            AssertionError: It did not within `patience_s` of real time.
        """
        deadline = time.monotonic() + patience_s
        while not condition():
            assert time.monotonic() < deadline, f"not within {patience_s:g} s: {what}"
            await self.wait()

    async def over(self, work: Coroutine[object, object, bytes]) -> bytes:
        """Let time pass until something is done."""
        task = asyncio.create_task(work)
        try:
            await self.until(task.done, "the work was done")
        finally:
            task.cancel()
        return task.result()

    async def asked(self, fabric: CHORUSFabric, peer: str, question: bytes) -> bytes:
        """Ask until there is an answer, as an application does."""
        while True:
            try:
                return await self.over(
                    fabric.request(peer, FrameKind.CONFIG, question, timeout_s=1.0)
                )
            except ServiceUnavailableError:
                await self.wait()

    def node(self, node_id: str, names: Iterable[str], **changes: str) -> CHORUSFabric:
        """Make a node of a mesh."""
        return self.make_fabric(
            node_id,
            [name for name in names if name != node_id],
            tenant_id=changes.get("tenant_id", "acme"),
            secret=changes.get("secret", _SECRET),
            config=self.config,
        )

    @asynccontextmanager
    async def mesh(
        self, *names: str, before: Callable[[CHORUSFabric], None] | None = None
    ) -> AsyncIterator[list[CHORUSFabric]]:
        """Give nodes that have found each other."""
        fabrics = [self.node(name, names) for name in names]
        try:
            for fabric in fabrics:
                if before is not None:
                    before(fabric)
                await fabric.start()
            await self.until(lambda: _all_up(fabrics), "every node found every other")
            yield fabrics
        finally:
            for fabric in fabrics:
                await fabric.close()

    # The suite.

    async def test_every_node_finds_every_other(self) -> None:
        """Each is up at each other's, with a round trip."""
        async with self.mesh("a", "b", "c") as fabrics:
            for fabric in fabrics:
                assert set(fabric.peers()) == {"a", "b", "c"} - {fabric.node_id}
            await self.until(
                lambda: all(
                    peer.rtt_s is not None for one in fabrics for peer in one.peers().values()
                ),
                "round trips are known",
            )

    async def test_brings_each_type_in_order_and_once(self) -> None:
        """What arrives is a part of what was sent, in its order, of each sender and type."""
        heard = _Heard()
        async with self.mesh("a", "b", "c", before=heard.listen) as fabrics:
            for number in range(60):
                for frame_type in _TYPES:
                    for fabric in fabrics:
                        fabric.broadcast(frame_type, b"%d" % number)
                if number % 10 == 0:
                    await self.wait()
            await self.until(lambda: len(heard.of) == 6 * len(_TYPES), "something of each arrived")
            for _ in range(20):
                await self.wait()
        for numbers in heard.of.values():
            assert numbers == sorted(set(numbers)), "a repetition, or out of order"

    async def test_brings_everything_while_nothing_breaks(self) -> None:
        """Nothing is lost on the way of its own accord."""
        heard = _Heard()
        async with self.mesh("a", "b", before=heard.listen) as (one, _):
            for number in range(100):
                for frame_type in _TYPES:
                    assert one.broadcast(frame_type, b"%d" % number) == 1
            await self.until(
                lambda: all(len(heard.of.get(("b", "a", kind), ())) == 100 for kind in _TYPES),
                "all frames arrived",
            )

    async def test_brings_content_arrays_and_token(self) -> None:
        """A frame arrives as it was sent."""
        got: list[MeshMessage] = []
        payload, arrays = bytes(range(256)) * 40, [[1.0, -0.5, 0.25], [0.0, 3.0, 2.0]]
        async with self.mesh("a", "b") as (one, other):
            other.on(FrameKind.TOKEN_SYNC, got.append)
            while not got:
                one.send("b", FrameKind.TOKEN_SYNC, payload, arrays=arrays, token=2**63)
                await self.wait()
        first = got[0]
        assert (first.sender, first.payload, first.token) == ("a", payload, 2**63)
        assert first.arrays.shape == (2, 3)
        assert abs(first.arrays - arrays).max() < 1e-5
        assert not first.is_request

    async def test_gives_each_request_its_own_answer(self) -> None:
        """Also with many on the way, answered in another order than they were asked."""

        async def echo(message: MeshMessage) -> bytes:
            for _ in range(int(message.payload) % 7):
                await asyncio.sleep(0)
            return b"to " + message.payload

        async with self.mesh("a", "b") as (one, other):
            other.on(FrameKind.CONFIG, echo)
            asked = [asyncio.create_task(self.asked(one, "b", b"%d" % n)) for n in range(50)]
            await self.until(lambda: all(task.done() for task in asked), "all were answered")
            assert [task.result() for task in asked] == [b"to %d" % n for n in range(50)]
            assert one.status().requests == 0

    async def test_tells_that_a_handler_failed_or_is_missing(self) -> None:
        """The asker learns that, and not what the handler said."""

        def failing(message: MeshMessage) -> bytes:
            raise ValueError("a secret of the application")

        async with self.mesh("a", "b") as (one, other):
            other.on(FrameKind.CONFIG, failing)
            for frame_type in (FrameKind.CONFIG, FrameKind.HEALTH, FrameKind.LEASE):
                error = await self._error_of(one, "b", frame_type, RequestFailedError)
                assert "secret" not in str(error)
            assert other.status().handler_errors >= 1

    async def test_handles_leases_in_one_thread(self) -> None:
        """Also requests, and what is called for peers and ticks."""
        threads: set[int] = set()

        def note(_: object) -> None:
            threads.add(threading.get_ident())

        def grant(_: object) -> bytes:
            note(_)
            return b"granted"

        def listen(fabric: CHORUSFabric) -> None:
            if fabric.node_id == "b":
                fabric.on(FrameKind.LEASE, grant)
                fabric.on_peer(note)
                fabric.on_tick(note)

        async with self.mesh("a", "b", before=listen) as (one, _):
            reply = b""
            while reply != b"granted":
                one.broadcast(FrameKind.LEASE, b"renew", token=7)
                try:
                    reply = await self.over(
                        one.request("b", FrameKind.LEASE, b"vote", timeout_s=1.0)
                    )
                except RequestTimeoutError:
                    continue
        assert len(threads) == 1
        assert (threading.get_ident() in threads) != self.is_threaded

    async def test_a_node_that_leaves_is_down(self) -> None:
        """It gets nothing then or later, and who waits for its answer is told."""
        got: list[bytes] = []
        forever = asyncio.Event()

        async def never(message: MeshMessage) -> bytes:
            await forever.wait()
            return b""

        async with self.mesh("a", "b") as (one, other):
            other.on(FrameKind.CONFIG, never)
            waiting = asyncio.create_task(
                one.request("b", FrameKind.CONFIG, b"?", timeout_s=2 * _PATIENCE_S)
            )
            await self.wait()
            await other.close()
            await self.until(lambda: not one.peers()["b"].is_up, "the other is down")
            await self.until(waiting.done, "the request failed")
            assert isinstance(waiting.exception(), PeerDownError)
            assert one.broadcast(FrameKind.TOKEN_SYNC, b"missed") == 0
            assert not one.send("b", FrameKind.SIGNAL, b"missed")
            again = self.node("b", ("a", "b"))
            again.on(FrameKind.TOKEN_SYNC, lambda message: got.append(message.payload))
            async with again:
                await self.until(lambda: one.peers()["b"].is_up, "it came back")
                while not got:
                    one.broadcast(FrameKind.TOKEN_SYNC, b"new")
                    await self.wait()
        assert set(got) == {b"new"}

    async def test_finds_a_peer_that_came_back_within_a_second(self) -> None:
        """Whichever of the two it is, and however long it was away."""
        async with self.mesh("a", "b", "c") as fabrics:
            for place in (0, 2):
                fabrics[place] = await self._leave_and_return(fabrics[place], stays=fabrics[1])

    async def _leave_and_return(self, gone: CHORUSFabric, *, stays: CHORUSFabric) -> CHORUSFabric:
        name = gone.node_id
        await gone.close()
        await self.until(lambda: not stays.peers()[name].is_up, "it is down")
        for _ in range(100):  # so that whoever dials waits its longest
            await self.wait()
        again = self.node(name, ("a", "b", "c"))
        began = stays.now()
        await again.start()
        await self.until(
            lambda: stays.peers()[name].is_up and again.peers()[stays.node_id].is_up, "it is back"
        )
        assert stays.now() - began < _BACK_WITHIN_S
        return again

    async def test_a_stranger_is_never_up(self) -> None:
        """One of another secret or tenant, under the name of a node."""
        for changes in ({"secret": "another secret, as long as it"}, {"tenant_id": "globex"}):
            async with self.mesh("a", "b") as (one, other):
                await other.close()
                await self.until(lambda: not one.peers()["b"].is_up, "the true one is down")
                received = one.status().received
                async with self.node("b", ("a", "b"), **changes) as stranger:
                    for _ in range(100):
                        await self.wait()
                        assert not one.peers()["b"].is_up
                        assert not stranger.peers()["a"].is_up
                assert one.status().received == received

    async def test_queues_stay_within_their_bounds(self) -> None:
        """A receiver that takes nothing costs its share of memory, and the oldest answers."""
        stop = asyncio.Event()
        got: list[int] = []

        async def slow(message: MeshMessage) -> None:
            got.append(int(message.payload[:8]))
            await stop.wait()

        async with self.mesh("a", "b") as (one, other):
            other.on(FrameKind.TOKEN_SYNC, slow)
            bound = self.config.queue_bytes
            for number in range(4 * bound // (1 << 18)):
                assert one.broadcast(FrameKind.TOKEN_SYNC, b"%08d" % number + bytes(1 << 18)) == 1
                if number % 8 == 0:
                    await self.wait()
                assert one.status().queued_bytes <= bound + self.config.urgent_queue_bytes
                assert other.status().waiting_bytes <= bound + self.config.urgent_queue_bytes
            await self.until(
                lambda: one.status().queued_bytes == 0 and got, "everything was sent or dropped"
            )
            for _ in range(20):
                await self.wait()
            stop.set()
            lost = FrameKind.TOKEN_SYNC
            newest = number
            if self.is_lossless:
                await self.until(lambda: got[-1] == newest, "the newest was handled")
                dropped = one.status().dropped.get(lost, 0)
                dropped += other.status().dropped_received.get(lost, 0)
                assert dropped > 0
                assert len(got) + dropped == newest + 1
            assert got == sorted(set(got))

    async def test_a_busy_event_loop_does_not_look_dead(self) -> None:
        """Heartbeats go on while the application holds up its event loop."""
        downs: list[str] = []
        async with self.mesh("a", "b") as (one, other):
            for fabric in (one, other):
                fabric.on_peer(lambda status: downs.append(status.node_id))
            time.sleep(2 * self.config.down_after_s)  # noqa: ASYNC251  that is the fault
            assert one.peers()["b"].is_up
            assert other.peers()["a"].is_up
            assert not downs

    async def test_leases_pass_a_flood_of_answers(self) -> None:
        """A lease is answered while megabytes of answers are on their way."""
        async with self.mesh("a", "b") as (one, other):
            other.on(FrameKind.LEASE, lambda message: b"granted")
            other.on(FrameKind.TOKEN_SYNC, lambda message: None)
            for _ in range(5):
                for _ in range(4):
                    one.broadcast(FrameKind.TOKEN_SYNC, bytes(4 << 20))
                began = one.now()
                reply = await one.request("b", FrameKind.LEASE, b"vote", timeout_s=5.0)
                assert reply == b"granted"
                assert one.now() - began < self.config.down_after_s

    async def test_tells_a_cut_and_its_end(self) -> None:
        """Both sides of it, and the others go on."""
        async with self.mesh("a", "b", "c") as (one, two, three):
            await self.cut("a")
            await self.until(
                lambda: not any(peer.is_up for peer in one.peers().values()), "it sees nobody"
            )
            await self.until(lambda: not two.peers()["a"].is_up, "nobody sees it")
            assert two.peers()["c"].is_up
            assert three.peers()["b"].is_up
            await self.heal()
            healed = one.now()
            await self.until(lambda: _all_up((one, two, three)), "all are up again")
            assert one.now() - healed < 2 * _BACK_WITHIN_S

    async def _error_of(
        self, fabric: CHORUSFabric, peer: str, frame_type: FrameKind, kind: type[ChorusError]
    ) -> ChorusError:
        while True:
            try:
                await self.over(fabric.request(peer, frame_type, b"?", timeout_s=1.0))
            except RequestTimeoutError:
                continue  # lost on the way
            except kind as error:
                return error
            raise AssertionError(f"{frame_type.name} was answered")


class _Heard:
    """Numbers that arrived, by receiver, sender and type."""

    def __init__(self) -> None:
        self.of: dict[tuple[str, str, FrameKind], list[int]] = {}

    def listen(self, fabric: CHORUSFabric) -> None:
        for frame_type in _TYPES:
            fabric.on(frame_type, self._handler(fabric.node_id, is_async=frame_type.value % 2 == 0))

    def _handler(
        self, node_id: str, *, is_async: bool
    ) -> Callable[[MeshMessage], bytes | Awaitable[bytes | None] | None]:
        def note(message: MeshMessage) -> None:
            key = (node_id, message.sender, message.frame_type)
            self.of.setdefault(key, []).append(int(message.payload))

        async def note_later(message: MeshMessage) -> None:
            await asyncio.sleep(0)
            note(message)

        return note_later if is_async else note


def _all_up(fabrics: Iterable[CHORUSFabric]) -> bool:
    return all(peer.is_up for fabric in fabrics for peer in fabric.peers().values())
