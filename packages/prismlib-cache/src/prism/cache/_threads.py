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
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["OwnThreads", "run_in_own_thread", "run_in_pool", "start_in_own_thread"]

Result = TypeVar("Result")

# An embedder may be a network call, a store may wait for another process: neither may hold up the
# other, nor those of another cache. Threads are started as they are needed.
_POOL_THREADS = 32
_pools: dict[str, ThreadPoolExecutor] = {}
_pools_lock = threading.Lock()


async def run_in_pool(name: str, work: Callable[[], Result]) -> Result:
    """Do work in threads that all caches share by name. It must not wait for other questions."""
    context = contextvars.copy_context()
    try:
        running = asyncio.get_running_loop().run_in_executor(_pool(name), context.run, work)
    except RuntimeError:
        # The interpreter is ending and starts no threads any more.
        return work()
    return await running


async def run_in_own_thread(work: Callable[[], Result]) -> Result:
    """Do work of any length, such as a call to a model, in a thread of its own.

    If the caller is cancelled the thread goes on and its result is dropped. It does not keep the
    process alive.
    """
    return await asyncio.wrap_future(start_in_own_thread(work))


def start_in_own_thread(work: Callable[[], Result]) -> Future[Result]:
    """Do as `run_in_own_thread`, where nobody awaits it."""
    done: Future[Result] = Future()
    context = contextvars.copy_context()

    def run() -> None:
        if not done.set_running_or_notify_cancel():
            return
        try:
            result = context.run(work)
        except StopIteration as error:
            # A future cannot carry it, as a coroutine cannot raise it.
            done.set_exception(RuntimeError(f"call_fn raised {error!r}"))
        except BaseException as error:  # noqa: BLE001  it is raised where it is awaited
            done.set_exception(error)
        else:
            done.set_result(result)

    threading.Thread(target=run, name="prism-cache-call", daemon=True).start()
    return done


class OwnThreads(Executor):
    """Runs everything submitted in a thread of its own that does not keep the process alive."""

    def submit(
        self, fn: Callable[..., Result], /, *args: object, **kwargs: object
    ) -> Future[Result]:
        """Start a thread for it."""
        return start_in_own_thread(lambda: fn(*args, **kwargs))


def _pool(name: str) -> ThreadPoolExecutor:
    with _pools_lock:
        if name not in _pools:
            _pools[name] = ThreadPoolExecutor(_POOL_THREADS, f"prism-cache-{name}")
        return _pools[name]


def _forget_pools() -> None:
    """Begin anew in the child of a fork, where the threads of the pools do not exist."""
    global _pools_lock
    _pools.clear()
    _pools_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pools)
