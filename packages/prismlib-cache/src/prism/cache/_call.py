"""One question on its way: what its caller chose, what was found, which form the answer takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from prism.cache._codec import EncodedAnswer, decode, decode_chunks
from prism.cache._finder import Finding
from prism.cache._flights.async_streams import AsyncSharedStream
from prism.cache._flights.streams import SharedStream
from prism.cache._pricing import Usage
from prism.cache._scope import Scope
from prism.cache._settings import check_tags, check_ttl
from prism.cache.errors import CacheConfigurationError

__all__ = ["NOT_SERVED", "AskOptions", "Call", "Outcome", "Replay", "in_form"]

NOT_SERVED = object()
"""Stands where an answer would: there is none that fits. `None` could be an answer."""

Replay: TypeAlias = Callable[[tuple[object, ...]], object]
"""Makes an iterator of stored chunks, of the kind that the caller reads."""


@dataclass(frozen=True, slots=True)
class AskOptions:
    """What a caller chose for one question; see `ScopedCache.get_or_call`."""

    ttl_s: float | None
    tags: tuple[str, ...]
    bypass: bool
    stream: bool | None
    admit: bool

    @classmethod
    def of(
        cls,
        *,
        ttl_s: float | None = None,
        tags: Iterable[str] = (),
        bypass: bool = False,
        stream: bool | None = None,
        admit: bool | None = None,
    ) -> AskOptions:
        """Check the choices.

        Raises:
            CacheConfigurationError: One of them makes no sense.
        """
        if ttl_s is None and tags == () and not bypass and stream is None and admit is None:
            return _DEFAULTS
        check_ttl(ttl_s)
        if admit not in (None, True, False):
            raise CacheConfigurationError(f"admit must be True, False or None, not {admit!r}")
        if admit and bypass:
            raise CacheConfigurationError("admit=True and bypass=True exclude each other")
        return cls(
            ttl_s=ttl_s,
            tags=check_tags(tags),
            bypass=bypass or admit is False,
            stream=stream,
            admit=bool(admit),
        )


_DEFAULTS = AskOptions(ttl_s=None, tags=(), bypass=False, stream=None, admit=False)


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
