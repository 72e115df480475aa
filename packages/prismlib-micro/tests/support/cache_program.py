"""A node with a cluster cache as a process of its own; orders and answers are lines of JSON."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from chorus_fabric.mesh import CHORUSFabric
from prism.cluster.cache import ClusterCache

if TYPE_CHECKING:
    from chaos.link import Link  # not for the processes: they have no path to tools

NAMES = ("node-1", "node-2", "node-3")
CALL_S = 0.2
_called = itertools.count()


def vector(text: str) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    return np.random.default_rng(seed).normal(size=64).astype(np.float32)


async def _do(cache: ClusterCache, order: dict[str, Any]) -> object:
    async def answer(text: str) -> str:
        await asyncio.sleep(CALL_S)
        return f"{cache._fabric.node_id} answers {text}, call {next(_called)}"

    async def ask(text: str) -> object:
        return await cache.get_or_call(
            query=text, query_vector=vector(text), call_fn=lambda: answer(text), tags=["all"]
        )

    match order["do"]:
        case "ask":
            before = cache.metrics().calls
            answers = await asyncio.gather(*map(ask, order["texts"]))
            unserved = cache.metrics().unserved
            calls = cache.metrics().calls - before
            return {"calls": calls, "answers": answers, "unserved": unserved}
        case "ask-slowly":  # the moment at which each answer was there
            moments = []
            for text in order["texts"]:
                await ask(text)
                moments.append(time.monotonic())
            return moments
        case "watch":
            seen: dict[str, float] = {}
            while len(seen) < len(order["texts"]):
                for text in order["texts"]:
                    if text not in seen and cache.has(text):
                        seen[text] = time.monotonic()
                await asyncio.sleep(0.001)
            return [seen[text] for text in order["texts"]]
        case "missing":
            return [text for text in order["texts"] if not cache.has(text)]
        case "flush":
            return await cache.flush()
        case "invalidate":
            try:
                await cache.invalidate(query=order["text"], timeout_s=order.get("timeout_s", 10.0))
            except TimeoutError:
                return False
            return True
        case "metrics":
            metrics = cache.metrics()
            up = sum(peer.is_up for peer in cache._fabric.peers().values())
            return {"digest": metrics.digest, "synced": metrics.is_synced, "up": up}
    raise ValueError(order["do"])


async def _run(given: dict[str, Any]) -> None:
    fabric = CHORUSFabric(
        node_id=given["node_id"],
        peers=given["peers"],
        listen=given["listen"],
        secret="0123456789abcdef" * 4,
    )
    cache = ClusterCache(node_id=given["node_id"], fabric=fabric)
    running = set()
    loop = asyncio.get_running_loop()

    async def obey(line: str) -> None:
        order = json.loads(line)
        result = await _do(cache, order)
        print(json.dumps([order["id"], result]), flush=True)

    async with fabric:
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            task = asyncio.create_task(obey(line))
            running.add(task)
            task.add_done_callback(running.discard)


class CacheCluster:
    """Three such processes.

    Args:
        link: Makes a link that can be cut, to a port; one is put between each two of them.
    """

    def __init__(self, link: type[Link] | None = None) -> None:
        ports = {name: _free_port() for name in NAMES}
        self._addresses = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
        # The one whose name sorts first dials.
        self._links = {
            (near, far): link(ports[far])
            for near, far in itertools.combinations(NAMES, 2)
            if link is not None
        }
        self._processes: dict[str, subprocess.Popen[str]] = {}
        self._answers: dict[int, Any] = {}
        self._arrived = threading.Condition()
        self._number = 0

    def __enter__(self) -> Self:
        try:
            for name in NAMES:
                self.start(name)
            self.wait_whole()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for link in self._links.values():
            link.close()
        for process in self._processes.values():
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                with contextlib.suppress(BrokenPipeError):
                    stream.close()  # type: ignore[union-attr]

    def start(self, name: str) -> None:
        given = {
            "node_id": name,
            "peers": {other: self._address(name, other) for other in NAMES if other != name},
            "listen": self._addresses[name],
        }
        self._processes[name] = process = subprocess.Popen(
            [sys.executable, str(Path(__file__)), json.dumps(given)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=dict(os.environ),
        )
        threading.Thread(target=self._read, args=(process,), daemon=True).start()

    def kill(self, name: str) -> None:
        process = self._processes.pop(name)
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            with contextlib.suppress(BrokenPipeError):
                stream.close()  # type: ignore[union-attr]

    def links_of(self, name: str) -> list[Link]:
        return [link for ends, link in self._links.items() if name in ends]

    def signal(self, name: str, number: signal.Signals) -> None:
        self._processes[name].send_signal(number)

    def begin(self, name: str, do: str, **order: object) -> int:
        self._number += 1
        stdin = self._processes[name].stdin
        assert stdin is not None
        stdin.write(json.dumps({"id": self._number, "do": do, **order}) + "\n")
        stdin.flush()
        return self._number

    def end(self, number: int, *, within_s: float = 60) -> Any:
        with self._arrived:
            if not self._arrived.wait_for(lambda: number in self._answers, within_s):
                raise TimeoutError(f"no answer to order {number}")
            return self._answers.pop(number)

    def do(self, name: str, do: str, **order: object) -> Any:
        return self.end(self.begin(name, do, **order))

    def wait_whole(self, *, within_s: float = 30) -> None:
        deadline = time.monotonic() + within_s
        while True:
            found = [self.do(name, "metrics") for name in self._processes]
            others = len(found) - 1
            if all(one["synced"] and one["up"] == others for one in found):
                return
            assert time.monotonic() < deadline, found
            time.sleep(0.05)

    def wait_equal(self) -> float:
        """Give how long it took until all nodes held the same."""
        start = time.monotonic()
        while len({self.do(name, "metrics")["digest"] for name in self._processes}) > 1:
            assert time.monotonic() < start + 30
            time.sleep(0.05)
        return time.monotonic() - start

    def _address(self, near: str, far: str) -> str:
        link = self._links.get((near, far))
        return self._addresses[far] if link is None else f"127.0.0.1:{link.port}"

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with contextlib.suppress(ValueError):  # closed under us
            for line in process.stdout:
                number, result = json.loads(line)
                with self._arrived:
                    self._answers[number] = result
                    self._arrived.notify_all()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


if __name__ == "__main__":
    asyncio.run(_run(json.loads(sys.argv[1])))
