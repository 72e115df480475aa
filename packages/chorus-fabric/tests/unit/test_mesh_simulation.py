"""Whole meshes in simulated time: the same seed gives the same run, and faults break no promise."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random

import pytest

from chorus_fabric import (
    FabricConfigurationError,
    InvalidFrameError,
    PeerDownError,
    RequestTimeoutError,
    ServiceUnavailableError,
    WrongStateError,
)
from chorus_fabric.mesh import CHORUSFabric, FrameKind, MeshMessage, SimulatedNetwork

NAMES = ("a", "b", "c")
SECRET = "held by every node of the mesh"  # noqa: S105  of the tests alone


class World:
    """Three nodes that talk at random while faults come and go."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.network = SimulatedNetwork(
            seed=seed, loss=0.03, duplicate=0.05, delay_s=(0.0005, 0.03)
        )
        self.log: list[tuple[object, ...]] = []
        self.sent: set[bytes] = set()
        self.given: dict[tuple[str, int, str, FrameKind], list[int]] = {}
        self.lives = dict.fromkeys(NAMES, 0)
        self.answers: list[tuple[bytes, bytes]] = []
        self.asking: list[asyncio.Task[None]] = []
        self.nodes: dict[str, CHORUSFabric] = {}

    async def begin(self, name: str) -> None:
        self.lives[name] += 1
        life = self.lives[name]
        fabric = CHORUSFabric(
            node_id=name, peers=[one for one in NAMES if one != name],
            transport=self.network.transport(name), secret=SECRET,
        )  # fmt: skip

        def take(message: MeshMessage) -> bytes:
            if message.is_request:
                return b"to " + message.payload
            assert message.payload in self.sent, "nobody has sent that"
            sender, number = message.payload.split(b"/")[0], int(message.payload.split(b"/")[1])
            assert sender.decode()[0] == message.sender
            key = (name, life, sender.decode(), message.frame_type)
            self.given.setdefault(key, []).append(number)
            self.log.append((round(self.network.now, 9), *key, number))
            return b""

        for kind in (FrameKind.TOKEN_SYNC, FrameKind.LEASE, FrameKind.SIGNAL, FrameKind.CONFIG):
            fabric.on(kind, take)
        fabric.on_peer(
            lambda one: self.log.append((round(self.network.now, 9), name, one.node_id, one.is_up))
        )
        self.nodes[name] = fabric
        await fabric.start()

    async def ask(self, name: str, peer: str, question: bytes) -> None:
        with contextlib.suppress(ServiceUnavailableError, WrongStateError):
            answer = await self.nodes[name].request(peer, FrameKind.CONFIG, question, timeout_s=0.5)
            self.answers.append((question, answer))

    async def run(self, steps: int) -> str:
        for name in NAMES:
            await self.begin(name)
        for step in range(steps):
            name, peer = self.chance.sample(NAMES, 2)
            match self.chance.randrange(40):
                case 0:
                    self.network.cut(name, peer, both=self.chance.random() < 0.5)
                case 1 | 2 | 9 | 10:
                    self.network.heal()
                case 3:
                    self.network.pause(name, self.chance.uniform(0.1, 3.0))
                case 4:
                    self.network.crash(name)
                    await self.nodes[name].close()
                    await self.begin(name)
                case 5 | 6 | 7 | 8 | 11 | 12 | 13:
                    self.asking.append(asyncio.create_task(self.ask(name, peer, b"%d" % step)))
                case _:
                    kind = self.chance.choice(
                        (FrameKind.TOKEN_SYNC, FrameKind.LEASE, FrameKind.SIGNAL)
                    )
                    payload = f"{name}{self.lives[name]}/{step}".encode()
                    self.sent.add(payload)
                    self.nodes[name].broadcast(kind, payload)
            await self.network.run_for(self.chance.uniform(0.0, 0.1))
        self.network.heal()
        self.network.loss = 0.0
        await self.network.run_for(5.0)
        assert all(one.is_up for node in self.nodes.values() for one in node.peers().values())
        assert all(task.done() for task in self.asking)
        for node in self.nodes.values():
            assert node.status().requests == 0
            await node.close()
        return hashlib.sha256(repr(self.log).encode()).hexdigest()


@pytest.mark.parametrize("seed", range(8))
async def test_faults_break_no_promise(seed: int) -> None:
    world = World(seed)
    await world.run(250)
    assert world.given
    for numbers in world.given.values():
        assert numbers == sorted(set(numbers)), "out of order, or twice"
    assert world.answers
    for question, answer in world.answers:
        assert answer == b"to " + question


