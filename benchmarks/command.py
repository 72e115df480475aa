"""What benchmarks do alike at the command line: options, a run under a bar, telling its results."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import machine

RESULTS = Path(__file__).parent / "results"


def parser_of(name: str, about: str | None, *, epilog: str) -> argparse.ArgumentParser:
    """Begin the options of a benchmark."""
    return argparse.ArgumentParser(
        prog=f"hatch run bench {name}",
        description=about,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_parts(parser: argparse.ArgumentParser, parts: Sequence[str]) -> None:
    """Add --only, for a benchmark of several parts."""
    parser.add_argument(
        "--only", nargs="+", choices=parts, default=list(parts), metavar="PART",
        help=f"parts to run, of {', '.join(parts)} (all)",
    )  # fmt: skip


def add_telling(parser: argparse.ArgumentParser, name: str, *, drawings: str) -> None:
    """Add --output, --json and --quick.

    Args:
        parser: Takes them.
        name: The benchmark's.
        drawings: "the drawing" or "the drawings".
    """
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help=f"where {name}.json and {drawings} go (benchmarks/results; with --quick nowhere)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument(
        "--quick", action="store_true", help="see whether it runs, in seconds; the figures are void"
    )


def parsed(
    parser: argparse.ArgumentParser,
    argv: Sequence[str],
    *,
    whole: Mapping[str, Any],
    quick: Mapping[str, Any],
) -> argparse.Namespace:
    """Read the options, and fill in those that were not given.

    Args:
        parser: With the options of `add_telling`.
        argv: What was given.
        whole: Values for a whole run. Those of one number have to be above 0.
        quick: The same for --quick.
    """
    options = parser.parse_args(argv)
    for name, default in (quick if options.quick else whole).items():
        if getattr(options, name) is None:
            setattr(options, name, default)
        value = getattr(options, name)
        if isinstance(value, (int, float)) and value <= 0:
            parser.error(f"--{name.replace('_', '-')} is above 0")
    if options.output is None and not options.quick:
        options.output = RESULTS
    return options


class Telling:
    """A run from its begin to what is told of it.

    Args:
        name: The benchmark's.
        options: With those of `add_telling`.
        drawings: "drawing" or "drawings".

    Attributes:
        bar: For whoever runs; to be entered.
    """

    def __init__(self, name: str, options: argparse.Namespace, *, drawings: str) -> None:
        self._name, self._options, self._drawings = name, options, drawings
        self._console = Console(stderr=True)
        self._load_before = machine.load()
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        self.bar = Progress(*columns, console=self._console)

    def document(
        self,
        packages: Sequence[str],
        names: Sequence[str],
        *,
        version: str | None = None,
        **found: Any,
    ) -> dict[str, Any]:
        """Put together what is kept of the run.

        Args:
            packages: Whose versions are noted.
            names: Which options are.
            version: PostgreSQL's; `None` where there is none.
            found: What was measured.
        """
        return {
            "command": f"hatch run bench {self._name}",
            **machine.facts(packages),
            **({} if version is None else {"postgresql": version}),
            "load": {"before": self._load_before, "after": machine.load()},
            "options": {name: getattr(self._options, name) for name in names},
            "void": self._options.quick,
            **found,
        }

    def tell(
        self,
        document: Mapping[str, Any],
        *,
        draw: Callable[[Path], object],
        more: str,
        tables: Callable[[], Iterable[Table]],
    ) -> int:
        """Write the document and the drawings, and print; give the exit code.

        Args:
            document: What `document` gave.
            draw: Draws into a folder; false where it cannot.
            more: Ends the line of what it was measured with.
            tables: Gives what is printed.
        """
        options = self._options
        if options.output is not None:
            options.output.mkdir(parents=True, exist_ok=True)
            path = options.output / f"{self._name}.json"
            path.write_text(json.dumps(document, indent=1) + "\n")
            if not draw(options.output):
                self._console.print(f"matplotlib is not installed: no {self._drawings}")
        if options.json:
            print(json.dumps(document))
            return 0
        terminal = Console()
        terminal.width = max(terminal.width, 120)
        database = f", PostgreSQL {document['postgresql']}" if "postgresql" in document else ""
        terminal.print(
            f"{document['cpu']}, {document['cores']} cores, load {document['load']}{database}{more}"
        )
        for table in tables():
            terminal.print(table)
        if options.quick:
            terminal.print("[bold]--quick: every figure above is void[/bold]")
        return 0
