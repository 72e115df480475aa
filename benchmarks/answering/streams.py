"""Requests as they arrive: every text once, or popular intents often."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import intents

ONCE, ZIPF = "once", "zipf"
KINDS = (ONCE, ZIPF)
POPULARITY_EXPONENT = 0.9
"""The intent of rank r is asked for in proportion to r ** -0.9. Raising it gives more repeats."""


@dataclass(frozen=True, slots=True)
class Request:
    """A question and the intent by which its answer is judged."""

    text: str
    intent: str


@dataclass(frozen=True)
class Stream:
    """Requests of one data set in one order.

    Attributes:
        data: Name of the data set.
        kind: `once` or `zipf`.
        seed: Draws the order and what is popular.
        requests: The requests.
    """

    data: str
    kind: str
    seed: int
    requests: tuple[Request, ...]

    @property
    def name(self) -> str:
        """Data set and kind."""
        return f"{self.data} {self.kind}"

    @property
    def repeated_share(self) -> float:
        """Share of the requests whose very text came before."""
        return 1 - len({request.text for request in self.requests}) / len(self.requests)

    @property
    def possible_share(self) -> float:
        """Share of the requests whose intent came before: no cache can answer more of them."""
        return 1 - len({request.intent for request in self.requests}) / len(self.requests)


def stream(data: str, kind: str, *, seed: int, length: int) -> Stream:
    """Draw at most `length` requests of one of `intents.SETS`; equal arguments, equal stream.

    `once` takes the texts in random order. `zipf` ranks the intents at random, draws an intent by
    its rank and one of its texts, all alike.
    """
    rng = random.Random(f"{data}/{kind}/{seed}")
    asked = [Request(text, intent) for text, intent in intents.labelled(data)]
    if kind == ONCE:
        rng.shuffle(asked)
        return Stream(data, kind, seed, tuple(asked[:length]))
    return Stream(data, kind, seed, tuple(popular(asked, rng, length)))


def popular(asked: Sequence[Request], rng: random.Random, length: int) -> list[Request]:
    """Draw `length` of the requests, popular intents more often."""
    wordings: dict[str, list[Request]] = {}
    for request in asked:
        wordings.setdefault(request.intent, []).append(request)
    ranked = list(wordings.values())
    rng.shuffle(ranked)
    weights = list(accumulate(rank**-POPULARITY_EXPONENT for rank in range(1, len(ranked) + 1)))
    return [rng.choice(own) for own in rng.choices(ranked, cum_weights=weights, k=length)]