async def test_a_seed_is_a_run() -> None:
    one, two, other = [await World(seed).run(80) for seed in (3, 3, 4)]
    assert one == two != other


async def test_what_is_wrong_is_told() -> None:
    network = SimulatedNetwork(seed=1)

    def node(node_id: str = "a", **more: object) -> CHORUSFabric:
        settings: dict[str, object] = {
            "node_id": node_id, "peers": ["b"], "transport": network.transport("a"), **more
        }  # fmt: skip
        return CHORUSFabric(**settings)  # type: ignore[arg-type]

    for wrong in (
        {"peers": ["a"]}, {"peers": ["b", "b"]}, {"listen": "127.0.0.1:0"}, {"transport": None},
        {"node_id": ""}, {"secret": "short"}, {"transport": None, "listen": "127.0.0.1:1"},
    ):  # fmt: skip
        with pytest.raises(FabricConfigurationError):
            node(**wrong)
    with pytest.raises(FabricConfigurationError, match="place of 'a'"):
        await node("x").start()
    fabric = node()
    with pytest.raises(WrongStateError, match="not started"):
        fabric.broadcast(FrameKind.CONFIG, b"")

    async def later(message: MeshMessage) -> bytes:
        return b""

    with pytest.raises(FabricConfigurationError, match="plain function"):
        fabric.on(FrameKind.LEASE, later)
    with pytest.raises(FabricConfigurationError, match="TOKEN_SYNC"):
        fabric.on(FrameKind.ROWS, lambda message: None)
    async with fabric:
        with pytest.raises(WrongStateError, match="once"):
            await fabric.start()
        with pytest.raises(InvalidFrameError, match="65536"):
            fabric.broadcast(FrameKind.SIGNAL, bytes(70_000))
        with pytest.raises(InvalidFrameError, match="finite"):
            fabric.broadcast(FrameKind.TOKEN_SYNC, b"", arrays=[[float("nan")]])
        with pytest.raises(FabricConfigurationError, match="no peer"):
            fabric.send("z", FrameKind.CONFIG, b"")
        with pytest.raises(FabricConfigurationError, match="token"):
            fabric.broadcast(FrameKind.LEASE, b"", token=2**64)
        with pytest.raises(PeerDownError, match="b is down"):
            await fabric.request("b", FrameKind.CONFIG, b"")
        assert fabric.broadcast(FrameKind.CONFIG, b"nobody") == 0
    with pytest.raises(WrongStateError, match="closed"):
        fabric.broadcast(FrameKind.CONFIG, b"")


async def test_a_request_ends_in_time_by_the_mesh_clock() -> None:
    network = SimulatedNetwork(seed=1)
    a = CHORUSFabric(node_id="a", peers=["b"], transport=network.transport("a"))
    b = CHORUSFabric(node_id="b", peers=["a"], transport=network.transport("b"))
    forever = asyncio.Event()

    async def never(message: MeshMessage) -> bytes:
        await forever.wait()
        return b""

    b.on(FrameKind.CONFIG, never)
    async with a, b:
        await network.run_for(1.0)
        asked = asyncio.create_task(a.request("b", FrameKind.CONFIG, b"?", timeout_s=60.0))
        await network.run_for(59.9)
        assert not asked.done()
        await network.run_for(0.2)
        assert isinstance(asked.exception(), RequestTimeoutError)


async def test_one_that_was_stopped_does_not_think_that_all_others_died() -> None:
    network = SimulatedNetwork(seed=1)
    nodes = [
        CHORUSFabric(
            node_id=name, peers=[one for one in NAMES if one != name],
            transport=network.transport(name),
        )
        for name in NAMES
    ]  # fmt: skip
    changes: list[tuple[str, str, bool]] = []
    for node in nodes:
        name = node.node_id
        node.on_peer(lambda one, name=name: changes.append((name, one.node_id, one.is_up)))  # type: ignore[misc]
        await node.start()
    await network.run_for(2.0)
    changes.clear()
    network.pause("a", 5.0)
    await network.run_for(10.0)
    assert all(one.is_up for node in nodes for one in node.peers().values())
    assert ("b", "a", False) in changes
    assert ("c", "a", False) in changes
    assert not [change for change in changes if change[0] == "a"]
    for node in nodes:
        await node.close()
