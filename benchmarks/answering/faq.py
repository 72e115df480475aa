"""The demo's support FAQ: a small cold cache, and a load of questions that repeat."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from answering.model import LLM
from answering.streams import Request
from prism.cache import PrismCache
from prismresonance.embed import Embedder

FAQ = Path(__file__).parents[2] / "docs" / "demo" / "faq.toml"
PASSWORD_PAIR = ("How do I reset my password?", "I forgot my password, help")


@dataclass(frozen=True)
class Entry:
    """One answer and the ways to ask for it.

    Attributes:
        name: Its label.
        answer: One wording of it.
        questions: Ways to ask, the most usual one first.
    """

    name: str
    answer: str
    questions: tuple[str, ...]


@dataclass(frozen=True)
class ColdFaq:
    """What a cache with default settings serves that holds each entry once and saw nothing else.

    Attributes:
        entries: How many answers are stored, each under its most usual question.
        password_pair_hits: Whether the two password questions of the README share an answer.
        others: How many other ways of asking there are.
        served: Share of those that got their answer.
        wrong: Share of those that got another one.
        absent_served: Share of all questions that got another answer while their own was not there.
    """

    entries: int
    password_pair_hits: bool
    others: int
    served: float
    wrong: float
    absent_served: float


def entries() -> list[Entry]:
    """Read the FAQ."""
    found = tomllib.loads(FAQ.read_text(encoding="utf-8"))["entries"]
    return [Entry(one["id"], one["answers"][0], tuple(one["questions"])) for one in found]


def questions() -> list[Request]:
    """Give all questions, with the entry as the intent."""
    return [Request(text, entry.name) for entry in entries() for text in entry.questions]


def cold_faq(
    embedder: Embedder, track: Callable[[Sequence[Entry]], Iterable[Entry]], *, most: int
) -> ColdFaq:
    """Ask a cold cache everything in the FAQ; leave out one entry after the other, `most` times."""
    faq = entries()
    name_of = {entry.answer: entry.name for entry in faq}
    served = wrong = 0
    with _filled(embedder, faq) as cache:
        others = [(text, entry.name) for entry in faq for text in entry.questions[1:]]
        for text, name in others:
            lookup = cache.lookup(text)
            is_right = name_of.get(str(lookup.answer)) == name
            served += lookup.hit and is_right
            wrong += lookup.hit and not is_right
        stored, asked = PASSWORD_PAIR
        pair = cache.lookup(asked).answer == cache.lookup(stored).answer is not None
    looked = absent_served = 0
    for left_out in track(faq[:most]):
        with _filled(embedder, [entry for entry in faq if entry is not left_out]) as cache:
            looked += len(left_out.questions)
            absent_served += sum(cache.lookup(text).hit for text in left_out.questions)
    count = len(others)
    return ColdFaq(len(faq), pair, count, served / count, wrong / count, absent_served / looked)


def _filled(embedder: Embedder, faq: Sequence[Entry]) -> PrismCache:
    cache = PrismCache.build("bench", LLM, embedder=embedder)
    for entry in faq:
        cache.put(entry.questions[0], entry.answer)
    return cache
