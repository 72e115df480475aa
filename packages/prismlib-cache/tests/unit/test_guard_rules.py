"""Each rule of the guards, with the wordings it must tell apart and those it must not."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prism.cache._guards import GUARDS, STRICT_GUARDS, objections
from prism.cache._language.antonyms import are_opposite
from prism.cache._language.lexicon import FUNCTION_WORDS, NEGATIONS, NEGATIVE_WORDS, PEOPLE
from prism.cache._language.measures import MONTHS, ORDINALS, UNITS, WEEKDAYS
from prism.cache._language.negation import negation_in
from prism.cache._language.quantities import quantities, unmatched
from prism.cache._language.stems import american, is_typo_of, stem
from prism.cache._language.wording import tokens
from prism.cache._language.words import MUCH_TEXT, analyse, take_apart

SOME_WORDS = st.sampled_from(
    sorted(FUNCTION_WORDS | NEGATIONS | NEGATIVE_WORDS | set(PEOPLE) | set(UNITS) | set(MONTHS))
    + sorted(set(ORDINALS) | set(WEEKDAYS))
    + "1 2 12 7pm 19:00 half past quarter $5 10% 1/2 2024-05-03 AB-12 hundred and a login".split()
)
QUESTIONS = st.lists(SOME_WORDS, max_size=12).map(" ".join)


def vetoes(asked: str, stored: str) -> set[str]:
    found = {o.guard for o in objections(asked, stored, GUARDS) if o.is_veto}
    assert found == {o.guard for o in objections(stored, asked, GUARDS) if o.is_veto}
    return found


@given(QUESTIONS, QUESTIONS)
def test_guards_find_the_same_from_both_sides(asked: str, stored: str) -> None:
    there = {o.guard for o in objections(asked, stored, STRICT_GUARDS)}
    assert there == {o.guard for o in objections(stored, asked, STRICT_GUARDS)}


@given(QUESTIONS)
def test_guards_let_a_question_stand_for_itself(question: str) -> None:
    assert objections(question, question, STRICT_GUARDS) == ()


@given(st.text(max_size=60))
def test_parts_of_the_analysis_take_any_text(text: str) -> None:
    order = tokens(text)
    found, places = quantities(order)
    assert all(0 <= place < len(order) for place in places)
    assert unmatched(found, found) == ([], [])
    assert negation_in(order).count >= 0
    assert all(stem(token) == stem(token) for token in order)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("two weeks", "14 days"),
        ("a stay of one week", "a stay of seven days"),
        ("90 minutes", "an hour and a half"),
        ("half an hour", "30 min"),
        ("a 12-month loan", "a 1 year loan"),
        ("2.5 kg", "two and a half kilos"),
        ("0.5 l", "half a litre"),
        ("ten percent", "10%"),
        ("10 %", "10 percent"),
        ("$45,000", "45k dollars"),
        ("\u20ac20", "20 EUR"),
        ("twenty five", "25"),
        ("two million", "2000000"),
        ("the 3rd of May", "on May 3"),
        ("5 Jan 2025", "January 5th, 2025"),
        ("on 2025-01-05", "on 5 January 2025"),
        ("1/2/25", "1/2/2025"),
        ("7 pm", "19:00"),
        ("7 p.m.", "19:00"),
        ("seven pm", "7pm"),
        ("10:00 am", "10am"),
        ("at 8.30", "at 8:30"),
        ("noon", "12 pm"),
        ("half past seven", "7:30"),
        ("8 in the evening", "20:00"),
        ("1st", "first"),
        ("on Tues", "on Tuesday"),
        ("180 degrees celsius", "180\u00b0C"),
        ("180 degrees", "180 C"),
        ("form W-2", "form w2"),
        ("the 401(k)", "the 401k"),
        ("flight LH 400", "flight LH400"),
        ("two times", "twice"),
        ("1 ticket", "a ticket"),
        ("see you tomorrow", "see you"),
    ],
)
def test_one_quantity_in_two_spellings_is_no_objection(one: str, other: str) -> None:
    assert "number" not in vetoes(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("10 minutes", "10 seconds"),
        ("5 kg", "5 lb"),
        ("300 euros", "300 dollars"),
        ("the 3rd of May", "the 13th of May"),
        ("May 3", "June 3"),
        ("quarter past seven", "quarter to seven"),
        ("at noon", "at midnight"),
        ("14:15", "4:15 pm"),
        ("8 in the morning", "8 in the evening"),
        ("python 3.1", "python 3.10"),
        ("flat 12a", "flat 12b"),
        ("weather tomorrow", "weather next week"),
        ("spent last month", "spent this month"),
        ("the first exam", "the second exam"),
        ("how many miles", "how many kilometres"),
        ("once a day", "twice a day"),
        ("half a cup", "a quarter cup"),
    ],
)
def test_another_quantity_is_vetoed(one: str, other: str) -> None:
    assert "number" in vetoes(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Are dogs not allowed here?", "Are dogs forbidden here?"),
        ("Does it work offline?", "Does it work without internet?"),
        ("What if I fail to pay?", "What if I don't pay?"),
        ("I can't log in", "Login fails"),
        ("Isn't it open today?", "Is it open today?"),
        ("You don't ship abroad, do you?", "Do you ship abroad?"),
        ("dishes without gluten", "gluten-free dishes"),
        ("meals with no meat", "meatless meals"),
        ("Why isn't my internet fast?", "Why is my internet slow?"),
        ("the code isn't valid", "the code is invalid"),
        ("No rush, but where is my badge?", "Where is my badge?"),
        ("I don't know how to pay", "how to pay"),
        ("I'm unable to open it", "I can't open it"),
    ],
)
def test_denying_the_same_is_no_objection(one: str, other: str) -> None:
    assert not vetoes(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What if I attend the exam?", "What if I fail to attend the exam?"),
        ("What if the pump starts?", "What if the pump refuses to start?"),
        ("with milk but no sugar", "with sugar but no milk"),
        ("Can I return it if it is lost?", "Can I return it if it is not lost?"),
        ("Do I pay if I cancel?", "Do I pay unless I cancel?"),
        ("Which snacks can I bring?", "Which snacks can't I bring?"),
    ],
)
def test_denying_something_else_is_vetoed(one: str, other: str) -> None:
    assert "negation" in vetoes(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cheaper", "pricier"), ("biggest", "smallest"), ("warmer", "cooler"),
        ("pin", "unpin"), ("inbound", "outbound"), ("overpay", "underpay"), ("useful", "useless"),
        ("employer", "employee"), ("encourage", "discourage"), ("switchon", "switchoff"),
        ("permitted", "forbidden"), ("setup", "remove"),
    ],
)  # fmt: skip
def test_opposites_by_form(one: str, other: str) -> None:
    assert are_opposite(one, other)
    assert are_opposite(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [("until", "til"), ("count", "discount"), ("enable", "enables"), ("form", "inform")],
)
def test_letters_alike_are_no_opposites(one: str, other: str) -> None:
    assert not are_opposite(one, other)


@pytest.mark.parametrize(
    ("guard", "one", "other"),
    [
        ("quantifier", "Are all rooms quiet?", "Are some rooms quiet?"),
        ("quantifier", "Does everyone pay?", "Does anyone pay?"),
        ("modality", "Can I work at home?", "Must I work at home?"),
        ("modality", "Do I have to stay?", "Am I allowed to stay?"),
        ("modality", "Should I freeze it?", "Can I freeze it?"),
        ("tense", "Did they raise the rent?", "Will they raise the rent?"),
        ("tense", "Who was the captain?", "Who is the captain?"),
        ("condition", "lights on when I leave", "lights on until I leave"),
        ("person", "renew my passport", "renew my daughter's passport"),
        ("person", "Can I collect it?", "Can my brother collect it?"),
        ("person", "book it for me", "book it for my wife"),
        ("antonym", "turn the heating on", "turn off the heating"),
        ("antonym", "at least two", "at most two"),
        ("name", "hotels in lisbon", "hotels in madrid"),
        ("order", "Was the dean praised by the tutor?", "Did the dean praise the tutor?"),
        ("order", "my manager reports me", "I report my manager"),
        ("order", "update it then reboot it", "reboot it then update it"),
        ("order", "mail from my old address to my new one", "mail from my new to my old address"),
    ],
)
def test_a_small_word_is_seen(guard: str, one: str, other: str) -> None:
    assert guard in vetoes(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Can any student apply?", "Can every student apply?"),
        ("Did the courier deliver the box?", "Was the box delivered by the courier?"),
        ("Can my landlord evict me?", "Can I be evicted by my landlord?"),
        ("How far is Rome from Pisa?", "How far is Pisa from Rome?"),
        ("Why was my card declined?", "Why is my card declined?"),
        ("turn the heating off", "switch off the heating"),
        ("a visa for the USA", "a visa for the United States"),
        ("My wife and I need a loan, how do we apply?", "How do we apply for a loan?"),
        ("May I ask where the lift is?", "Where is the lift?"),
    ],
)
def test_another_wording_is_let_through(one: str, other: str) -> None:
    assert not vetoes(one, other)


@pytest.mark.parametrize(
    ("british", "ours"),
    [("colours", "colors"), ("organised", "organized"), ("centre", "center"), ("grey", "gray"),
     ("catalogue", "catalog"), ("licence", "license"), ("cancelled", "canceled")],
)  # fmt: skip
def test_british_and_american_share_a_stem(british: str, ours: str) -> None:
    assert stem(british) == stem(ours)


@pytest.mark.parametrize("word", ["four", "hour", "raise", "exercise", "your", "noise"])
def test_other_words_keep_their_spelling(word: str) -> None:
    assert american(word) == word


def test_typos_are_told_from_other_words() -> None:
    assert is_typo_of("flihgt", "flight")
    assert is_typo_of("adress", "address")
    assert is_typo_of("vaccinatoin", "vaccination")
    assert not is_typo_of("hotel", "hostel")
    assert not is_typo_of("card", "cart")


@pytest.mark.parametrize(
    "unit",
    ["a", "1", "1,", "1.", "1 ", " ", "not ", "$1", "a'", "a-free ", "turn on ", "from to ", "_",
     "9 thousand ", "half past ", "AB 12 ", "x. Y ", "\u0130", ", do you ?"],
)  # fmt: skip
def test_long_texts_are_read_in_part(unit: str) -> None:
    text = unit * 50_000
    assert len(" ".join(take_apart(text).order)) <= 10 * MUCH_TEXT
    assert analyse(text) is analyse(text[:MUCH_TEXT])
    start = time.process_time()
    objections(text, "b " + text, STRICT_GUARDS)
    assert time.process_time() - start < 1


def test_long_texts_without_a_word_in_common_are_compared_in_part() -> None:
    ours = " ".join(f"{a}{b}er" for a in "bcdfghj" for b in "aeiou" * 9)
    start = time.process_time()
    objections(ours, ours.replace("er", "ot"), STRICT_GUARDS)
    objections(" ".join(map(str, range(500))), " ".join(map(str, range(500, 999))), GUARDS)
    assert time.process_time() - start < 1
