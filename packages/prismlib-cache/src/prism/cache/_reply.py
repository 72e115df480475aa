"""What a call to the model returned, with what the provider said about it."""

from __future__ import annotations

from dataclasses import dataclass
from types import NoneType
from typing import Generic, TypeVar

from prism.cache._pricing import Usage
from prism.cache.errors import CacheConfigurationError

__all__ = ["Reply"]

Answer = TypeVar("Answer")
Other = TypeVar("Other")


@dataclass(frozen=True, slots=True)
class Reply(Generic[Answer]):
    """An answer with its usage: return it from `call_fn` and savings rest on reported tokens.

    The caller of `get_or_call` receives `answer` alone.

    Attributes:
        answer: What the model said.
        usage: Tokens the provider billed for it.
        model: The exact model that answered, if it differs from the cache's `llm_model`.

    Raises:
        CacheConfigurationError: `usage` is not a `Usage`, or `model` not a string.
    """

    answer: Answer
    usage: Usage | None = None
    model: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.usage, (Usage, NoneType)):
            raise CacheConfigurationError(
                f"usage must be a prism.cache.Usage, not a {type(self.usage).__name__}"
            )
        if not isinstance(self.model, (str, NoneType)):
            raise CacheConfigurationError(
                f"model must be a string, not a {type(self.model).__name__}"
            )

    def with_answer(self, answer: Other) -> Reply[Other]:
        """Give the same with another answer."""
        return Reply(answer, self.usage, self.model)
