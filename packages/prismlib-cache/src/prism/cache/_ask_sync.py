"""Ask from a thread; `_ask_async` is the same walk from a coroutine."""

from __future__ import annotations

import contextlib
import inspect
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from prism.cache._call import NOT_SERVED, AskOptions, Call, Outcome
from prism.cache._codec import encode, encode_chunks
from prism.cache._engine import Engine
from prism.cache._reply import Reply
from prism.cache._scope import Scope
from prism.cache._single_flight import Lead, Shared
from prism.cache._stream_sources import replay
from prism.cache._streams import SharedStream
from prism.cache.errors import CallError

__all__ = ["ask"]


def ask(
    engine: Engine, scope: Scope, query: str, call_fn: Callable[[], object], options: AskOptions
) -> object:
    """Answer a question; see `ScopedCache.get_or_call`."""
    if inspect.iscoroutinefunction(call_fn) or inspect.isasyncgenfunction(call_fn):
        raise CallError("call_fn is async: await aget_or_call instead")
    call = engine.begin(scope, query, call_fn, options)
    if options.bypass:
        return engine.bypassed(_invoke(engine, call_fn))
    if not engine.find_exact(call):
        engine.find_similar(call)
    served = engine.serve(call, replay)
    if served is not NOT_SERVED:
        return served
    turn = engine.flights.join(call.finding.key, timeout_s=engine.settings.wait_timeout_s)
    if isinstance(turn, Shared):
        served = engine.serve_shared(call, turn.result, None)
        return served if served is not NOT_SERVED else _lead(engine, call, call_fn, None)
    return _lead(engine, call, call_fn, turn if isinstance(turn, Lead) else None)


def _lead(
    engine: Engine, call: Call, call_fn: Callable[[], object], lead: Lead[Outcome] | None
) -> object:
    """Call the model, for those who wait too if there is a `lead`."""
    with lead or contextlib.nullcontext():
        if lead is not None:
            served = engine.serve_again(call, replay, lead)
            if served is not NOT_SERVED:
                return served
        called_s = time.perf_counter()
        reply = _invoke(engine, call_fn)
        answer = reply.answer
        if isinstance(answer, Iterator):
            if call.options.stream is not False:
                return _share_stream(engine, call, reply, lead, called_s)
            encoded = encode_chunks(list(answer))
        else:
            encoded = encode(answer)
        call.call_s = time.perf_counter() - called_s
        engine.store(call, reply, encoded)
        return engine.end(call, reply, encoded, lead, replay)


def _share_stream(
    engine: Engine, call: Call, reply: Reply[Any], lead: Lead[Outcome] | None, called_s: float
) -> object:
    """Pass a stream through as it comes, to all who ask meanwhile, and store it when complete."""

    def complete(chunks: tuple[object, ...]) -> None:
        call.call_s = time.perf_counter() - called_s
        engine.store(call, reply, encode_chunks(chunks))
        if lead is not None:
            lead.close()

    def abandon(error: BaseException | None) -> None:
        engine.abandon(lead, error)

    stream = SharedStream[object](
        reply.answer, on_complete=complete, on_abandon=abandon, on_error=engine.stream_failed
    )
    reader = stream.attach()
    engine.share_stream(call, reply, stream, lead, called_s)
    return reader


def _invoke(engine: Engine, call_fn: Callable[[], object]) -> Reply[Any]:
    with engine.calling():
        result = call_fn()
        answer = result.answer if isinstance(result, Reply) else result
        if inspect.isawaitable(answer) or isinstance(answer, AsyncIterator):
            if inspect.iscoroutine(answer):
                answer.close()
            raise CallError(
                f"call_fn returned a {type(answer).__name__}, which only aget_or_call can await"
            )
    return result if isinstance(result, Reply) else Reply(result)
