"""What a user chooses, checked once."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass

from prism.cache._admission.defaults import ADMISSION_RULES
from prism.cache._admission.rule import AdmissionRule, check_rules
from prism.cache.errors import CacheConfigurationError

__all__ = ["CacheSettings", "check_tags", "check_ttl"]


# Below this hardly an entry fits: with a vector of 384 one takes about 8 kB.
_LEAST_BYTES = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSettings:
    """Settings of one cache.

    Attributes:
        tenant_id: Whose cache it is. Two tenants share nothing.
        llm_model: The model that answers, by its provider's name: part of the scope, and the name
            under which prices are looked up.
        max_error: Share of requests that may be answered wrongly, above 0 and at most .2. The bar
            that hits must reach follows from it, from experience at first and then from what the
            cache learns of its own traffic; raising it gives more hits and more wrong ones.
        learn: Whether it learns. Each answer to a miss is embedded then, beside the caller, and
            compared with the stored one. If not, experience decides for good.
        shadow: Share of requests, in the long run, for which the model is asked again although the
            cache has answered, to see whether it answered well: 0 for never, at most .2. It calls
            `call_fn` a second time, beside the caller, and costs as much as a miss. The first 100
            requests of a scope are free of it; up to .04 more come on top while a scope is young,
            half of that after 500 requests. Raising it finds wrong answers and drift sooner.
        similarity_threshold: A plain cosine from which a stored answer is served, instead of
            `max_error`: no gap, no guards, nothing learned. Raising it gives fewer hits and fewer
            wrong ones.
        strict: Lets two more guards forbid hits: replaced words and other people. Fewer wrong
            answers on traffic full of look-alikes, about a fifth fewer hits on paraphrases.
        path: A file that keeps answers over restarts and shares them between processes.
        ttl_s: Seconds until a stored answer expires; `None` for never.
        max_bytes: Estimated memory, vectors included, above which entries are evicted.
        max_entries: Number of entries above which entries are evicted.
        admission: Rules for what is not cached, see `AdmissionRule`; `None` or `()` for no rules.
        wait_timeout_s: How long a question waits for the same question of another caller before it
            calls the model itself.
    """

    tenant_id: str
    llm_model: str
    max_error: float = 0.01
    learn: bool = True
    shadow: float = 0.015
    similarity_threshold: float | None = None
    strict: bool = False
    path: str | os.PathLike[str] | None = None
    ttl_s: float | None = None
    max_bytes: int = 256 * 2**20
    max_entries: int = 100_000
    admission: tuple[AdmissionRule, ...] = ADMISSION_RULES
    wait_timeout_s: float = 60.0

    def __post_init__(self) -> None:
        for name in ("tenant_id", "llm_model"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value.strip():
                raise CacheConfigurationError(f"{name} must be a string that names something")
        _check_number("max_error", self.max_error, above=0, at_most=0.2)
        if self.similarity_threshold is not None:
            _check_number("similarity_threshold", self.similarity_threshold, above=0, at_most=1)
        check_ttl(self.ttl_s)
        for name, least in (("max_bytes", _LEAST_BYTES), ("max_entries", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise CacheConfigurationError(
                    f"{name} must be a whole number from {least:,}, not {value!r}"
                )
        for name in ("strict", "learn"):
            if not isinstance(getattr(self, name), bool):
                raise CacheConfigurationError(
                    f"{name} must be True or False, not {getattr(self, name)!r}"
                )
        if isinstance(self.shadow, bool) or self.shadow != 0:
            _check_number("shadow", self.shadow, above=0, at_most=0.2)
        object.__setattr__(self, "admission", check_rules(self.admission))
        if not isinstance(self.path, (str, os.PathLike, type(None))):
            raise CacheConfigurationError(f"path must be a path, not a {type(self.path).__name__}")
        _check_number("wait_timeout_s", self.wait_timeout_s, above=0)
        if self.path is not None and not os.fspath(self.path):
            raise CacheConfigurationError("path is empty: leave it out to keep answers in memory")


def check_ttl(ttl_s: float | None) -> None:
    """Refuse a time to live that is not above 0.

    Raises:
        CacheConfigurationError: It is not.
    """
    if ttl_s is not None:
        _check_number("ttl_s", ttl_s, above=0)


def check_tags(tags: object) -> tuple[str, ...]:
    """Make tags a tuple of strings.

    Raises:
        CacheConfigurationError: A string was given where a list of strings is meant, or another
            type.
    """
    if isinstance(tags, Iterable) and not isinstance(tags, (str, bytes)):
        given = tuple(tags)
        if all(isinstance(tag, str) for tag in given):
            return tuple(sorted(set(given)))
        raise CacheConfigurationError("tags must be strings: one of them is not")
    raise CacheConfigurationError(f"tags must be a list of strings, not a {type(tags).__name__}")


def _check_number(name: str, value: object, *, above: float, at_most: float = math.inf) -> None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not above < value <= at_most:  # type: ignore[operator]  # a number by now
        bound = f" and at most {at_most:g}" if at_most < math.inf else ""
        raise CacheConfigurationError(
            f"{name} must be a number above {above:g}{bound}, not {value!r}"
        )
