"""One suite for what carries a mesh: streams of gRPC, a simulated network, a cluster of NATS."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from certificates import Authority
from nats_servers import cluster

from chorus_fabric.mesh import CHORUSFabric, FabricConfig, SimulatedNetwork
from chorus_fabric.mesh.conformance import MeshConformance
from chorus_fabric.mesh.nats import NatsServers, NatsTransport


class TestGrpcMesh(MeshConformance):
    """Unix sockets, and a secret."""

    @pytest.fixture(autouse=True)
    def _folder(self) -> Iterator[None]:
        # A socket's path has at most 107 bytes, which pytest's own folders may exceed.
        with TemporaryDirectory() as folder:
            self.folder = folder
            yield

    def address(self, node_id: str) -> str:
        return f"unix:{self.folder}/{node_id}"

    def make_fabric(
        self, node_id: str, peers: Iterable[str], *, tenant_id: str, secret: str,
        config: FabricConfig,
    ) -> CHORUSFabric:  # fmt: skip
        return CHORUSFabric(
            node_id=node_id, peers={peer: self.address(peer) for peer in peers},
            listen=self.address(node_id), tenant_id=tenant_id, secret=secret, config=config,
        )  # fmt: skip


class TestGrpcMeshWithTLS(TestGrpcMesh):
    """The same with mutual TLS; a stranger has a certificate of its own tenant, and no secret."""

    @pytest.fixture(autouse=True)
    def _authority(self, tmp_path: Path) -> None:
        self.authority = Authority(tmp_path)
        self.serial = itertools.count()

    def make_fabric(
        self, node_id: str, peers: Iterable[str], *, tenant_id: str, secret: str,
        config: FabricConfig,
    ) -> CHORUSFabric:  # fmt: skip
        is_stranger = not secret.startswith("held")
        authority = self.authority
        if is_stranger:
            folder = self.authority.folder / f"other-{next(self.serial)}"
            folder.mkdir()
            authority = Authority(folder)
        return CHORUSFabric(
            node_id=node_id, peers={peer: self.address(peer) for peer in peers},
            listen=self.address(node_id), tenant_id=tenant_id, config=config,
            tls=authority.node(tenant_id, node_id),
        )  # fmt: skip


class TestSimulatedMesh(MeshConformance):
    """Four networks, each from its seed."""

    is_lossless = False
    is_threaded = False

    @pytest.fixture(autouse=True, params=range(4))
    def _network(self, request: pytest.FixtureRequest) -> None:
        seed: int = request.param
        self.network = SimulatedNetwork(
            seed=seed, loss=0.05 * (seed % 3), duplicate=0.1 * (seed % 2),
            delay_s=(0.0005, 0.002 * 4**seed),
        )  # fmt: skip

    def make_fabric(
        self, node_id: str, peers: Iterable[str], *, tenant_id: str, secret: str,
        config: FabricConfig,
    ) -> CHORUSFabric:  # fmt: skip
        return CHORUSFabric(
            node_id=node_id, peers=peers, transport=self.network.transport(node_id),
            tenant_id=tenant_id, secret=secret, config=config,
        )  # fmt: skip

    async def wait(self) -> None:
        await self.network.run_for(0.02)

    async def cut(self, node_id: str) -> None:
        self.network.isolate(node_id)

    async def heal(self) -> None:
        self.network.heal()


@pytest.fixture(scope="module")
def servers() -> Iterator[NatsServers]:
    with cluster() as found:
        yield NatsServers(urls=found.urls)


class TestNatsMesh(MeshConformance):
    """Three servers; the nodes know all of them."""

    @pytest.fixture(autouse=True)
    def _servers(self, servers: NatsServers) -> None:
        self.servers = servers

    def make_fabric(
        self, node_id: str, peers: Iterable[str], *, tenant_id: str, secret: str,
        config: FabricConfig,
    ) -> CHORUSFabric:  # fmt: skip
        return CHORUSFabric(
            node_id=node_id, peers=peers, transport=NatsTransport(self.servers),
            tenant_id=tenant_id, secret=secret, config=config,
        )  # fmt: skip
