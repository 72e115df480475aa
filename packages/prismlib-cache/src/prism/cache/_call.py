"""One question on its way: what its caller chose, what was found, which form the answer takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from prism.cache._codec import EncodedAnswer, decode, decode_chunks
from prism.cache._finder import Finding
from prism.cache._flights.async_streams import AsyncSharedStream
from prism.cache._flights.streams import SharedStream
from prism.cache._options import AskOptions
from prism.cache._pricing import Usage
from prism.cache._scope import Scope

__all__ = ["NOT_SERVED", "Call", "Outcome", "Replay", "in_form"]

NOT_SERVED = object()
"""Stands where an answer would: there is none that fits. `None` could be an answer."""

Replay: TypeAlias = Callable[[tuple[object, ...]], object]
"""Makes an iterator of stored chunks, of the kind that the caller reads."""


@dataclass(slots=True)
class Call:
    """One question.

    Attributes:
        scope: What must match exactly.
        query: The question.
        options: What its caller chose.
        finding: What was found so far.
        asked_s: When it was asked, by the performance counter.
        removals: The shelf's `removal_count` when it was asked. Together with the key it names the
            flight: who asks after a removal must not get what was fetched before it.
        call_s: Seconds that its call to the model took.
        again: Asks the model once more, to check a hit; `None` while nobody may.
    """

    scope: Scope
    query: str
    options: AskOptions
    finding: Finding
    asked_s: float
    removals: int
    call_s: float = 0.0
    again: Callable[[], Any] | None = None

    @property
    def flight(self) -> tuple[bytes, int]:
        """Name of the flight."""
        return self.finding.key, self.removals


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the leader of a flight shares: what it found, an answer at rest, or a live stream."""

    model: str = ""
    usage: Usage | None = None
    answer: EncodedAnswer | None = None
    stream: SharedStream[object] | AsyncSharedStream[object] | None = None
    finding: Finding | None = None


def in_form(answer: EncodedAnswer, replayed: Replay, *, stream: bool | None) -> object:
    """Give a fresh copy in the form the caller wants: as it was stored if that is `None`.

    Raises:
        ValueError: It cannot be read.
    """
    if answer.is_stream if stream is None else stream:
        return replayed(tuple(decode_chunks(answer)))
    return decode(answer)
