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

POOL = 13_000
"""Texts that a zipf stream draws from: as many as BANKING77 has, so that the sets repeat alike.

With all of CLINC150 a seventh of the requests would be the first of their intent, which no cache
answers; with this half of it, a tenth. Raising it gives fewer repeats.
"""


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

    def described(self) -> Described:
        """Say what the stream is like."""
        texts, meant = (
            len({getattr(request, name) for request in self.requests})
            for name in ("text", "intent")
        )
        length = len(self.requests)
        return Described(
            self.data, self.kind, self.seed, length, 1 - texts / length, 1 - meant / length
        )

    @property
    def name(self) -> str:
        """Data set and kind."""
        return f"{self.data} {self.kind}"


@dataclass(frozen=True)
class Described:
    """What a stream is like.

    Attributes:
        data: Name of the data set.
        kind: `once` or `zipf`.
        seed: The stream's seed.
        requests: How many.
        repeated_share: Share of the requests whose very text came before.
        possible_share: Share of the requests whose intent came before: no cache can answer more.
    """

    data: str
    kind: str
    seed: int
    requests: int
    repeated_share: float
    possible_share: float


def stream(data: str, kind: str, *, seed: int, length: int) -> Stream:
    """Draw at most `length` requests of one of `intents.SETS`; equal arguments, equal stream.

    `once` takes the texts in random order. `zipf` takes `POOL` of them, ranks their intents at
    random, draws an intent by its rank and one of its texts, all alike.
    """
    rng = random.Random(f"{data}/{kind}/{seed}")
    asked = [Request(text, intent) for text, intent in intents.labelled(data)]
    rng.shuffle(asked)
    drawn = asked[:length] if kind == ONCE else popular(asked[:POOL], rng, length)
    return Stream(data, kind, seed, tuple(drawn))


def popular(asked: Sequence[Request], rng: random.Random, length: int) -> list[Request]:
    """Draw `length` of the requests, popular intents more often."""
    wordings: dict[str, list[Request]] = {}
    for request in asked:
        wordings.setdefault(request.intent, []).append(request)
    ranked = list(wordings.values())
    rng.shuffle(ranked)
    weights = list(accumulate(rank**-POPULARITY_EXPONENT for rank in range(1, len(ranked) + 1)))
    return [rng.choice(own) for own in rng.choices(ranked, cum_weights=weights, k=length)]
