"""How fast is WaveIndex beside its peers, and how far from what the memory delivers?

Real sentences are embedded, stored and asked for: half of the questions are held-out sentences,
half are stored ones with words missing. Beside WaveIndex, in the same run and in turns with it:
numpy, faiss flat, and the graphs of faiss, hnswlib and usearch, those that are installed; and a
loop that does nothing but read as many bytes as a scan must.

Every contestant is there twice: with the full vectors, which is what the answer is about, and with
their projections to 64 dimensions ("projected"), which are all that a replica may have. WaveIndex
with full vectors finds among the projections and decides by the full ones; the others do either.

How to read it:

  recall      share of the exact answer found, at full width and in the projected space
  false       share of questions answered with a row that is below the threshold at full width
  least       the shortest time of all queries: the easiest one at the quietest moment
  median      of the time on the clock; on a busy machine that is the scheduler's as well
  CPU         median CPU time of the asking thread: the fairest of the three
  ratio       above 1, WaveIndex is better; comparable between machines, times are not
  graph       the cheapest graph, at the setting that reaches the recall of WaveIndex

All search with one thread; graphs are built with all cores, WaveIndex and faiss flat with one.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

import machine
import plots
from bandwidth import Speed, speeds
from contest import Contest, Hall, Plan
from contestant import Contestant
from fresh import FirstAnswer, Footprint, Opened, first_answers, footprints, opened
from ours import Wave, WaveBytes
from peers import FLAT, GRAPHS
from prismresonance.embed import MiniLMEmbedder, StaticEmbedder
from ratios import Ratio, ratios
from sentences import Sentences
from tables import (
    contest_tables,
    first_table,
    footprint_table,
    opened_table,
    ratio_table,
    speed_table,
)

Measured: TypeAlias = tuple[
    list[Speed], list[Contest], list[FirstAnswer], list[Footprint], list[Opened]
]

RESULTS = Path(__file__).parent / "results"
SIZES = (10_000, 100_000)
QUICK_SIZES = (2_000,)
MOST_MINILM_ROWS = 10_000
FOOTPRINT_WIDTHS = (64, 384)


def main(argv: Sequence[str]) -> int:
    """Run the command line."""
    options = _options(argv)
    console = Console(stderr=True)
    load_before = machine.load()
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        measured = _measure(options, bar)
    speed, contests, answers, weights, on_disk = measured
    found = [ratio for contest in contests for ratio in ratios(contest)]
    document = {
        "command": "hatch run bench index",
        **machine.facts(),
        "load": {"before": load_before, "after": machine.load()},
        "options": {
            "sizes": options.sizes,
            "embedder": options.embedder,
            "queries": options.queries,
            "seed": options.seed,
            "graphs": not options.no_graphs,
        },
        "ratios": [asdict(ratio) for ratio in found],
        "bandwidth": [asdict(row) for row in speed],
        "first_answers": [asdict(row) for row in answers],
        "footprints": [asdict(row) for row in weights],
        "opened": [asdict(row) for row in on_disk],
        "contests": [asdict(contest) for contest in contests],
    }
    if options.output is not None:
        options.output.mkdir(parents=True, exist_ok=True)
        (options.output / "index.json").write_text(json.dumps(document, indent=1) + "\n")
        if not plots.draw(contests, options.output):
            console.print("matplotlib is not installed: no drawings")
    if options.json:
        print(json.dumps(document))
    else:
        terminal = Console()
        terminal.width = max(terminal.width, 120)
        _show(terminal, document, measured, found)
    return 0


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="hatch run bench index",
        description=__doc__,
        epilog=(
            "hnswlib publishes no wheels: `hatch run bench-hnswlib:run index` builds it first, "
            "for which a C++ compiler must be there."
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--sizes",
        type=int,
        nargs="+",
        metavar="N",
        help="numbers of rows (10000 100000: three minutes on two cores). 1000000 takes half "
        "an hour and 12 GB, five minutes and 8 GB with --no-graphs; 10000000 takes half an hour "
        "and up to 20 GB, and leaves out the graphs and whom memory has no room for",
    )
    parser.add_argument(
        "--embedder",
        choices=("static", "minilm"),
        default="static",
        help="static: 256 numbers, 30,000 sentences a second (default). minilm: 384 numbers of a "
        f"transformer, 7 ms a sentence, so for sizes up to {MOST_MINILM_ROWS}",
    )
    parser.add_argument("--queries", type=int, help="questions, each timed once (200)")
    parser.add_argument("--seed", type=int, default=1, help="draws texts and questions (1)")
    parser.add_argument("--no-graphs", action="store_true", help="build no graphs")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="where index.json and the drawings go (benchmarks/results; with --quick nowhere)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument(
        "--quick", action="store_true", help="see whether it runs, in seconds; the figures are void"
    )
    options = parser.parse_args(argv)
    options.sizes = options.sizes or list(QUICK_SIZES if options.quick else SIZES)
    options.queries = options.queries or (20 if options.quick else 200)
    if options.output is None and not options.quick:
        options.output = RESULTS
    if min(options.sizes) < 1_000:
        parser.error("--sizes are 1000 or more")
    if options.embedder == "minilm" and max(options.sizes) > MOST_MINILM_ROWS:
        parser.error(f"--embedder minilm needs --sizes up to {MOST_MINILM_ROWS}")
    return options


def _measure(options: argparse.Namespace, bar: Progress) -> Measured:
    """Measure, from the machine to the fresh processes."""
    threads = machine.cores()
    plan = Plan(
        queries=options.queries,
        seconds=0.1 if options.quick else 1.0,
        graphs=not options.no_graphs,
    )
    budget_s = 0.02 if options.quick else 0.3

    def steps(what: str) -> Any:
        return lambda items: bar.track(items, description=what)

    speed = []
    for _ in bar.track(range(1), description="reading memory"):
        speed = speeds(threads=min(2, threads), budget_s=budget_s)
    embedder: Any = StaticEmbedder() if options.embedder == "static" else MiniLMEmbedder()
    for _ in bar.track(range(1), description="reading sentences"):
        sentences = Sentences(
            stored=max(options.sizes), held_out=options.queries // 2, seed=options.seed
        )
    contests = [
        Hall(sentences, embedder, plan, rows=rows, bar=bar).hold() for rows in options.sizes
    ]
    answers = first_answers(
        width=embedder.dim,
        runs=1 if options.quick else 5,
        track=steps("first answers of fresh processes"),
    )
    kinds: list[type[Contestant]] = [
        Wave,
        WaveBytes,
        *(kind for kind in FLAT + GRAPHS if kind.missing() is None),
    ]
    weights = footprints(
        [
            (kind, width)
            for width in FOOTPRINT_WIDTHS
            for kind in (kinds[:1] if options.quick else kinds)
        ],
        rows=3_000 if options.quick else 40_000,
        threads=threads,
        track=steps("memory of fresh processes"),
    )
    on_disk = [
        opened(
            rows=2_000 if options.quick else 1_000_000,
            width=64,
            runs=1 if options.quick else 5,
            track=steps("opening from disk in fresh processes"),
        )
    ]
    return speed, contests, answers, weights, on_disk


def _show(
    console: Console,
    document: dict[str, Any],
    measured: Measured,
    found: Sequence[Ratio],
) -> None:
    """Print the tables, the comparisons last."""
    speed, contests, answers, weights, on_disk = measured
    console.print(f"{document['cpu']}, {document['cores']} cores, load {document['load']}")
    console.print(speed_table(speed))
    for contest in contests:
        console.print(f"\n[bold]{contest.rows:,} rows of {contest.width}[/bold], made of:")
        for origin, count in contest.composition.items():
            console.print(f"  {count:>9,}  {origin}")
        console.print(
            f"{contest.answered_share:.0%} of the questions have a row at the threshold or above"
        )
        for who, why in contest.absent.items():
            console.print(f"  without {who}: {why}")
        for table in contest_tables(contest):
            console.print(table)
    console.print(first_table(answers))
    console.print(footprint_table(weights))
    console.print(opened_table(on_disk))
    for contest in contests:
        console.print(ratio_table(contest.rows, found))
