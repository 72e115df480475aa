"""The acts of the demo. Each one does something with the cache and tells it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from _report import milliseconds
from _scoreboard import Outcome, Scoreboard
from _support import Support, list_price_usd

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.console import Console

    from _faq import Decision
    from _mock_llm import MockLLM
    from _traffic import Request
    from _views import View

__all__ = ["AtOnce", "Restart", "Told", "ask_at_once", "explain", "restart", "serve"]

PEOPLE = 8
"""How many ask the same new question at the same moment."""


@dataclass(frozen=True, slots=True)
class Told:
    """One decision, as the cache explained it."""

    decision: Decision
    kind: str
    reason: str

    @property
    def as_expected(self) -> bool:
        """Whether the cache did what a good cache does."""
        return (self.kind != "miss") == (self.decision.expect == "hit")


@dataclass(frozen=True, slots=True)
class AtOnce:
    """What several equal questions at the same moment cost."""

    question: str
    people: int
    calls: int


@dataclass(frozen=True, slots=True)
class Restart:
    """What a fresh cache knew on the same file."""

    question: str
    open_s: float
    hit: bool
    calls: int
    answer: str


def serve(support: Support, llm: MockLLM, traffic: Sequence[Request], view: View) -> Scoreboard:
    """Ask the questions one after the other and keep score."""
    board = Scoreboard()
    with closing(view):
        for request in traffic:
            board.record(_outcome(support, llm, request))
            saved = support.savings()
            board.record_savings(tokens=saved.tokens, usd=saved.cost_usd, guarded=saved.guarded)
            view.update(board)
    return board


def explain(console: Console, support: Support, decisions: Sequence[Decision]) -> list[Told]:
    """Let the cache explain each decision."""
    told = []
    for decision in decisions:
        support.ask(decision.stored)
        why = support.explain(decision.asked)
        told.append(Told(decision, why.kind, why.reason))
        console.print()
        console.print(f"  {decision.title}", style="bold")
        console.print(f"  stored  {decision.stored}")
        console.print(f"  asked   {decision.asked}")
        console.print()
        console.print(_indented(why.text), style="green" if told[-1].as_expected else "red")
        if not told[-1].as_expected:
            console.print(f"  A good cache would {decision.expect} here.", style="bold red")
    return told


def ask_at_once(console: Console, support: Support, llm: MockLLM, question: str) -> AtOnce:
    """Ask one new question from several threads at the same moment."""
    before = llm.calls
    with ThreadPoolExecutor(PEOPLE) as pool:
        answers = set(pool.map(lambda _: support.ask(question).answer, range(PEOPLE)))
    calls = llm.calls - before
    console.print(f"  asked   {question}")
    console.print(f"  {PEOPLE} threads, {calls} call of the mock model, {len(answers)} answer")
    return AtOnce(question, PEOPLE, calls)


def restart(console: Console, path: Path, llm: MockLLM, question: str) -> Restart:
    """Open the file of a closed cache and ask for something it should know."""
    start = time.perf_counter()
    with Support(path, llm) as support:
        open_s = time.perf_counter() - start
        served = support.ask(question)
    calls = int(served.called)
    console.print(f"  reopened {path.name} in {milliseconds(open_s)}")
    console.print(f"  asked   {question}")
    console.print(f"  {'miss' if served.called else 'hit'}, {calls} calls of the mock model:")
    console.print(f"  {served.answer}")
    return Restart(question, open_s, not served.called, calls, served.answer)


def _outcome(support: Support, llm: MockLLM, request: Request) -> Outcome:
    served = support.ask(request.question)
    why = None if served.called else support.explain(request.question)  # a hit changes nothing
    input_tokens, output_tokens = llm.usage_of(request.question)
    return Outcome(
        question=request.question,
        entry_id=request.entry_id,
        served_entry_id=llm.entry_id_of(served.answer),
        kind=why.kind if why else "miss",
        cosine=why.cosine if why else None,
        matched=why.matched if why else None,
        latency_s=served.latency_s,
        call_tokens=input_tokens + output_tokens,
        call_usd=list_price_usd(input_tokens, output_tokens),
    )


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
