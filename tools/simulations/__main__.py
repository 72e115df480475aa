"""Play many schedules: `hatch run simulate lease --schedules 100000`."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

if not __package__:  # as `python tools/simulations`
    sys.path.insert(0, str(Path(__file__).parents[1]))

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from simulations import lease, replication

_CHUNK = 1000
_EPILOG = """\
examples:
  hatch run simulate lease                          5,000 schedules, about 10 s of one core
  hatch run simulate lease --schedules 100000       what runs each night
  hatch run simulate replication --schedules 20000  shared answers
  hatch run simulate lease --seed 137 --schedules 1 one schedule again

Ends with code 1 when a schedule broke a promise, and names its seed.
"""


Schedule = lease.Schedule | replication.Schedule


def _chunk(what: str, first: int, count: int) -> list[Schedule]:
    """Play in a process of its own; one that fails ends the run."""
    command = [sys.executable, __file__, what, "--seed", str(first), "--schedules", str(count)]
    done = subprocess.run([*command, "--chunk"], stdout=subprocess.PIPE, check=True)
    kind = lease.Schedule if what == "lease" else replication.Schedule
    return [kind(**one) for one in json.loads(done.stdout)]


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="simulate",
        description="Play the machines of the cluster among seeded faults.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", choices=["lease", "replication"], help="which machine")
    parser.add_argument("--schedules", type=int, default=5_000, help="how many (5000)")
    parser.add_argument("--seed", type=int, default=0, help="the first one's seed (0)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--chunk", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.chunk:
        play = lease.play if options.what == "lease" else replication.play
        seeds = range(options.seed, options.seed + options.schedules)
        print(json.dumps([dataclasses.asdict(play(seed)) for seed in seeds]))
        return 0
    start, done = time.monotonic(), 0
    broken: list[Schedule] = []
    takeovers: list[float] = []
    promotions = acknowledged = 0
    firsts = range(options.seed, options.seed + options.schedules, _CHUNK)
    sizes = [min(_CHUNK, options.seed + options.schedules - first) for first in firsts]
    with (
        ThreadPoolExecutor(options.jobs) as pool,
        Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        ) as progress,
    ):
        task = progress.add_task("schedules", total=options.schedules)
        for schedules in pool.map(_chunk, itertools.repeat(options.what), firsts, sizes):
            done += len(schedules)
            broken += [one for one in schedules if one.problems]
            for one in schedules:
                if isinstance(one, replication.Schedule):
                    acknowledged += one.acknowledged
                    continue
                promotions += one.promotions
                if one.takeover_s is not None:
                    takeovers.append(one.takeover_s)
            progress.update(task, completed=done, description=f"{len(broken)} broken")
    takeovers.sort()
    report = {
        "schedules": done,
        "first_seed": options.seed,
        "broken": [{"seed": one.seed, "problem": one.problems[0]} for one in broken[:20]],
        "broken_schedules": len(broken),
        "promotions": promotions,
        "invalidations": acknowledged,
        "takeover_s": {
            name: round(takeovers[min(len(takeovers) - 1, int(len(takeovers) * share))], 3)
            for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
            if takeovers
        },
        "seconds": round(time.monotonic() - start, 1),
    }
    if options.json:
        print(json.dumps(report))
    else:
        print(
            f"{done:,} schedules, {promotions:,} promotions, {acknowledged:,} invalidations "
            f"acknowledged, {len(broken)} broken; {report['seconds']} s"
        )
        if takeovers:
            print(f"takeover after a kill {report['takeover_s']}")
        for one in broken[:20]:
            print(f"seed {one.seed}: {one.problems[0]}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
