"""The cache's part: a support FAQ answered from the cache, and beside it from a dict."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from _acts import ask_at_once, explain, restart, serve
from _faq import load
from _mock_llm import MockLLM
from _report import as_dict, milliseconds, plain_table, possible_line, wrong_lines
from _support import MODEL, Support
from _traffic import requests
from _views import table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console

    from _acts import AtOnce, Restart, Told
    from _faq import Faq
    from _scoreboard import Scoreboard
    from _views import View

__all__ = ["CacheResult", "show_cache"]


@dataclass(frozen=True, slots=True)
class CacheResult:
    """What came out."""

    board: Scoreboard
    told: Sequence[Told]
    at_once: AtOnce
    restarted: Restart

    def to_dict(self) -> dict[str, object]:
        """Give it for machines."""
        return as_dict(self.board, self.told, self.at_once, self.restarted)


def show_cache(
    console: Console,
    view: View,
    heading: Callable[[str], None],
    *,
    questions: int,
    latency_ms: float,
    seed: int,
    is_plain: bool,
) -> CacheResult:
    """Run all of it."""
    faq = load(Path(__file__).with_name("faq.toml"))
    traffic = requests(faq, questions, seed=seed)
    llm = MockLLM(faq, latency_s=latency_ms / 1000)
    new_question = next(d.asked for d in reversed(faq.decisions) if d.expect == "miss")
    paraphrase = next(d.asked for d in faq.decisions if d.expect == "hit")

    with tempfile.TemporaryDirectory(prefix="prism-demo-") as folder:
        path = Path(folder) / "answers.sqlite"
        _introduce(console, faq, latency_ms=latency_ms, seed=seed)
        loading = time.perf_counter()
        with Support(path, llm) as support:
            support.explain(paraphrase)
            loaded_s = time.perf_counter() - loading
            console.print(f"  embedding model loaded in {milliseconds(loaded_s)}")
            heading(f"{questions} questions")
            board = serve(support, llm, traffic, view)
            console.print(plain_table(board) if is_plain else table(board))
            console.print(possible_line(board))
            for line in wrong_lines(board):
                console.print(line, style="red")
            heading("Three decisions, explained by cache.explain(question)")
            told = explain(console, support, faq.decisions)
            heading("The refused question, asked by eight people at once")
            at_once = ask_at_once(console, support, llm, new_question)
        heading("A restart: the cache is closed, a new one opens its file")
        restarted = restart(console, path, llm, paraphrase)
    return CacheResult(board, told, at_once, restarted)


def _introduce(console: Console, faq: Faq, *, latency_ms: float, seed: int) -> None:
    texts = sum(len(entry.questions) for entry in faq.entries)
    alike = sum(entry.family is not None for entry in faq.entries)
    console.print(
        f"  {len(faq.entries)} answers, {texts} ways to ask for them; {alike} answers have"
        " look-alikes.\n"
        f"  The model is a MOCK: it waits {latency_ms:g} ms, words its answer anew and"
        f" reports tokens,\n  priced as {MODEL}. Nothing leaves this machine. Seed {seed}."
    )
