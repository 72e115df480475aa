"""Break the node that is GREEN: `hatch run chaos cluster`.

Three processes hold a lease over a gRPC mesh. Whoever is GREEN writes every two milliseconds, with
its fencing token, to a judge, which stands for a database that keeps the highest token.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from prism.cluster import FencingGuard, StaleTokenError

__all__ = ["Cluster", "main", "may_make_namespaces"]

_NAMES = ("node-1", "node-2", "node-3")
_PATIENCE_S = 20.0
_EPILOG = """\
examples:
  hatch run chaos cluster                       50 kills, 20 stops, 20 cuts, 20 s of full CPUs
  hatch run chaos cluster --kills 5 --stops 2 --cuts 2 --load-s 5
  hatch run chaos cluster --json

Cuts take network namespaces, so root. Ends with code 1 when a promise was broken.
"""


class Judge:
    """What GREEN writes to: keeps the highest token, and who said to be GREEN when."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.guard = FencingGuard()
        self.accepted = self.refused = 0
        self.holders: dict[int, tuple[str, int]] = {}
        self.spans: dict[tuple[int, str, int], list[float]] = {}
        self.problems: list[str] = []
        self.green: tuple[str, int] | None = None
        self.green_at = 0.0
        self.peers_up: dict[str, tuple[float, int]] = {}

    def hear(self, for_s: float) -> None:
        """Take what comes, for so long or until something came."""
        self._socket.settimeout(max(for_s, 1e-4))
        with contextlib.suppress(TimeoutError):
            while True:
                self._take(json.loads(self._socket.recv(4096)))
                self._socket.settimeout(1e-4)

    def _take(self, said: list[Any]) -> None:
        node, run, token, before, after, up = said
        self.peers_up[node] = (after, up)
        if not token:
            return
        span = self.spans.setdefault((token, node, run), [after, before])
        span[1] = max(span[1], before)
        try:
            self.guard.admit(token)
        except StaleTokenError:
            self.refused += 1
            return
        self.accepted += 1
        if self.holders.setdefault(token, (node, run)) != (node, run):
            self.problems.append(f"token {token} was used by {self.holders[token][0]} and {node}")
        self.green, self.green_at = (node, token), after

    def overlaps(self) -> list[str]:
        """Tell where two nodes were GREEN at once: both said so by the same clock."""
        spans = sorted((begin, end, key) for key, (begin, end) in self.spans.items())
        return [
            f"{one[1]} (token {one[0]}) until {end:.4f}, {other[1]} (token {other[0]}) from "
            f"{begin:.4f}"
            for (_, end, one), (begin, _, other) in itertools.pairwise(spans)
            if begin < end and one[1:] != other[1:]
        ]

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()


