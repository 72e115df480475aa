"""A stand-in for a language model: slow, never in the same words twice running, and billed.

It is a lookup in the corpus behind a wait. What it imitates is what a cache has to live with.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _faq import Faq

__all__ = ["MockLLM", "MockReply"]

SYSTEM_PROMPT_TOKENS = 500
"""Input tokens of each call beside the question: instructions and a page of the handbook."""

_OPENINGS = ("", "Sure. ", "Happy to help! ", "Good question. ")
_CLOSINGS = ("", " Is there anything else I can do for you?", " Let me know how it goes.")


@dataclass(frozen=True, slots=True)
class MockReply:
    """An answer with the usage that a provider would report."""

    text: str
    input_tokens: int
    output_tokens: int


class MockLLM:
    """Answers the questions of a corpus, each call in other words.

    Safe to call from several threads at once.

    Args:
        faq: What it knows.
        latency_s: How long a call waits, in place of the network and the model. Real ones take ten
            times the default of the demo and more.
    """

    def __init__(self, faq: Faq, *, latency_s: float) -> None:
        self._entry_by_question = {q: entry for entry in faq.entries for q in entry.questions}
        self._entry_id_by_answer: dict[str, str] = {}
        self._calls: Counter[str] = Counter()
        self._latency_s = latency_s
        self._lock = threading.Lock()

    @property
    def calls(self) -> int:
        """How many times `answer` was called."""
        with self._lock:
            return self._calls.total()

    def answer(self, question: str) -> MockReply:
        """Wait, then answer. Costs one call.

        Raises:
            KeyError: The question is not in the corpus.
        """
        entry = self._entry_by_question[question]
        with self._lock:
            turn = self._calls[entry.id]
            self._calls[entry.id] += 1
        time.sleep(self._latency_s)
        reply = self._worded(question, turn)
        with self._lock:
            self._entry_id_by_answer[reply.text] = entry.id
        return reply

    def usage_of(self, question: str) -> tuple[int, int]:
        """Return the input and output tokens of a first call, without making it."""
        reply = self._worded(question, 0)
        return reply.input_tokens, reply.output_tokens

    def entry_id_of(self, answer: str) -> str:
        """Return the entry that an answer was made from, which tells a wrong hit from a right one.

        Raises:
            KeyError: The model never gave this answer.
        """
        with self._lock:
            return self._entry_id_by_answer[answer]

    def _worded(self, question: str, turn: int) -> MockReply:
        answers = self._entry_by_question[question].answers
        text = (
            _OPENINGS[turn % len(_OPENINGS)]
            + answers[turn % len(answers)]
            + _CLOSINGS[turn % len(_CLOSINGS)]
        )
        return MockReply(text, SYSTEM_PROMPT_TOKENS + _tokens(question), _tokens(text))


def _tokens(text: str) -> int:
    """Estimate tokens: four for each three words, near enough for English."""
    return -(-len(text.split()) * 4 // 3)
