"""A TCP link with a delay: a proxy in a process of its own.

What arrives in one direction goes on, in order, `delay_s` after it arrived; nothing is held back
behind something else, so the link delays and does not throttle.
"""

from __future__ import annotations

import asyncio
import selectors
import socket
import time
from contextlib import contextmanager, nullcontext, suppress
from multiprocessing import get_context
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

_CHUNK = 1 << 16
_MOST_CHUNKS = 1024
_HOST = "127.0.0.1"


@contextmanager
def link(port: int, *, delay_s: float) -> Iterator[int]:
    """Give a port of loopback behind which `port` is, `delay_s` away in each direction."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, port, delay_s), daemon=True)
    process.start()
    theirs.close()
    try:
        yield int(ours.recv())
    finally:
        ours.close()  # the proxy ends when its parent lets go of the pipe
        process.join(5)
        if process.is_alive():
            process.kill()
            process.join()


def round_trip_us(delay_s: float | None, *, times: int = 200) -> float:
    """Give the median time of one byte there and back, in microseconds.

    Args:
        delay_s: Of the link between; `None` for no link: another process of this machine.
        times: How many bytes, one after the other.
    """
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_echo, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    taken = []
    try:
        port = int(ours.recv())
        with (
            nullcontext(port) if delay_s is None else link(port, delay_s=delay_s) as through,
            socket.create_connection((_HOST, through)) as connection,
        ):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(times):
                start = time.perf_counter()
                connection.sendall(b".")
                connection.recv(1)
                taken.append(time.perf_counter() - start)
    finally:
        ours.close()
        process.join(5)
        if process.is_alive():
            process.kill()
            process.join()
    return 1e6 * sorted(taken)[len(taken) // 2]


def _echo(pipe: Connection) -> None:
    with socket.create_server((_HOST, 0)) as server:
        pipe.send(server.getsockname()[1])
        connection, _ = server.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while piece := connection.recv(_CHUNK):
            connection.sendall(piece)


def _serve(pipe: Connection, port: int, delay_s: float) -> None:
    # select takes microseconds; epoll and asyncio's timers above it round up to a millisecond.
    with (
        suppress(KeyboardInterrupt),
        asyncio.Runner(
            loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())
        ) as runner,
    ):
        runner.run(_forward(pipe, port, delay_s))


async def _forward(pipe: Connection, port: int, delay_s: float) -> None:
    tasks: set[asyncio.Task[None]] = set()

    async def joined(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(_HOST, port)
        except OSError:
            writer.close()
            return
        for end in (writer, far_writer):
            end.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(_carry(source, sink, delay_s))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(joined, _HOST, 0)
    pipe.send(server.sockets[0].getsockname()[1])
    gone = asyncio.Event()
    asyncio.get_running_loop().add_reader(pipe.fileno(), gone.set)
    await gone.wait()
    server.close()


async def _carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter, delay_s: float) -> None:
    """Carry one direction until it ends, each piece `delay_s` after it came."""
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_MOST_CHUNKS)
    clock = asyncio.get_running_loop().time

    async def deliver() -> None:
        while True:
            due, piece = await under_way.get()
            left = due - clock()
            if left > 0:
                await asyncio.sleep(left)
            if not piece:
                return
            sink.write(piece)
            await sink.drain()

    delivery = asyncio.create_task(deliver())
    try:
        with suppress(OSError):
            while piece := await source.read(_CHUNK):
                await under_way.put((clock() + delay_s, piece))
        with suppress(OSError):
            await under_way.put((clock() + delay_s, b""))
            await delivery
    finally:
        delivery.cancel()
        sink.close()
