"""What a caller chooses for one question."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from prism.cache._settings import check_tags, check_ttl
from prism.cache.errors import CacheConfigurationError

__all__ = ["AskOptions"]


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
