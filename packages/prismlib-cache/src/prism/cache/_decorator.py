"""The decorator form of a cache."""

from __future__ import annotations

import functools
import inspect
import uuid
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

from prism.cache import _ask_async, _ask_sync
from prism.cache._engine import Engine
from prism.cache._options import AskOptions
from prism.cache._scope import Scope, ScopeValue
from prism.cache.errors import CacheConfigurationError

__all__ = ["cached"]

Parameters = ParamSpec("Parameters")
Answer = TypeVar("Answer")


def cached(
    engine: Engine,
    scope: Scope,
    function: Callable[Parameters, Answer],
    *,
    name: str | None = None,
    admit: bool | None = None,
) -> Callable[Parameters, Answer]:
    """Wrap `function` so that the cache answers for it; see `ScopedCache.cached`."""
    signature = inspect.signature(function)
    first = next(iter(signature.parameters.values()), None)
    if first is None or first.kind in (first.VAR_POSITIONAL, first.VAR_KEYWORD):
        raise CacheConfigurationError(
            f"{_name(function)} has no parameter for the question: its first one is taken as that"
        )
    if first.name in ("self", "cls"):
        raise CacheConfigurationError(
            f"{_name(function)} is a method: decorate a function, or call get_or_call inside it"
        )
    question_name = first.name
    is_stream = inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
    options = AskOptions.of(stream=True if is_stream else None, admit=admit)
    identity = _identity(function) if name is None else name

    def split(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Scope, str]:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        rest = {name: value for name, value in bound.arguments.items() if name != question_name}
        context: ScopeValue = {"function": identity, "arguments": rest, "within": scope.context}
        return scope.narrowed(context=context), cast(str, bound.arguments[question_name])

    if inspect.isasyncgenfunction(function):

        @functools.wraps(function)
        async def stream(*args: Any, **kwargs: Any) -> Any:
            call = functools.partial(function, *args, **kwargs)
            chunks = await _ask_async.ask(engine, *split(args, kwargs), call, options)
            async for chunk in cast(Any, chunks):
                yield chunk

        return cast(Callable[Parameters, Answer], stream)

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def ask_async(*args: Any, **kwargs: Any) -> Any:
            call = functools.partial(function, *args, **kwargs)
            return await _ask_async.ask(engine, *split(args, kwargs), call, options)

        return cast(Callable[Parameters, Answer], ask_async)

    @functools.wraps(function)
    def ask(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Answer:
        call = functools.partial(function, *args, **kwargs)
        return cast(Answer, _ask_sync.ask(engine, *split(args, kwargs), call, options))

    return ask


def _identity(function: Callable[..., object]) -> str:
    """Name what a function does, as far as its definition does."""
    name = f"{getattr(function, '__module__', '')}.{_name(function)}"
    # A bound method, a partial or an instance carries values that its name does not tell.
    has_one_definition = (
        inspect.isfunction(function) and "<" not in name and function.__closure__ is None
    )
    return name if has_one_definition else f"{name} {uuid.uuid4()}"


def _name(function: Callable[..., object]) -> str:
    return getattr(function, "__qualname__", type(function).__name__)
