"""The wrapper's process and the driver that users have, in each way the two can be connected."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres_databases import Database
from wrapper_runs import TENANT, Wrapper, eventually, free_port, products

from chorus_fabric import ClientConfig, Subscriber, TLSConfig, Upserted
from prism.ffi import DriverConfig, PrismDriverSync
from prism.ffi.errors import PrismDriverError
from prismresonance import PrismProjector
from prismresonance.embed import StaticEmbedder

SPOKEN = "a jacket nobody else sells"


def fabric(folder: Path, *arguments: str) -> dict[str, object]:
    """Run the command that users make certificates and secrets with."""
    done = subprocess.run(
        [sys.executable, "-m", "chorus_fabric", *arguments, "--json"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, object] = json.loads(done.stdout)
    return told


def assert_follows(driver: PrismDriverSync, shop: Database) -> None:
    """Change the table; the driver has it, row for row."""
    shop.execute(
        "UPDATE products SET stock = stock + 1",
        "DELETE FROM products WHERE id % 5 = 0",
        "INSERT INTO products SELECT n, 'more ' || n, n, n FROM generate_series("
        "(SELECT max(id) + 1 FROM products), (SELECT max(id) + 9 FROM products)) n",
    )
    expected = products(shop.admin_dsn)

    def is_equal() -> bool:
        rows = {row_id: driver.get(row_id, table="products") for row_id in expected}
        return driver.status().rows == len(expected) and all(
            row is not None and row.columns == expected[row_id] for row_id, row in rows.items()
        )

    eventually(is_equal)


@pytest.fixture
def filled(shop: Database) -> Database:
    shop.execute(
        f"INSERT INTO products VALUES (1, '{SPOKEN}', 10, 1, NULL), "
        "(2, 'a fast laptop computer', 900, 2, NULL), (3, 'a novel about the sea', 8, 1, NULL)"
    )
    return shop


class Tap:
    """A place to connect to in a wrapper's stead, which keeps what the wrapper says."""

    def __init__(self, port: int) -> None:
        self.heard = bytearray()
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                caller, _ = self._listener.accept()
                called = socket.create_connection(("127.0.0.1", self._target))
                self._open += [caller, called]
                for source, sink, kept in ((caller, called, None), (called, caller, self.heard)):
                    threading.Thread(
                        target=self._carry, args=(source, sink, kept), daemon=True
                    ).start()

    def _carry(self, source: socket.socket, sink: socket.socket, kept: bytearray | None) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(1 << 16):
                if kept is not None:
                    kept += piece
                sink.sendall(piece)
            sink.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


@contextlib.contextmanager
def tap_of(wrapper: Wrapper) -> Iterator[Tap]:
    tap = Tap(wrapper.port)
    try:
        yield tap
    finally:
        tap.close()


def test_a_secret_seals_what_is_sent(filled: Database, wrapper: Wrapper, tmp_path: Path) -> None:
    for name in ("right", "wrong"):
        fabric(tmp_path, "secret", name)
    wrapper.configure(chorus=f'secret_file = "{tmp_path / "right"}"')
    with wrapper, tap_of(wrapper) as tap:
        wrapper.wait(lambda told: told["log"]["complete"])
        with PrismDriverSync(
            DriverConfig(
                wrapper_host="127.0.0.1",
                wrapper_port=tap.port,
                tenant_id=TENANT,
                secret_file=tmp_path / "right",
            )
        ) as driver:
            assert driver.status().is_sealed
            assert driver.query(text="jacket", top_k=1)[0].text_repr.find(SPOKEN) >= 0
            assert_follows(driver, filled)
        assert len(tap.heard) > 1000
        assert SPOKEN.encode() not in tap.heard
        for secret in (None, tmp_path / "wrong"):
            with (
                pytest.raises(PrismDriverError, match="secret"),
                PrismDriverSync(
                    DriverConfig(
                        wrapper_host="127.0.0.1",
                        wrapper_port=wrapper.port,
                        tenant_id=TENANT,
                        secret_file=secret,
                    )
                ),
            ):
                pass


def width_sent(port: int) -> int:
    """How many components the vectors have that a subscriber is sent."""
    with contextlib.closing(
        Subscriber(ClientConfig(host="127.0.0.1", port=port, tenant_id=TENANT))
    ) as subscriber:
        return next(
            event.frame.vectors.shape[1] for event in subscriber if isinstance(event, Upserted)
        )


