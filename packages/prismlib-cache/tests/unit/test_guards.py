from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prism.cache._guards import GUARDS, STRICT_GUARDS, objections
from prism.cache._language.antonyms import are_opposite

WORDS = st.sampled_from(
    (
        "how do i reset enable disable my password order 5501 5502 not from to berlin Paris monday"
    ).split()
)
QUESTIONS = st.lists(WORDS, min_size=1, max_size=8).map(" ".join)


def found(asked: str, stored: str, *, strict: bool = False) -> set[str]:
    guards = STRICT_GUARDS if strict else GUARDS
    return {objection.guard for objection in objections(asked, stored, guards)}


@pytest.mark.parametrize(
    ("guard", "asked", "stored"),
    [
        ("number", "Where is order 5501?", "Where is order 5502?"),
        ("number", "Can I invite 10 people?", "Can I invite people?"),
        ("number", "Is the shop open on Monday?", "Is the shop open on Sunday?"),
        ("number", "wake me at 7am", "wake me at 7pm"),
        ("negation", "Which cards do you accept?", "Which cards do you not accept?"),
        ("negation", "Is the fee refundable?", "Is the fee non-refundable?"),
        ("antonym", "How do I enable two-factor login?", "How do I disable two-factor login?"),
        ("antonym", "How do I subscribe?", "How do I unsubscribe?"),
        ("antonym", "sort ascending", "sort descending"),
        ("antonym", "Is it safe to share?", "Is it unsafe to share?"),
        ("name", "Do you ship to Germany?", "Do you ship to France?"),
        ("name", "What is the age limit in the UK?", "What is the age limit in the US?"),
        ("order", "move from Basic to Pro", "move from Pro to Basic"),
        ("order", "How do I convert a Word file to PDF?", "How do I convert a PDF to a Word file?"),
        ("order", "is tea better than coffee", "is coffee better than tea"),
        ("order", "does the dog bite the man", "does the man bite the dog"),
        ("substitution", "reset my account password", "delete my account password"),
    ],
)
def test_a_small_difference_is_seen(guard: str, asked: str, stored: str) -> None:
    assert guard in found(asked, stored)
    assert guard in found(stored, asked)


@pytest.mark.parametrize(
    ("asked", "stored"),
    [
        ("How do I reset my password?", "I forgot my password, help"),
        ("Do you have a phone number?", "Can I call you?"),
        ("At the shop, can I pay by card?", "Can I pay by card at the shop?"),
        ("To open a joint account, what do I need?", "What do I need to open a joint account?"),
        ("How long does it take for a parcel to arrive?", "How long does a parcel take to arrive?"),
        ("Where's my refund?", "where is my refund"),
        ("I'd like 2 seats", "two seats please"),
    ],
)
def test_another_wording_meets_no_veto(asked: str, stored: str) -> None:
    assert not any(objection.is_veto for objection in objections(asked, stored, GUARDS))


def test_strict_mode_forbids_replaced_words_and_other_people() -> None:
    assert "principal" in found("book for my wife", "book for my friend", strict=True)
    assert all(
        o.is_veto for o in objections("close my old account", "close my old card", STRICT_GUARDS)
    )


@given(QUESTIONS)
def test_nothing_objects_to_the_same_question(question: str) -> None:
    assert objections(question, question.upper().lower(), STRICT_GUARDS) == objections(
        question.lower(), question.upper().lower(), STRICT_GUARDS
    )
    assert objections(question, question, STRICT_GUARDS) == ()


@given(QUESTIONS, QUESTIONS)
def test_guards_are_symmetric_in_what_they_find(asked: str, stored: str) -> None:
    assert found(asked, stored, strict=True) == found(stored, asked, strict=True)


@given(st.text(max_size=80), st.text(max_size=80))
def test_no_text_breaks_a_guard(asked: str, stored: str) -> None:
    objections(asked, stored, STRICT_GUARDS)


def test_opposites_hold_both_ways_and_in_all_endings() -> None:
    assert are_opposite("enabled", "disabling")
    assert are_opposite("withdrawals", "deposit")
    assert not are_opposite("enable", "enabled")
    assert not are_opposite("report", "import")
