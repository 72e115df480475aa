"""Ask from a thread; `_ask_async` is the same walk from a coroutine."""

from __future__ import annotations

import contextlib
import functools
import inspect
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import Any

from prism.cache._call import NOT_SERVED, Call, Outcome
from prism.cache._codec import EncodedAnswer, encode, encode_chunks, whole_of
from prism.cache._engine import Engine
from prism.cache._flights.single_flight import Alone, AloneReason, Lead, Shared
from prism.cache._flights.stream_sources import replay
from prism.cache._flights.streams import SharedStream, StreamReader
from prism.cache._options import AskOptions
from prism.cache._reply import Reply
from prism.cache._scope import Scope
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
        return _call_alone(engine, call, call_fn)
    engine.catch_up()
    engine.find_exact(call)
    is_admitted = engine.admits(call)
    served = engine.serve(call, replay)
    if served is not NOT_SERVED:
        return served
    if not is_admitted:
        return _call_alone(engine, call, call_fn)
    turn = engine.flights.join(call.flight, timeout_s=engine.settings.wait_timeout_s)
    if isinstance(turn, Shared):
        served = engine.serve_shared(call, turn.result, None)
        if options.stream is False and isinstance(served, StreamReader):
            served = _drain(served)
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
            engine.find_similar(call)
        call.again = functools.partial(_ask_again, engine, call, call_fn)
        served = engine.serve(call, replay)
        if served is not NOT_SERVED:
            engine.share_finding(call, lead)
            return served
        return _call_model(engine, call, call_fn, lead)


def _call_alone(engine: Engine, call: Call, call_fn: Callable[[], object]) -> object:
    """Call the model for this caller, and store nothing."""
    reply, _ = _invoke(engine, call, call_fn)
    return engine.alone(call, reply.answer, replay)


def _call_model(
    engine: Engine, call: Call, call_fn: Callable[[], object], lead: Lead[Outcome] | None
) -> object:
    """Call the model, for those who wait too if there is a `lead`."""
    called_s = time.perf_counter()
    reply, encoded = _invoke(engine, call, call_fn)
    call.call_s = time.perf_counter() - called_s
    if not isinstance(reply.answer, Iterator):
        engine.store(call, reply, encoded)
        engine.share(call, reply, encoded, lead)
        return engine.formed(call, reply.answer, replay)

    def complete(chunks: tuple[object, ...]) -> None:
        call.call_s = time.perf_counter() - called_s
        engine.store(call, reply, encode_chunks(chunks))
        if lead is not None:
            lead.close()

    stream = SharedStream[object](
        reply.answer,
        on_complete=complete,
        on_abandon=lambda error: engine.abandon(lead, error),
        on_error=engine.stream_failed,
    )
    reader = stream.attach()
    engine.share_stream(call, reply, stream, lead)
    return reader


def _ask_again(
    engine: Engine, call: Call, call_fn: Callable[[], object]
) -> tuple[Reply[Any], EncodedAnswer | None]:
    """Call the model once more, and read a stream to its end."""
    return _invoke(engine, replace(call, options=replace(call.options, stream=False)), call_fn)


def _invoke(
    engine: Engine, call: Call, call_fn: Callable[[], object]
) -> tuple[Reply[Any], EncodedAnswer | None]:
    """Call the model; a stream that is wanted whole is read to its end."""
    with engine.calling():
        result = call_fn()
        reply = result if isinstance(result, Reply) else Reply(result)
        answer = reply.answer
        if inspect.isawaitable(answer) or isinstance(answer, AsyncIterator):
            if inspect.iscoroutine(answer):
                answer.close()
            raise CallError(
                f"call_fn returned a {type(answer).__name__}, which only aget_or_call can await"
            )
        if not isinstance(answer, Iterator):
            return reply, encode(answer)
        if call.options.stream is not False:
            return reply, None
        chunks = list(answer)
    return reply.with_answer(whole_of(chunks)), encode_chunks(chunks)


def _drain(reader: StreamReader[object]) -> object:
    """Read a live stream of another caller to its end; if it breaks off it was not ours."""
    try:
        return whole_of(list(reader))
    except Exception:  # noqa: BLE001  the leader's caller gets it; this one calls for itself
        return NOT_SERVED