def serial_shown(port: int, client: Path) -> str:
    """The number of the certificate that a new connection meets."""
    context = ssl.create_default_context(cafile=client / "ca.pem")
    context.check_hostname = False  # nodes are named by tenant
    context.load_cert_chain(client / "node.pem", client / "node.key")
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain) as secured,
    ):
        shown = secured.getpeercert()
        assert shown is not None
        return str(shown["serialNumber"])


def test_certificates_and_their_renewal(filled: Database, wrapper: Wrapper, tmp_path: Path) -> None:
    fabric(tmp_path, "ca", "init", "ca")
    issue = ("issue", "--ca", "ca", "--tenant", TENANT, "--node")
    fabric(tmp_path, *issue, "db-1")
    fabric(tmp_path, *issue, "app-1")
    fabric(tmp_path, "issue", "--ca", "ca", "--tenant", "others", "--node", "app-2")
    files = tmp_path / "db-1"
    wrapper.configure(
        chorus=f'certificate = "{files / "node.pem"}"\nkey = "{files / "node.key"}"\n'
        f'authority = "{files / "ca.pem"}"'
    )
    config = DriverConfig(
        wrapper_host="127.0.0.1",
        wrapper_port=wrapper.port,
        tls=TLSConfig.in_folder(tmp_path / "app-1"),
    )
    with wrapper:
        wrapper.wait(lambda told: told["log"]["complete"])
        with PrismDriverSync(config) as driver:
            assert driver.status().tenant_id == TENANT
            assert_follows(driver, filled)
            before = serial_shown(wrapper.port, tmp_path / "app-1")

            fabric(tmp_path, *issue, "db-1")
            assert wrapper.process is not None
            wrapper.process.send_signal(signal.SIGHUP)
            eventually(lambda: "certificates are read anew" in wrapper.said)
            after = serial_shown(wrapper.port, tmp_path / "app-1")
            assert after != before
            told = fabric(tmp_path, "show", "db-1/node.pem")
            assert told["node"] == "db-1"
            with PrismDriverSync(config) as another:
                assert_follows(another, filled)
            assert_follows(driver, filled)
            # The open connection went on.
            assert driver.status().reconnects == 0
        for stranger in (
            DriverConfig(wrapper_host="127.0.0.1", wrapper_port=wrapper.port),
            DriverConfig(
                wrapper_host="127.0.0.1",
                wrapper_port=wrapper.port,
                tls=TLSConfig.in_folder(tmp_path / "app-2"),
            ),
        ):
            with pytest.raises(PrismDriverError), PrismDriverSync(stranger):
                pass


def test_projected_vectors_travel(filled: Database, wrapper: Wrapper) -> None:
    wrapper.configure('[vectors]\nwire = "projected"\n')
    with wrapper, tap_of(wrapper) as tap:
        wrapper.wait(lambda told: told["log"]["complete"])
        assert width_sent(wrapper.port) == 64
        with PrismDriverSync(
            DriverConfig(wrapper_host="127.0.0.1", wrapper_port=tap.port)
        ) as driver:
            assert [match.row_id for match in driver.query(text="the sea", top_k=1)] == ["3"]
            found = driver.query(text="a jacket", top_k=1)[0]
            assert found.row_id == "1"
            # The same row by a vector of full width and by one of 64 dimensions.
            full = StaticEmbedder().embed([found.text_repr])[0]
            narrow = PrismProjector(tenant_id=TENANT).project(full)
            assert narrow.shape == (64,)
            for vector in (full, narrow):
                match = driver.query(embedding=vector, top_k=1)[0]
                assert match.row_id == "1"
                assert match.score == pytest.approx(1.0, abs=1e-3)
            assert_follows(driver, filled)
            assert not driver.status().is_sealed
        # What is not sealed can be heard: so the other test's silence says something.
        assert SPOKEN.encode() in tap.heard


def test_a_driver_that_listens(filled: Database, wrapper: Wrapper) -> None:
    port = free_port()
    wrapper.configure(chorus=f'drivers = ["127.0.0.1:{port}"]')
    config = DriverConfig(listen_port=port, tenant_id=TENANT)
    with wrapper:
        wrapper.wait(lambda told: told["log"]["complete"])
        for _ in range(2):
            # The second time the wrapper has to notice that the driver is back.
            with PrismDriverSync(config) as driver:
                assert driver.port == port
                wrapper.wait(lambda told: told["subscribers"] == 1)
                assert_follows(driver, filled)
            wrapper.wait(lambda told: told["subscribers"] == 0)
