"""A cache as seen from one scope: everything that asks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, ParamSpec, TypedDict, TypeVar, Unpack, overload

from prism.cache._explanation import Explanation, Lookup
from prism.cache._options import AskOptions
from prism.cache._pricing import Usage
from prism.cache._reply import Reply
from prism.cache._scope import Scope, ScopeValue

if TYPE_CHECKING:
    from prism.cache._engine import Engine

__all__ = ["ScopedCache"]

Answer = TypeVar("Answer")
Chunk = TypeVar("Chunk")
Parameters = ParamSpec("Parameters")


class AskKeywords(TypedDict, total=False):
    """The keywords of `get_or_call` and `aget_or_call`, for their overloads."""

    ttl_s: float | None
    tags: Iterable[str]
    bypass: bool
    stream: bool | None
    admit: bool | None


class ScopedCache:
    """A cache for questions that share one scope: model, system prompt, tools, history.

    Made by `PrismCache.build` and `scope`. Safe for threads and for tasks of any event loop.
    """

    def __init__(self, engine: Engine, scope: Scope) -> None:
        # Loaded with the first cache.
        from prism.cache import _ask_async, _ask_sync

        self._engine = engine
        self._scope = scope
        self._ask, self._aask = _ask_sync.ask, _ask_async.ask

    @overload
    def get_or_call(
        self, query: str, call_fn: Callable[[], Reply[Answer]], **options: Unpack[AskKeywords]
    ) -> Answer: ...

    @overload
    def get_or_call(
        self, query: str, call_fn: Callable[[], Answer], **options: Unpack[AskKeywords]
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
        admit: bool | None = None,
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
            admit: `True` caches a question that the admission rules would hold back, `False` calls
                the model as `bypass` does; `None` leaves it to the rules. What they refuse is
                asked of the model each time, by each caller, and not stored.

        Returns:
            The answer: what `call_fn` returned, or a fresh copy of what is stored. With streams an
            iterator that yields chunks as they come.

        Raises:
            CallError: `call_fn` is async, or the query is not a string.
            CacheConfigurationError: `ttl_s`, `tags` or `admit` make no sense.
            CacheClosedError: The cache was closed.
            Exception: Whatever `call_fn` raises.
        """
        options = AskOptions.of(ttl_s=ttl_s, tags=tags, bypass=bypass, stream=stream, admit=admit)
        return self._ask(self._engine, self._scope, query, call_fn, options)

    @overload
    async def aget_or_call(
        self,
        query: str,
        call_fn: Callable[[], Awaitable[Reply[Answer]]],
        **options: Unpack[AskKeywords],
    ) -> Answer: ...

    @overload
    async def aget_or_call(
        self, query: str, call_fn: Callable[[], Awaitable[Answer]], **options: Unpack[AskKeywords]
    ) -> Answer: ...

    @overload
    async def aget_or_call(
        self, query: str, call_fn: Callable[[], Reply[Answer]], **options: Unpack[AskKeywords]
    ) -> Answer: ...

    @overload
    async def aget_or_call(
        self,
        query: str,
        call_fn: Callable[[], AsyncIterator[Chunk] | Iterator[Chunk]],
        **options: Unpack[AskKeywords],
    ) -> AsyncIterator[Chunk]: ...

    @overload
    async def aget_or_call(
        self, query: str, call_fn: Callable[[], Answer], **options: Unpack[AskKeywords]
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
        admit: bool | None = None,
    ) -> object:
        """Answer from the cache, or call the model once and store what it says, from a coroutine.

        As `get_or_call`, with `call_fn` sync or async. A sync one runs in a worker thread, so that
        it does not hold up the event loop; if it returns an awaitable, that is awaited on the loop.
        Streams of either kind come back as async iterators.
        """
        options = AskOptions.of(ttl_s=ttl_s, tags=tags, bypass=bypass, stream=stream, admit=admit)
        return await self._aask(self._engine, self._scope, query, call_fn, options)

    @overload
    def cached(
        self,
        function: Callable[Parameters, Answer],
        *,
        name: str | None = None,
        admit: bool | None = None,
    ) -> Callable[Parameters, Answer]: ...

    @overload
    def cached(
        self, function: None = None, *, name: str | None = None, admit: bool | None = None
    ) -> Callable[[Callable[Parameters, Answer]], Callable[Parameters, Answer]]: ...

    def cached(
        self,
        function: Callable[..., object] | None = None,
        *,
        name: str | None = None,
        admit: bool | None = None,
    ) -> object:
        """Decorate a function whose first argument is the question.

        Sync and async functions and generators all work. Further arguments become part of the scope
        and must match exactly; so does the function itself, by its module and name. A function
        defined inside another one may close over anything, so each of its definitions has answers
        of its own, which do not outlive the process, unless it is given a name.

        Args:
            function: The function; `None` in the form `@cache.cached(name="...")`.
            name: Under which name it keeps its answers, in place of its module and name.
            admit: As in `get_or_call`, for all its questions.

        Raises:
            CacheConfigurationError: The function has no parameter for the question, or is a method.
        """
        from prism.cache._decorator import cached  # spares the import of the package a part

        if function is None:
            return lambda function: self.cached(function, name=name, admit=admit)
        return cached(self._engine, self._scope, function, name=name, admit=admit)

    def lookup(self, query: str, *, admit: bool = False) -> Lookup:
        """Say whether the cache would answer, with what and why, without calling anything.

        Counts neither as a request nor as a hit. With `admit` the admission rules are not asked.

        Raises:
            CallError: The query is not a string.
            CacheClosedError: The cache was closed.
            Exception: The embedder failed.
        """
        return self._engine.lookup(self._scope, query, admit=admit)

    def explain(self, query: str, *, admit: bool = False) -> Explanation:
        """Say why the cache would or would not answer. Printing it gives a table.

        With `admit` the admission rules are not asked.

        Raises:
            CallError: The query is not a string.
            CacheClosedError: The cache was closed.
            Exception: The embedder failed.
        """
        return self._engine.lookup(self._scope, query, admit=admit).explanation

    def put(
        self,
        query: str,
        answer: object,
        *,
        usage: Usage | None = None,
        ttl_s: float | None = None,
        tags: Iterable[str] = (),
        admit: bool | None = None,
    ) -> None:
        """Store an answer that came from elsewhere.

        Under a question that the admission rules refuse it is your word for this very text: only
        the same text is answered with it. With `admit=True` it is stored as any other question is,
        and found by those who ask with `admit=True`.

        Raises:
            CacheConfigurationError: The answer cannot be stored, or an argument makes no sense.
            StoreError: It is in memory but could not be written to the store.
            CacheClosedError: The cache was closed.
            Exception: The embedder failed.
        """
        options = AskOptions.of(ttl_s=ttl_s, tags=tags, admit=admit or None)
        self._engine.put(self._scope, query, answer, usage, options)

    def feedback(self, query: str, *, wrong: bool) -> bool:
        """Report on the answer that this question gets. A wrong one is removed for everybody.

        Returns:
            Whether an answer was removed.

        Raises:
            CacheClosedError: The cache was closed.
            StoreError: It is gone from memory; the store is told again at the next occasion.
            Exception: The embedder failed.
        """
        return wrong and self._engine.remove_wrong(self._scope, query)

    def conversation(self, messages: Sequence[object]) -> tuple[ScopedCache, str]:
        """Take a list of chat messages apart: a view for the last question, and that question.

        The messages before it must match exactly, and so must what it has beside its text, such as
        pictures. Leading system messages become the `system_prompt`; this scope's own is kept if
        there are none. Without an earlier turn the view is that of a single question.

        Args:
            messages: In the format of the chat APIs, `{"role": ..., "content": ...}`, or objects of
                an SDK; the last is the user's.

        Raises:
            ScopeError: The last message is not a user's text, or a part has no exact form.
        """
        from prism.cache._conversation import last_turn  # spares the import of the package a part

        turn = last_turn(messages)
        view = self.scope(history=turn.history, system_prompt=turn.system_prompt)
        return view, turn.question

    def scope(
        self,
        *,
        model: str | None = None,
        system_prompt: str | None = None,
        tools: ScopeValue = None,
        parameters: ScopeValue = None,
        history: ScopeValue = None,
        context: ScopeValue = None,
        user: ScopeValue = None,
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
            user: Who asks, by an id. Nothing is shared with other users then, and questions about
                one's own affairs are cached. What changes with time needs a `ttl_s` too.

        Raises:
            ScopeError: A part cannot be turned into an exact key.
        """
        narrowed = self._scope.narrowed(
            model=model,
            system_prompt=system_prompt,
            tools=tools,
            parameters=parameters,
            history=history,
            context=context,
            user=user,
        )
        return ScopedCache(self._engine, narrowed)
