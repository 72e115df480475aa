from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prism.cache._answers import AnswerSketch, compare, say_the_same, sketch
from prism.cache._calibration.rule import Rule
from prism.cache._evidence import KINDS, careful_weights
from prism.cache._guards import GUARDS, Guard
from prism.cache._verdict import Candidate, Judgement, Policy, judge

COSINES = st.floats(-1, 1, allow_nan=False)
ANSWERS = [sketch(f"Answer about topic{n} and nothing{n} else{n}") for n in "abc"]


def candidates(*cosines_and_answers: tuple[float, AnswerSketch]) -> list[Candidate]:
    return [
        Candidate(f"stored {i}", cosine, answer)
        for i, (cosine, answer) in enumerate(cosines_and_answers)
    ]


def policy(bar: float = 1.0, guards: tuple[Guard, ...] = ()) -> Policy:
    return Policy(Rule(weights=careful_weights(), bar=bar), guards)


def all_judged(near: list[Candidate], given: Policy) -> list[Judgement]:
    return [judgement for _, judgement in judge("asked", near, given, judges_all=True).judged]


def test_the_gap_is_the_lead_over_the_best_other_answer() -> None:
    near = candidates((0.90, ANSWERS[0]), (0.88, ANSWERS[0]), (0.85, ANSWERS[1]))
    judged = all_judged(near, policy())
    assert judged[0].gap == pytest.approx(0.05)
    assert judged[0].score == pytest.approx(0.90 + 2 * 0.05)
    assert judged[1].gap == pytest.approx(0.03)
    assert judged[2].gap == pytest.approx(-0.05)


def test_without_another_answer_the_gap_counts_as_full() -> None:
    verdict = judge("asked", candidates((0.83, ANSWERS[0])), policy(1.02))
    assert verdict.judgement is not None
    assert verdict.judgement.gap is None
    assert verdict.judgement.score == pytest.approx(1.03)
    assert verdict.judgement.is_accepted


def test_one_group_is_one_answer_in_whatever_words() -> None:
    near = [
        Candidate("a", 0.90, ANSWERS[0], b"one"),
        Candidate("b", 0.89, ANSWERS[1], b"one"),
        Candidate("c", 0.80, ANSWERS[2], b"two"),
    ]
    verdict = judge("asked", near, policy())
    assert verdict.judgement is not None
    assert verdict.judgement.gap == pytest.approx(0.10)


def test_the_answer_itself_speaks_for_a_candidate() -> None:
    near = [
        Candidate("a", 0.80, ANSWERS[0], b"one", 0.70),
        Candidate("b", 0.78, ANSWERS[1], b"two", 0.30),
    ]
    verdict = judge("asked", near, policy(0.9))
    assert verdict.judgement is not None
    assert verdict.judgement.answer_gap == pytest.approx(0.40)
    assert verdict.judgement.score == pytest.approx(0.80 + 2 * 0.02 + 0.1)
    swapped = [near[0], Candidate("b", 0.78, ANSWERS[1], b"two", 0.95)]
    assert judge("asked", swapped, policy(0.9)).best == 1


def test_a_plain_threshold_uses_the_cosine_alone() -> None:
    near = [Candidate("order 1", 0.85, ANSWERS[0]), Candidate("order 2", 0.8499, ANSWERS[1])]
    plain = Policy(Rule(weights=careful_weights(), bar=9), GUARDS, threshold=0.85)
    judged = [j for _, j in judge("order 3", near, plain, judges_all=True).judged]
    assert [j.is_accepted for j in judged] == [True, False]
    assert judged[0].objections == ()


def test_a_veto_forbids_whatever_the_score() -> None:
    near = [Candidate("Where is order 5502?", 1.0, ANSWERS[0])]
    verdict = judge("Where is order 5501?", near, policy(0.1, GUARDS))
    assert verdict.best is None
    [(_, judged)] = verdict.judged
    assert judged.required == math.inf
    assert judged.veto is not None
    assert judged.veto.guard == "number"


def test_beside_a_forbidden_candidate_another_may_answer() -> None:
    near = [
        Candidate("Where is order 5502?", 0.99, ANSWERS[0]),
        Candidate("Where is order 5501 now?", 0.95, ANSWERS[1]),
    ]
    assert judge("Where is order 5501?", near, policy(0.1, GUARDS)).best == 1


