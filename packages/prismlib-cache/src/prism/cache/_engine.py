"""Answer a question: from the shelf, from a call in flight, or by a call of one's own.

    sweep, sync ─▶ exact ─▶ embed, similar ─▶ flight ─▶ exact again ─▶ call ─▶ store ─▶ share
                     │hit        │hit            │shared     │hit

`ask` and `aask` walk the same way and differ only in how they wait. What goes wrong on the way,
other than in `call_fn`, is counted and logged, and the walk goes on as if nothing had been found.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from prism.cache._async_streams import AsyncSharedStream
from prism.cache._codec import EncodedAnswer, decode, decode_chunks, encode, encode_chunks
from prism.cache._explanation import Lookup
from prism.cache._finder import Finder, Finding
from prism.cache._metrics import CacheMetrics, Ledger
from prism.cache._pricing import PriceBook, Usage, estimate_tokens
from prism.cache._reply import Reply
from prism.cache._scope import Scope
from prism.cache._settings import CacheSettings, check_tags, check_ttl
from prism.cache._shelf import Entry, Shelf
from prism.cache._single_flight import Lead, Shared, SingleFlight
from prism.cache._stream_sources import ThreadedSource, areplay, iterate_in_threads, replay
from prism.cache._streams import SharedStream
from prism.cache._threads import run_in_own_thread, run_in_pool
from prism.cache.errors import CacheClosedError, CacheConfigurationError, CallError
from prism.cache.store import Record, Store
from prismresonance.embed import Embedder

__all__ = ["AskOptions", "Engine"]

_log = logging.getLogger("prism.cache")
_NOT_SERVED = object()
_Replay: TypeAlias = Callable[[tuple[object, ...]], object]


@dataclass(frozen=True, slots=True)
class AskOptions:
    """What a caller chose for one question."""

    ttl_s: float | None
    tags: tuple[str, ...]
    bypass: bool
    stream: bool | None

    @classmethod
    def of(
        cls, *, ttl_s: float | None, tags: Iterable[str], bypass: bool, stream: bool | None
    ) -> AskOptions:
        """Check the choices.

        Raises:
            CacheConfigurationError: One of them makes no sense.
        """
        if ttl_s is None and tags == () and not bypass and stream is None:
            return _DEFAULTS
        check_ttl(ttl_s)
        return cls(ttl_s=ttl_s, tags=check_tags(tags), bypass=bypass, stream=stream)


_DEFAULTS = AskOptions(ttl_s=None, tags=(), bypass=False, stream=None)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What the leader of a flight shares: an answer at rest, or a stream on its way."""

    model: str
    usage: Usage | None
    answer: EncodedAnswer | None = None
    stream: SharedStream[object] | AsyncSharedStream[object] | None = None


@dataclass(slots=True)
class _Call:
    """One question on its way to the model."""

    scope: Scope
    query: str
    options: AskOptions
    finding: Finding
    asked_s: float
    removals: int
    call_s: float = 0.0


