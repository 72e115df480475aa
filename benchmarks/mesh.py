"""How long does a word to all peers take, there and back?

Three processes over loopback. One sends 2 KiB to both others, which send it back; the time is from
the send until the second answer has come. Rounds of each way run one after the other:

  raw TCP            two blocking sockets: no way that copies through the kernel is much faster
  mesh               `CHORUSFabric.broadcast` and `send`, sealed with keys from a secret
  mesh, urgent       the same with LEASE frames, which pass the event loop by
  mesh under load    LEASE frames while 1 MiB frames of answers are sent all the time

`to raw TCP` is the ratio of medians, over the rounds of this run. All processes share the
machine's cores: on two cores the third waits for one of the others.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

import machine
from chorus_fabric.mesh import CHORUSFabric, FrameKind, MeshMessage

RESULTS = Path(__file__).parent / "results"
SECRET = "held by the nodes of this benchmark"  # noqa: S105  of this benchmark alone
SIZE = 2048
PEERS = ("b", "c")
PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Round trips to both peers, in milliseconds."""

    way: str
    samples: int
    p50_ms: float
    p99_ms: float
    to_raw_tcp: float


def main(argv: Sequence[str]) -> int:
    """Run the command line."""
    options = _options(argv)
    if options.echo:
        asyncio.run(_echo(*options.echo))
        return 0
    samples = asyncio.run(_race(options.rounds, options.words))
    raw = statistics.median(samples["raw TCP"])
    latencies = [
        Latency(
            way=way,
            samples=len(times),
            p50_ms=1e3 * statistics.median(times),
            p99_ms=1e3 * statistics.quantiles(times, n=100)[98],
            to_raw_tcp=statistics.median(times) / raw,
        )
        for way, times in samples.items()
    ]
    document = {
        "benchmark": "mesh",
        "machine": machine.facts(("chorus-fabric", "grpcio", "cryptography")),
        "load": machine.load(),
        "void": options.quick,
        "rounds": options.rounds,
        "words": options.words,
        "bytes": SIZE,
        "latencies": [asdict(latency) for latency in latencies],
    }
    if not options.quick:
        (RESULTS / "mesh.json").write_text(json.dumps(document, indent=1) + "\n")
    if options.json:
        print(json.dumps(document))
        return 0
    table = Table("way", "p50 ms", "p99 ms", "to raw TCP", title=f"{SIZE} bytes to two, and back")
    for one in latencies:
        table.add_row(one.way, f"{one.p50_ms:.2f}", f"{one.p99_ms:.2f}", f"{one.to_raw_tcp:.1f}")
    Console().print(table)
    return 0


async def _race(rounds: int, words: int) -> dict[str, list[float]]:
    with tempfile.TemporaryDirectory() as folder:
        places = {name: f"unix:{folder}/{name}" for name in ("a", *PEERS)}
        listening = socket.create_server(("127.0.0.1", 0))
        children = [
            subprocess.Popen(  # noqa: ASYNC220  nothing else runs yet
                [sys.executable, __file__, "--echo", name, folder, str(listening.getsockname()[1])]
            )
            for name in PEERS
        ]
        listening.settimeout(PATIENCE_S)
        sockets = [listening.accept()[0] for _ in PEERS]
        fabric = CHORUSFabric(
            node_id="a", peers={name: places[name] for name in PEERS}, listen=places["a"],
            secret=SECRET,
        )  # fmt: skip
        try:
            async with fabric:
                return await _measure(fabric, sockets, rounds, words)
        finally:
            for one in (*sockets, listening):
                one.close()
            for child in children:
                child.terminate()
                child.wait()


async def _measure(
    fabric: CHORUSFabric, sockets: list[socket.socket], rounds: int, words: int
) -> dict[str, list[float]]:
    answers = {FrameKind.CONFIG: _Answers(), FrameKind.LEASE: _Answers()}
    for kind, found in answers.items():
        fabric.on(kind, lambda _, found=found: found.one())  # type: ignore[misc]
    async with asyncio.timeout(PATIENCE_S):
        while not all(peer.is_up for peer in fabric.peers().values()):  # noqa: ASYNC110  threads
            await asyncio.sleep(0.01)
    for one in sockets:
        one.settimeout(PATIENCE_S)
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    word = bytes(SIZE)

    def raw() -> None:
        for one in sockets:
            one.sendall(word)
        for one in sockets:
            _receive(one)

    def through(kind: FrameKind) -> Callable[[], None]:
        def send() -> None:
            answers[kind].begin()
            if fabric.broadcast(kind, word) != len(PEERS):
                raise RuntimeError("a peer is down, or its queue full")
            answers[kind].wait()

        return send

    def loaded() -> None:
        fabric.broadcast(FrameKind.TOKEN_SYNC, bytes(1 << 20))
        through(FrameKind.LEASE)()

    ways = {
        "raw TCP": raw,
        "mesh": through(FrameKind.CONFIG),
        "mesh, urgent": through(FrameKind.LEASE),
        "mesh under load": loaded,
    }
    samples: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, send in ways.items():
            samples[way] += await asyncio.to_thread(_times, send, words)
            async with asyncio.timeout(PATIENCE_S):
                while fabric.status().queued_bytes > SIZE:  # noqa: ASYNC110  other threads empty it
                    await asyncio.sleep(0.01)
    return samples


def _times(send: Callable[[], None], words: int) -> list[float]:
    times = []
    for _ in range(words):
        began = time.perf_counter()
        send()
        times.append(time.perf_counter() - began)
    return times


class _Answers:
    """Count the answers to one word."""

    def __init__(self) -> None:
        self._all = threading.Semaphore(0)

    def begin(self) -> None:
        while self._all.acquire(blocking=False):
            pass

    def one(self) -> None:
        self._all.release()

    def wait(self) -> None:
        for _ in PEERS:
            if not self._all.acquire(timeout=PATIENCE_S):
                raise RuntimeError("a peer does not answer")


async def _echo(name: str, folder: str, port: str) -> None:
    """Be a peer: send back what comes, until ended."""
    others = [one for one in ("a", *PEERS) if one != name]
    fabric = CHORUSFabric(
        node_id=name, peers={one: f"unix:{folder}/{one}" for one in others},
        listen=f"unix:{folder}/{name}", secret=SECRET,
    )  # fmt: skip

    def answer(message: MeshMessage) -> None:
        fabric.send(message.sender, message.frame_type, message.payload)

    for kind in (FrameKind.CONFIG, FrameKind.LEASE):
        fabric.on(kind, answer)
    connection = socket.create_connection(("127.0.0.1", int(port)))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def back() -> None:
        while word := _receive(connection):
            connection.sendall(word)

    async with fabric:
        await asyncio.to_thread(back)


def _receive(connection: socket.socket) -> bytes:
    word = bytearray()
    while len(word) < SIZE:
        part = connection.recv(SIZE - len(word))
        if not part:
            return b""
        word += part
    return bytes(word)


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="hatch run bench mesh",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=9, help="rounds of all ways (%(default)s)")
    parser.add_argument("--words", type=int, default=200, help="words a round (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print the document, not a table")
    parser.add_argument(
        "--quick", action="store_true", help="in seconds; writes nothing; figures are void"
    )
    parser.add_argument("--echo", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.quick:
        options.rounds, options.words = 2, 30
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
