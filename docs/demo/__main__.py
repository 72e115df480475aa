"""Show what PrismLib does, live and offline: `hatch run demo`, or `python docs/demo`."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from typing import TYPE_CHECKING

from rich.console import Console

from _cache_acts import show_cache
from _node_processes import NodeFailedError
from _nodes_acts import PASTE_NODES, show_nodes
from _nodes_views import LiveNodesView, PlainNodesView, SilentNodesView
from _replica import PASTE_DRIVER, PASTE_WRAPPER
from _rows_acts import show_rows
from _rows_views import LiveRowsView, PlainRowsView, SilentRowsView
from _support import PASTE
from _views import LiveView, PlainView, SilentView
from _wrapper_process import WrapperFailedError
from prism.ffi import PrismDriverError
from prism.wrapper.errors import WrapperError

if TYPE_CHECKING:
    from _nodes_views import NodesView
    from _rows_views import RowsView
    from _views import View

DESCRIPTION = """\
Three parts, each of which can be had alone.

cache: streams a support FAQ through PrismCache and, beside it, through a dict of exact texts. The
questions are paraphrases and look-alikes: other numbers, negations, opposites, swapped directions.
The model is a mock that waits and answers from the FAQ. A wrong hit is known from the labels of the
FAQ and is shown as such.

rows: starts a PostgreSQL 18 in a temporary folder with a table of products, the real prism-wrapper
as a process, and a PrismDriver in this one. Rows change, also in transactions that are rolled back;
the wrapper is killed and comes back. The replica is compared with what the database says, row for
row.

nodes: starts three processes that share answers over a mesh with a secret. Each has a mock model of
its own; questions, paraphrases too, come to all of them, and the tokens that each did not spend are
counted, beside a dict on each node. One of them is GREEN. It is killed while questions come,
another takes over with a higher token, and no acknowledged answer is lost.

Nothing leaves this machine, no API key is needed, and at the end no process and no file is left.
"""

EPILOG = """\
exit codes: 0 done, 1 something was not as promised or a part did not start, 130 Ctrl-C

examples:
  python docs/demo                        the live view
  python docs/demo --only rows            one part alone
  python docs/demo --plain | tee log      plain lines, also chosen by itself without a terminal
  python docs/demo --seed 2               another shop: other questions are popular, other rows
  python docs/demo --only nodes --node-questions 1000
  python docs/demo --only cache --questions 2000 --latency-ms 5
  python docs/demo --only rows --rows 20000 --seconds 30
  python docs/demo --json | python -m json.tool
