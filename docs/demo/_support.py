"""Everything in the demo that touches the cache: build it, ask it, let it explain."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Self

import genai_prices

from prism.cache import PrismCache, Reply, Usage

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from _mock_llm import MockLLM

__all__ = ["MODEL", "PASTE", "Explained", "Savings", "Served", "Support", "list_price_usd"]

MODEL = "gpt-4o-mini"
"""The model whose list price is used. The demo itself never calls it."""

SHOWN_CANDIDATES = 3
"""How many of the stored questions that were considered an explanation shows."""

PASTE = f'''\
from prism.cache import PrismCache

cache = PrismCache.build(tenant_id="my-app", llm_model="{MODEL}", path="answers.sqlite")

def ask(question: str) -> str:
    return cache.get_or_call(
        query=question,
        call_fn=lambda: openai_client.chat.completions.create(
            model="{MODEL}", messages=[{{"role": "user", "content": question}}],
        ).choices[0].message.content,
    )
'''


@dataclass(frozen=True, slots=True)
class Served:
    """An answer and where it came from.

    Attributes:
        answer: The text.
        called: Whether the model was called for it.
        latency_s: From question to answer.
    """

    answer: str
    called: bool
    latency_s: float


@dataclass(frozen=True, slots=True)
class Explained:
    """What the cache would do with a question, and why.

    Attributes:
        kind: Found literally, found by meaning, or not found.
        matched: The stored question whose answer would be served, if any.
        cosine: Similarity to it, if it was found by meaning.
        reason: The cache's own sentence.
        text: The cache's own explanation, with the nearest stored questions.
    """

    kind: Literal["exact", "similar", "miss"]
    matched: str | None
    cosine: float | None
    reason: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Savings:
    """The cache's own figures.

    Attributes:
        tokens: Input and output tokens of the calls that hits replaced.
        cost_usd: Their price; None if the model has no known one.
        guarded: Questions near enough to a stored one that a guard refused to match.
    """

    tokens: int
    cost_usd: float | None
    guarded: int


class Support:
    """A support desk: a cache in a file, and a model behind it. Close it after use."""

    def __init__(self, path: Path, llm: MockLLM) -> None:
        self._llm = llm
        self._cache = PrismCache.build(tenant_id="demo", llm_model=MODEL, path=path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._cache.close()

    def ask(self, question: str) -> Served:
        """Answer from the cache, or with one call of the model; checks of hits do not count."""
        called = False
        asking = threading.get_ident()

        def call() -> Reply[str]:
            nonlocal called
            # The cache may check a hit beside it, in a thread of its own.
            called |= threading.get_ident() == asking
            reply = self._llm.answer(question)
            return Reply(
                reply.text,
                usage=Usage(input_tokens=reply.input_tokens, output_tokens=reply.output_tokens),
            )

        start = time.perf_counter()
        answer: object = self._cache.get_or_call(query=question, call_fn=call)
        return Served(str(answer), called, time.perf_counter() - start)

    def explain(self, question: str) -> Explained:
        """Say what the cache would do now. Calls nothing and counts nothing."""
        why = self._cache.explain(question)
        nearest = replace(why, candidates=why.candidates[:SHOWN_CANDIDATES])
        cosines = {candidate.question: candidate.cosine for candidate in why.candidates}
        return Explained(
            # What an admission rule refuses is answered by the model, as a miss is.
            kind="miss" if why.decision == "refused" else why.decision,
            matched=why.matched,
            cosine=cosines.get(why.matched) if why.matched else None,
            reason=why.reason,
            text=str(nearest),
        )

    def savings(self) -> Savings:
        """Return the cache's own figures."""
        metrics = self._cache.metrics()
        known = not math.isnan(metrics.cost_saved_usd)
        return Savings(
            tokens=metrics.tokens_saved,
            cost_usd=metrics.cost_saved_usd if known else None,
            guarded=metrics.guarded,
        )


def list_price_usd(input_tokens: int, output_tokens: int) -> float | None:
    """Return what `MODEL` takes for so many tokens, from the price list that the cache uses."""
    usage = genai_prices.Usage(input_tokens=input_tokens, output_tokens=output_tokens)
    try:
        return float(genai_prices.calc_price(usage, MODEL).total_price)
    except LookupError:
        return None
