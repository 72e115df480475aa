"""Ask from a coroutine; `_ask_sync` is the same walk from a thread.

What would hold up the event loop leaves it: embedding and storing go to a pool, a sync `call_fn`
gets a thread of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from prism.cache._async_streams import AsyncSharedStream
from prism.cache._call import NOT_SERVED, AskOptions, Call, Outcome
from prism.cache._codec import EncodedAnswer, encode, encode_chunks
from prism.cache._engine import Engine
from prism.cache._reply import Reply
from prism.cache._scope import Scope
from prism.cache._single_flight import Lead, Shared
from prism.cache._stream_sources import areplay, iterate_in_threads
from prism.cache._threads import run_in_own_thread, run_in_pool

__all__ = ["ask"]


async def ask(
    engine: Engine, scope: Scope, query: str, call_fn: Callable[[], object], options: AskOptions
) -> object:
    """Answer a question; see `ScopedCache.aget_or_call`."""
    call = engine.begin(scope, query, call_fn, options)
    if options.bypass:
        return engine.bypassed(await _invoke(engine, call_fn))
    if not engine.find_exact(call):
        await run_in_pool(lambda: engine.find_similar(call))
    served = engine.serve(call, areplay)
    if served is not NOT_SERVED:
        return served
    wait_s = engine.settings.wait_timeout_s
    turn = await engine.flights.ajoin(call.finding.key, timeout_s=wait_s)
    if isinstance(turn, Shared):
        served = engine.serve_shared(call, turn.result, asyncio.get_running_loop())
        return served if served is not NOT_SERVED else await _lead(engine, call, call_fn, None)
    return await _lead(engine, call, call_fn, turn if isinstance(turn, Lead) else None)


async def _lead(
    engine: Engine, call: Call, call_fn: Callable[[], object], lead: Lead[Outcome] | None
) -> object:
    """Call the model, for those who wait too if there is a `lead`."""
    with lead or contextlib.nullcontext():
        if lead is not None:
            served = engine.serve_again(call, areplay, lead)
            if served is not NOT_SERVED:
                return served
        called_s = time.perf_counter()
        reply = await _invoke(engine, call_fn)
        answer = reply.answer
        if isinstance(answer, AsyncIterator):
            if call.options.stream is not False:
                return _share_stream(engine, call, reply, lead, called_s)
            encoded = encode_chunks([chunk async for chunk in answer])
        else:
            encoded = encode(answer)
        call.call_s = time.perf_counter() - called_s
        await _store(engine, call, reply, encoded)
        return engine.end(call, reply, encoded, lead, areplay)


def _share_stream(
    engine: Engine, call: Call, reply: Reply[Any], lead: Lead[Outcome] | None, called_s: float
) -> object:
    """Pass a stream through as it comes, to all who ask meanwhile, and store it when complete."""

    async def complete(chunks: tuple[object, ...]) -> None:
        call.call_s = time.perf_counter() - called_s
        await _store(engine, call, reply, encode_chunks(chunks))
        if lead is not None:
            lead.close()

    def abandon(error: BaseException | None) -> None:
        engine.abandon(lead, error)

    stream = AsyncSharedStream[object](
        reply.answer, on_complete=complete, on_abandon=abandon, on_error=engine.stream_failed
    )
    reader = stream.attach()
    engine.share_stream(call, reply, stream, lead, called_s)
    return reader


async def _invoke(engine: Engine, call_fn: Callable[[], object]) -> Reply[Any]:
    with engine.calling():
        if inspect.iscoroutinefunction(call_fn) or inspect.isasyncgenfunction(call_fn):
            result: object = call_fn()
        else:
            result = await run_in_own_thread(call_fn)
        if inspect.isawaitable(result):
            result = await cast("Awaitable[object]", result)
    reply = result if isinstance(result, Reply) else Reply(result)
    if isinstance(reply.answer, Iterator):
        # One thread, so that a source which is not safe for threads sees only one.
        source = iterate_in_threads(
            reply.answer, executor=ThreadPoolExecutor(1, "prism-cache-stream")
        )
        return Reply(source, reply.usage, reply.model)
    return reply


async def _store(
    engine: Engine, call: Call, reply: Reply[Any], encoded: EncodedAnswer | None
) -> None:
    if engine.is_durable:
        await run_in_pool(lambda: engine.store(call, reply, encoded))
    else:
        engine.store(call, reply, encoded)
