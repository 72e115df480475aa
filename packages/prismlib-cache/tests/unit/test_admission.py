"""The admission rules: what is held back, in which scopes, and that no text breaks them."""

from __future__ import annotations

import time
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prism.cache import ADMISSION_RULES, AdmissionRule, CacheConfigurationError
from prism.cache._admission.rule import Gate, check_rules
from prism.cache._scope import Scope

TEXTS = tomllib.loads((Path(__file__).parent / "admission_texts.toml").read_text(encoding="utf-8"))
REFUSED = [(rule, text) for rule, texts in TEXTS.items() if rule != "admitted" for text in texts]
BY_NAME = {rule.name: rule for rule in ADMISSION_RULES}
GATE = Gate(ADMISSION_RULES)
PLAIN = Scope(tenant_id="tests", model="gpt-4o")
WORDS = sorted({word for texts in TEXTS.values() for text in texts for word in text.split()})


def never(error: Exception) -> None:
    raise error


def rule_for(text: str, scope: Scope = PLAIN) -> AdmissionRule | None:
    return GATE.holding(text, scope, failed=never)


@pytest.mark.parametrize(("rule", "text"), REFUSED)
def test_what_must_not_be_cached_is_held_back_by_the_rule_that_means_it(
    rule: str, text: str
) -> None:
    assert BY_NAME[rule].holds(text, PLAIN)
    held = rule_for(text)
    assert held is not None
    # Another rule may be asked before; it allows no more than this one.
    assert held.allows == "nothing" or BY_NAME[rule].allows == "exact"


@pytest.mark.parametrize("text", TEXTS["admitted"])
def test_what_has_one_answer_for_all_is_admitted(text: str) -> None:
    assert rule_for(text) is None


def test_there_are_enough_examples_for_the_lists_to_mean_something() -> None:
    assert len(TEXTS["admitted"]) >= 90
    assert len(REFUSED) >= 150
    assert len({text.lower() for texts in TEXTS.values() for text in texts}) == len(
        TEXTS["admitted"]
    ) + len(REFUSED)


@pytest.mark.parametrize(
    "text",
    [
        "Context: The office is in Oslo.\nQuestion: Where is the office?",
        "# Task\nName three colours.",
        "Look at this:\n```\nprint(1)\n```\nWhat does the program do?",
        '{"product": "lamp", "ask": "which bulbs fit"}',
        "<doc>The office is in Oslo.</doc> Which city is it in?",
        "Dear {{name}}, which plan fits {{company}}?",
        "one\ntwo\nthree\nfour\nfive\nsix\nseven",
        "a long story. " * 100,
    ],
)
def test_templates_and_documents_keep_the_exact_tier(text: str) -> None:
    held = rule_for(text)
    assert held is not None
    assert (held.name, held.allows) == ("template", "exact")


@pytest.mark.parametrize(
    "text",
    [
        "Hello,\nwhich bulbs fit the lamp?\nThanks",
        "Note: which bulbs fit the lamp?",
        "Which of [a, b, c] comes first?",
        "What does a < b mean?",
        "What does {} mean in Rust?",
    ],
)
def test_typed_questions_are_no_templates(text: str) -> None:
    assert rule_for(text) is None


def test_a_document_is_refused_for_its_question_not_for_its_words() -> None:
    document = "Today the bank was closed. Cancel my order, she said. " * 30
    held = rule_for(f"{document}\nQuestion: Who is she?")
    assert held is not None
    assert held.name == "template"
    held = rule_for(f"{document}\nUser: cancel my order")
    assert held is not None
    assert held.name == "action"


def test_parts_of_the_scope_make_questions_safe_or_not() -> None:
    asked_by_one = PLAIN.narrowed(user="u1")
    assert rule_for("Where is my parcel?", asked_by_one) is None
    assert rule_for("Cancel my order", asked_by_one) is BY_NAME["action"]
    later = PLAIN.narrowed(history=[{"role": "user", "content": "hi"}])
    assert rule_for("And what about France?", later) is None
    assert rule_for("What does it cost?", later) is None
    assert rule_for("What does it cost?", PLAIN.narrowed(history=[])) is BY_NAME["reference"]
    assert rule_for("Where is my parcel?", later) is BY_NAME["personal"]
    able = PLAIN.narrowed(tools=[{"name": "cancel_order"}])
    assert rule_for("I want to cancel my order", able) is BY_NAME["wish"]
    assert rule_for("I want to cancel my order") is None
    assert rule_for("I want to know how long the warranty is", able) is None


@given(st.one_of(st.text(), st.lists(st.sampled_from(WORDS), max_size=30).map(" ".join)))
def test_no_text_breaks_a_rule_and_spacing_and_case_change_nothing(text: str) -> None:
    for rule in ADMISSION_RULES:
        rule.holds(text, PLAIN)
    if text.isascii() and "\n" not in text and "\r" not in text and text.isprintable():
        held = rule_for(text)
        assert rule_for(text.upper()) is held or "{" in text or "<" in text
        assert rule_for(f"  {'  '.join(text.split(' '))} ") is held


