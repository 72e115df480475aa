"""Word of changes to those who asked for it, off the feed's thread."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from prism.ffi._replica import Applied

__all__ = ["ChangeNotice", "Notices"]

_log = logging.getLogger("prism.ffi")

_MOST_IDS: Final = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeNotice:
    """What has changed in the replica; reads see it already.

    Attributes:
        table: Full name of the table; empty when all tables may have changed.
        upserted: Ids of rows that are new or changed.
        deleted: Ids of rows that are gone.
        is_reset: Whether the whole replica was replaced: ids are not listed, look again at
            everything.
        is_incomplete: Whether earlier notices were dropped because callbacks were too slow: look
            again at everything.
    """

    table: str
    upserted: Sequence[str] = ()
    deleted: Sequence[str] = ()
    is_reset: bool = False
    is_incomplete: bool = False


Callback = Callable[[ChangeNotice], Awaitable[None] | None]


class Notices:
    """Call back in a thread of its own, in order. At most 100,000 ids wait."""

    def __init__(self) -> None:
        self._callbacks: tuple[tuple[Callback, asyncio.AbstractEventLoop | None], ...] = ()
        self._waiting: deque[ChangeNotice] = deque()
        self._ids = 0
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread: threading.Thread | None = None
        self._lost = False
        self.missed = 0

    def add(self, callback: Callback) -> Callable[[], None]:
        """Call back on every change from now on; gives what ends it.

        A coroutine function is run in the event loop that runs now, and awaited.
        """
        loop = None
        if inspect.iscoroutinefunction(callback):
            loop = asyncio.get_running_loop()
        entry = (callback, loop)
        with self._changed:
            self._callbacks = (*self._callbacks, entry)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="prism-driver-notices", daemon=True
                )
                self._thread.start()

        def end() -> None:
            with self._changed:
                self._callbacks = tuple(one for one in self._callbacks if one is not entry)

        return end

    def put(self, applied: Applied) -> None:
        """Tell of a change; returns at once."""
        if not self._callbacks:
            return
        notice = ChangeNotice(
            table=applied.table,
            upserted=tuple(applied.upserted),
            deleted=tuple(applied.deleted),
            is_reset=not applied.table,
        )
        size = len(notice.upserted) + len(notice.deleted)
        with self._changed:
            if self._ids + size > _MOST_IDS and self._waiting:
                self.missed += 1
                self._lost = True
                return
            self._waiting.append(notice)
            self._ids += size
            self._changed.notify()

    def close(self) -> None:
        """Call back no more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._lost and not self._is_closed:
                    self._changed.wait()
                if self._is_closed:
                    return
                if self._waiting:
                    notice = self._waiting.popleft()
                    self._ids -= len(notice.upserted) + len(notice.deleted)
                else:
                    notice = ChangeNotice(table="")
                if self._lost and not self._waiting:
                    notice = replace(notice, is_incomplete=True)
                    self._lost = False
            for callback, loop in self._callbacks:
                self._call(callback, loop, notice)

    def _call(
        self, callback: Callback, loop: asyncio.AbstractEventLoop | None, notice: ChangeNotice
    ) -> None:
        try:
            if loop is None:
                callback(notice)
            else:
                asyncio.run_coroutine_threadsafe(_awaited(callback, notice), loop).result()
        except Exception:  # noqa: BLE001  a user's callback may raise anything
            if not self._is_closed:
                _log.exception("a callback of on_change failed")


async def _awaited(callback: Callback, notice: ChangeNotice) -> None:
    result = callback(notice)
    if result is not None:
        await result
