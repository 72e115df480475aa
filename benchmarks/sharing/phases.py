"""The phases of the test: who asks what, on which node, and when."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from answering.streams import ZIPF, stream
from sharing.processes import NAMES, Nodes
from sharing.tally import Request

__all__ = ["PHASES", "Step", "plan", "play", "visible_s"]

AT_ONCE = "at once"
PHASES = {
    "as published": "one node asks 5 queries, 4 distinct; each other one of them, once",
    "followers": "one node asks distinct questions; then each other asks all of them",
    "own words": "popular questions of BANKING77 in people's own words, on all nodes at once",
    AT_ONCE: "distinct questions, each on all nodes at the same moment",
}
_DATA = "banking77"
_CLIENTS = 4


@dataclass(frozen=True)
class Step:
    """What nodes ask at the same time.

    Attributes:
        asked: The requests of each node.
        clients: How many people ask them on each node; each waits for the answer.
    """

    asked: Mapping[str, Sequence[Request]]
    clients: int = 1


def plan(name: str, *, seed: int, followed: int, own_words: int, at_once: int) -> list[Step]:
    """Give the steps of a phase; equal arguments give equal steps.

    Args:
        name: One of `PHASES`.
        seed: Draws the questions.
        followed: Questions that followers repeat.
        own_words: Queries in people's own words.
        at_once: Questions asked on all nodes at the same moment.
    """
    rng = random.Random(f"{name}/{seed}")
    first, *others = NAMES
    if name == "as published":
        asked = made_up(4, rng)
        return [
            Step({first: [*asked, asked[0]]}),
            *(Step({other: [rng.choice(asked)]}) for other in others),
        ]
    if name == "followers":
        asked = made_up(followed, rng)
        return [
            Step({first: asked}, _CLIENTS),
            Step(dict.fromkeys(others, asked), _CLIENTS),
        ]
    if name == AT_ONCE:
        asked = made_up(at_once, rng)
        return [Step(dict.fromkeys(NAMES, asked), len(asked))]
    requests = stream(_DATA, ZIPF, seed=seed, length=own_words).requests
    pairs = [(one.text, one.intent) for one in requests]
    return [Step({node: pairs[n :: len(NAMES)] for n, node in enumerate(NAMES)}, _CLIENTS)]


def play(nodes: Nodes, steps: Sequence[Step]) -> dict[str, dict[str, object]]:
    """Play a phase on nodes that hold nothing; what each node told, over all steps."""
    _empty(nodes)
    told: dict[str, dict[str, object]] = {}
    for step in steps:
        given = {
            node: {"requests": list(requests), "clients": step.clients}
            for node, requests in step.asked.items()
        }
        for node, one in nodes.all_do("serve", given).items():
            before = told.setdefault(node, {})
            for name, value in one.items():
                before[name] = _added(before.get(name), value)
        for node in step.asked:
            nodes.do(node, "flush")
    return told


def visible_s(nodes: Nodes, *, seed: int, count: int) -> Iterator[float]:
    """Give how long answers take from the model's return to each other node, one after another."""
    _empty(nodes)
    texts = made_up(count, random.Random(f"visible/{seed}"))
    watching = [nodes.order(node, "watch", [text for text, _ in texts]) for node in NAMES[1:]]
    nodes.do(NAMES[0], "serve", {"requests": texts, "clients": 1})
    answered = nodes.do(NAMES[0], "answered", [text for text, _ in texts])
    for watched in watching:
        for at, moment in zip(watched.result(), answered, strict=True):
            yield at - moment


def made_up(count: int, rng: random.Random) -> list[Request]:
    """Make questions that no two ask the same: each names another item."""
    numbers = rng.sample(range(10_000, 99_999), count)
    return [(f"What is the meaning of item {number}?", f"item {number}") for number in numbers]


def _empty(nodes: Nodes) -> None:
    for node in NAMES:  # one will do for a cluster, and the others are their own
        nodes.do(node, "forget")
    nodes.wait_whole()


def _added(before: object, value: object) -> object:
    if before is None:
        return value
    if isinstance(before, dict) and isinstance(value, dict):
        return before | value
    return before + value  # type: ignore[operator]  # lists, or numbers
