"""Ask PrismCache a whole stream, as a program would."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from answering.model import LLM, RewordingModel
from answering.streams import Request, Stream
from answering.tally import Tally
from prism.cache import PrismCache, Reply
from prismresonance.embed import Embedder

US = "PrismCache"
TARGETS = (0.01, 0.02, 0.05)

# What is learned of one request takes milliseconds.
_PATIENCE_S = 60.0

Track = Callable[[Iterable[Request]], Iterable[Request]]


def ask_stream(
    stream: Stream,
    embedder: Embedder,
    *,
    target: float,
    track: Track,
    pause_s: float | None = 0.0,
    admits_all: bool = False,
    **settings: Any,
) -> Tally:
    """Ask a new cache every request of a stream, one after the other.

    Nothing is known from inside: a request was a hit if the answer is not one that its own call
    gave, and a wrong one if the model gave that answer for another intent. Calls that are made
    beside (checks of hits) are counted with the model.

    Args:
        stream: The requests.
        embedder: The cache's embedder.
        target: The cache's `max_error`.
        track: Shows progress.
        pause_s: Time between an answer and the next request, in which the cache may do what it
            does in the background; `None` to wait until it is done, so that the same stream gives
            the same hits on every machine.
        admits_all: Ask a cache without admission rules.
        settings: Further settings of `PrismCache.build`.
    """
    model = RewordingModel(stream.seed)
    tally = Tally.of(stream, US, target, admits_all=admits_all)
    if admits_all:
        settings["admission"] = None
    length, answered = len(stream.requests), 0
    began = time.perf_counter()
    with PrismCache.build("bench", LLM, embedder=embedder, max_error=target, **settings) as cache:
        for request in track(stream.requests):
            question = Question(model, request)
            answer = cache.get_or_call(request.text, question.call)
            hit = answer not in question.own_answers
            wrong = hit and model.intent_of(answer) != request.intent
            answered += not hit
            tally.count(hit=hit, wrong=wrong, length=length)
            if pause_s is None:
                if not cache.settle(_PATIENCE_S):
                    raise TimeoutError(f"nothing was learned in {_PATIENCE_S:.0f} s")
            elif pause_s:
                time.sleep(pause_s)
        tally.seconds = time.perf_counter() - began
        metrics = cache.metrics().as_dict()
    # Closed: checks that were on their way are done or will never be.
    tally.calls, tally.tokens, tally.metrics = model.calls, model.tokens, metrics
    tally.checks = model.calls - answered
    return tally


class Question:
    """A request with the answers that the model gave for it.

    Attributes:
        own_answers: The texts, in the order of the calls.
    """

    def __init__(self, model: RewordingModel, request: Request) -> None:
        self._model, self._request = model, request
        self.own_answers: list[str] = []

    def call(self) -> Reply[str]:
        """Ask the model."""
        reply = self._model.answer(self._request.text, self._request.intent)
        self.own_answers.append(reply.answer)
        return reply
