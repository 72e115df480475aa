"""The public face: a cache, and a view of it for one scope."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import ParamSpec, Self, TypeVar, overload

from prism.cache import _ask_async, _ask_sync
from prism.cache._call import AskOptions
from prism.cache._decorator import cached
from prism.cache._engine import Engine
from prism.cache._explanation import Explanation, Lookup
from prism.cache._metrics import CacheMetrics
from prism.cache._pricing import Usage
from prism.cache._reply import Reply
from prism.cache._scope import Scope, ScopeValue
from prism.cache._settings import CacheSettings
from prism.cache.errors import CacheConfigurationError
from prism.cache.store import SQLiteStore, Store
from prismresonance.embed import Embedder, MiniLMEmbedder

__all__ = ["PrismCache", "ScopedCache"]

Answer = TypeVar("Answer")
Chunk = TypeVar("Chunk")
Parameters = ParamSpec("Parameters")


class ScopedCache:
    """A cache for questions that share one scope: model, system prompt, tools, history.

    Made by `PrismCache.build` and `scope`. Safe for threads and for tasks of any event loop.
    """

    def __init__(self, engine: Engine, scope: Scope) -> None:
        self._engine = engine
        self._scope = scope

    @overload
    def get_or_call(
        self,
        query: str,
        call_fn: Callable[[], Reply[Answer]],
        *,
        ttl_s: float | None = None,
        tags: Iterable[str] = (),
        bypass: bool = False,
        stream: bool | None = None,
    ) -> Answer: ...

    @overload
    def get_or_call(
        self,
        query: str,
        call_fn: Callable[[], Answer],
        *,
        ttl_s: float | None = None,
        tags: Iterable[str] = (),
        bypass: bool = False,
        stream: bool | None = None,
    ) -> Answer: ...

    def get_or_call(
        self,
        query: str,
        call_fn: Callable[[], object],
        *,
        ttl_s: float | None = None,
        tags: Iterable[str] = (),
        bypass: bool = False,
        stream: bool | None = None,
    ) -> object:
        """Answer from the cache, or call the model once and store what it says.

        While one caller's `call_fn` runs, others with the same question wait for it and get a copy
        of its answer. If it fails, the next of them calls. If the cache itself fails, `call_fn` is
        called as if there were no cache.

        Args:
            query: The user's question. Instructions, documents and history belong in the scope.
            call_fn: Calls the model. May return text, bytes or JSON values, a `Reply` that tells
                its usage, or an iterator of chunks; anything else is passed through, not stored.
            ttl_s: Seconds until this answer expires; the cache's own `ttl_s` if `None`.
            tags: Labels by which `invalidate` finds the answer.
            bypass: Call the model without asking the cache, and store nothing.
            stream: Whether the caller wants an iterator of chunks. `None` follows the model: what
                it gave as a stream comes back as one.

        Returns:
            The answer: what `call_fn` returned, or a fresh copy of what is stored. With streams an
            iterator that yields chunks as they come.

        Raises:
            CallError: `call_fn` is async, or the query is not a string.
            CacheConfigurationError: `ttl_s` or `tags` make no sense.
            CacheClosedError: The cache was closed.
            Exception: Whatever `call_fn` raises.
        """
        options = AskOptions.of(ttl_s=ttl_s, tags=tags, bypass=bypass, stream=stream)
        return _ask_sync.ask(self._engine, self._scope, query, call_fn, options)

    @overload
    async def aget_or_call(
        self,
        query: str,
        call_fn: Callable[[], Awaitable[Reply[Answer]]],
        *,
        ttl_s: float | None = None,
        tags: Iterable[str] = (),
        bypass: bool = False,
        stream: bool | None = None,
    ) -> Answer: ...

    @overload
    async def aget_or_call(
        self,
        query: str,
        call_fn: Callable[[], Awaitable[Answer]],
        *,
        ttl_s: float | None = None,
        tags: Iterable[str] = (),
        bypass: bool = False,
        stream: bool | None = None,
    ) -> Answer: ...

    @overload
    async def aget_or_call(
        self,
        query: str,
        call_fn: Callable[[], Reply[Answer]],
        *,
        ttl_s: float | None = None,
        tags: Iterable[str] = (),
        bypass: bool = False,
        stream: bool | None = None,
    ) -> Answer: ...

    @overload
    async def aget_or_call(
        self,
        query: str,
        call_fn: Callable[[], AsyncIterator[Chunk] | Iterator[Chunk]],
        *,
        ttl_s: float | None = None,
        tags: Iterable[str] = (),
        bypass: bool = False,
        stream: bool | None = None,
    ) -> AsyncIterator[Chunk]: ...

    @overload
    async def aget_or_call(
        self,
        query: str,
        call_fn: Callable[[], Answer],
        *,
        ttl_s: float | None = None,
        tags: Iterable[str] = (),
        bypass: bool = False,
        stream: bool | None = None,
    ) -> Answer: ...

    async def aget_or_call(
        self,
        query: str,
        call_fn: Callable[[], object],
        *,
        ttl_s: float | None = None,
        tags: Iterable[str] = (),
        bypass: bool = False,
        stream: bool | None = None,
    ) -> object:
        """Answer from the cache, or call the model once and store what it says, from a coroutine.

        As `get_or_call`, with `call_fn` sync or async. A sync one runs in a worker thread, so that
        it does not hold up the event loop; if it returns an awaitable, that is awaited on the loop.
        Streams of either kind come back as async iterators.
        """
        options = AskOptions.of(ttl_s=ttl_s, tags=tags, bypass=bypass, stream=stream)
        return await _ask_async.ask(self._engine, self._scope, query, call_fn, options)

    def cached(self, function: Callable[Parameters, Answer]) -> Callable[Parameters, Answer]:
        """Decorate a function whose first argument is the question.

        Sync and async functions and generators all work. Further arguments become part of the scope
        and must match exactly.

            @cache.cached
            def ask(question: str, *, language: str) -> str: ...

        Raises:
            CacheConfigurationError: The function has no parameter for the question.
        """
        return cached(self, function)

    def lookup(self, query: str) -> Lookup:
        """Say whether the cache would answer, with what and why, without calling anything.

        Counts neither as a request nor as a hit.

        Raises:
            CallError: The query is not a string.
            CacheClosedError: The cache was closed.
            Exception: The embedder failed.
        """
        return self._engine.lookup(self._scope, query)

    def explain(self, query: str) -> Explanation:
        """Say why the cache would or would not answer. Printing it gives a table.

        Raises:
            CallError: The query is not a string.
            CacheClosedError: The cache was closed.
            Exception: The embedder failed.
        """
        return self._engine.lookup(self._scope, query).explanation

    def put(
        self,
        query: str,
        answer: object,
        *,
        usage: Usage | None = None,
        ttl_s: float | None = None,
        tags: Iterable[str] = (),
    ) -> None:
        """Store an answer that came from elsewhere.

        Raises:
            CacheConfigurationError: The answer cannot be stored, or an argument makes no sense.
            StoreError: It is in memory but could not be written to the store.
            CacheClosedError: The cache was closed.
            Exception: The embedder failed.
        """
        options = AskOptions.of(ttl_s=ttl_s, tags=tags)
        self._engine.put(self._scope, query, answer, usage, options)

    def feedback(self, query: str, *, wrong: bool) -> bool:
        """Report on the answer that this question gets. A wrong one is removed for everybody.

        Returns:
            Whether an answer was removed.

        Raises:
            CacheClosedError: The cache was closed.
            StoreError: It is gone from memory; the store could not be told.
            Exception: The embedder failed.
        """
        return (
            self._engine.remove_answer(self._scope, query, counts_as_wrong=True) if wrong else False
        )

    def scope(
        self,
        *,
        model: str | None = None,
        system_prompt: str | None = None,
        tools: ScopeValue = None,
        parameters: ScopeValue = None,
        history: ScopeValue = None,
        context: ScopeValue = None,
    ) -> ScopedCache:
        """Give a view for questions asked under these conditions; all of them must match exactly.

        What is left out is as in this scope. Views are cheap: make one for each request. For a
        conversation pass the messages before the last question as `history`.

        Args:
            model: Another LLM than the cache's own.
            system_prompt: Instructions the model is given.
            tools: Tools it may call.
            parameters: Temperature, response format and the like.
            history: The conversation so far.
            context: Anything else the answer rests on, such as retrieved documents or the locale.

        Raises:
            ScopeError: A part cannot be turned into an exact key.
        """
        old = self._scope
        return ScopedCache(
            self._engine,
            Scope(
                tenant_id=old.tenant_id,
                model=old.model if model is None else model,
                system_prompt=old.system_prompt if system_prompt is None else system_prompt,
                tools=old.tools if tools is None else tools,
                parameters=old.parameters if parameters is None else parameters,
                history=old.history if history is None else history,
                context=old.context if context is None else context,
            ),
        )


class PrismCache(ScopedCache):
    """A semantic LLM cache for one tenant. Make it with `build`.

    Safe for threads and for tasks of any event loop. Usable as a context manager, sync and async.
    """

    @classmethod
    def build(
        cls,
        tenant_id: str,
        llm_model: str,
        *,
        max_error: float = 0.01,
        similarity_threshold: float | None = None,
        strict: bool = False,
        path: str | os.PathLike[str] | None = None,
        store: Store | None = None,
        ttl_s: float | None = None,
        max_bytes: int = 256 * 2**20,
        max_entries: int = 100_000,
        wait_timeout_s: float = 60.0,
        embedder: Embedder | None = None,
        clock: Callable[[], float] = time.time,
    ) -> Self:
        """Build a cache; with a `path`, filled with what it held before.

        The first build in a process loads the default embedding model (under half a second); later
        ones share it.

        Args:
            tenant_id: Whose cache it is.
            llm_model: The model that answers, by its provider's name.
            max_error: See `CacheSettings`, as for all arguments that are not listed here.
            similarity_threshold: Likewise.
            strict: Likewise.
            path: Likewise.
            store: Another durable store than a file; excludes `path`. The caller closes it.
            ttl_s: See `CacheSettings`.
            max_bytes: Likewise.
            max_entries: Likewise.
            wait_timeout_s: Likewise.
            embedder: What turns questions into vectors; all-MiniLM-L6-v2 int8 if `None`.
            clock: Seconds since the epoch; for tests.

        Raises:
            CacheConfigurationError: An argument makes no sense; the message names it.
            StoreFileError: The file is damaged, not ours, or of a newer version.
            StoreError: The store could not be read.
            EmbedderConfigurationError: The default embedder cannot be loaded.
        """
        settings = CacheSettings(
            tenant_id=tenant_id,
            llm_model=llm_model,
            max_error=max_error,
            similarity_threshold=similarity_threshold,
            strict=strict,
            path=path,
            ttl_s=ttl_s,
            max_bytes=max_bytes,
            max_entries=max_entries,
            wait_timeout_s=wait_timeout_s,
        )
        if path is not None and store is not None:
            raise CacheConfigurationError("path and store exclude each other: give one of them")
        own_store = SQLiteStore(Path(path)) if path is not None else None
        try:
            engine = Engine(
                settings,
                embedder=embedder if embedder is not None else MiniLMEmbedder(),
                store=store if own_store is None else own_store,
                owned_store=own_store,
                clock=clock,
            )
        except BaseException:
            if own_store is not None:
                own_store.close()
            raise
        return cls(engine, Scope(tenant_id=tenant_id, model=llm_model))

    def invalidate(
        self, *, query: str | None = None, tag: str | None = None, everything: bool = False
    ) -> int:
        """Remove answers, with their vectors, from memory and store.

        Answers that are being fetched while this runs are not stored either, if they match.

        Args:
            query: The answer to this very text in the cache's own scope; other wordings stay.
            tag: All answers with this label, in every scope of the tenant.
            everything: All answers of the tenant.

        Returns:
            How many were removed.

        Raises:
            CacheConfigurationError: Not exactly one of the three was given.
            StoreError: They are gone from memory; the store could not be told.
            CacheClosedError: The cache was closed.
        """
        if (query is not None) + (tag is not None) + everything != 1:
            raise CacheConfigurationError("give exactly one of query, tag and everything=True")
        if query is not None:
            return int(self._engine.remove_answer(self._scope, query))
        if tag is not None:
            return self._engine.remove(lambda entry: tag in entry.tags)
        return self._engine.remove(lambda _: True)

    def metrics(self) -> CacheMetrics:
        """Freeze the counters.

        Prices what was saved since the last call, at the dates of the hits; the first time that
        takes the tenth of a second in which the price table is loaded.
        """
        return self._engine.metrics()

    def close(self) -> None:
        """Let go of entries and file. Closing twice does nothing; later questions raise."""
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        self.close()