"""

PARTS = ("cache", "rows", "nodes")


def main(argv: list[str] | None = None) -> int:
    """Run the parts and return the exit code."""
    options = _options(argv)
    console = _console(options)
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(128 + signal.SIGTERM))
    try:
        return _run(console, options)
    except KeyboardInterrupt:
        console.print("\nStopped. Nothing is left behind.")
        return 130
    except (NodeFailedError, WrapperError, WrapperFailedError, PrismDriverError) as error:
        print(f"python docs/demo: {error}", file=sys.stderr)
        return 1


def _run(console: Console, options: argparse.Namespace) -> int:
    start = time.perf_counter()
    parts = PARTS if options.only is None else (options.only,)
    results: dict[str, object] = {}
    is_equal = True
    if "cache" in parts:
        heading = Headings(console, "PrismCache on a support FAQ")
        cache = show_cache(
            console,
            _view(console, options),
            heading,
            questions=options.questions,
            latency_ms=options.latency_ms,
            seed=options.seed,
            is_plain=options.plain,
        )
        results["cache"] = cache.to_dict()
    if "rows" in parts:
        heading = Headings(console, "Rows of a PostgreSQL in this process")
        rows = show_rows(
            console,
            _rows_view(console, options),
            heading,
            rows=options.rows,
            seconds=options.seconds,
            seed=options.seed,
        )
        signal.signal(signal.SIGINT, signal.default_int_handler)
        results["rows"] = rows.to_dict()
        is_equal = rows.equal
    is_kept = True
    if "nodes" in parts:
        heading = Headings(console, "Three nodes, one cache")
        nodes = show_nodes(
            console,
            _nodes_view(console, options),
            heading,
            questions=options.node_questions,
            latency_ms=options.latency_ms,
            seed=options.seed,
        )
        signal.signal(signal.SIGINT, signal.default_int_handler)
        results["nodes"] = nodes.to_dict()
        is_kept = nodes.is_as_promised

    seconds = time.perf_counter() - start
    heading = Headings(console, "Paste this into your own code")
    if "cache" in parts:
        heading("The cache")
        console.print(PASTE)
    if "rows" in parts:
        heading("wrapper.toml, then: prism-wrapper check --config wrapper.toml, and without check")
        console.print(PASTE_WRAPPER)
        heading("The app")
        console.print(PASTE_DRIVER)
    if "nodes" in parts:
        heading("Each node")
        console.print(PASTE_NODES)
    if not is_equal:
        console.print("NOT EQUAL: the replica was not the table; see above.", style="bold red")
    if not is_kept:
        console.print("NOT AS PROMISED: see the takeover above.", style="bold red")
    console.print(f"Done in {seconds:.0f} s. python docs/demo --help tells what else it can show.")
    if options.json:
        print(json.dumps({"seed": options.seed, "seconds": round(seconds, 2), **results}, indent=2))
    return 0 if is_equal and is_kept else 1


class Headings:
    """Prints a title, and numbered headings below it."""

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._count = 0
        console.print()
        console.print(title, style="bold magenta")

    def __call__(self, text: str) -> None:
        """Print the next heading."""
        self._count += 1
        self._console.print()
        self._console.print(f"{self._count}. {text}", style="bold cyan")


def _console(options: argparse.Namespace) -> Console:
    """Return where the acts are told: colours only on a terminal, nothing at all beside JSON."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    if options.plain or options.json:
        return Console(
            quiet=options.json,
            force_terminal=False,
            color_system=None,
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    return Console(markup=False, highlight=False)


def _view(console: Console, options: argparse.Namespace) -> View:
    if options.json:
        return SilentView()
    return (PlainView if options.plain else LiveView)(console, options.questions)


def _rows_view(console: Console, options: argparse.Namespace) -> RowsView:
    if options.json:
        return SilentRowsView()
    return (PlainRowsView if options.plain else LiveRowsView)(console, options.seconds)


def _nodes_view(console: Console, options: argparse.Namespace) -> NodesView:
    if options.json:
        return SilentNodesView()
    return (PlainNodesView if options.plain else LiveNodesView)(console, options.node_questions)


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python docs/demo",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", choices=PARTS, help="one part; all by default")
    parser.add_argument(
        "--questions",
        type=_count,
        default=400,
        metavar="N",
        help="cache: length of the stream (400)",
    )
    parser.add_argument(
        "--seed", type=int, default=1, help="equal seeds give equal questions and rows (1)"
    )
    parser.add_argument(
        "--latency-ms",
        type=_milliseconds,
        default=40.0,
        metavar="MS",
        help="cache, nodes: how long the mock model waits for each answer (40)",
    )
    parser.add_argument(
        "--rows", type=_count, default=2000, metavar="N", help="rows: products at the start (2000)"
    )
    parser.add_argument(
        "--seconds",
        type=_seconds,
        default=8.0,
        metavar="S",
        help="rows: how long they change before the wrapper is killed (8)",
    )
    parser.add_argument(
        "--node-questions",
        type=_count,
        default=240,
        metavar="N",
        help="nodes: questions before GREEN is killed (240)",
    )
    output = parser.add_mutually_exclusive_group()
    output.add_argument(
        "--plain", action="store_true", help="plain lines; the default without a terminal"
    )
    output.add_argument("--json", action="store_true", help="one JSON object and nothing else")
    options = parser.parse_args(argv)
    options.plain = options.plain or not (options.json or sys.stdout.isatty())
    return options


def _count(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 100_000:
        raise argparse.ArgumentTypeError("must be 1 to 100000")
    return value


def _milliseconds(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 10_000:
        raise argparse.ArgumentTypeError("must be 0 to 10000")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 1 <= value <= 3600:
        raise argparse.ArgumentTypeError("must be 1 to 3600")
    return value


if __name__ == "__main__":
    sys.exit(main())
