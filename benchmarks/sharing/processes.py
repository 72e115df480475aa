"""Three node processes, started, told what to do, and ended."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = ["NAMES", "Nodes", "steady_s"]

NAMES = ("node-1", "node-2", "node-3")

_PATIENCE_S = 900.0
_START_S = 60.0


def steady_s() -> float:
    """Give the time of the fabric's clock."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


class Nodes:
    """Three nodes: a cluster, or three that know nothing of each other.

    Args:
        seed: Draws the models' words.
        latency_ms: What a call of a model takes.
        shared: Whether they are a cluster.
    """

    def __init__(self, *, seed: int, latency_ms: float, shared: bool) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="prism-bench-")
        self._seed, self._latency_ms, self._shared = seed, latency_ms, shared
        self._addresses = {name: f"127.0.0.1:{_free_port()}" for name in NAMES}
        self._secret = secrets.token_hex(32)
        self._processes: dict[str, subprocess.Popen[str]] = {}
        self._waiting: dict[int, Future[Any]] = {}
        self._numbers = itertools.count()
        self.became: list[tuple[str, str, float]] = []  # node, role, when

    def __enter__(self) -> Self:
        try:
            for name in NAMES:
                self._start(name)
            self.wait_whole()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def order(self, name: str, verb: str, given: object = None) -> Future[Any]:
        """Tell a node to do something."""
        number, future = next(self._numbers), Future[Any]()
        self._waiting[number] = future
        self._write(self._processes[name], [number, verb, given])
        return future

    def do(self, name: str, verb: str, given: object = None) -> Any:
        """Tell a node to do something, and wait for it."""
        return self.order(name, verb, given).result(_PATIENCE_S)

    def all_do(self, verb: str, given: dict[str, Any]) -> dict[str, Any]:
        """Tell several nodes at the same time, each its own."""
        orders = {name: self.order(name, verb, own) for name, own in given.items()}
        return {name: order.result(_PATIENCE_S) for name, order in orders.items()}

    def wait_whole(self) -> None:
        """Wait until all are in step and hold the same, and a cluster has one GREEN."""
        deadline = time.monotonic() + _START_S
        while True:
            found = [self.do(name, "status") for name in self._processes]
            greens = sum(one["role"] == "GREEN" for one in found)
            is_equal = len({one["digest"] for one in found}) == 1
            if all(one["is_whole"] for one in found) and greens == self._shared and is_equal:
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"the nodes did not become whole: {found}\n{self._said()}")
            time.sleep(0.02)

    def takeover_s(self) -> float:
        """Kill GREEN; give how long it took until another one was."""
        roles = {name: self.do(name, "status")["role"] for name in self._processes}
        (green,) = (name for name, role in roles.items() if role == "GREEN")
        process = self._processes.pop(green)
        before, at = len(self.became), steady_s()
        process.kill()
        process.wait()
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            for _, role, when in self.became[before:]:
                if role == "GREEN":
                    return when - at
            time.sleep(0.005)
        raise RuntimeError(f"no GREEN after {green}\n{self._said()}")

    def close(self) -> None:
        """End all, and clear away."""
        for process in self._processes.values():
            process.kill()
            process.wait()
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()  # type: ignore[union-attr]  # a pipe
        self._processes.clear()
        self._folder.cleanup()

    def _start(self, name: str) -> None:
        number = NAMES.index(name)
        with (Path(self._folder.name) / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("node.py"))],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, encoding="utf-8",
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )  # fmt: skip
        self._processes[name] = process
        peers = {peer: at for peer, at in self._addresses.items() if peer != name}
        self._write(
            process,
            {
                "node_id": name,
                "listen": self._addresses[name],
                "peers": peers if self._shared else {},
                "secret": self._secret,
                "term_path": str(Path(self._folder.name) / f"{name}.term"),
                "seed": 10 * self._seed + number,
                "latency_ms": self._latency_ms,
            },
        )
        threading.Thread(target=self._read, args=(name, process), daemon=True).start()

    def _write(self, process: subprocess.Popen[str], what: object) -> None:
        assert process.stdin is not None  # noqa: S101  a pipe
        process.stdin.write(json.dumps(what) + "\n")
        process.stdin.flush()

    def _read(self, name: str, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None  # noqa: S101  a pipe
        with process.stdout, contextlib.suppress(ValueError):  # closed under us
            for line in process.stdout:
                match json.loads(line):
                    case ["to", number, result]:
                        self._waiting.pop(number).set_result(result)
                    case ["became", role, _, at]:
                        self.became.append((name, role, at))
        if process.poll() not in (0, None) and name in self._processes:
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(RuntimeError(f"{name} ended\n{self._said()}"))

    def _said(self) -> str:
        logs = sorted(Path(self._folder.name).glob("*.log"))
        return "\n".join(f"{log.stem}: {log.read_text()[-1000:]}" for log in logs)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
