from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prism.cache._answers import AnswerSketch, say_the_same, sketch
from prism.cache._guards import GUARDS
from prism.cache._verdict import Candidate, Policy, judge, required_score

COSINES = st.floats(-1, 1, allow_nan=False)
ANSWERS = [sketch(f"Answer about topic{n} and nothing{n} else{n}") for n in "abc"]


def candidates(*cosines_and_answers: tuple[float, AnswerSketch]) -> list[Candidate]:
    return [
        Candidate(f"stored {i}", cosine, answer)
        for i, (cosine, answer) in enumerate(cosines_and_answers)
    ]


def test_the_gap_is_the_lead_over_the_best_other_answer() -> None:
    near = candidates((0.90, ANSWERS[0]), (0.88, ANSWERS[0]), (0.85, ANSWERS[1]))
    judged = [j for _, j in judge("asked", near, Policy(1.0, ()))]
    assert judged[0].gap == pytest.approx(0.05)
    assert judged[0].score == pytest.approx(0.90 + 2 * 0.05)
    assert judged[1].gap == pytest.approx(0.03)
    assert judged[2].gap == pytest.approx(-0.05)


def test_without_another_answer_the_gap_counts_as_full() -> None:
    [(_, judged)] = judge("asked", candidates((0.83, ANSWERS[0])), Policy(1.02, ()))
    assert judged.gap is None
    assert judged.score == pytest.approx(1.03)
    assert judged.is_accepted


def test_a_plain_threshold_uses_the_cosine_alone() -> None:
    near = [Candidate("order 1", 0.85, ANSWERS[0]), Candidate("order 2", 0.8499, ANSWERS[1])]
    judged = [j for _, j in judge("order 3", near, Policy(0.85, (), uses_gap=False))]
    assert [j.is_accepted for j in judged] == [True, False]
    assert judged[0].objections == ()


def test_a_veto_forbids_whatever_the_score() -> None:
    near = [Candidate("Where is order 5502?", 1.0, ANSWERS[0])]
    [(_, judged)] = judge("Where is order 5501?", near, Policy(0.1, GUARDS))
    assert judged.required == math.inf
    assert judged.veto is not None
    assert judged.veto.guard == "number"


@given(
    st.lists(st.tuples(COSINES, st.sampled_from(ANSWERS)), min_size=1, max_size=16),
    st.floats(0.5, 1.2),
)
def test_the_rule_holds_for_any_candidates(
    found: list[tuple[float, AnswerSketch]], required: float
) -> None:
    near = candidates(*sorted(found, key=lambda pair: -pair[0]))
    for position, judged in judge("asked", near, Policy(required, ())):
        others = [
            other.cosine for other in near if not say_the_same(near[position].answer, other.answer)
        ]
        gap = near[position].cosine - others[0] if others else 0.1
        assert judged.score == pytest.approx(near[position].cosine + 2 * min(gap, 0.1))
        assert judged.is_accepted == (judged.score >= required)


@given(st.floats(1e-6, 0.2), st.floats(1e-6, 0.2))
def test_less_error_never_asks_for_a_lower_score(one: float, other: float) -> None:
    if one <= other:
        assert required_score(one) >= required_score(other)


def test_answers_in_other_words_are_the_same_answer() -> None:
    one = sketch("You can reset your password under Settings, then Security.")
    assert say_the_same(one, sketch("Under Settings, then Security, you can reset your password"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            "Refunds take 14 days after we get the parcel.",
            "Refunds take 30 days after we get the parcel.",
        ),
        ("Yes, you can cancel at any time.", "No, you can not cancel at any time."),
        ("Choose Enable under Security.", "Choose Disable under Security."),
        ("Open Billing and pay.", "Write to support."),
        ("", "Open Billing and pay."),
    ],
)
def test_answers_with_other_facts_are_different(one: str, other: str) -> None:
    assert not say_the_same(sketch(one), sketch(other))
