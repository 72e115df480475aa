"""The nodes' part: three processes that share answers, and outlive the one that leads."""

from __future__ import annotations

import contextlib
import signal
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from _faq import load
from _mock_llm import MockLLM
from _node_processes import NAMES, NodeGoneError, NodeProcesses
from _nodes_board import Column, NodesBoard, Takeover
from _nodes_report import as_dict, nodes_table, takeover_lines
from _report import milliseconds
from _support import MODEL
from _traffic import requests
from prism.cluster import FencingGuard, StaleTokenError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Future

    from rich.console import Console

    from _faq import Faq
    from _node_processes import Became
    from _nodes_views import NodesView
    from _traffic import Request

__all__ = ["PASTE_NODES", "NodesResult", "answered_for", "show_nodes"]

PEOPLE_PER_NODE = 4
"""How many ask the same new question on each node at the same moment."""

_REDRAW_S = 0.1

PASTE_NODES = f'''\
from chorus_fabric.mesh import CHORUSFabric
from prism.cluster import ClusterNode
from prism.cluster.cache import ClusterCache

async def serve(question: str) -> str:
    fabric = CHORUSFabric(
        node_id="node-1", listen="10.0.0.1:50061", secret=secret,  # `chorus-fabric secret FILE`
        peers={{"node-2": "10.0.0.2:50061", "node-3": "10.0.0.3:50061"}},
    )
    cache = ClusterCache(node_id="node-1", fabric=fabric, llm_model="{MODEL}")
    with ClusterNode(fabric=fabric, term_path="node-1.term") as node:
        async with fabric, cache:
            if node.is_green():
                print("only one node gets here; give this along with what it writes:",
                      node.fencing_token)
            return await cache.get_or_call(query=question, call_fn=lambda: llm.complete(question))
'''


@dataclass(frozen=True, slots=True)
class NodesResult:
    """What came out."""

    board: NodesBoard
    takeover: Takeover
    at_once: dict[str, int]
    starting_s: float

    @property
    def is_as_promised(self) -> bool:
        """Whether nothing was lost, tokens rose, and all nodes hold the same."""
        return self.takeover.is_as_promised

    def to_dict(self) -> dict[str, object]:
        """Give it for machines."""
        return as_dict(self.board, self.takeover, at_once=self.at_once, starting_s=self.starting_s)


def show_nodes(
    console: Console,
    view: NodesView,
    heading: Callable[[str], None],
    *,
    questions: int,
    latency_ms: float,
    seed: int,
) -> NodesResult:
    """Run all of it. Whatever happens, every process has ended afterwards and its files are gone.

    Raises:
        NodeFailedError: A node did not start, or ended.
    """
    faq = load(Path(__file__).with_name("faq.toml"))
    board = NodesBoard({name: Column() for name in NAMES})
    # As many as fit between the kill and the replacement go on coming; the rest is never asked.
    traffic = requests(faq, questions * 20, seed=seed)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="prism-demo-")))
        nodes = stack.enter_context(closing(NodeProcesses(folder, latency_ms=latency_ms)))
        # The first thing at the end: a second Ctrl-C must not leave processes behind.
        stack.callback(signal.signal, signal.SIGINT, signal.SIG_IGN)
        demo = _Demo(nodes, board, view, faq)
        start = time.perf_counter()
        for name in NAMES:
            nodes.start(name)
        demo.note(nodes.wait_whole())
        starting_s = time.perf_counter() - start
        console.print(
            f"  {len(NAMES)} processes over gRPC, frames sealed with a secret;"
            f" whole after {milliseconds(starting_s)}.\n"
            f"  The model of each is a MOCK that waits {latency_ms:g} ms. {demo.green} is GREEN,"
            f" token {demo.token}."
        )

        heading(f"{questions} questions, spread over the nodes")
        with closing(view):
            demo.serve(traffic[:questions])
        console.print(nodes_table(board))
        console.print(
            f"  {board.distinct} different texts. Tokens saved are 1 - spent / what calls for all"
            " questions would take."
        )
        for asked, other in board.wrong:
            console.print(f"  WRONG: {asked!r} got the answer to {other!r}", style="red")

        people = PEOPLE_PER_NODE * len(NAMES)
        heading(f"A new question, asked by {people} people on all nodes at once")
        new_question = next(d.asked for d in reversed(faq.decisions) if d.expect == "miss")
        at_once = demo.ask_at_once(new_question)
        console.print(f"  asked   {new_question}")
        console.print(
            f"  {people} people, {at_once['calls']} call of the mock model in all nodes,"
            f" {at_once['answers']} answer"
        )

        heading(f"{demo.green} is killed (SIGKILL) while questions come, and replaced")
        with closing(view):
            takeover = demo.replace_green(traffic[questions:])
        for line in takeover_lines(takeover):
            console.print(line)
    return NodesResult(board, takeover, at_once, starting_s)


def answered_for(faq: Faq, question: str, answer: str) -> str | None:
    """Give the question whose answer this is, if it is not one of the question asked.

    The mock model puts a few words before and after the answers of the corpus.
    """
    _, entry = max((len(text), e) for e in faq.entries for text in e.answers if text in answer)
    return None if question in entry.questions else entry.questions[0]