@given(
    st.lists(st.tuples(COSINES, st.sampled_from(ANSWERS)), min_size=1, max_size=16),
    st.floats(0.5, 1.2),
)
def test_the_rule_holds_for_any_candidates(
    found: list[tuple[float, AnswerSketch]], required: float
) -> None:
    near = candidates(*sorted(found, key=lambda pair: -pair[0]))
    verdict = judge("asked", near, policy(required), judges_all=True)
    for position, judged in verdict.judged:
        others = [
            other.cosine for other in near if not say_the_same(near[position].answer, other.answer)
        ]
        gap = near[position].cosine - others[0] if others else 0.1
        assert judged.score == pytest.approx(near[position].cosine + 2 * min(gap, 0.1))
        assert judged.is_accepted == (judged.score >= required)
    assert verdict.judgement is not None
    assert verdict.judgement.score == pytest.approx(max(j.score for _, j in verdict.judged))
    quick = judge("asked", near, policy(required))
    assert quick.judgement is not None
    assert quick.judgement.score == pytest.approx(verdict.judgement.score)


@given(
    st.lists(
        st.tuples(
            COSINES,
            st.sampled_from(ANSWERS),
            st.sampled_from([b"", b"one", b"two", b"three"]),
            st.sampled_from([None, 0.2, 0.4]),
        ),
        min_size=1,
        max_size=16,
    ),
    st.booleans(),
)
def test_the_gap_is_to_the_best_that_does_not_share_the_answer(
    found: list[tuple[float, AnswerSketch, bytes, float | None]], all_read: bool
) -> None:
    near = [
        Candidate(f"stored {n}", cosine, answer, group, 0.3 if all_read else own)
        for n, (cosine, answer, group, own) in enumerate(
            sorted(found, key=lambda each: each[0], reverse=True)
        )
    ]
    for place, judged in judge("asked", near, policy(), judges_all=True).judged:
        same = near[place].shares_its_answer(near)
        founder = next(n for n, other in enumerate(near) if other.shares_its_answer(near)[place])
        if founder == place:
            others = [c.cosine for c, shared in zip(near, same, strict=True) if not shared]
            assert judged.gap == (near[place].cosine - others[0] if others else None)


@given(
    st.lists(st.tuples(st.floats(0.3, 1), st.floats(-0.2, 1)), min_size=1, max_size=16),
    st.integers(1, 5),
)
def test_evidence_is_finite_and_in_its_bounds(
    found: list[tuple[float, float]], groups: int
) -> None:
    near = [
        Candidate(f"stored {n}", cosine, sketch(f"answer{n} here"), b"%d" % (n % groups), answer)
        for n, (cosine, answer) in enumerate(sorted(found, reverse=True))
    ]
    for judged in all_judged(near, policy()):
        assert len(judged.evidence) == len(KINDS)
        assert all(map(math.isfinite, judged.evidence))
        named = dict(zip([kind.name for kind in KINDS], judged.evidence, strict=True))
        assert 0 <= named["support"] <= 1
        assert named["lead"] <= 0.1
        assert abs(named["answer lead"]) <= 0.1


def test_answers_in_other_words_are_the_same_answer() -> None:
    one = sketch("You can reset your password under Settings, then Security.")
    assert say_the_same(one, sketch("Under Settings, then Security, you can reset your password"))


def test_close_meaning_joins_answers_whose_facts_agree() -> None:
    one = sketch("The trial lasts 21 days and needs no card.")
    other = sketch("You can try everything for 21 days, no card is asked for.")
    third = sketch("The trial lasts 14 days and needs no card.")
    assert not say_the_same(one, other)
    assert say_the_same(one, other, 0.8)
    assert not say_the_same(one, other, 0.5)
    assert not say_the_same(one, third, 0.99)


def test_answers_that_differ_in_a_denial_alone_teach_nothing() -> None:
    one = sketch("The trial is free and includes all features of the plan.")
    other = sketch("The trial is not free and includes all features of the plan.")
    assert compare(one, other, 0.95) is None
    assert compare(one, other) is None
    assert not say_the_same(one, other, 0.95)


def test_a_number_that_only_repeats_the_question_may_be_missing() -> None:
    question, other_question = "why was I charged twice", "there are 2 identical payments"
    one = sketch("About being charged twice: the money is back within 3 days.", question)
    other = sketch("You have the money back within 3 days.", other_question)
    assert compare(one, other, 0.9) is True
    assert compare(other, one, 0.9) is True
    assert compare(sketch("Charged twice: the money is back within 3 days."), other, 0.9) is False
    shipped = [sketch(f"Order {n} has been shipped.", f"where is order {n}") for n in (5501, 5502)]
    assert compare(*shipped, 0.99) is False


def test_where_several_numbers_agree_denials_are_wording() -> None:
    one = sketch("It costs $5 and takes 3 days. Do not hesitate to ask.")
    other = sketch("You pay $5, allow 3 days for it. Is there anything else?")
    assert compare(one, other, 0.7) is True
    assert compare(one, sketch("You pay $6, allow 3 days for it."), 0.9) is False


def test_a_yes_in_front_is_no_difference() -> None:
    assert say_the_same(
        sketch("Yes, in offline mode, under Settings."), sketch("In offline mode, under Settings.")
    )


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
