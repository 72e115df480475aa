"""The model of one node: answers by intent, in words of its own, at the same price as the others.

What a call for a question costs does not depend on who makes it or in which words it answers: so
what was saved is what the calls would have cost that were not made, to the token.
"""

from __future__ import annotations

import asyncio
import random
import time

from answering.facts import facts_of
from answering.model import INSTRUCTION_TOKENS, RewordingModel
from answering.rewording import worded

__all__ = ["CountingModel", "price_of"]


def price_of(question: str, intent: str) -> int:
    """Give the tokens of a call: instructions, the question, and the usual words of an answer."""
    answer = worded(facts_of(intent), random.Random(intent))
    return INSTRUCTION_TOKENS + _tokens(question) + _tokens(answer)


class CountingModel:
    """Waits, answers and counts. Used from one event loop.

    Args:
        seed: Draws the words; another on each node.
        latency_s: What a call takes.

    Attributes:
        calls: How often it was called.
        tokens: What that cost.
        intents: Each answer it gave, with what it was asked for.
        answered: When the last call for a text came back, in seconds of the machine's clock.
    """

    def __init__(self, seed: int, *, latency_s: float) -> None:
        self._model = RewordingModel(seed)
        self._latency_s = latency_s
        self.calls = 0
        self.tokens = 0
        self.intents: dict[str, str] = {}
        self.answered: dict[str, float] = {}

    async def answer(self, question: str, intent: str) -> str:
        """Answer a question."""
        self.calls += 1
        self.tokens += price_of(question, intent)
        await asyncio.sleep(self._latency_s)
        text = self._model.answer(question, intent).answer
        self.intents[text] = intent
        self.answered[question] = time.monotonic()
        return text


def _tokens(text: str) -> int:
    return -(-len(text.split()) * 4 // 3)
