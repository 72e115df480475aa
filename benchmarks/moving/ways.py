"""The ways that frames can take from one process to another, and how fast they go."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import grpc
from google.protobuf.wrappers_pb2 import BytesValue

from chorus_fabric import Session, TLSConfig, channel_credentials, channel_options
from chorus_fabric._envelope import frame_in
from moving.sample import TENANT, initiator
from moving.sender import OPTIONS, SERVICE, Ports

RAW, INSECURE, MTLS = "raw TCP", "gRPC insecure", "gRPC mTLS"
THREADS = "gRPC mTLS, threads"
PROTOBUF = "gRPC mTLS, protobuf"
MARKED, SEALED = "gRPC mTLS, marked", "gRPC insecure, sealed"
BOTH = "gRPC mTLS, sealed"
# Ready messages, and those that the sender makes and the receiver opens.
READY = (RAW, INSECURE, MTLS, THREADS, PROTOBUF)
WAYS = (*READY, MARKED, SEALED, BOTH)


@dataclass(frozen=True)
class Trip:
    """One run over one way."""

    way: str
    rows: int
    frames: int
    seconds: float
    sender_cpu_s: float
    receiver_cpu_s: float

    @property
    def rows_a_second(self) -> float:
        """Rows that arrived in a second of the clock."""
        return self.rows * self.frames / self.seconds


@dataclass(frozen=True)
class Pace:
    """All runs over one way with frames of one size.

    Attributes:
        way: Which.
        rows: Rows a frame.
        best_rows_s: Rows a second in the best round.
        median_rows_s: In the median round.
        to_raw: Median over the rounds of its rows a second to those of raw TCP.
        sender_us: CPU time of the sender by row in the median round, all threads.
        receiver_us: The same of the receiver.
    """

    way: str
    rows: int
    best_rows_s: float
    median_rows_s: float
    to_raw: float
    sender_us: float
    receiver_us: float


def race(
    ports: Ports, certificates: Path, *, rows: int, seconds: float, rounds: int,
    ways: Iterable[str], track: Callable[[Iterable[int]], Iterable[int]],
) -> list[Pace]:  # fmt: skip
    """Let all ways run, one after the other, and round again."""
    tls, names = TLSConfig.in_folder(certificates), list(ways)
    # How many frames take that long; a first run that does not count warms everything up.
    frames = {}
    for way in names:
        first = _travel(ports, tls, way, rows=rows, frames=max(4, 20_000 // rows))
        frames[way] = max(8, int(seconds * first.rows_a_second / rows))
    trips: dict[str, list[Trip]] = {way: [] for way in names}
    for _ in track(range(rounds)):
        for way in names:
            trips[way].append(_travel(ports, tls, way, rows=rows, frames=frames[way]))
    return [_pace(own, trips[RAW]) for own in trips.values()]


def _pace(trips: list[Trip], raw: list[Trip]) -> Pace:
    speeds = [trip.rows_a_second for trip in trips]
    ratios = [
        one.rows_a_second / other.rows_a_second for one, other in zip(trips, raw, strict=True)
    ]
    total = trips[0].rows * trips[0].frames
    return Pace(
        way=trips[0].way,
        rows=trips[0].rows,
        best_rows_s=max(speeds),
        median_rows_s=median(speeds),
        to_raw=median(ratios),
        sender_us=median(trip.sender_cpu_s for trip in trips) / total * 1e6,
        receiver_us=median(trip.receiver_cpu_s for trip in trips) / total * 1e6,
    )


def _travel(ports: Ports, tls: TLSConfig, way: str, *, rows: int, frames: int) -> Trip:
    if way == THREADS:
        return _threads(ports, tls, way, rows=rows, frames=frames)
    return asyncio.run(_loop(ports, tls, way, rows=rows, frames=frames))


async def _loop(ports: Ports, tls: TLSConfig, way: str, *, rows: int, frames: int) -> Trip:
    is_mtls = way in (MTLS, PROTOBUF, MARKED, BOTH)
    options: Any = [*OPTIONS, *(channel_options(TENANT) if is_mtls else [])]
    address = f"127.0.0.1:{ports.mtls if is_mtls else ports.insecure}"
    channel: Any = (
        grpc.aio.secure_channel(address, channel_credentials(tls), options)
        if is_mtls
        else grpc.aio.insecure_channel(address, options)
    )
    async with channel:
        cpu = channel.unary_unary(f"/{SERVICE}/Cpu")
        session: Session | None = None
        if way not in READY:
            first = initiator(is_sealed=way != MARKED)
            reply = await channel.unary_unary(f"/{SERVICE}/Hello")(first.hello())
            session = first.finish(reply, now=0.0)
        request = _request(rows, frames, session)
        theirs, own = float(await cpu(b"")), time.process_time()
        start, arrived = time.perf_counter(), 0
        if way == RAW:
            arrived = _plain(ports.raw, request)
        else:
            method = "TakeByProtobuf" if way == PROTOBUF else "Take"
            async for envelope in channel.unary_stream(f"/{SERVICE}/{method}")(request):
                message = _message(envelope, by_protobuf=way == PROTOBUF)
                arrived += 1
                if session is not None:
                    session.opener.open(message)
        seconds = time.perf_counter() - start
        own = time.process_time() - own
        theirs = float(await cpu(b"")) - theirs
    return _trip(way, rows, frames, arrived, seconds, theirs, own)


def _message(envelope: bytes, *, by_protobuf: bool) -> bytes | memoryview:
    found = BytesValue.FromString(envelope).value if by_protobuf else frame_in(envelope)
    if found is None:
        raise RuntimeError("what arrived is no envelope")
    return found


def _threads(ports: Ports, tls: TLSConfig, way: str, *, rows: int, frames: int) -> Trip:
    options: Any = [*OPTIONS, *channel_options(TENANT)]
    address = f"127.0.0.1:{ports.threads}"
    with grpc.secure_channel(address, channel_credentials(tls), options) as opened:
        channel: Any = opened
        cpu = channel.unary_unary(f"/{SERVICE}/Cpu")
        theirs, own = float(cpu(b"")), time.process_time()
        start = time.perf_counter()
        stream = channel.unary_stream(f"/{SERVICE}/Take")(_request(rows, frames, None))
        arrived = sum(frame_in(envelope) is not None for envelope in stream)
        seconds = time.perf_counter() - start
        own = time.process_time() - own
        theirs = float(cpu(b"")) - theirs
    return _trip(way, rows, frames, arrived, seconds, theirs, own)


def _trip(
    way: str, rows: int, frames: int, arrived: int, seconds: float, sender: float, receiver: float
) -> Trip:
    if arrived != frames:
        raise RuntimeError(f"{way}: {arrived} of {frames} frames arrived")
    return Trip(way, rows, frames, seconds, sender, receiver)


def _request(rows: int, frames: int, session: Session | None) -> bytes:
    named = "" if session is None else session.id.hex()
    return json.dumps({"rows": rows, "frames": frames, "session": named}).encode()


def _plain(port: int, request: bytes) -> int:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(request + b"\n")
        return sum(1 for _ in _messages(connection))


def _messages(connection: socket.socket) -> Iterator[bytearray]:
    head = bytearray(4)
    while _fill(connection, head):
        message = bytearray(int.from_bytes(head, "little"))
        _fill(connection, message)
        yield message


def _fill(connection: socket.socket, buffer: bytearray) -> bool:
    """Read a buffer full; false at the end."""
    rest = memoryview(buffer)
    while rest:
        count = connection.recv_into(rest)
        if not count:
            return False
        rest = rest[count:]
    return True
