"""The three nodes of the demo: started, asked, killed, replaced."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["NAMES", "Became", "NodeFailedError", "NodeGoneError", "NodeProcesses", "steady_s"]

Found = TypeVar("Found")

NAMES = ("node-1", "node-2", "node-3")

_START_S = 60.0
_ANSWER_S = 30.0
_STOP_S = 10.0
_POLL_S = 0.01


class NodeFailedError(RuntimeError):
    """A node did not do what it must; the message has the end of what it said."""


class NodeGoneError(RuntimeError):
    """The node was killed before it answered."""


@dataclass(frozen=True, slots=True)
class Became:
    """A node's role changed, at a moment of `steady_s`."""

    node: str
    role: str
    token: int | None
    at: float


def steady_s() -> float:
    """Give the time of the clock that fabrics go by: the same in all processes of a machine."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


class NodeProcesses:
    """Three processes, each a node. Safe for threads; close it after use, twice is fine.

    Args:
        folder: For what they say and for their terms.
        latency_ms: What a call of the mock model takes.
    """

    def __init__(self, folder: Path, *, latency_ms: float) -> None:
        self._folder = folder
        self._latency_ms = latency_ms
        self._secret = secrets.token_hex(32)
        self._addresses = {name: f"127.0.0.1:{_free_port()}" for name in NAMES}
        self._processes: dict[str, subprocess.Popen[str]] = {}
        self._readers: list[threading.Thread] = []
        self._numbers = itertools.count()
        self._waiting: dict[int, tuple[str, Future[dict[str, Any]]]] = {}
        self._lock = threading.Lock()
        self.changes: list[Became] = []

    @property
    def alive(self) -> tuple[str, ...]:
        """Who runs, in order of their names."""
        return tuple(name for name in NAMES if name in self._processes)

    def start(self, name: str) -> None:
        """Start a node, without waiting for it."""
        with (self._folder / f"{name}.output").open("ab") as output:
            process = subprocess.Popen(  # noqa: S603  our own program
                [sys.executable, str(Path(__file__).with_name("_node_program.py"))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                encoding="utf-8",
                start_new_session=True,  # Ctrl-C is for us: we end it
                # Three of them share the machine: a pool of threads each would only get in the way.
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
        self._write(
            process,
            {
                "node_id": name,
                "listen": self._addresses[name],
                "peers": {peer: at for peer, at in self._addresses.items() if peer != name},
                "secret": self._secret,
                "term_path": str(self._folder / f"{name}.term"),
                "latency_ms": self._latency_ms,
            },
        )
        self._processes[name] = process
        reader = threading.Thread(target=self._read, args=(name, process), daemon=True)
        self._readers.append(reader)
        reader.start()

    def order(self, name: str, verb: str, given: object = None) -> Future[dict[str, Any]]:
        """Have a node do something; the future fails with `NodeGoneError` if it is killed."""
        future: Future[dict[str, Any]] = Future()
        with self._lock:
            process = self._processes.get(name)
            number = next(self._numbers)
            if process is not None:
                self._waiting[number] = (name, future)
        if process is None or not self._write(process, [number, verb, given]):
            with self._lock:
                self._waiting.pop(number, None)
            if not future.done():
                future.set_exception(NodeGoneError(name))
        return future

    def ask(self, name: str, verb: str, given: object = None) -> dict[str, Any]:
        """Have a node do something, and wait for it."""
        return self.order(name, verb, given).result(_ANSWER_S)

    def statuses(self) -> dict[str, dict[str, Any]]:
        """Ask each node that runs how it stands."""
        asked = {name: self.order(name, "status") for name in self.alive}
        return {name: future.result(_ANSWER_S) for name, future in asked.items()}

    def wait_whole(self, *, is_equal: bool = False) -> dict[str, dict[str, Any]]:
        """Wait until all nodes hear each other, are in step, and one is GREEN.

        Args:
            is_equal: Wait also until all hold the same answers.

        Raises:
            NodeFailedError: It does not come to that.
        """

        def is_whole(found: dict[str, dict[str, Any]]) -> bool:
            return (
                all(one["is_synced"] and one["up"] == len(NAMES) - 1 for one in found.values())
                and sum(one["role"] == "GREEN" for one in found.values()) == 1
                and not (is_equal and len({one["digest"] for one in found.values()}) > 1)
            )

        return self.wait(self.statuses, is_whole, "the nodes to be whole")

    def wait(self, look: Callable[[], Found], until: Callable[[Found], bool], what: str) -> Found:
        """Look until what is found will do.

        Raises:
            NodeFailedError: It does not in time, or a node ended by itself.
        """
        deadline = time.monotonic() + _START_S
        while True:
            self.check()
            found = look()
            if until(found):
                return found
            if time.monotonic() > deadline:
                raise NodeFailedError(self._told(f"waited {_START_S:.0f} s for {what}"))
            time.sleep(_POLL_S)

    def check(self) -> None:
        """Raise if a node has ended by itself.

        Raises:
            NodeFailedError: One has.
        """
        for name, process in list(self._processes.items()):
            if (code := process.poll()) is not None:
                raise NodeFailedError(self._told(f"{name} ended with code {code}"))

    def kill(self, name: str) -> float:
        """End a node with SIGKILL, as a crash would; gives the moment before."""
        with self._lock:
            process = self._processes.pop(name)
        at = steady_s()
        process.kill()
        process.wait()
        self._gone(name)
        return at

    def close(self) -> None:
        """End all nodes."""
        processes, self._processes = self._processes, {}

        def end(process: subprocess.Popen[str]) -> None:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

        with ThreadPoolExecutor(len(NAMES)) as pool:
            list(pool.map(end, processes.values()))
        for reader in self._readers:
            reader.join(_STOP_S)
        for name in NAMES:
            self._gone(name)

    def _write(self, process: subprocess.Popen[str], what: object) -> bool:
        assert process.stdin is not None
        with self._lock:
            try:
                process.stdin.write(json.dumps(what) + "\n")
                process.stdin.flush()
            except (OSError, ValueError):  # gone, or closed by us
                return False
        return True

    def _read(self, name: str, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                told = json.loads(line)
                if "to" in told:
                    with self._lock:
                        _, future = self._waiting.pop(told.pop("to"), (name, None))
                    if future is not None:
                        future.set_result(told)
                else:
                    self.changes.append(Became(name, **told))
        process.wait()
        if process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()

    def _gone(self, name: str) -> None:
        with self._lock:
            left = [(n, future) for n, (who, future) in self._waiting.items() if who == name]
            for number, _ in left:
                del self._waiting[number]
        for _, future in left:
            future.set_exception(NodeGoneError(name))

    def _told(self, what: str) -> str:
        lines = [what]
        for name in NAMES:
            path = self._folder / f"{name}.output"
            if path.exists():
                said = path.read_text(encoding="utf-8", errors="replace").splitlines()[-5:]
                lines += [f"{name}: {line}" for line in said]
        return "\n".join(lines)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
