"""How fast do rows move between two processes, and what does their protection cost?

Two parts, each of which can be run alone with --only:

  work  CPU time of each step on a frame, by row: rotate, watermark, seal, and the whole of what a
        sender and a receiver do, beside one copy of the message in memory
  ways  rows a second from one process to another over loopback: raw TCP, gRPC without TLS, with
        mutual TLS, and with frames that the sender makes and the receiver opens

How to read it:

  raw TCP    ready messages with their length before them, received into memory: no way that copies
             through the kernel is much faster. `to raw TCP` is the median over the rounds, in each
             of which all ways run one after the other
  gRPC ...   ready messages, taken and thrown away: the way alone. The server is grpc.aio, and so is
             the client; `threads` is grpc's other API on both sides, `protobuf` makes and reads the
             envelope with protobuf's code in place of ours
  marked     rotated and watermarked by the sender, checked and restored by the receiver
  sealed     the same and encrypted

Both processes share the machine's cores: with two cores, sender and receiver have one each, and
whatever else runs takes from them. CPU time is what a busy machine changes least.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

import machine
from chorus_fabric._cli import main as chorus_fabric
from moving.report import Findings, draw, goals, report
from moving.sample import DIMS, TENANT, TEXT_BYTES
from moving.sender import sender
from moving.ways import WAYS, race
from moving.work import measure

RESULTS = Path(__file__).parent / "results"
PARTS = ("work", "ways")
PACKAGES = ("chorus-fabric", "numpy", "grpcio", "cryptography")
ROWS = 1_000

Track = Callable[[Iterable[Any]], Iterable[Any]]


def main(argv: Sequence[str]) -> int:
    """Run the command line."""
    options = _options(argv)
    console = Console(stderr=True)
    found, load_before = Findings(), machine.load()
    columns = (
        TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console) as bar:
        if "work" in options.only:
            for rows in options.rows:
                found.steps += measure(rows, options.repeats, _track(bar, f"work, {rows:,} rows"))
        if "ways" in options.only:
            _ways(options, found, bar)
    document = {
        "command": "hatch run bench fabric",
        **machine.facts(PACKAGES),
        "load": {"before": load_before, "after": machine.load()},
        "dims": DIMS,
        "text_bytes": TEXT_BYTES,
        "options": {
            name: getattr(options, name)
            for name in ("only", "rows", "seconds", "rounds", "repeats", "quick")
        },
        "void": options.quick,
        "goals": [asdict(goal) for goal in goals(found, ROWS)],
        **asdict(found),
    }
    if options.output is not None:
        options.output.mkdir(parents=True, exist_ok=True)
        (options.output / "fabric.json").write_text(json.dumps(document, indent=1) + "\n")
        if found.paces and not draw(found.paces, options.output):
            console.print("matplotlib is not installed: no drawing")
    if options.json:
        print(json.dumps(document))
    else:
        screen = Console()
        for table in report(found, ROWS):
            screen.print(table)
    return 0


def _ways(options: argparse.Namespace, found: Findings, bar: Progress) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _quietly("ca", "init", folder / "ca")
        _quietly(
            "issue", "--ca", folder / "ca", "--tenant", TENANT, "--node", "bench",
            "--out", folder / "node",
        )  # fmt: skip
        with sender(folder / "node") as ports:
            for rows in options.rows:
                found.paces += race(
                    ports,
                    folder / "node",
                    rows=rows,
                    seconds=options.seconds,
                    rounds=options.rounds,
                    ways=WAYS,
                    track=_track(bar, f"ways, {rows:,} rows"),
                )


def _quietly(*arguments: object) -> None:
    """Run the command `chorus-fabric` without what it tells."""
    with contextlib.redirect_stdout(io.StringIO()):
        code = chorus_fabric([str(argument) for argument in arguments])
    if code:
        raise RuntimeError("no certificates could be made")


def _track(bar: Progress, what: str) -> Track:
    return lambda steps: bar.track(list(steps), description=what)


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="hatch run bench fabric",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts to run (all)"
    )
    parser.add_argument(
        "--rows",
        nargs="+",
        type=int,
        default=[100, 1_000, 3_000],
        help="rows a frame (%(default)s)",
    )
    parser.add_argument(
        "--seconds", type=float, default=1.0, help="for each way and round (%(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=9, help="rounds of all ways (%(default)s)")
    parser.add_argument(
        "--repeats", type=int, default=60, help="blocks of five frames for each step (%(default)s)"
    )
    parser.add_argument(
        "--output", type=Path, default=RESULTS, help="folder for JSON and drawing (%(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print the document, not tables")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="in seconds; writes nothing; figures are void",
    )
    options = parser.parse_args(argv)
    if options.quick:
        options.rows, options.seconds, options.rounds = [ROWS], 0.05, 1
        options.repeats, options.output = 3, None
    return options
