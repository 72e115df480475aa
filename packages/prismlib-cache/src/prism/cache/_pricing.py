"""What hits saved, in tokens and dollars.

Prices come from `genai-prices`, at the moment of the hit. It takes about a tenth of a second to
import, so hits only note what they saved and the notes are priced when somebody asks.
"""

from __future__ import annotations

import logging
import math
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from prism.cache._counting import Tally
from prism.cache.errors import CacheConfigurationError

__all__ = ["PriceBook", "Savings", "Usage", "estimate_tokens"]

_log = logging.getLogger("prism.cache")

# Prices change by the day, a few by the hour: hits of one hour and one usage are one note.
_HOUR_S = 3600
_MANY_NOTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens that one call took, as the provider reported them.

    Attributes:
        input_tokens: Prompt tokens, cached ones included.
        output_tokens: Answer tokens, reasoning included.
        cached_tokens: The part of the input that was billed as cached.

    Raises:
        CacheConfigurationError: A number is not whole or below 0, or more was cached than read.
    """

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0

    def __post_init__(self) -> None:
        for name in ("input_tokens", "output_tokens", "cached_tokens"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise CacheConfigurationError(
                    f"{name} must be a whole number from 0, not {value!r}"
                )
        if self.cached_tokens > self.input_tokens:
            raise CacheConfigurationError(
                f"cached_tokens are a part of input_tokens: {self.cached_tokens} is more than "
                f"{self.input_tokens}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Savings:
    """What hits saved so far.

    Attributes:
        tokens: Input and output tokens of the calls that hits replaced, reported and estimated.
        tokens_estimated: The part of `tokens` that no provider reported.
        usd: Price of those calls. Not a number when there were hits and none has a known price.
        usd_estimated: The part of `usd` that rests on estimated tokens.
        unpriced_hits: Hits whose model has no known price; they are not in `usd`.
    """

    tokens: int = 0
    tokens_estimated: int = 0
    usd: float = 0.0
    usd_estimated: float = 0.0
    unpriced_hits: int = 0


def estimate_tokens(text: str) -> int:
    """Guess how many tokens a text has: one for every four bytes of UTF-8.

    The rule of thumb that providers give for English; other languages have more tokens a byte.
    """
    return math.ceil(len(text.encode("utf-8", "surrogatepass")) / 4)


class PriceBook:
    """Adds up what hits saved. Safe for threads."""

    def __init__(self) -> None:
        self._notes = Tally[tuple[str, Usage, bool, int]]()
        # Taken before that of the notes.
        self._lock = threading.RLock()
        self._is_pricing = False
        self._priced_hits = 0
        self._savings = Savings()

    @property
    def locks(self) -> tuple[Any, ...]:
        """What must not be held by anybody while the process forks."""
        return self._lock, self._notes.lock

    def note(self, model: str, usage: Usage, *, is_estimated: bool, now: float) -> None:
        """Note one hit that replaced a call to `model`. `now` is in seconds since the epoch."""
        self._notes.add((model, usage, is_estimated, int(now // _HOUR_S)))
        if self._notes.kinds < _MANY_NOTES or self._is_pricing:
            return
        with self._lock:
            is_full = not self._is_pricing
            self._is_pricing = True
        if is_full:
            # Off the hot path: pricing 4,096 notes takes a third of a second.
            threading.Thread(target=self.savings, name="prism-cache-prices", daemon=True).start()

    def savings(self) -> Savings:
        """Price what was noted since the last call and give the sums."""
        notes = self._notes.take()
        priced = [(note, hits, _price(note[0], note[1], note[3])) for note, hits in notes.items()]
        with self._lock:
            self._is_pricing = False
            for (_, usage, is_estimated, _), hits, price in priced:
                self._add(usage, hits, price, is_estimated=is_estimated)
            if self._savings.unpriced_hits and not self._priced_hits:
                return Savings(
                    tokens=self._savings.tokens,
                    tokens_estimated=self._savings.tokens_estimated,
                    usd=math.nan,
                    unpriced_hits=self._savings.unpriced_hits,
                )
            return self._savings

    def _add(self, usage: Usage, hits: int, price: float | None, *, is_estimated: bool) -> None:
        tokens = hits * (usage.input_tokens + usage.output_tokens)
        usd = hits * (price or 0.0)
        self._priced_hits += hits if price is not None else 0
        so_far = self._savings
        self._savings = Savings(
            tokens=so_far.tokens + tokens,
            tokens_estimated=so_far.tokens_estimated + (tokens if is_estimated else 0),
            usd=so_far.usd + usd,
            usd_estimated=so_far.usd_estimated + (usd if is_estimated else 0.0),
            unpriced_hits=so_far.unpriced_hits + (hits if price is None else 0),
        )


def _price(model: str, usage: Usage, hour: int) -> float | None:
    import genai_prices

    tokens = genai_prices.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cached_tokens or None,
    )
    try:
        at = datetime.fromtimestamp(hour * _HOUR_S, tz=UTC)
        return float(genai_prices.calc_price(tokens, model, genai_request_timestamp=at).total_price)
    except LookupError:
        _log.debug("no price known for model %s", model)
    except (ArithmeticError, OSError, ValueError):
        _log.warning("the price table failed for model %s", model, exc_info=True)
    return None
