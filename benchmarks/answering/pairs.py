"""Pairs of the package `fow-cache`: does an empty cache that heard one question serve the other?

Source: fow-cache 0.1.0, data by Mabon ap Gwyn, CC BY 4.0, read from the installed package and
judged by its own `evaluate` as it comes, which counts pairs that depend on the application as
traps. Its labels were written by language models and reviewed in part, says its author.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from answering.asking import US
from answering.model import LLM
from answering.rules import COSINES
from contestant import optional
from prism.cache import PrismCache
from prismresonance.embed import Embedder

FOW = "fow_cache"
QUESTIONS, CONVERSATIONS = "questions", "conversations"

Message = dict[str, str]


@dataclass(frozen=True)
class Served:
    """Shares of the pairs that were served.

    Attributes:
        pairs: `questions` or `conversations`.
        who: The cache, or the rule.
        count: How many pairs.
        traps: Of those whose answers differ.
        same: Of those with one answer.
        groups: Of each kind of pair.
    """

    pairs: str
    who: str
    count: int
    traps: float
    same: float
    groups: dict[str, float]


def served_pairs(
    embedder: Embedder, track: Callable[[Sequence[Any]], Iterable[Any]]
) -> list[Served]:
    """Judge all pairs; none when the package is not installed."""
    fow = optional(FOW)
    if fow is None:
        return []
    judges: list[tuple[str, str, Callable[[Any, Any], bool]]] = [
        (QUESTIONS, US, functools.partial(_serves, embedder)),
        *(
            (QUESTIONS, name, functools.partial(_is_near, embedder, least))
            for name, least in COSINES.items()
        ),
        (CONVERSATIONS, f"{US}, history in the scope", functools.partial(_serves_chat, embedder)),
        (CONVERSATIONS, f"{US}, last message alone", functools.partial(_serves_last, embedder)),
    ]
    results = []
    for pairs, who, judge in track(judges):
        report: Any = fow.evaluate(judge, dataset=pairs)
        results.append(
            Served(
                pairs,
                who,
                len(report.results),
                report.wrong_rate,
                report.hit_rate,
                report.by_group(),
            )
        )
    return results


def _serves(embedder: Embedder, stored: str, asked: str) -> bool:
    with PrismCache.build("bench", LLM, embedder=embedder) as cache:
        cache.get_or_call(stored, lambda: "the first answer")
        return cache.get_or_call(asked, lambda: "the second one") == "the first answer"


def _serves_chat(embedder: Embedder, stored: Sequence[Message], asked: Sequence[Message]) -> bool:
    with PrismCache.build("bench", LLM, embedder=embedder) as cache:
        first, second = (cache.scope(history=list(chat[:-1])) for chat in (stored, asked))
        first.get_or_call(stored[-1]["content"], lambda: "the first answer")
        last = second.get_or_call(asked[-1]["content"], lambda: "the second one")
        return last == "the first answer"


def _serves_last(embedder: Embedder, stored: Sequence[Message], asked: Sequence[Message]) -> bool:
    return _serves(embedder, stored[-1]["content"], asked[-1]["content"])


def _is_near(embedder: Embedder, least: float, stored: str, asked: str) -> bool:
    one, other = embedder.embed([stored, asked])
    return float(one @ other) >= least
