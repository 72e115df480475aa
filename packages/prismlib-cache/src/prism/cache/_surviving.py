"""Go on without the cache where the cache itself fails."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from types import TracebackType

from prism.cache._metrics import Ledger

__all__ = ["Survival"]

_log = logging.getLogger("prism.cache")


class Survival:
    """Wraps pieces of work: counts and logs what goes wrong in them, and lets the app go on.

    Safe for threads and tasks. Each question is wrapped several times: a generator with the
    decorator of `contextlib` would take three times as long.

    Args:
        ledger: Where failures are counted.
    """

    __slots__ = ("_ledger",)

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def __call__(self, place: str) -> AbstractContextManager[None]:
        """Wrap a piece of work, to be counted under a name."""
        return _Piece(place, self._ledger)


class _Piece(AbstractContextManager[None]):
    __slots__ = ("_ledger", "_place")

    def __init__(self, place: str, ledger: Ledger) -> None:
        self._place = place
        self._ledger = ledger

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        # Whatever fails in here, the app gets its answer.
        if not isinstance(error, Exception):
            return False
        times = self._ledger.error(self._place)
        # The 1st, 10th, 100th... with all details: a store that stays away must not fill disks.
        is_told = str(times).strip("0") == "1"
        _log.log(
            logging.WARNING if is_told else logging.DEBUG,
            "the cache failed in %s, %d times so far, and goes on without",
            self._place,
            times,
            exc_info=error if is_told else None,
        )
        return True
