"""Show what the cache does with a support FAQ: `hatch run demo`, or `python docs/demo`."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from _acts import ask_at_once, explain, restart, serve
from _faq import Faq, load
from _mock_llm import MockLLM
from _report import as_json, milliseconds, plain_table, possible_line, wrong_lines
from _support import MODEL, PASTE, Support
from _traffic import requests
from _views import LiveView, PlainView, SilentView, View, table

DESCRIPTION = """\
Streams a support FAQ through PrismCache and, beside it, through a dict of exact texts.
The questions are paraphrases and look-alikes: other numbers, negations, opposites, swapped
directions. The model is a mock that waits and answers from the FAQ; nothing leaves this machine,
and no API key is needed. A wrong hit is known from the labels of the FAQ and is shown as such.
"""

EPILOG = """\
examples:
  python docs/demo                        the live view
  python docs/demo --plain | tee log      plain lines, also chosen by itself without a terminal
  python docs/demo --seed 2               another shop: other questions are popular
  python docs/demo --questions 2000 --latency-ms 5
  python docs/demo --json | python -m json.tool
"""


def main(argv: list[str] | None = None) -> int:
    """Run the acts and return the exit code."""
    options = _options(argv)
    console = _console(options)
    try:
        _run(console, options)
    except KeyboardInterrupt:
        console.print("\nStopped. Nothing is left behind.")
        return 130
    return 0


def _run(console: Console, options: argparse.Namespace) -> None:
    start = time.perf_counter()
    faq = load(Path(__file__).with_name("faq.toml"))
    traffic = requests(faq, options.questions, seed=options.seed)
    llm = MockLLM(faq, latency_s=options.latency_ms / 1000)
    view = _view(console, options)
    new_question = next(d.asked for d in reversed(faq.decisions) if d.expect == "miss")
    paraphrase = next(d.asked for d in faq.decisions if d.expect == "hit")

    with tempfile.TemporaryDirectory(prefix="prism-demo-") as folder:
        path = Path(folder) / "answers.sqlite"
        _introduce(console, faq, options)
        loading = time.perf_counter()
        with Support(path, llm) as support:
            support.explain(paraphrase)
            loaded_s = time.perf_counter() - loading
            console.print(f"  embedding model loaded in {milliseconds(loaded_s)}")
            _heading(console, f"1. {options.questions} questions")
            board = serve(support, llm, traffic, view)
            if options.plain:
                console.print(plain_table(board))
            else:
                console.print(table(board))
            console.print(possible_line(board))
            for line in wrong_lines(board):
                console.print(line, style="red")
            _heading(console, "2. Three decisions, explained by cache.explain(question)")
            told = explain(console, support, faq.decisions)
            _heading(console, "3. The refused question, asked by eight people at once")
            at_once = ask_at_once(console, support, llm, new_question)
        _heading(console, "4. A restart: the cache is closed, a new one opens its file")
        restarted = restart(console, path, llm, paraphrase)

    seconds = time.perf_counter() - start
    _heading(console, "5. Paste this into your own code")
    console.print(PASTE)
    console.print(f"Done in {seconds:.0f} s. python docs/demo --help tells what else it can show.")
    if options.json:
        print(as_json(board, told, at_once, restarted, seconds=seconds, seed=options.seed))


def _introduce(console: Console, faq: Faq, options: argparse.Namespace) -> None:
    texts = sum(len(entry.questions) for entry in faq.entries)
    alike = sum(entry.family is not None for entry in faq.entries)
    _heading(console, "PrismCache on a support FAQ")
    console.print(
        f"  {len(faq.entries)} answers, {texts} ways to ask for them; {alike} answers have"
        " look-alikes.\n"
        f"  The model is a MOCK: it waits {options.latency_ms:g} ms, words its answer anew and"
        f" reports tokens,\n  priced as {MODEL}. Nothing leaves this machine. Seed {options.seed}."
    )


def _heading(console: Console, text: str) -> None:
    console.print()
    console.print(text, style="bold cyan")


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


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python docs/demo",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--questions", type=_count, default=400, metavar="N", help="length of the stream (400)"
    )
    parser.add_argument("--seed", type=int, default=1, help="equal seeds give equal questions (1)")
    parser.add_argument(
        "--latency-ms",
        type=_milliseconds,
        default=40.0,
        metavar="MS",
        help="how long the mock model waits for each answer (40)",
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


if __name__ == "__main__":
    sys.exit(main())
