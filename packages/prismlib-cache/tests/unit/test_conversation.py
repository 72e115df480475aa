"""Chat messages taken apart: what is asked, and what must match exactly."""

from __future__ import annotations

from typing import Any

import pytest

from prism.cache import PrismCache, ScopeError
from prism.cache._conversation import last_turn


def said(role: str, content: Any, **others: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **others}


def test_the_last_message_is_the_question_and_the_rest_its_history() -> None:
    earlier = [said("user", "hi"), said("assistant", "hello")]
    turn = last_turn([*earlier, said("user", "and now?")])
    assert (turn.question, turn.history, turn.system_prompt) == ("and now?", earlier, None)


def test_leading_instructions_are_the_system_prompt() -> None:
    turn = last_turn(
        [said("system", "Be brief."), said("developer", "In Dutch."), said("user", "q")]
    )
    assert (turn.history, turn.system_prompt) == (None, "Be brief.\n\nIn Dutch.")
    # Later ones are part of what was said.
    later = [said("user", "a"), said("system", "Be kind.")]
    turn = last_turn([*later, said("user", "q")])
    assert (turn.history, turn.system_prompt) == (later, None)


def test_parts_that_are_no_text_must_match() -> None:
    picture = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
    text = {"type": "text", "text": "What is this?"}
    assert last_turn([said("user", [text])]).history is None
    turn = last_turn([said("user", [text, picture])])
    assert turn.question == "What is this?"
    assert turn.history == [said("user", [picture])]
    assert last_turn([said("user", "q", name="ann")]).history == [{"role": "user", "name": "ann"}]


def test_objects_of_sdks_are_messages() -> None:
    class Message:
        def model_dump(self, *, mode: str, exclude_none: bool) -> dict[str, str]:
            assert (mode, exclude_none) == ("json", True)
            return said("assistant", "hello")

    turn = last_turn([said("user", "hi"), Message(), said("user", "q")])
    assert turn.history == [said("user", "hi"), said("assistant", "hello")]


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "a list of chat messages"),
        ("hi", "a list of chat messages"),
        (None, "a list of chat messages"),
        (["hi"], r"messages\[0\] is a str without a role"),
        ([{"content": "hi"}], r"messages\[0\] is a dict without a role"),
        ([said("user", "hi"), said("tool", "42")], "the role 'tool'"),
        ([said("user", None)], "has no text"),
        ([said("user", [{"type": "image_url"}])], "has no text"),
    ],
)
def test_what_is_no_question_is_refused(messages: Any, message: str) -> None:
    with pytest.raises(ScopeError, match=message):
        last_turn(messages)


def test_a_view_of_a_conversation(cache: PrismCache) -> None:
    first = [said("user", "who wrote faust")]
    view, question = cache.conversation(first)
    assert view.get_or_call(question, lambda: "Goethe") == "Goethe"
    # A conversation of one message is a single question.
    assert cache.lookup("who wrote faust").answer == "Goethe"
    later = [*first, said("assistant", "Goethe"), said("user", "and when?")]
    view, question = cache.conversation(later)
    assert view.get_or_call(question, lambda: "1808") == "1808"
    assert view.get_or_call("And when?", lambda: "called") == "1808"
    other = [
        said("user", "who wrote ulysses"),
        said("assistant", "Joyce"),
        said("user", "and when?"),
    ]
    view, question = cache.conversation(other)
    assert view.get_or_call(question, lambda: "1922") == "1922"
    assert cache.metrics().refused == 0


def test_a_scopes_own_system_prompt_is_kept(cache: PrismCache) -> None:
    kind = cache.scope(system_prompt="be kind")
    kind.put("what is up", "dear, much")
    view, question = kind.conversation([said("user", "what is up")])
    assert view.lookup(question).hit
    view, question = kind.conversation([said("system", "be brief"), said("user", "what is up")])
    assert not view.lookup(question).hit
    view, question = cache.conversation([said("system", "be kind"), said("user", "what is up")])
    assert view.lookup(question).answer == "dear, much"
