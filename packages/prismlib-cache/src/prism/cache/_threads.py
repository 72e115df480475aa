"""Where coroutines send work that would hold up their event loop.

Not to the loop's own pool: an app that runs `get_or_call` in that pool can fill it with callers who
wait for one leader, and the leader's own work would queue behind them.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["run_in_own_thread", "run_in_pool"]

Result = TypeVar("Result")

# Embedding and storing: a few milliseconds each, and they wait for nobody. More threads than this
# would only take turns on the processor.
_POOL_THREADS = min(8, (os.cpu_count() or 1) + 2)
_pool: ThreadPoolExecutor | None = None
_pool_lock = threading.Lock()


async def run_in_pool(work: Callable[[], Result]) -> Result:
    """Do short work in a thread that all caches share. `work` must not wait for other questions."""
    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(_shared_pool(), context.run, work)


async def run_in_own_thread(work: Callable[[], Result]) -> Result:
    """Do work of any length, such as a call to a model, in a thread of its own.

    If the caller is cancelled the thread goes on and its result is dropped. It does not keep the
    process alive.
    """
    done: Future[Result] = Future()
    context = contextvars.copy_context()

    def run() -> None:
        if not done.set_running_or_notify_cancel():
            return
        try:
            result = context.run(work)
        except BaseException as error:  # noqa: BLE001  it is raised where it is awaited
            done.set_exception(error)
        else:
            done.set_result(result)

    threading.Thread(target=run, name="prism-cache-call", daemon=True).start()
    return await asyncio.wrap_future(done)


def _shared_pool() -> ThreadPoolExecutor:
    global _pool
    with _pool_lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(_POOL_THREADS, thread_name_prefix="prism-cache")
        return _pool


def _forget_pool() -> None:
    """Begin anew in the child of a fork, where the threads of the pool do not exist."""
    global _pool, _pool_lock
    _pool, _pool_lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)