HARD = [
    "my " * 300,
    "what is my " * 90,
    "how much " * 110,
    "and so what yes please " * 40,
    "please can you please " * 45,
    "is it is it " * 80,
    "a" * 1_000,
    "- " * 500,
    "\n" * 1_000,
    "{{" * 500,
    "</" * 500,
    "order number " * 75,
    "this last next week " * 50,
    "convert " + "1" * 900,
    "1.1" * 300,
    "how many the the the " * 45,
]


@pytest.mark.parametrize("text", HARD, ids=range(len(HARD)))
def test_no_text_of_a_kind_takes_more_than_its_length(text: str) -> None:
    def seconds(text: str) -> float:
        from prism.cache._admission.reading import read

        took = []
        for _ in range(5):
            read.cache_clear()
            began = time.process_time()
            for rule in ADMISSION_RULES:
                rule.holds(text, PLAIN)
            took.append(time.process_time() - began)
        return min(took)

    seconds(text)
    # A bound per character, ten times what the slowest takes: backtracking would be far beyond.
    assert seconds(text) < 20e-6 * len(text) + 1e-3
    # Documents are read at their end.
    assert seconds(text * 100) < 1e-6 * 100 * len(text) + 20e-3


def test_the_strictest_rule_decides_whatever_the_order() -> None:
    mild = AdmissionRule(name="mild", reason="tests", matches="x", allows="exact")
    strict = AdmissionRule(name="strict", reason="tests", matches="x")
    for rules in ((mild, strict), (strict, mild)):
        assert Gate(rules).holding("an X", PLAIN, failed=never) is strict
    assert Gate((mild,)).holding("an X", PLAIN, failed=never) is mild
    assert Gate(()).holding("an X", PLAIN, failed=never) is None


def test_a_rule_that_raises_holds_back_and_is_reported() -> None:
    def broken(_: str) -> bool:
        raise ZeroDivisionError

    rule = AdmissionRule(name="broken", reason="tests", matches=broken)
    errors: list[Exception] = []
    assert Gate((rule,)).holding("anything", PLAIN, failed=errors.append) is rule
    assert [type(error) for error in errors] == [ZeroDivisionError]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": " "}, "name of an admission rule"),
        ({"reason": ""}, "reason of an admission rule"),
        ({"allows": "near"}, "'nothing' or 'exact', not 'near'"),
        ({"matches": "("}, "no regular expression"),
        ({"matches": 3}, "a regular expression or a function, not a int"),
        ({"unless_with": "mood"}, "unless_with of rule 'one' must be one of user"),
        ({"only_with": "mood"}, "only_with of rule 'one' must be one of user"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(change: dict[str, object], message: str) -> None:
    good: dict[str, object] = {"name": "one", "reason": "tests", "matches": "x"}
    with pytest.raises(CacheConfigurationError, match=message):
        AdmissionRule(**{**good, **change})  # type: ignore[arg-type]  # what a user might do


def test_lists_of_rules_are_checked() -> None:
    rule = AdmissionRule(name="one", reason="tests", matches="x")
    assert check_rules(None) == check_rules([]) == ()
    assert check_rules(iter([rule])) == (rule,)
    with pytest.raises(CacheConfigurationError, match="two admission rules are named 'one'"):
        check_rules([rule, rule])
    for wrong in ("personal", ["personal"], rule, 3):
        with pytest.raises(CacheConfigurationError, match="a list of AdmissionRule"):
            check_rules(wrong if wrong is not rule else [rule, None])


CONSENT = [
    "Yes", "yes please", "Yes, please do", "OK, do that", "Sure, go ahead", "Please do it",
    "That's correct, thank you", "I confirm", "yes, the second one please", "ok sounds good",
    "Yep, proceed!",
]  # fmt: skip
NO_CONSENT = [
    "No", "No, please don't", "Yes, but what does it cost?", "Is that right?", "thanks", "",
    "do you ship to Norway", "What should I do", "yes and where is the nearest branch", "not sure",
    "right to withdraw", "ok how long does it take",
]  # fmt: skip


@pytest.mark.parametrize("text", CONSENT)
def test_agreeing_is_held_back_where_the_model_can_act(text: str) -> None:
    offered = {"history": [{"role": "assistant", "content": "Shall I cancel your order?"}]}
    able = Scope(tenant_id="tests", model="gpt-4o", tools=[{"name": "cancel_order"}], **offered)
    unable = Scope(tenant_id="tests", model="gpt-4o", **offered)
    assert rule_for(text, able) is not None
    assert BY_NAME["consent"].holds(text, able)
    assert rule_for(text, unable) is None


@pytest.mark.parametrize("text", NO_CONSENT)
def test_what_says_more_than_yes_is_no_consent(text: str) -> None:
    able = Scope(tenant_id="tests", model="gpt-4o", tools=[{"name": "cancel_order"}])
    assert not BY_NAME["consent"].holds(text, able)
