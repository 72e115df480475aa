"""The questions as they arrive: popular ones often, in everybody's own words."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _faq import Entry, Faq

__all__ = ["Request", "requests"]

POPULARITY_EXPONENT = 0.9
"""The entry of rank r is asked for in proportion to r ** -0.9, the skew of the cache's benchmarks.

Raising it gives more repeats, and so more hits for any cache.
"""

WORDING_EXPONENT = 0.3
"""The same for the wordings of one entry: the most usual one is typed somewhat more often.

Raising it gives more exact repeats, which a dict answers as well.
"""


@dataclass(frozen=True, slots=True)
class Request:
    """One question of the stream.

    Attributes:
        question: The text as typed.
        entry_id: The entry whose answer is the right one.
    """

    question: str
    entry_id: str


def requests(faq: Faq, count: int, *, seed: int) -> list[Request]:
    """Draw `count` questions; equal arguments give equal traffic.

    Which entries are popular is drawn too, so another seed is another shop. Look-alikes are
    entries like all others and come in between.
    """
    rng = random.Random(seed)  # noqa: S311  repeatable traffic, no secret
    ranked = list(faq.in_traffic())
    rng.shuffle(ranked)
    chosen = rng.choices(ranked, cum_weights=_weights(len(ranked), POPULARITY_EXPONENT), k=count)
    return [Request(_wording(entry, rng), entry.id) for entry in chosen]


def _wording(entry: Entry, rng: random.Random) -> str:
    weights = _weights(len(entry.questions), WORDING_EXPONENT)
    return rng.choices(entry.questions, cum_weights=weights)[0]


def _weights(count: int, exponent: float) -> list[float]:
    return list(accumulate(rank**-exponent for rank in range(1, count + 1)))
