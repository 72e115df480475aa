"""Calls of the model, and what of the context it is given."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from prism.cluster.compress import ContextCompressor

if TYPE_CHECKING:
    import numpy.typing as npt

    from prism.cluster.compress import CompressedContext

__all__ = ["Asked", "Compressor", "ModelCalls"]


class Compressor(Protocol):
    """Chooses what of the context the model is given; `ContextCompressor` is one."""

    def compress(
        self,
        question: str,
        chunks: Sequence[str],
        *,
        query_vector: npt.ArrayLike | None,
        chunk_vectors: npt.ArrayLike | None,
    ) -> CompressedContext:
        """Choose what to keep of `chunks`, in document order."""


class Asked(NamedTuple):
    """A question as its caller asked it."""

    query: str
    chunks: tuple[str, ...]
    query_vector: npt.ArrayLike | None
    chunk_vectors: npt.ArrayLike | None


class ModelCalls:
    """Calls the model for one node, and counts. Used from one event loop.

    Args:
        compressor: What chooses of the context; a `ContextCompressor` for `None`.
    """

    def __init__(self, compressor: Compressor | None) -> None:
        self._compressor = compressor
        self.calls = 0
        self.context_tokens = 0
        self.context_tokens_kept = 0

    async def call(self, call_fn: Callable[..., object], asked: Asked) -> Any:
        """Give what the caller's function answers; sync ones run on a thread."""
        self.calls += 1
        function: Callable[..., Any] = call_fn
        if _takes_one(call_fn):
            function = functools.partial(call_fn, await asyncio.to_thread(self._chosen, asked))
        if inspect.iscoroutinefunction(call_fn):
            return await function()
        answer = await asyncio.to_thread(function)
        return await answer if isinstance(answer, Awaitable) else answer

    def _chosen(self, asked: Asked) -> list[str]:
        if not asked.chunks:
            return []
        if self._compressor is None:
            self._compressor = ContextCompressor()
        kept = self._compressor.compress(
            asked.query,
            asked.chunks,
            query_vector=asked.query_vector,
            chunk_vectors=asked.chunk_vectors,
        )
        self.context_tokens += kept.tokens_before
        self.context_tokens_kept += kept.tokens_after
        return [chunk.text for chunk in kept.chunks]


def _takes_one(call_fn: Callable[..., object]) -> bool:
    try:
        parameters = inspect.signature(call_fn).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(
        parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        for parameter in parameters
    )
