"""Ask from a coroutine; `_ask_sync` is the same walk from a thread.

What would hold up the event loop leaves it: reading the store, embedding and storing go to pools, a
sync `call_fn` gets a thread of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any, cast

from prism.cache._call import NOT_SERVED, Call, Outcome
from prism.cache._codec import EncodedAnswer, encode, encode_chunks, whole_of
from prism.cache._engine import Engine
from prism.cache._flights.async_streams import AsyncSharedStream, AsyncStreamReader
from prism.cache._flights.single_flight import Alone, AloneReason, Lead, Shared
from prism.cache._flights.stream_sources import areplay, iterate_in_threads
from prism.cache._options import AskOptions
from prism.cache._reply import Reply
from prism.cache._scope import Scope
from prism.cache._threads import OwnThreads, run_in_own_thread, run_in_pool

__all__ = ["ask"]


async def ask(
    engine: Engine, scope: Scope, query: str, call_fn: Callable[[], object], options: AskOptions
) -> object:
    """Answer a question; see `ScopedCache.aget_or_call`."""
    call = engine.begin(scope, query, call_fn, options)
    if options.bypass:
        return await _call_alone(engine, call, call_fn)
    if engine.is_behind:
        await run_in_pool("store", engine.catch_up)
    engine.find_exact(call)
    is_admitted = engine.admits(call)
    served = engine.serve(call, areplay)
    if served is not NOT_SERVED:
        return served
    if not is_admitted:
        return await _call_alone(engine, call, call_fn)
    turn = await engine.flights.ajoin(call.flight, timeout_s=engine.settings.wait_timeout_s)
    if isinstance(turn, Shared):
        served = engine.serve_shared(call, turn.result, asyncio.get_running_loop())
        if options.stream is False and isinstance(served, AsyncStreamReader):
            served = await _drain(served)
            if served is not NOT_SERVED:
                engine.count_shared(call, turn.result)
        if served is not NOT_SERVED:
            return served
    lead = turn if isinstance(turn, Lead) else None
    # What holds the leader up, the embedder perhaps, would hold this caller up as well.
    waited_in_vain = isinstance(turn, Alone) and turn.reason is AloneReason.TIMEOUT
    with lead or contextlib.nullcontext():
        # The leader before us may have stored it between our look and our turn.
        engine.find_exact(call)
        if not waited_in_vain:
            await run_in_pool("embed", lambda: engine.find_similar(call))

        async def again() -> tuple[Reply[Any], EncodedAnswer | None]:
            whole = replace(call, options=replace(call.options, stream=False))
            return await _invoke(engine, whole, call_fn)

        call.again = again
        served = engine.serve(call, areplay)
        if served is not NOT_SERVED:
            engine.share_finding(call, lead)
            return served
        return await _call_model(engine, call, call_fn, lead)


async def _call_alone(engine: Engine, call: Call, call_fn: Callable[[], object]) -> object:
    """Call the model for this caller, and store nothing."""
    reply, _ = await _invoke(engine, call, call_fn)
    return engine.alone(call, reply.answer, areplay)


async def _call_model(
    engine: Engine, call: Call, call_fn: Callable[[], object], lead: Lead[Outcome] | None
) -> object:
    """Call the model, for those who wait too if there is a `lead`."""
    called_s = time.perf_counter()
    reply, encoded = await _invoke(engine, call, call_fn)
    call.call_s = time.perf_counter() - called_s
    if not isinstance(reply.answer, AsyncIterator):
        try:
            await _store(engine, call, reply, encoded)
        finally:
            # Also if this caller is cancelled while it is stored: the answer is known.
            engine.share(call, reply, encoded, lead)
        return engine.formed(call, reply.answer, areplay)

    async def complete(chunks: tuple[object, ...]) -> None:
        call.call_s = time.perf_counter() - called_s
        await _store(engine, call, reply, encode_chunks(chunks))
        if lead is not None:
            lead.close()

    stream = AsyncSharedStream[object](
        reply.answer,
        on_complete=complete,
        on_abandon=lambda error: engine.abandon(lead, error),
        on_error=engine.stream_failed,
    )
    reader = stream.attach()
    engine.share_stream(call, reply, stream, lead)
    return reader


async def _invoke(
    engine: Engine, call: Call, call_fn: Callable[[], object]
) -> tuple[Reply[Any], EncodedAnswer | None]:
    """Call the model; a stream that is wanted whole is read to its end."""
    with engine.calling():
        if inspect.iscoroutinefunction(call_fn) or inspect.isasyncgenfunction(call_fn):
            result: object = call_fn()
        else:
            result = await run_in_own_thread(call_fn)
        if inspect.isawaitable(result):
            result = await cast("Awaitable[object]", result)
        reply = result if isinstance(result, Reply) else Reply(result)
        answer = reply.answer
        if inspect.isawaitable(answer):
            answer = await cast("Awaitable[object]", answer)
        if isinstance(answer, Iterator):
            answer = iterate_in_threads(answer, executor=OwnThreads())
        if not isinstance(answer, AsyncIterator):
            return reply.with_answer(answer), encode(answer)
        if call.options.stream is not False:
            return reply.with_answer(answer), None
        chunks = [chunk async for chunk in answer]
    return reply.with_answer(whole_of(chunks)), encode_chunks(chunks)


async def _drain(reader: AsyncStreamReader[object]) -> object:
    """Read a live stream of another caller to its end; if it breaks off it was not ours."""
    try:
        return whole_of([chunk async for chunk in reader])
    except Exception:  # noqa: BLE001  the leader's caller gets it; this one calls for itself
        return NOT_SERVED


async def _store(
    engine: Engine, call: Call, reply: Reply[Any], encoded: EncodedAnswer | None
) -> None:
    if engine.is_durable:
        await run_in_pool("store", lambda: engine.store(call, reply, encoded))
    else:
        engine.store(call, reply, encoded)
