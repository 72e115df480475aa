from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prism.cache._language.stems import stem
from prism.cache._language.words import analyse, normalise


@given(st.text(max_size=200))
def test_any_text_can_be_taken_apart(text: str) -> None:
    words = analyse(text)
    assert words.bag == set(words.order)
    assert set(words.names) <= {w.removesuffix("'s") for w in words.bag} | words.names


@given(st.text(max_size=200))
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("How do I reset my password?", "how do i reset  my password"),
        ("What\u2019s new?", "what's new"),
        ("  hello\n", "HELLO."),
    ],
)
def test_the_same_text_has_one_normal_form(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("C", "C++"),
        ("a b", "ab"),
        ("1.5", "15"),
        ("?", "!"),
        ("chmod -R", "chmod -r"),
        ("5!", "5"),
        ("cd ..", "cd"),
        ("10 M", "10 m"),
        ("5 \u041c\u0412\u0442", "5 \u043c\u0412\u0442"),
        ("in the US", "in the us"),
    ],
)
def test_signs_that_matter_are_kept(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("pay 1,000 dollars", "pay 1000 dollars"),
        ("two tickets", "2 tickets"),
        ("10gb plan", "10 GB plan"),
        ("meet at 7 pm", "meet at 7pm"),
        ("a 2-year lease", "a two year lease"),
        ("open on Mondays", "open on monday"),
    ],
)
def test_one_amount_in_two_spellings(one: str, other: str) -> None:
    assert analyse(one).numbers == analyse(other).numbers != ()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("order 5501", "order 5502"),
        ("at 7am", "at 7pm"),
        ("version 1.2", "version 12"),
        ("Q1 report", "Q2 report"),
        ("in May or june", "in may or july"),
        ("10 items", "100 items"),
        ("order AB-123", "order AB-124"),
    ],
)
def test_different_amounts_stay_different(one: str, other: str) -> None:
    assert analyse(one).numbers != analyse(other).numbers


def test_two_negations_cancel() -> None:
    assert analyse("I can't log in").is_negated
    assert not analyse("It is not that I can't log in").is_negated


def test_names_are_capitalised_words_inside_a_sentence() -> None:
    assert analyse("Ship it to Germany or the US. Please use DHL's van").names == {
        "germany", "usa", "dhl",
    }  # fmt: skip
    assert analyse("PLEASE SHIP IT BY DHL").names == frozenset()
    assert analyse("ship it to germany please").names == {"germany"}
    assert analyse("How To Reset My Lost Password").names == frozenset()


@pytest.mark.parametrize(
    "words", [("enable", "enabled", "enables", "enabling"), ("city", "cities")]
)
def test_forms_of_a_word_share_a_stem(words: tuple[str, ...]) -> None:
    assert len({stem(word) for word in words}) == 1
