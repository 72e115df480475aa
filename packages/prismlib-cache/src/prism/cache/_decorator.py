"""The decorator form of a cache."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from prism.cache._scope import ScopeValue
from prism.cache.errors import CacheConfigurationError

if TYPE_CHECKING:
    from prism.cache._cache import ScopedCache

__all__ = ["cached"]

Parameters = ParamSpec("Parameters")
Answer = TypeVar("Answer")


def cached(
    cache: ScopedCache, function: Callable[Parameters, Answer]
) -> Callable[Parameters, Answer]:
    """Wrap `function` so that the cache answers for it; see `ScopedCache.cached`."""
    signature = inspect.signature(function)
    first = next(iter(signature.parameters.values()), None)
    if first is None or first.kind in (first.VAR_POSITIONAL, first.VAR_KEYWORD):
        raise CacheConfigurationError(
            f"{_name(function)} has no parameter for the question: its first one is taken as that"
        )
    question_name = first.name
    is_stream = inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)

    def split(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[ScopedCache, str]:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        rest = {name: value for name, value in bound.arguments.items() if name != question_name}
        context: ScopeValue = {"function": _name(function), "arguments": rest}
        return cache.scope(context=context), cast("str", bound.arguments[question_name])

    if inspect.isasyncgenfunction(function):

        @functools.wraps(function)
        async def stream(*args: Any, **kwargs: Any) -> Any:
            scoped, question = split(args, kwargs)
            chunks = await scoped.aget_or_call(
                question, functools.partial(function, *args, **kwargs), stream=True
            )
            async for chunk in cast("Any", chunks):
                yield chunk

        return cast("Callable[Parameters, Answer]", stream)

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def ask_async(*args: Any, **kwargs: Any) -> Any:
            scoped, question = split(args, kwargs)
            return await scoped.aget_or_call(question, functools.partial(function, *args, **kwargs))

        return cast("Callable[Parameters, Answer]", ask_async)

    @functools.wraps(function)
    def ask(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Answer:
        scoped, question = split(args, kwargs)
        call = functools.partial(function, *args, **kwargs)
        return scoped.get_or_call(question, call, stream=True if is_stream else None)

    return ask


def _name(function: Callable[..., object]) -> str:
    return getattr(function, "__qualname__", type(function).__name__)