@dataclass
class Takeovers:
    """How long it took until another node wrote, after each fault of a kind."""

    seconds: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, float]:
        """Give count and quantiles."""
        found = sorted(self.seconds)
        if not found:
            return {"count": 0}
        return {
            "count": len(found),
            "p50": round(found[len(found) // 2], 3),
            "p99": round(found[min(len(found) - 1, int(len(found) * 0.99))], 3),
            "max": round(found[-1], 3),
        }


class Cluster:
    """Three nodes and a judge, in a folder of their own.

    Args:
        with_namespaces: Each node in a network namespace, so that it can be cut off. Takes root.
    """

    def __init__(self, *, with_namespaces: bool = False) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="prism-cluster-"))
        self.judge = Judge(self._folder / "judge")
        self._spaces = with_namespaces
        self._tag = f"{os.getpid() % 0x10000:04x}"
        self._runs = dict.fromkeys(_NAMES, 0)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._addresses: dict[str, str] = {}

    def __enter__(self) -> Self:
        try:
            self._make_network()
            for name in _NAMES:
                self.start(name)
            self.wait(lambda: self.judge.green is not None and self.is_whole(), "a first GREEN")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()
        self.judge.close()
        if self._spaces:
            for name in _NAMES:
                _ip("netns", "del", self._space(name), check=False)
            _ip("link", "del", f"pb{self._tag}", check=False)
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self, name: str) -> None:
        """Start a node, anew if it ran before."""
        self._runs[name] += 1
        self.judge.peers_up.pop(name, None)
        given = {
            "node_id": name,
            "run": self._runs[name],
            "peers": {n: a for n, a in self._addresses.items() if n != name},
            "listen": self._addresses[name],
            "secret": "0123456789abcdef" * 4,
            "term_path": str(self._folder / f"{name}.term"),
            "judge": str(self.judge.path),
        }
        program = str(Path(__file__).with_name("cluster_node.py"))
        command = [sys.executable, program, json.dumps(given)]
        if self._spaces:
            command = ["ip", "netns", "exec", self._space(name), *command]
        log = (self._folder / f"{name}.log").open("ab")
        self.processes[name] = subprocess.Popen(command, stdout=log, stderr=log)
        log.close()

    def log(self, name: str) -> str:
        """Give what a node printed."""
        return (self._folder / f"{name}.log").read_text()[-2000:]

    def wait(self, until: Callable[[], bool], what: str, *, for_s: float = _PATIENCE_S) -> None:
        """Hear the nodes until something holds.

        Raises:
            TimeoutError: It did not come to hold.
        """
        deadline = time.monotonic() + for_s
        while not until():
            if time.monotonic() > deadline:
                logs = "\n".join(f"{name}: {self.log(name)}" for name in self.processes)
                raise TimeoutError(f"waited {for_s:g} s for {what}\n{logs}")
            self.judge.hear(0.01)

    def is_whole(self) -> bool:
        """Tell whether all nodes said lately that they hear all others, and one is GREEN."""
        now = _now()
        return len(self.judge.peers_up) == len(_NAMES) and all(
            now - at < 0.5 and up == len(_NAMES) - 1 for at, up in self.judge.peers_up.values()
        )

    def settle(self) -> str:
        """Wait until all hear each other and one writes; gives its name."""
        start = _now()
        self.wait(
            lambda: self.is_whole() and self.judge.green_at > start + 0.3, "the cluster to be whole"
        )
        assert self.judge.green is not None  # noqa: S101 - it wrote just now
        return self.judge.green[0]

    def takeover(self, break_it: Callable[[str], None]) -> tuple[str, float]:
        """Break GREEN; gives who it was, and after how long another one wrote."""
        broken = self.settle()
        start = _now()
        break_it(broken)
        self.wait(
            lambda: self.judge.green is not None and self.judge.green[0] != broken,
            f"a GREEN after {broken}",
        )
        return broken, self.judge.green_at - start

    def kill(self) -> float:
        """Kill GREEN with SIGKILL, and start it again."""

        def break_it(name: str) -> None:
            self.processes[name].kill()
            self.processes[name].wait()

        name, seconds = self.takeover(break_it)
        self.start(name)
        return seconds

    def stop(self) -> float:
        """Stop GREEN with SIGSTOP, and let it go on when another is GREEN."""
        name, seconds = self.takeover(lambda name: self._signal(name, signal.SIGSTOP))
        self._signal(name, signal.SIGCONT)
        return seconds

    def cut(self) -> float:
        """Cut GREEN off from the network, and join it again."""
        name, seconds = self.takeover(lambda name: self._link(name, "down"))
        self._link(name, "up")
        return seconds

    def load(self, seconds: float) -> int:
        """Keep all CPUs busy; gives how often GREEN changed meanwhile."""
        self.settle()
        tokens = set(self.judge.holders)
        hogs = [
            subprocess.Popen([sys.executable, "-c", "while True: pass"])
            for _ in range(3 * (os.cpu_count() or 1))
        ]
        try:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                self.judge.hear(0.05)
        finally:
            for hog in hogs:
                hog.kill()
                hog.wait()
        return len(set(self.judge.holders) - tokens)

    def problems(self) -> list[str]:
        """Tell every broken promise so far."""
        return self.judge.problems + self.judge.overlaps()

    def _signal(self, name: str, number: signal.Signals) -> None:
        self.processes[name].send_signal(number)

    def _space(self, name: str) -> str:
        return f"prism-{self._tag}-{name[-1]}"

    def _link(self, name: str, state: str) -> None:
        _ip("link", "set", f"pv{self._tag}{name[-1]}", state)

    def _make_network(self) -> None:
        if not self._spaces:
            self._addresses = {name: f"127.0.0.1:{_free_port()}" for name in _NAMES}
            return
        bridge = f"pb{self._tag}"
        _ip("link", "add", bridge, "type", "bridge")
        _ip("link", "set", bridge, "up")
        for number, name in enumerate(_NAMES, 1):
            space, outer = self._space(name), f"pv{self._tag}{name[-1]}"
            _ip("netns", "add", space)
            _ip("link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", space)
            _ip("link", "set", outer, "master", bridge)
            _ip("link", "set", outer, "up")
            _ip("-n", space, "addr", "add", f"10.213.7.{number}/24", "dev", "eth0")
            _ip("-n", space, "link", "set", "eth0", "up")
            _ip("-n", space, "link", "set", "lo", "up")
            self._addresses[name] = f"10.213.7.{number}:50061"


