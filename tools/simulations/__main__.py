"""Play many schedules: `hatch run simulate lease --schedules 100000`."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

if not __package__:  # as `python tools/simulations`
    sys.path.insert(0, str(Path(__file__).parents[1]))

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from simulations import lease

_CHUNK = 200
_EPILOG = """\
examples:
  hatch run simulate lease                          5,000 schedules, about 10 s of one core
  hatch run simulate lease --schedules 100000       what runs each night
  hatch run simulate lease --seed 137 --schedules 1 one schedule again

Ends with code 1 when a schedule broke a promise, and names its seed.
"""


def _chunk(first: int, count: int) -> list[lease.Schedule]:
    return [lease.play(seed) for seed in range(first, first + count)]


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="simulate",
        description="Play the machines of the cluster among seeded faults.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", choices=["lease"], help="which machine")
    parser.add_argument("--schedules", type=int, default=5_000, help="how many (5000)")
    parser.add_argument("--seed", type=int, default=0, help="the first one's seed (0)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    start, done = time.monotonic(), 0
    broken: list[lease.Schedule] = []
    takeovers: list[float] = []
    promotions = 0
    firsts = range(options.seed, options.seed + options.schedules, _CHUNK)
    sizes = [min(_CHUNK, options.seed + options.schedules - first) for first in firsts]
    with (
        ProcessPoolExecutor(options.jobs) as pool,
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
        for schedules in pool.map(_chunk, firsts, sizes):
            done += len(schedules)
            broken += [one for one in schedules if one.problems]
            takeovers += [one.takeover_s for one in schedules if one.takeover_s is not None]
            promotions += sum(one.promotions for one in schedules)
            progress.update(task, completed=done, description=f"{len(broken)} broken")
    takeovers.sort()
    report = {
        "schedules": done,
        "first_seed": options.seed,
        "broken": [{"seed": one.seed, "problem": one.problems[0]} for one in broken[:20]],
        "broken_schedules": len(broken),
        "promotions": promotions,
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
            f"{done:,} schedules, {promotions:,} promotions, {len(broken)} broken; "
            f"takeover after a kill {report['takeover_s']}; {report['seconds']} s"
        )
        for one in broken[:20]:
            print(f"seed {one.seed}: {one.problems[0]}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
