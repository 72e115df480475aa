"""Nodes in processes of their own, killed and stopped; and certificates that name another."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from certificates import Authority

from chorus_fabric import CertificateError, Identity, IdentityError, UnsafeBindError
from chorus_fabric.mesh import CHORUSFabric

PROGRAM = Path(__file__).parents[1] / "support" / "mesh_program.py"
SECRET = "held by every node of the mesh"  # noqa: S105  of the tests alone
NAMES = ("a", "b", "c")
DEADLINE_S = 20.0


class Node:
    """A process with a node in it."""

    def __init__(self, node_id: str, folder: str) -> None:
        self.node_id = node_id
        self.folder = folder
        settings = {
            "node_id": node_id,
            "peers": {name: f"unix:{folder}/{name}" for name in NAMES if name != node_id},
            "listen": f"unix:{folder}/{node_id}",
            "secret": SECRET,
        }
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), json.dumps(settings)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def begun(self) -> Node:
        self._answer()
        return self

    def tell(self, **word: Any) -> dict[str, Any]:
        self.ask(**word)
        return self._answer()

    def ask(self, **word: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(word) + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        return self._answer()

    def send(self, what: signal.Signals) -> None:
        os.kill(self.process.pid, what)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None and not pipe.closed:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"{self.node_id} died"
        read: dict[str, Any] = json.loads(line)
        return read


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.005)


@pytest.fixture
def nodes() -> Iterator[dict[str, Node]]:
    with TemporaryDirectory() as folder:
        found = {name: Node(name, folder) for name in NAMES}
        try:
            for name in NAMES:
                found[name].begun()
            until(lambda: all(len(found[name].tell()["up"]) == 2 for name in NAMES))
            yield found
        finally:
            for name in NAMES:
                found[name].end()


def down_at(node: Node, peer: str) -> float:
    """When a node was last told that a peer is down."""
    until(lambda: peer not in node.tell()["up"])
    times = [at for name, is_up, at in node.tell()["changes"] if name == peer and not is_up]
    return float(times[-1])


@pytest.mark.parametrize("name", ["a", "b"])  # it dials both; it dials one and one dials it
def test_one_that_is_killed_is_missed_and_found_again(nodes: dict[str, Node], name: str) -> None:
    killed = time.monotonic()
    nodes[name].send(signal.SIGKILL)
    rest = [nodes[other] for other in NAMES if other != name]
    for node in rest:
        # A broken connection tells at once, without waiting for heartbeats.
        assert down_at(node, name) - killed < 1.0
    nodes[name].end()
    back = nodes[name] = Node(name, nodes[name].folder).begun()
    begun = time.monotonic()
    until(lambda: len(back.tell()["up"]) == 2)
    until(lambda: all(name in node.tell()["up"] for node in rest))
    for node in rest:
        times = [at for peer, is_up, at in node.tell()["changes"] if peer == name and is_up]
        assert times[-1] - begun < 1.0
    assert rest[0].tell(broadcast=10)
    until(lambda: back.tell()["heard"].get(rest[0].node_id) == 10)


def test_one_that_is_stopped_is_down_until_it_goes_on(nodes: dict[str, Node]) -> None:
    stopped = time.monotonic()
    nodes["b"].send(signal.SIGSTOP)
    for name in ("a", "c"):
        after_s = down_at(nodes[name], "b") - stopped
        assert 0.5 < after_s < 2.5
    nodes["a"].tell(broadcast=5)  # to c alone
    nodes["b"].send(signal.SIGCONT)
    begun = time.monotonic()
    until(lambda: all("b" in nodes[name].tell()["up"] for name in ("a", "c")))
    for name in ("a", "c"):
        times = [at for peer, is_up, at in nodes[name].tell()["changes"] if peer == "b" and is_up]
        assert times[-1] - begun < 1.0
    told = nodes["b"].tell()
    assert told["up"] == ["a", "c"]
    assert not told["heard"], "what was sent while it was down came later"
    assert not [change for change in told["changes"] if not change[1]], "it gave up the others"
    until(lambda: nodes["c"].tell()["heard"] == {"a": 5})


def test_a_busy_process_under_a_flood_stays_up(nodes: dict[str, Node]) -> None:
    nodes["b"].ask(busy_s=2.5)
    for _ in range(3):
        nodes["a"].tell(flood=8)
    busy = nodes["b"].answer()
    assert busy["up"] == ["a", "c"]
    for name in NAMES:
        assert not [change for change in nodes[name].tell()["changes"] if not change[1]]


async def test_certificates_name_tenant_and_node(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    right = authority.node("acme", "a")
    for tenant_id, node_id in (("acme", "b"), ("globex", "a")):
        fabric = CHORUSFabric(
            node_id=node_id, peers={"z": "127.0.0.1:1"}, listen="127.0.0.1:0",
            tenant_id=tenant_id, tls=right,
        )  # fmt: skip
        with pytest.raises(IdentityError):
            await fabric.start()
    with pytest.raises(UnsafeBindError):
        CHORUSFabric(node_id="a", peers={}, listen="0.0.0.0:0")
    right.key.write_bytes(b"")  # type: ignore[union-attr]
    broken = CHORUSFabric(node_id="a", peers={}, listen="127.0.0.1:0", tenant_id="acme", tls=right)
    with pytest.raises(CertificateError):
        await broken.start()


@pytest.mark.parametrize("impostor", ["a", "b"])
async def test_a_member_cannot_take_the_place_of_another(tmp_path: Path, impostor: str) -> None:
    """Its certificate is of the same authority and tenant, and of another node."""
    authority = Authority(tmp_path)
    with TemporaryDirectory() as folder:

        def node(node_id: str, other: str) -> CHORUSFabric:
            return CHORUSFabric(
                node_id=node_id, peers={other: f"unix:{folder}/{other}"},
                listen=f"unix:{folder}/{node_id}", tenant_id="acme",
                tls=authority.node("acme", "evil" if node_id == impostor else node_id),
            )  # fmt: skip

        a, b = node("a", "b"), node("b", "a")
        honest = b if impostor == "a" else a
        liar = a if impostor == "a" else b
        with pytest.MonkeyPatch.context() as patch:
            # Its own side does not look whether the name is its.
            check = Identity.check

            def blind(self: Identity, *, tenant_id: str, node: str | None = None) -> None:
                check(self, tenant_id=tenant_id)

            patch.setattr(Identity, "check", blind)
            await liar.start()
        async with honest:
            end = time.monotonic() + 1.5
            while time.monotonic() < end:
                assert not any(one.is_up for one in honest.peers().values())
                await asyncio.sleep(0.01)
        await liar.close()
