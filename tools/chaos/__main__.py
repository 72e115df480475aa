"""Break the feed for as long as you like: `hatch run chaos feed`."""

from __future__ import annotations

import argparse
import itertools
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

if not __package__:  # as `python tools/chaos`
    sys.path.insert(0, str(Path(__file__).parents[1]))

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from chaos import cluster
from chaos.faults import FAULTS, Fault, fault_named
from chaos.memory import Memory, measure
from chaos.report import as_json, as_table, memory_lines, summary
from chaos.rounds import PHASES, Outcome, Phase, play
from chaos.world import World

_EPILOG = """\
examples:
  hatch run chaos feed                          every fault once, in stream and in snapshot
  hatch run chaos feed --minutes 60 --seed 7    for an hour
  hatch run chaos feed --only disk-full --phase snapshot --rounds 10
  hatch run chaos feed --postgres 15 --json
  hatch run chaos memory --rows 1000000         memory with a subscriber that never reads
  hatch run chaos cluster                       GREEN killed, stopped, cut off (--help tells more)

Ends with code 1 at the first replica that is not its table, and prints how to repeat the round:
the same writes and waits are drawn from the same seed; what runs beside them is not drawn.
"""
_FAULTS = "\n".join(f"  {fault.name:<22} {fault.what}" for fault in FAULTS)
_LARGEST_GROWTH = 512 << 20


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    given = sys.argv[1:] if argv is None else argv
    if given[:1] == ["cluster"]:
        return cluster.main(given[1:])
    options = _options(given)
    console = Console(stderr=options.json)
    # Servers and mounts are cleared away however we are ended.
    signal.signal(signal.SIGTERM, lambda _number, _frame: signal.raise_signal(signal.SIGINT))
    try:
        if options.what == "memory":
            return _memory(options, console)
        return _feed(options, console)
    except KeyboardInterrupt:
        console.print("stopped")
        return 130


def _feed(options: argparse.Namespace, console: Console) -> int:
    outcomes: list[Outcome] = []
    start = time.monotonic()
    failure = repeat = ""
    with (
        Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[survived]} survived"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        ) as progress,
        World(version=options.postgres, base_rows=options.rows) as world,
    ):
        task = progress.add_task("starting", total=_total(options), survived=0)
        world.check_equal()
        for number, (fault, phase) in enumerate(_plan(options)):
            elapsed_s = time.monotonic() - start
            if options.minutes and elapsed_s > options.minutes * 60:
                break
            progress.update(task, description=f"{fault.name}, in {phase}")
            seed = options.seed + number
            try:
                outcome = play(world, fault, phase, seed=seed)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told with its seed
                failure = f"{fault.name} in {phase}: {type(error).__name__}: {error}"
                repeat = (
                    f"hatch run chaos feed --postgres {options.postgres} --seed {seed} "
                    f"--only {fault.name} --phase {phase} --rounds 1"
                )
                break
            outcomes.append(outcome)
            if not console.is_terminal:
                console.print(
                    f"{fault.name} in {phase}: equal after {outcome.recovered_s:.1f} s, "
                    f"{outcome.rows:,} rows",
                    highlight=False,
                )
            done = elapsed_s if options.minutes else len(outcomes)
            progress.update(task, completed=done, survived=len(outcomes))
        if not failure:
            progress.update(task, description="is the database's log let go?")
            try:
                world.check_log_is_freed()
            except AssertionError as error:
                failure = str(error)
    seconds = time.monotonic() - start
    if options.json:
        print(as_json(outcomes, seconds=seconds, seed=options.seed, failure=failure, repeat=repeat))
    elif outcomes:
        console.print(as_table(outcomes))
        console.print(summary(outcomes, seconds), highlight=False)
    if failure:
        console.print(f"NOT survived: {failure}", style="red", highlight=False, markup=False)
        if repeat:
            console.print(f"repeat it: {repeat}", highlight=False, soft_wrap=True)
    return 1 if failure else 0


def _memory(options: argparse.Namespace, console: Console) -> int:
    def note(memory: Memory) -> None:
        console.print(memory_lines([memory])[0], highlight=False)

    # The first one also pays for what is taken once.
    sizes = (max(1, options.rows // 10), options.rows)
    # A row takes 1.4 KB: with its vector, and in the write-ahead log beside it.
    disk_bytes = (1 << 28) + 4_000 * options.rows
    with (
        console.status("transactions of many rows"),
        World(version=options.postgres, base_rows=10, disk_bytes=disk_bytes) as world,
    ):
        world.check_equal()
        found = measure(world, sizes, note=note)
    if found[-1].wrapper_growth > _LARGEST_GROWTH:
        console.print(f"the wrapper grew by more than {_LARGEST_GROWTH >> 20} MB", style="red")
        return 1
    return 0


def _plan(options: argparse.Namespace) -> Iterator[tuple[Fault, Phase]]:
    faults = [fault_named(name) for name in options.only] or list(FAULTS)
    phases: list[Phase] = [options.phase] if options.phase else list(PHASES)
    matrix = [(fault, phase) for phase in phases for fault in faults]
    if options.minutes:
        return itertools.cycle(matrix)
    return itertools.islice(itertools.cycle(matrix), options.rounds or len(matrix))


def _total(options: argparse.Namespace) -> float:
    if options.minutes:
        return float(options.minutes) * 60
    return float(options.rounds or len(options.only or FAULTS) * (1 if options.phase else 2))


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="chaos", description=__doc__, epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    commands = parser.add_subparsers(dest="what", required=True, metavar="feed | memory")
    feed = commands.add_parser(
        "feed",
        help="break the feed, and compare table and replica after each fault",
        description="Break the feed, and compare table and replica after each fault.\n\n" + _FAULTS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    feed.add_argument("--minutes", type=float, help="go on for so long, instead of --rounds")
    feed.add_argument("--rounds", type=int, help="so many faults (each once in each phase)")
    feed.add_argument("--only", action="append", default=[], choices=[f.name for f in FAULTS],
                      metavar="FAULT", help="this fault; may be repeated")  # fmt: skip
    feed.add_argument("--phase", choices=PHASES, help="in this phase alone")
    feed.add_argument("--rows", type=int, default=3000, help="rows of a snapshot (3000)")
    memory = commands.add_parser(
        "memory", help="memory of wrapper and app with a subscriber that never reads"
    )
    memory.add_argument("--rows", type=int, default=1_000_000, help="of the largest (1,000,000)")
    for command in (feed, memory):
        command.add_argument("--seed", type=int, default=1, help="draws writes and waits (1)")
        command.add_argument("--postgres", type=int, default=18, choices=(15, 18))
        command.add_argument("--json", action="store_true", help="print JSON, progress on stderr")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
