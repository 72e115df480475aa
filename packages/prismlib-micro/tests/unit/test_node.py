"""The node over a simulated mesh: the lease through real frames, files and callbacks."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from chorus_fabric.mesh import CHORUSFabric, SimulatedNetwork
from prism.cluster import (
    ClusterConfigurationError,
    ClusterNode,
    FencingGuard,
    NotGreenError,
    Role,
    RoleChange,
    StaleTokenError,
    TermFileError,
)
from prism.cluster._lease_messages import Grant
from prism.cluster._term_file import TermFile

NAMES = ("a", "b", "c")


async def members(network: SimulatedNetwork, folder: Path) -> dict[str, ClusterNode]:
    nodes = {}
    for name in NAMES:
        fabric = CHORUSFabric(
            node_id=name,
            peers=[other for other in NAMES if other != name],
            transport=network.transport(name),
        )
        nodes[name] = ClusterNode(fabric=fabric, term_path=folder / name)
        nodes[name].start()
        await fabric.start()
    return nodes


async def test_one_green_and_another_after_it_was_cut_off(tmp_path: Path) -> None:
    network = SimulatedNetwork(seed=1, loss=0.05, duplicate=0.02, delay_s=(0.001, 0.02))
    nodes = await members(network, tmp_path)
    heard: list[RoleChange] = []
    told = threading.Event()
    for node in nodes.values():
        node.on_role_change(lambda change: (heard.append(change), told.set())[0])
    await network.run_for(3.0)
    (first,) = [node for node in nodes.values() if node.is_green()]
    token = first.fencing_token
    assert {node.status().green for node in nodes.values()} == {first.node_id}
    assert told.wait(5)
    assert heard[0].role is Role.GREEN

    network.isolate(first.node_id)
    await network.run_for(2.0)

    (second,) = [node for node in nodes.values() if node.is_green()]
    assert second is not first
    assert second.fencing_token > token
    with pytest.raises(NotGreenError):
        _ = first.fencing_token
    network.heal()
    await network.run_for(2.0)
    assert [node for node in nodes.values() if node.is_green()] == [second]
    assert first.status().green == second.node_id

    second.hand_over(to=first.node_id)
    await network.run_for(0.3)
    assert first.is_green()

    first.force(because="the other nodes are gone")
    await network.run_for(0.3)
    assert first.fencing_token > 1 << 32


async def test_a_voter_whose_disk_fails_falls_silent(tmp_path: Path) -> None:
    network = SimulatedNetwork(seed=1)
    nodes = await members(network, tmp_path / "gone")
    await network.run_for(3.0)

    assert not any(node.is_green() for node in nodes.values())
    assert any("cannot be kept" in (node.status().error or "") for node in nodes.values())


def test_a_term_file_is_kept_whole(tmp_path: Path) -> None:
    file = TermFile(tmp_path / "term", "a")
    assert file.read() == Grant(0, "", 0)
    file.write(Grant(7, "b", 2**63))
    assert file.read() == Grant(7, "b", 2**63)
    with pytest.raises(TermFileError, match="belongs to node 'a'"):
        TermFile(tmp_path / "term", "b").read()
    raw = (tmp_path / "term").read_bytes()
    for cut in range(len(raw) - 2):
        (tmp_path / "term").write_bytes(raw[:cut])
        with pytest.raises(TermFileError, match="damaged"):
            file.read()


def test_settings_that_cannot_work_are_named(tmp_path: Path) -> None:
    network = SimulatedNetwork(seed=1)
    fabric = CHORUSFabric(node_id="a", peers=["b"], transport=network.transport("a"))
    with pytest.raises(ClusterConfigurationError, match="voters are nodes"):
        ClusterNode(fabric=fabric, term_path=tmp_path / "a", voters=["a", "b", "x"])
    with pytest.raises(ClusterConfigurationError, match="term_path"):
        ClusterNode(fabric=fabric, term_path=None)
    with pytest.raises(ClusterConfigurationError, match="witness"):
        ClusterNode(fabric=fabric, term_path=None, voters=["b"], is_witness=True)
    with pytest.raises(ClusterConfigurationError, match="the other nodes are gone"):
        ClusterNode(fabric=fabric, term_path=tmp_path / "a").force(because="I say so")


def test_the_guard_refuses_who_came_before() -> None:
    guard = FencingGuard()
    guard.admit(3)
    guard.admit(3)
    guard.admit(5)
    with pytest.raises(StaleTokenError, match="older than 5"):
        guard.admit(3)
    assert guard.highest == 5