class _Demo:
    """The nodes at work, watched from the main thread."""

    def __init__(self, nodes: NodeProcesses, board: NodesBoard, view: NodesView, faq: Faq) -> None:
        self._nodes, self._board, self._view, self._faq = nodes, board, view, faq
        self._prices = MockLLM(faq, latency_s=0)
        self.green, self.token = "", 0

    def note(self, statuses: dict[str, dict[str, object]]) -> None:
        """Put down how the nodes stand."""
        for name in NAMES:
            status = statuses.get(name)
            if status is None:
                self._board.roles[name] = ("killed", None)
                continue
            role, token = str(status["role"]), status["token"]
            self._board.roles[name] = (role, token if isinstance(token, int) else None)
            if isinstance(token, int):
                self.green, self.token = name, token

    def serve(self, traffic: Sequence[Request]) -> None:
        """Ask all nodes at the same time, each its share."""
        with self._asking(traffic) as shares:
            while not all(share.done() for share in shares):
                time.sleep(_REDRAW_S)
                self._redraw("questions are asked on all nodes")
            for share in shares:
                share.result()
        self._redraw("questions are asked on all nodes")

    def ask_at_once(self, question: str) -> dict[str, int]:
        """Ask one new question on all nodes at the same moment."""
        before = self._calls()
        asking = [
            self._nodes.order(name, "ask", question)
            for _ in range(PEOPLE_PER_NODE)
            for name in NAMES
        ]
        answers = {str(one.result(30)["answer"]) for one in asking}
        return {
            "people": len(asking),
            "calls": self._calls() - before,
            "answers": len(answers),
        }

    def replace_green(self, traffic: Sequence[Request]) -> Takeover:
        """Kill GREEN while questions come; start it again."""
        nodes = self._nodes
        killed, token_before = self.green, self.token
        guard = FencingGuard()
        guard.admit(token_before)
        nodes.ask(killed, "flush")
        # What it holds now, others have confirmed: a call's answer, and all it got from them.
        texts = sorted(self._board.texts[killed])
        held = nodes.ask(killed, "has", texts)["has"]
        acknowledged = [text for text, has in zip(texts, held, strict=True) if has]
        changes, answered = len(nodes.changes), self._board.questions
        with self._asking(traffic) as shares:
            at = nodes.kill(killed)
            self._board.killed(killed)

            def greens_after() -> list[Became]:
                self._redraw(f"{killed} is killed")
                return [one for one in nodes.changes[changes:] if one.role == "GREEN"]

            greens = nodes.wait(greens_after, bool, f"a GREEN after {killed}")
            lost = self._missing(nodes.alive, acknowledged)
            self._redraw(f"{greens[0].node} has taken over; {killed} starts again")
            started = time.perf_counter()
            nodes.start(killed)
            nodes.wait_whole()
            replaced_s = time.perf_counter() - started
            self._redraw(f"{killed} is back, and in step")
        for share in shares:
            share.result()
        answered = self._board.questions - answered
        digests = nodes.wait_whole(is_equal=True)
        return Takeover(
            killed=killed,
            green=greens[0].node,
            seconds=greens[0].at - at,
            token_before=token_before,
            token=greens[0].token or 0,
            old_token_refused=_refuses(guard, greens[0].token or 0, token_before),
            acknowledged=len(acknowledged),
            lost=lost,
            answered=answered,
            replaced_s=replaced_s,
            missing=self._missing((killed,), acknowledged),
            equal=len({one["digest"] for one in digests.values()}) == 1,
        )

    @contextlib.contextmanager
    def _asking(self, traffic: Sequence[Request]) -> Iterator[list[Future[None]]]:
        """Have people ask all nodes beside; they stop after the question they are at."""
        over = threading.Event()

        def ask(name: str, share: Sequence[Request]) -> None:
            for request in share:
                if over.is_set():
                    return
                self._ask(name, request.question)

        with ThreadPoolExecutor(len(NAMES)) as pool:
            try:
                yield [
                    pool.submit(ask, name, traffic[n :: len(NAMES)]) for n, name in enumerate(NAMES)
                ]
            finally:
                over.set()

    def _ask(self, name: str, question: str) -> None:
        """Ask a node; if it is gone, another, as a load balancer would."""
        nodes = self._nodes
        for candidate in (name, *(other for other in NAMES if other != name)):
            try:
                told = nodes.ask(candidate, "ask", question)
            except NodeGoneError:
                continue
            self._board.record(
                candidate,
                question,
                tokens=sum(self._prices.usage_of(question)),
                latency_s=told["seconds"],
                answered_for=answered_for(self._faq, question, told["answer"]),
            )
            self._board.spent(candidate, calls=told["calls"], tokens=told["tokens"])
            return

    def _missing(self, names: Sequence[str], texts: Sequence[str]) -> int:
        """Count the texts whose answer none of these nodes has."""
        found = [self._nodes.ask(name, "has", texts)["has"] for name in names]
        return sum(not any(each) for each in zip(*found, strict=True))

    def _calls(self) -> int:
        return sum(int(one["calls"]) for one in self._nodes.statuses().values())

    def _redraw(self, what: str) -> None:
        self._nodes.check()
        statuses = self._nodes.statuses()
        self.note(statuses)
        for name, status in statuses.items():
            self._board.spent(name, calls=status["calls"], tokens=status["tokens"])
        self._view.update(self._board, what)


def _refuses(guard: FencingGuard, token: int, old: int) -> bool:
    guard.admit(token)
    try:
        guard.admit(old)
    except StaleTokenError:
        return True
    return False
