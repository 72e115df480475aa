"""A judge that the user gives: do two answers to two questions say the same?"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import asyncio

__all__ = ["Judge", "ask_judge"]

Judge: TypeAlias = "Callable[[str, str, str, str], bool | Awaitable[bool | None] | None]"
"""`judge(question_a, answer_a, question_b, answer_b)`: `True` if answer b would have been right for
question a, `False` if not, `None` if it cannot tell. May be async."""

_PATIENCE_S = 60.0


def ask_judge(
    judge: Judge,
    asked: str,
    fresh: str,
    stored_question: str,
    stored: str,
    loop: asyncio.AbstractEventLoop | None,
) -> bool | None:
    """Ask from a worker thread. An async judge runs on `loop`, or on a loop of its own.

    Raises:
        TypeError: It gave something else than a truth value or `None`.
        Exception: Whatever the judge raises.
    """
    verdict = judge(asked, fresh, stored_question, stored)
    if inspect.isawaitable(verdict):
        import asyncio

        awaited = _awaited(verdict)
        if loop is not None and loop.is_running():
            verdict = asyncio.run_coroutine_threadsafe(awaited, loop).result(_PATIENCE_S)
        else:
            with asyncio.Runner() as runner:
                verdict = runner.run(awaited)
    if verdict is not None and not isinstance(verdict, bool):
        raise TypeError(f"judge returned a {type(verdict).__name__}, not True, False or None")
    return verdict


async def _awaited(verdict: Awaitable[bool | None]) -> bool | None:
    import asyncio

    return await asyncio.wait_for(verdict, _PATIENCE_S)
