"""What a call to the model returned, with what the provider said about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from prism.cache._pricing import Usage

__all__ = ["Reply"]

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Reply(Generic[Answer]):
    """An answer with its usage: return it from `call_fn` and savings rest on reported tokens.

    The caller of `get_or_call` receives `answer` alone.

    Attributes:
        answer: What the model said.
        usage: Tokens the provider billed for it.
        model: The exact model that answered, if it differs from the cache's `llm_model`.
    """

    answer: Answer
    usage: Usage | None = None
    model: str | None = None
