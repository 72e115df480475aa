"""Take a list of chat messages apart: what must match exactly, and the question that is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from prism.cache._scope import ScopeValue
from prism.cache.errors import ScopeError

__all__ = ["Turn", "last_turn"]

_INSTRUCTING = ("system", "developer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """The last question of a conversation, and what it rests on.

    Attributes:
        question: The text of the last message.
        history: The messages before it, without a first system prompt, and what the last message
            has beside its text, such as pictures; `None` if there is nothing of the kind.
        system_prompt: The text of the first messages, if they instruct the model.
    """

    question: str
    history: ScopeValue
    system_prompt: str | None


def last_turn(messages: object) -> Turn:
    """Take messages in the chat format of the providers apart.

    A message is a mapping with `role` and `content`, or an object of an SDK with `model_dump`.

    Raises:
        ScopeError: The last message is not a user's, or has no text.
    """
    if isinstance(messages, (str, bytes)) or not isinstance(messages, Sequence) or not messages:
        raise ScopeError("messages must be a list of chat messages, the question being the last")
    plain = [_plain(message, place) for place, message in enumerate(messages)]
    *before, last = plain
    if last.get("role") != "user":
        raise ScopeError(
            f"the last message has the role {last.get('role')!r}, but a question is asked by the "
            "'user': call the model for such turns without the cache"
        )
    question, rest = _text_of(last)
    if question is None:
        raise ScopeError("the last message has no text: call the model without the cache")
    instructions = 0
    while instructions < len(before) and _instructs(before[instructions]):
        instructions += 1
    prompts = [str(message["content"]) for message in before[:instructions]]
    history: list[ScopeValue] = [*before[instructions:], *([rest] if rest is not None else [])]
    return Turn(
        question=question,
        history=history or None,
        system_prompt="\n\n".join(prompts) if prompts else None,
    )


def _plain(message: object, place: int) -> Mapping[str, ScopeValue]:
    dump = getattr(message, "model_dump", None)
    if callable(dump) and not isinstance(message, Mapping):
        message = dump(mode="json", exclude_none=True)
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise ScopeError(
            f"messages[{place}] is a {type(message).__name__} without a role: pass messages as "
            "{'role': 'user', 'content': '...'}"
        )
    return cast("Mapping[str, ScopeValue]", message)


def _instructs(message: Mapping[str, ScopeValue]) -> bool:
    return message["role"] in _INSTRUCTING and isinstance(message.get("content"), str)


def _text_of(message: Mapping[str, ScopeValue]) -> tuple[str | None, ScopeValue]:
    """Give the text of a message, and the message without it if there is more in it."""
    content = message.get("content")
    others = {name: value for name, value in message.items() if name not in ("role", "content")}
    if isinstance(content, str):
        return content, {"role": "user", **others} if others else None
    if not isinstance(content, Sequence) or isinstance(content, bytes):
        return None, None
    texts: list[str] = []
    parts: list[ScopeValue] = []
    for part in content:
        text = part.get("text") if isinstance(part, Mapping) else None
        if isinstance(text, str) and cast("Mapping[str, object]", part).get("type") in (
            "text",
            "input_text",
        ):
            texts.append(text)
        else:
            parts.append(part)
    if parts or others:
        rest: ScopeValue = {"role": "user", "content": parts, **others}
        return ("\n".join(texts) if texts else None), rest
    return ("\n".join(texts) if texts else None), None