class Engine:
    """Does the work of one cache for all its scopes. Safe for threads and tasks."""

    def __init__(
        self,
        settings: CacheSettings,
        *,
        embedder: Embedder,
        store: Store | None,
        owned_store: Store | None,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._owned_store = owned_store
        self._ledger = Ledger()
        self._prices = PriceBook()
        self._embedder_id = embedder.model_id
        self._is_durable = store is not None
        self._shelf = Shelf(
            settings, store=store, embedder=embedder.model_id, ledger=self._ledger, clock=clock
        )
        self._finder = Finder(settings, shelf=self._shelf, embedder=embedder)
        self._flights = SingleFlight[bytes, _Outcome]()
        self._is_closed = False

    # Asking, from threads.

    def ask(
        self, scope: Scope, query: str, call_fn: Callable[[], object], options: AskOptions
    ) -> object:
        """Answer a question; see `ScopedCache.get_or_call`."""
        call = self._begin(scope, query, call_fn, options)
        if inspect.iscoroutinefunction(call_fn) or inspect.isasyncgenfunction(call_fn):
            raise CallError("call_fn is async: await aget_or_call instead")
        if options.bypass:
            return self._bypassed(self._invoke(call_fn))
        with self._survive("lookup"):
            if not self._find_exact(call):
                self._finder.find_similar(scope, query, call.finding)
        served = self._serve(call, replay)
        if served is not _NOT_SERVED:
            return served
        turn = self._flights.join(call.finding.key, timeout_s=self._settings.wait_timeout_s)
        if isinstance(turn, Shared):
            served = self._serve_shared(call, turn.result, None)
            return served if served is not _NOT_SERVED else self._lead(call, call_fn, None)
        return self._lead(call, call_fn, turn if isinstance(turn, Lead) else None)

    def _lead(
        self, call: _Call, call_fn: Callable[[], object], lead: Lead[_Outcome] | None
    ) -> object:
        with lead or contextlib.nullcontext():
            if lead is not None:
                # The leader before us may have stored it between our lookup and our turn.
                served = self._serve_again(call, replay)
                if served is not _NOT_SERVED:
                    lead.succeed(_outcome_of(call.finding.entry))
                    return served
            called_s = time.perf_counter()
            reply = self._invoke(call_fn)
            call.call_s = time.perf_counter() - called_s
            if isinstance(reply.answer, Iterator):
                return self._lead_stream(call, reply, lead)
            answer = encode(reply.answer)
            with self._survive("store"):
                self._store(call, reply, answer)
            self._end(call, reply, answer, lead)
            return reply.answer

    def _lead_stream(self, call: _Call, reply: Reply[Any], lead: Lead[_Outcome] | None) -> object:
        called_s = time.perf_counter()

        def complete(chunks: tuple[object, ...]) -> None:
            call.call_s += time.perf_counter() - called_s
            with self._survive("store"):
                self._store(call, reply, encode_chunks(chunks))
            if lead is not None:
                lead.close()

        def abandon(error: BaseException | None) -> None:
            if error is not None:
                self._ledger.count("failed_calls")
            if lead is not None:
                lead.close()

        shared = SharedStream[object](
            reply.answer, on_complete=complete, on_abandon=abandon, on_error=self._stream_failed
        )
        reader = shared.attach()
        if lead is not None:
            lead.share_live(_Outcome(call.scope.model, reply.usage, stream=shared))
        self._ledger.miss(time.perf_counter() - call.asked_s - call.call_s)
        return reader

    def _invoke(self, call_fn: Callable[[], object]) -> Reply[Any]:
        self._ledger.count("calls")
        try:
            result = call_fn()
        except BaseException:
            self._ledger.count("failed_calls")
            raise
        if inspect.isawaitable(result) or isinstance(result, AsyncIterator):
            if inspect.iscoroutine(result):
                result.close()
            self._ledger.count("failed_calls")
            raise CallError(
                f"call_fn returned a {type(result).__name__}, which only aget_or_call can await"
            )
        return result if isinstance(result, Reply) else Reply(result)

    # Asking, from coroutines.

    async def aask(
        self, scope: Scope, query: str, call_fn: Callable[[], object], options: AskOptions
    ) -> object:
        """Answer a question; see `ScopedCache.aget_or_call`."""
        call = self._begin(scope, query, call_fn, options)
        if options.bypass:
            return self._bypassed(await self._ainvoke(call_fn))
        with self._survive("lookup"):
            if not self._find_exact(call):
                # Embedding takes milliseconds: not on the event loop.
                await run_in_pool(lambda: self._finder.find_similar(scope, query, call.finding))
        served = self._serve(call, areplay)
        if served is not _NOT_SERVED:
            return served
        turn = await self._flights.ajoin(call.finding.key, timeout_s=self._settings.wait_timeout_s)
        if isinstance(turn, Shared):
            served = self._serve_shared(call, turn.result, asyncio.get_running_loop())
            return served if served is not _NOT_SERVED else await self._alead(call, call_fn, None)
        return await self._alead(call, call_fn, turn if isinstance(turn, Lead) else None)

    async def _alead(
        self, call: _Call, call_fn: Callable[[], object], lead: Lead[_Outcome] | None
    ) -> object:
        with lead or contextlib.nullcontext():
            if lead is not None:
                served = self._serve_again(call, areplay)
                if served is not _NOT_SERVED:
                    lead.succeed(_outcome_of(call.finding.entry))
                    return served
            called_s = time.perf_counter()
            reply = await self._ainvoke(call_fn)
            call.call_s = time.perf_counter() - called_s
            if isinstance(reply.answer, AsyncIterator):
                return self._alead_stream(call, reply, lead)
            answer = encode(reply.answer)
            with self._survive("store"):
                await self._astore(call, reply, answer)
            self._end(call, reply, answer, lead)
            return reply.answer

    def _alead_stream(self, call: _Call, reply: Reply[Any], lead: Lead[_Outcome] | None) -> object:
        called_s = time.perf_counter()

        async def complete(chunks: tuple[object, ...]) -> None:
            call.call_s += time.perf_counter() - called_s
            with self._survive("store"):
                await self._astore(call, reply, encode_chunks(chunks))
            if lead is not None:
                lead.close()

        def abandon(error: BaseException | None) -> None:
            if error is not None:
                self._ledger.count("failed_calls")
            if lead is not None:
                lead.close()

        shared = AsyncSharedStream[object](
            reply.answer, on_complete=complete, on_abandon=abandon, on_error=self._stream_failed
        )
        reader = shared.attach()
        if lead is not None:
            lead.share_live(_Outcome(call.scope.model, reply.usage, stream=shared))
        self._ledger.miss(time.perf_counter() - call.asked_s - call.call_s)
        return reader

    async def _ainvoke(self, call_fn: Callable[[], object]) -> Reply[Any]:
        self._ledger.count("calls")
        try:
            if inspect.iscoroutinefunction(call_fn) or inspect.isasyncgenfunction(call_fn):
                result: object = call_fn()
            else:
                result = await run_in_own_thread(call_fn)
            if inspect.isawaitable(result):
                result = await cast("Awaitable[object]", result)
        except BaseException:
            self._ledger.count("failed_calls")
            raise
        reply = result if isinstance(result, Reply) else Reply(result)
        if isinstance(reply.answer, Iterator):
            return Reply(_in_a_thread(reply.answer), reply.usage, reply.model)
        return reply

    async def _astore(self, call: _Call, reply: Reply[Any], answer: EncodedAnswer | None) -> None:
        if self._is_durable:
            await run_in_pool(lambda: self._store(call, reply, answer))
        else:
            self._store(call, reply, answer)

    # Shared by both.

    def _begin(
        self, scope: Scope, query: str, call_fn: Callable[[], object], options: AskOptions
    ) -> _Call:
        asked_s = time.perf_counter()
        self._check(query)
        if not callable(call_fn):
            raise CallError(f"call_fn must be callable, not a {type(call_fn).__name__}")
        self._ledger.count("requests")
        finding = Finding(b"") if options.bypass else self._finder.unsought(scope, query)
        return _Call(scope, query, options, finding, asked_s, self._shelf.removal_count)

    def _check(self, query: str) -> None:
        if self._is_closed:
            raise CacheClosedError("this cache was closed")
        if not isinstance(query, str):
            raise CallError(f"query must be a string, not a {type(query).__name__}")

    def _find_exact(self, call: _Call) -> bool:
        with self._survive("store"):
            self._shelf.sweep()
            self._shelf.sync()
        self._finder.find_exact(call.finding)
        return call.finding.entry is not None

    def _serve(self, call: _Call, replayed: _Replay) -> object:
        """Give the found answer in the caller's form, or tell that there is none."""
        entry = call.finding.entry
        if entry is None:
            return _NOT_SERVED
        with self._survive("answer"):
            answer = _in_form(entry.answer, replayed, stream=call.options.stream)
            if answer is not _NOT_SERVED:
                entry.hits += 1
                self._note_savings(entry.model, entry.usage, call.query, entry.answer)
                kind = "exact_hits" if call.finding.is_exact else "similar_hits"
                self._ledger.hit(kind, time.perf_counter() - call.asked_s)
                return answer
        return _NOT_SERVED

    def _serve_again(self, call: _Call, replayed: _Replay) -> object:
        self._finder.find_exact(call.finding)
        return self._serve(call, replayed)

    def _serve_shared(
        self, call: _Call, outcome: _Outcome, loop: asyncio.AbstractEventLoop | None
    ) -> object:
        """Give what the leader of our flight got, in our form; or tell that it does not fit."""
        served: object = _NOT_SERVED
        with self._survive("answer"):
            if outcome.answer is not None:
                replayed = replay if loop is None else areplay
                served = _in_form(outcome.answer, replayed, stream=call.options.stream)
            elif call.options.stream is False:
                return _NOT_SERVED
            elif (isinstance(outcome.stream, SharedStream) and loop is None) or (
                isinstance(outcome.stream, AsyncSharedStream) and outcome.stream.loop is loop
            ):
                served = outcome.stream.attach() or _NOT_SERVED
            if served is not _NOT_SERVED:
                self._ledger.count("shared_calls")
                self._note_savings(outcome.model, outcome.usage, call.query, outcome.answer)
        return served

    def _end(
        self,
        call: _Call,
        reply: Reply[Any],
        answer: EncodedAnswer | None,
        lead: Lead[_Outcome] | None,
    ) -> None:
        """Share what was answered with those who wait, and count the miss."""
        if lead is not None:
            if answer is None:
                lead.release()
            else:
                lead.succeed(_Outcome(reply.model or call.scope.model, reply.usage, answer))
        if (guard := call.finding.blocking_guard) is not None:
            self._ledger.veto(guard)
        self._ledger.miss(time.perf_counter() - call.asked_s - call.call_s)

    def _bypassed(self, reply: Reply[Any]) -> object:
        self._ledger.count("bypassed")
        return reply.answer

    def _store(self, call: _Call, reply: Reply[Any], answer: EncodedAnswer | None) -> None:
        if answer is None:
            self._ledger.count("unstorable")
            return
        record = self._record(call, reply, answer)
        if not self._shelf.keep(record, since=call.removals):
            self._ledger.count("unstorable")

    def _record(self, call: _Call, reply: Reply[Any], answer: EncodedAnswer) -> Record:
        now = self._clock()
        ttl_s = call.options.ttl_s if call.options.ttl_s is not None else self._settings.ttl_s
        vector, usage = call.finding.vector, reply.usage
        return Record(
            key=call.finding.key,
            scope=call.scope.key,
            question=call.query,
            embedder="" if vector is None else self._embedder_id,
            vector=b"" if vector is None else vector.astype("<f4").tobytes(),
            answer=answer.payload,
            encoding=answer.encoding,
            model=reply.model or call.scope.model,
            input_tokens=None if usage is None else usage.input_tokens,
            output_tokens=None if usage is None else usage.output_tokens,
            cached_tokens=None if usage is None else usage.cached_tokens,
            call_s=call.call_s,
            created_at=now,
            expires_at=None if ttl_s is None else now + ttl_s,
            tags=call.options.tags,
        )

    def _note_savings(
        self, model: str, usage: Usage | None, query: str, answer: EncodedAnswer | None
    ) -> None:
        estimated = usage is None
        if usage is None:
            written = len(answer.payload) if answer is not None else 0
            usage = Usage(input_tokens=estimate_tokens(query), output_tokens=-(-written // 4))
        self._prices.note(model, usage, is_estimated=estimated, now=self._clock())

    def _stream_failed(self, error: Exception) -> None:
        self._ledger.error("stream")
        _log.warning("the cache failed at the end of a stream", exc_info=error)

    @contextlib.contextmanager
    def _survive(self, place: str) -> Iterator[None]:
        """Count and log what goes wrong inside the cache, and go on without it."""
        try:
            yield
        except Exception:  # noqa: BLE001  whatever fails in here, the app gets its answer
            self._ledger.error(place)
            _log.warning("the cache failed in %s and goes on without", place, exc_info=True)

    # Everything but asking.

    def lookup(self, scope: Scope, query: str) -> Lookup:
        """See `ScopedCache.lookup`."""
        self._check(query)
        self._shelf.sweep()
        self._shelf.sync()
        finding, explanation = self._finder.explain(scope, query)
        if finding.entry is None:
            return Lookup(hit=False, explanation=explanation)
        return Lookup(
            hit=True,
            answer=_whole(finding.entry.answer),
            age_s=self._clock() - finding.entry.created_at,
            explanation=explanation,
        )

    def put(
        self, scope: Scope, query: str, answer: object, usage: Usage | None, options: AskOptions
    ) -> None:
        """See `ScopedCache.put`."""
        self._check(query)
        encoded = encode(answer)
        if encoded is None:
            raise CacheConfigurationError(
                f"a {type(answer).__name__} cannot be stored: only text, bytes and JSON values can"
            )
        finding = self._finder.unsought(scope, query)
        removals = self._shelf.removal_count
        finding.vector = self._finder.embed(query)
        call = _Call(scope, query, options, finding, time.perf_counter(), removals)
        self._shelf.keep(self._record(call, Reply(answer, usage), encoded), since=removals)

    def remove(self, matches: Callable[[Entry], bool]) -> int:
        """Remove entries from memory and store; see `PrismCache.invalidate`."""
        self._check("")
        self._shelf.sync()
        return self._shelf.remove(matches)

    def remove_answer(self, scope: Scope, query: str, *, counts_as_wrong: bool = False) -> bool:
        """Remove what this question would be answered with; only the same text if it is exact."""
        self._check(query)
        self._shelf.sync()
        finding = self._finder.unsought(scope, query)
        self._finder.find_exact(finding)
        if counts_as_wrong:
            self._ledger.count("feedback_wrong")
            if finding.entry is None:
                self._finder.find_similar(scope, query, finding)
        key = finding.key if finding.entry is None else finding.entry.key
        return self._shelf.remove(lambda entry: entry.key == key) > 0

    def metrics(self) -> CacheMetrics:
        """See `PrismCache.metrics`."""
        self._shelf.sweep()
        savings = self._prices.savings()
        return self._ledger.snapshot(
            entries=len(self._shelf),
            size_bytes=self._shelf.size_bytes,
            tokens_saved=savings.tokens,
            tokens_saved_estimated=savings.tokens_estimated,
            cost_saved_usd=savings.usd,
            cost_saved_estimated_usd=savings.usd_estimated,
            unpriced_hits=savings.unpriced_hits,
        )

    def close(self) -> None:
        """See `PrismCache.close`."""
        self._is_closed = True
        self._shelf.close()
        if self._owned_store is not None:
            self._owned_store.close()


def _in_a_thread(source: Iterator[object]) -> ThreadedSource[object]:
    """Read a sync stream from a coroutine, in one thread that ends with it."""
    return iterate_in_threads(source, executor=ThreadPoolExecutor(1, "prism-cache-stream"))


def _in_form(answer: EncodedAnswer, replayed: _Replay, *, stream: bool | None) -> object:
    wants_stream = answer.is_stream if stream is None else stream
    if wants_stream:
        return replayed(tuple(decode_chunks(answer)))
    try:
        return decode(answer)
    except ValueError:
        # A stream of objects for a caller who wants a whole: only the model can give that.
        return _NOT_SERVED


def _whole(answer: EncodedAnswer) -> object:
    try:
        return decode(answer)
    except ValueError:
        return decode_chunks(answer)


def _outcome_of(entry: Entry | None) -> _Outcome:
    assert entry is not None  # noqa: S101  it was just served
    return _Outcome(entry.model, entry.usage, entry.answer)
