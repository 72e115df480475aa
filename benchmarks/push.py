"""The push endpoint under load: events a second, refusals, and how they stand to plain JSON.

    python benchmarks/run.py push [--quick] [--output FOLDER]

Several pushers send canal-json over kept connections to an endpoint in this process, as a wrapper
has it: read, checked, on disk with fsync, put in order. A reader takes what is released, as the
source does, and is slowed down in one part of the run so that pushes are refused (429) and sent
again. In the same run, alternating with it, the same bodies are only parsed by `json.loads`, line
by line: what any consumer of these messages pays at the least.

Not measured: TiCDC, the network, embedding, and the change log.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import machine
from prism.wrapper.sources.tidb import TidbSettings
from prism.wrapper.sources.tidb._endpoint import Endpoint
from prism.wrapper.sources.tidb._intake import Intake

RESULTS = Path(__file__).parent / "results"
TOKEN = "a-token-for-benchmarks"  # noqa: S105 - guards nothing
ROWS_PER_COMMIT = 20
RETRY_S = 0.05


@dataclass
class Pushed:
    """What one run did."""

    events: int = 0
    seconds: float = 0.0
    refused: int = 0
    megabytes: float = 0.0
    taken: int = 0
    failures: list[str] = field(default_factory=list)


def body_of(first: int, events: int) -> bytes:
    """Make messages of rising commits with a mark at their end."""
    lines = []
    for number in range(first, first + events):
        ts = (number // ROWS_PER_COMMIT + 1) << 18
        row = {
            "id": str(number),
            "name": f"Product {number} of the spring collection",
            "description": "A light and sturdy thing that many people find useful at home. " * 2,
            "price": f"{number % 1000}.99",
            "stock": str(number % 50),
        }
        message = {
            "id": 0,
            "database": "shop",
            "table": "products",
            "pkNames": ["id"],
            "isDdl": False,
            "type": "INSERT",
            "es": ts >> 18,
            "ts": ts >> 18,
            "sql": "",
            "sqlType": dict.fromkeys(row, 12),
            "mysqlType": dict.fromkeys(row, "varchar"),
            "data": [row],
            "old": None,
            "_tidb": {"commitTs": ts},
        }
        lines.append(json.dumps(message))
    return "\n".join(lines).encode()


def mark_of(events: int) -> bytes:
    """Make the mark that releases all events before a number."""
    ts = (events // ROWS_PER_COMMIT + 1) << 18
    return json.dumps({"type": "TIDB_WATERMARK", "_tidb": {"watermarkTs": ts}}).encode()


def parse_alone(bodies: Sequence[bytes], events: int) -> float:
    """Events a second of `json.loads` alone."""
    began = time.perf_counter()
    for body in bodies:
        for line in body.split(b"\n"):
            json.loads(line)
    return events / (time.perf_counter() - began)


def push(bodies: Sequence[bytes], events: int, *, pushers: int, slow: bool) -> Pushed:
    """Push all bodies by several connections; `slow` has the reader hold them up."""
    done = Pushed(events=events, megabytes=sum(map(len, bodies)) / 1e6)
    with tempfile.TemporaryDirectory() as folder:
        settings = TidbSettings(
            dsn="mysql://nobody@127.0.0.1/shop",
            spool=Path(folder),
            token=TOKEN,
            listen_port=0,
            memory_bytes=1 << 19 if slow else 256 << 20,
        )
        intake = Intake(
            settings.spool,
            segment_bytes=settings.segment_bytes,
            partitions=1,
            memory_bytes=settings.memory_bytes,
            window_bytes=settings.window_bytes,
        )
        intake.begin_anew()
        endpoint = Endpoint(intake, settings)
        lock = threading.Lock()
        left = list(enumerate(bodies))[::-1]
        per_body = events // len(bodies)
        whole: set[int] = set()
        over = threading.Event()

        def send(connection: http.client.HTTPConnection, body: bytes) -> None:
            while True:
                connection.request(
                    "POST", "/v1/push/canal-json", body, {"Authorization": f"Bearer {TOKEN}"}
                )
                answer = connection.getresponse()
                answer.read()
                if answer.status == http.HTTPStatus.OK:
                    return
                if answer.status != http.HTTPStatus.TOO_MANY_REQUESTS:
                    done.failures.append(f"answered {answer.status}")
                    return
                with lock:
                    done.refused += 1
                time.sleep(RETRY_S)

        def run() -> None:
            connection = http.client.HTTPConnection("127.0.0.1", endpoint.port, timeout=60)
            reached = 0
            while True:
                with lock:
                    if not left:
                        break
                    number, body = left.pop()
                send(connection, body)
                with lock:
                    whole.add(number)
                    while reached in whole:
                        reached += 1
                # All below it was acknowledged, so a mark may say so.
                send(connection, mark_of(reached * per_body))
            connection.close()

        def read() -> None:
            while not over.is_set():
                transactions, _ = intake.take(limit_bytes=1 << 20, timeout_s=0.05)
                done.taken += sum(len(one.upserts) for one in transactions)
                if slow:
                    time.sleep(0.1)

        threads = [threading.Thread(target=run) for _ in range(pushers)]
        reader = threading.Thread(target=read)
        began = time.perf_counter()
        reader.start()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        done.seconds = time.perf_counter() - began
        last = http.client.HTTPConnection("127.0.0.1", endpoint.port, timeout=60)
        send(last, mark_of(events + ROWS_PER_COMMIT))
        last.close()
        deadline = time.monotonic() + 60
        while done.taken < events and time.monotonic() < deadline:
            time.sleep(0.01)
        over.set()
        reader.join()
        endpoint.stop()
        intake.close()
    if done.taken != events:
        done.failures.append(f"{done.taken} of {events} events were released")
    return done


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="a tenth of the events; no file")
    parser.add_argument("--pushers", type=int, default=4, help="connections (4)")
    parser.add_argument("--rounds", type=int, default=5, help="of which the median is told (5)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="where push.json goes")
    given = parser.parse_args(arguments)
    per_body, count = 500, 8 if given.quick else 80
    events = per_body * count
    bodies = [body_of(number * per_body, per_body) for number in range(count)]
    rates, limits, ratios = [], [], []
    failures: list[str] = []
    for number in range(2 if given.quick else given.rounds):
        limit = parse_alone(bodies, events)
        done = push(bodies, events, pushers=given.pushers, slow=False)
        failures += done.failures
        rates.append(done.events / done.seconds)
        limits.append(limit)
        ratios.append(rates[-1] / limit)
        print(
            f"round {number + 1}: {rates[-1]:,.0f} events/s, {done.megabytes / done.seconds:.0f} "
            f"MB/s, {done.refused} refused; json.loads alone {limit:,.0f} events/s; "
            f"ratio {ratios[-1]:.2f}"
        )
    held = push(bodies, events, pushers=given.pushers, slow=True)
    failures += held.failures
    print(
        f"slow reader: {held.events / held.seconds:,.0f} events/s, {held.refused} pushes answered "
        f"429 and sent again, {held.taken:,} of {held.events:,} events told once"
    )
    for failure in failures:
        print(f"FAILED: {failure}")
    if not given.quick:
        report = {
            "machine": machine.facts(("numpy", "h11")),
            "events": events,
            "bytes_per_event": round(sum(map(len, bodies)) / events),
            "pushers": given.pushers,
            "events_per_s": round(statistics.median(rates)),
            "json_loads_events_per_s": round(statistics.median(limits)),
            "ratio": round(statistics.median(ratios), 3),
            "slow_reader": {
                "events_per_s": round(held.events / held.seconds),
                "refused": held.refused,
                "told": held.taken,
            },
        }
        given.output.mkdir(parents=True, exist_ok=True)
        (given.output / "push.json").write_text(json.dumps(report, indent=1) + "\n")
    return 1 if failures else 0
