"""A stand-in for a language model: it knows the facts, and never uses the same words twice."""

from __future__ import annotations

import random
import threading
from collections import Counter

from answering.facts import facts_of
from answering.rewording import worded
from prism.cache import Reply, Usage

LLM = "gpt-4o"
"""The model in whose name it answers, by which savings are priced."""
INSTRUCTION_TOKENS = 500
"""Input tokens of each call beside the question."""


class RewordingModel:
    """Answers by intent. Safe for threads.

    An answer depends on the seed, on the intent, and on how many times the intent was asked for: so
    a run with the same seed gets the same answers, also when another thread asks in between.

    Args:
        seed: Draws the words.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._lock = threading.Lock()
        self._calls: Counter[str] = Counter()
        self._intents: dict[str, str] = {}
        self._tokens = 0

    @property
    def calls(self) -> int:
        """How many times it was called."""
        with self._lock:
            return self._calls.total()

    @property
    def tokens(self) -> int:
        """Input and output tokens of all calls."""
        with self._lock:
            return self._tokens

    def answer(self, question: str, intent: str) -> Reply[str]:
        """Answer a question, in words that no answer had before."""
        facts = facts_of(intent)
        with self._lock:
            turn = self._calls[intent]
            self._calls[intent] += 1
            rng = random.Random(f"{self._seed}/{intent}/{turn}")
            text = worded(facts, rng)
            while text in self._intents:
                text = worded(facts, rng)
            self._intents[text] = intent
            usage = Usage(
                input_tokens=INSTRUCTION_TOKENS + _tokens(question), output_tokens=_tokens(text)
            )
            self._tokens += usage.input_tokens + usage.output_tokens
        return Reply(text, usage)

    def intent_of(self, answer: str) -> str:
        """Tell which intent an answer was given for.

        Raises:
            KeyError: It was never given.
        """
        with self._lock:
            return self._intents[answer]


def _tokens(text: str) -> int:
    """Estimate tokens: four for three words, near enough for English."""
    return -(-len(text.split()) * 4 // 3)
