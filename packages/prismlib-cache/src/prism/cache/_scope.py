"""Who asks what model under which instructions: the parts of a question that must match exactly.

An answer may be reused for another wording of the question, never for another tenant, model,
system prompt, tool list, parameter or conversation. All of these are folded into one digest. Two
scopes with different parts have different digests (up to a collision of SHA-256 cut to 128 bits):
every value is fed with its type and length, so no two lists of parts spell the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import TypeAlias

from prism.cache.errors import ScopeError

__all__ = ["Scope", "ScopeValue", "encoded", "tenant_key"]

ScopeValue: TypeAlias = (
    "str | bytes | int | float | bool | Sequence[ScopeValue] | Mapping[str, ScopeValue] | None"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The exact parts of a question.

    Attributes:
        tenant_id: Whose cache it is.
        model: The LLM that answers.
        system_prompt: Instructions the model is given.
        tools: Tools or functions the model may call.
        parameters: Temperature, response format and whatever else changes the answer.
        history: The conversation before this question, in the provider's message format.
        context: Anything else the answer rests on: retrieved documents, user role, locale.
        user: Who asks, where the answer depends on that.

    Raises:
        ScopeError: A part holds something that cannot be turned into an exact key. The scope is
            where the cache fails closed: without a key there is no lookup.
    """

    tenant_id: str
    model: str
    system_prompt: str | None = field(default=None, repr=False)
    tools: ScopeValue = field(default=None, repr=False)
    parameters: ScopeValue = field(default=None, repr=False)
    history: ScopeValue = field(default=None, repr=False)
    context: ScopeValue = field(default=None, repr=False)
    user: ScopeValue = field(default=None, repr=False)
    key: bytes = field(init=False, repr=False)
    """16 bytes: the digest of all parts."""
    family: bytes = field(init=False, repr=False)
    """16 bytes: the same without history, context and user. What a cache learns about its traffic
    holds for a family: a conversation is too short to learn from."""

    def __post_init__(self) -> None:
        digest = hashlib.sha256(b"prism.cache scope 1")
        for name in ("tenant_id", "model", "system_prompt"):
            value = getattr(self, name)
            if not isinstance(value, str) and (value is not None or name != "system_prompt"):
                raise ScopeError(f"{name} must be a string, not {type(value).__name__}")
        for name in (
            "tenant_id", "model", "system_prompt", "tools", "parameters", "history", "context",
            "user",
        ):  # fmt: skip
            if name == "history":
                object.__setattr__(self, "family", digest.copy().digest()[:16])
            if name == "user" and self.user is None:
                # The scopes of files from before there were users keep their digests.
                continue
            try:
                _feed(digest.update, getattr(self, name), name)
            except RecursionError:
                raise ScopeError(f"{name} is nested too deep, or holds itself") from None
        object.__setattr__(self, "key", digest.digest()[:16])

    def narrowed(
        self,
        *,
        model: str | None = None,
        system_prompt: str | None = None,
        tools: ScopeValue = None,
        parameters: ScopeValue = None,
        history: ScopeValue = None,
        context: ScopeValue = None,
        user: ScopeValue = None,
    ) -> Scope:
        """Give this scope with some parts set; what is `None` stays as it is."""
        return Scope(
            tenant_id=self.tenant_id,
            model=self.model if model is None else model,
            system_prompt=self.system_prompt if system_prompt is None else system_prompt,
            tools=self.tools if tools is None else tools,
            parameters=self.parameters if parameters is None else parameters,
            history=self.history if history is None else history,
            context=self.context if context is None else context,
            user=self.user if user is None else user,
        )


def tenant_key(tenant_id: str) -> bytes:
    """16 bytes that stand for a tenant in stores."""
    return hashlib.sha256(b"prism.cache tenant 1" + encoded(tenant_id)).digest()[:16]


def encoded(text: str) -> bytes:
    """Give a text as bytes, to be digested."""
    # A lone surrogate is odd but is no reason to refuse a question.
    return text.encode("utf-8", "surrogatepass")


def _feed(update: Callable[[bytes], None], value: object, place: str) -> None:
    """Feed `value` as type, length and content."""
    match value:
        case None | bool():
            update(b"n;" if value is None else b"t;" if value else b"f;")
        case str():
            content = encoded(value)
            update(b"s%d:" % len(content) + content)
        case bytes():
            update(b"b%d:" % len(value) + value)
        case int() | float():
            update(f"{type(value).__name__[0]}{value!r};".encode())
        case Mapping():
            update(b"m%d:" % len(value))
            for key in value:
                if not isinstance(key, str):
                    raise ScopeError(
                        f"{place} has a key of type {type(key).__name__}: keys must be strings to "
                        "be told apart"
                    )
            for key in sorted(value):
                _feed(update, key, place)
                _feed(update, value[key], f"{place}.{key}")
        case list() | tuple():
            update(b"l%d:" % len(value))
            for position, item in enumerate(value):
                _feed(update, item, f"{place}[{position}]")
        case AbstractSet():
            raise ScopeError(f"{place} is a set, which has no order: pass a sorted list")
        case _ if not isinstance(value, type) and callable(
            dump := getattr(value, "model_dump", None)
        ):
            # What provider SDKs use for messages and tools.
            _feed(update, dump(mode="json"), place)
        case _:
            raise ScopeError(
                f"{place} holds a {type(value).__name__}, which cannot be turned into an exact "
                "key: pass strings, numbers, lists and dicts"
            )
