"""Checks of hits: ask the model again, beside the caller, in a thread or in a task of its loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any, TypeAlias

from prism.cache._call import Call
from prism.cache._codec import EncodedAnswer
from prism.cache._metrics import Ledger
from prism.cache._pricing import PriceBook, Usage, estimate_tokens
from prism.cache._reply import Reply
from prism.cache._threads import start_in_own_thread

__all__ = ["Again", "AgainAsync", "Checks", "running_loop"]

Answered: TypeAlias = "tuple[Reply[Any], EncodedAnswer | None]"
Again: TypeAlias = Callable[[], Answered]
"""Asks the model once more what was asked, in a thread."""
AgainAsync: TypeAlias = Callable[[], Coroutine[Any, Any, Answered]]
"""The same in a task of the caller's loop."""

# Checks that may be with the model at a time: a slow model must not pile them up.
_CHECKS_AT_ONCE = 2


class Checks:
    """The checks that are with the model. Safe for threads and tasks.

    Args:
        ledger: Where they are counted.
        prices: Where their cost is added up.
        survive: Wraps a piece of work: counts and logs what fails in it.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        prices: PriceBook,
        survive: Callable[[str], AbstractContextManager[None]],
        clock: Callable[[], float],
    ) -> None:
        self._ledger = ledger
        self._prices = prices
        self._survive = survive
        self._clock = clock
        self._running: set[Future[None] | asyncio.Task[None]] = set()

    def begin(
        self,
        call: Call,
        again: Again | AgainAsync,
        compare: Callable[[Reply[Any], EncodedAnswer], None],
    ) -> None:
        """Ask the model again, unless enough is being asked, and give its answer to `compare`."""
        if len(self._running) >= _CHECKS_AT_ONCE:
            return
        loop = running_loop()
        self._ledger.count("checks")

        def take(answered: Answered) -> None:
            reply, answer = answered
            self._note_cost(call, reply, answer)
            if answer is not None:
                compare(reply, answer)

        if loop is None or not asyncio.iscoroutinefunction(again):

            def ask() -> None:
                with self._survive("check"):
                    take(again())  # type: ignore[arg-type]  # the sync form, by its function

            future = start_in_own_thread(ask)
            self._running.add(future)
            future.add_done_callback(self._running.discard)
        else:

            async def aask() -> None:
                with self._survive("check"):
                    take(await again())

            task = loop.create_task(aask())
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    def settle(self, until_s: float) -> bool:
        """Wait for those in threads until a monotonic time; tell whether they are done."""
        for check in list(self._running):
            if isinstance(check, Future):
                try:
                    check.result(max(0.0, until_s - time.monotonic()))
                except TimeoutError:
                    return False
                except Exception:  # noqa: BLE001, S112  it was counted where it happened
                    continue
        return True

    def cancel(self) -> None:
        """Cancel those that are tasks."""
        for check in list(self._running):
            if isinstance(check, asyncio.Task) and not check.get_loop().is_closed():
                check.get_loop().call_soon_threadsafe(check.cancel)

    def _note_cost(self, call: Call, reply: Reply[Any], answer: EncodedAnswer | None) -> None:
        usage = reply.usage
        if usage is None:
            written = len(answer.payload) if answer is not None else 0
            usage = Usage(input_tokens=estimate_tokens(call.query), output_tokens=-(-written // 4))
        self._prices.note(
            reply.model or call.scope.model,
            usage,
            is_estimated=reply.usage is None,
            now=self._clock(),
        )


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Give the event loop that runs in this thread, if one does."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