def may_make_namespaces() -> bool:
    """Tell whether nodes can be put into network namespaces here."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    name = f"prism-try-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False)
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return made.returncode == 0


def main(argv: list[str]) -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="chaos cluster",
        description="Break the GREEN of three processes, again and again.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kills", type=int, default=50, help="SIGKILLs of GREEN (50)")
    parser.add_argument("--stops", type=int, default=20, help="SIGSTOPs of GREEN (20)")
    parser.add_argument("--cuts", type=int, default=20, help="cuts of GREEN from the network (20)")
    parser.add_argument("--load-s", type=float, default=20, help="seconds of full CPUs (20)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    console = Console(stderr=True)
    cuts = options.cuts
    if cuts and not may_make_namespaces():
        console.print("not root, or no `ip netns`: nodes are not cut off", style="yellow")
        cuts = 0
    found: dict[str, Takeovers] = {name: Takeovers() for name in ("kill", "stop", "cut")}
    problems: list[str] = []
    accepted = refused = changes = 0
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    ) as progress:
        task = progress.add_task("starting", total=options.kills + options.stops + cuts)
        for plan in (["kill"] * options.kills + ["stop"] * options.stops, ["cut"] * cuts):
            if not plan:
                continue
            with Cluster(with_namespaces=plan[:1] == ["cut"]) as cluster, _told(problems):
                for fault in plan:
                    progress.update(task, description=fault)
                    found[fault].seconds.append(getattr(cluster, fault)())
                    progress.advance(task)
                if plan[:1] != ["cut"] and options.load_s:
                    progress.update(task, description="full CPUs")
                    changes = cluster.load(options.load_s)
                cluster.settle()
                problems += cluster.problems()
                accepted += cluster.judge.accepted
                refused += cluster.judge.refused
    if changes:
        problems.append(f"GREEN changed {changes} times although only the CPUs were busy")
    report = {
        "takeover_s": {fault: takeovers.summary() for fault, takeovers in found.items()},
        "writes_accepted": accepted,
        "stale_writes_refused": refused,
        "promotions_under_load": changes,
        "problems": problems,
    }
    if options.json:
        print(json.dumps(report))
    else:
        for fault, takeovers in found.items():
            print(f"{fault:5} {takeovers.summary()}")
        print(f"{accepted:,} writes, {refused} of old tokens refused; {changes} false promotions")
        for problem in problems:
            print(f"BROKEN: {problem}", file=sys.stderr)
    return 1 if problems else 0


@contextlib.contextmanager
def _told(problems: list[str]) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        problems.append(str(error))


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _now() -> float:
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _ip(*arguments: str, check: bool = True) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
