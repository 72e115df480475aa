"""A question taken apart once: the words, numbers and negations that the guards compare.

The analysis is for English. In other languages numbers, ids and names are still seen; negations
and antonyms are not, which the documentation says where it promises guards.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

__all__ = ["Words", "analyse", "normalise"]

_SPACE = re.compile(r"\s+")
_TOKEN = re.compile(
    r"""
      [^\W\d_]+(?:['\u2019][^\W\d_]+)*(?![\w])   # a word, with its inner apostrophes
    | [^\W_]*\d[\w.,:/-]*[^\W_]                  # number, date, version or id, two signs or more
    | \d                                         # a single digit
    | [^\W_]+                                    # anything else that is letters and digits
    """,
    re.VERBOSE,
)
_AMOUNT = re.compile(r"(\d+(?:[.,:/]\d+)*)-?([a-z%]*)[a-z-]*")
_HALF_OF_DAY = re.compile(r"(\d)\s+([ap])\.?m\b\.?", re.IGNORECASE)

_NUMBER_WORDS = {
    word: str(value)
    for value, word in enumerate(
        (
            "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
            "fifteen sixteen seventeen eighteen nineteen twenty"
        ).split()
    )
} | {"thirty": "30", "forty": "40", "fifty": "50", "sixty": "60", "seventy": "70", "eighty": "80"}
_NUMBER_WORDS |= {"ninety": "90", "hundred": "100", "thousand": "1000", "million": "1000000"}
_NUMBER_WORDS |= {"twice": "2x", "half": "1/2", "dozen": "12"}
# "the one I bought", "which one": more often a pronoun than a number.
del _NUMBER_WORDS["one"]

_CALENDAR = frozenset(
    (
        "monday tuesday wednesday thursday friday saturday sunday january february march april "
        "june july august september october november december"
    ).split()
)
# "7am" is not "7pm", while "10gb" and "10 GB" are 10 and a word.
_PART_OF_NUMBER = frozenset(("st", "nd", "rd", "th", "x", "am", "pm"))
_NEGATIONS = frozenset(
    (
        "not no non never none nobody nothing neither nor without cannot unable except dont "
        "doesnt isnt cant wont didnt wasnt arent havent hasnt shouldnt couldnt wouldnt"
    ).split()
)
# Words that carry grammar rather than topic. Prepositions of direction are listed with the guard.
_FUNCTION_WORDS = frozenset(
    (
        "a an the of to in on at for from by with and or is are was were be been being am do does "
        "did done can could will would shall should may might must has had have having i me my "
        "mine myself we us our ours you your yours he him she her hers it its they them their his "
        "this that these those there here what which who whom whose when where why how if then "
        "than so as into about over under up down out off just please tell want need know help "
        "some any also get got getting let us m re ve ll d s t im ive id hi hello hey thanks "
        "thank now way ways possible able whats hows wheres"
    ).split()
)


def normalise(text: str) -> str:
    """Fold a question to the form in which two askings count as the same text.

    Case, runs of white space, typographic apostrophes and closing punctuation go; every other sign
    stays, since "C" and "C++" are not the same question.
    """
    folded = _SPACE.sub(" ", text.replace("\u2019", "'").casefold()).strip()
    return folded.rstrip(" ?!.") or folded


@dataclass(frozen=True, slots=True)
class Words:
    """What the guards read of one question.

    Attributes:
        order: Lower-case tokens in their order.
        bag: The same tokens as a set.
        stems: Content words in their order, cut to their stems.
        numbers: Amounts, dates and ids, each in one spelling, with how often it occurs.
        names: Capitalised words inside a sentence, in lower case.
        is_negated: Whether negations occur an odd number of times.
    """

    order: tuple[str, ...]
    bag: frozenset[str]
    stems: tuple[str, ...]
    numbers: tuple[tuple[str, int], ...]
    names: frozenset[str]
    is_negated: bool


# Guards see the same stored questions again and again; 4,096 analyses are about 4 MB.
@lru_cache(maxsize=4096)
def analyse(text: str) -> Words:
    """Take `text` apart. Cost: O(len(text)), about 40 us for a question of ten words."""
    plain = _HALF_OF_DAY.sub(r"\1\2m", text.replace("\u2019", "'"))
    order = tuple(token.lower().removesuffix("'s") for token in _TOKEN.findall(plain))
    numbers: Counter[str] = Counter()
    for token in order:
        numbers.update(_numbers_in(token))
    negations = sum(_is_negation(token) for token in order)
    stems = tuple(
        stem(token) for token in order if token not in _FUNCTION_WORDS and not _is_negation(token)
    )
    return Words(
        order=order,
        bag=frozenset(order),
        stems=stems,
        numbers=tuple(sorted(numbers.items())),
        names=_names_in(text),
        is_negated=negations % 2 == 1,
    )


def stem(word: str) -> str:
    """Cut the commonest English endings; rough on purpose, both sides are cut alike."""
    for ending in ("ations", "ation", "ings", "ing", "edly", "ed", "ies", "es", "s", "ly"):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            word = word[: -len(ending)]
            break
    if len(word) > 3 and word[-1] == word[-2]:
        return word[:-1]
    return word[:-1] if len(word) > 3 and word[-1] in "eiy" else word


def _is_negation(token: str) -> bool:
    return token in _NEGATIONS or token.endswith("n't")


def _numbers_in(token: str) -> list[str]:
    if token in _NUMBER_WORDS:
        return [_NUMBER_WORDS[token]]
    if token.removesuffix("s") in _CALENDAR:
        return [token.removesuffix("s")]
    if not any(sign.isdigit() for sign in token):
        return []
    amount = _AMOUNT.fullmatch(token)
    if amount is None:
        return [token]
    # "1,000" and "1000" are one amount; "10gb" is 10, its unit is a word like any other.
    digits = re.sub(r",(?=\d{3}(?:\D|$))", "", amount[1])
    return [digits + amount[2]] if amount[2] in _PART_OF_NUMBER else [digits]


def _names_in(text: str) -> frozenset[str]:
    names = set()
    for sentence in re.split(r"[.!?:]\s+", text):
        for position, token in enumerate(_TOKEN.findall(sentence)):
            is_capitalised = token[0].isupper() or (
                len(token) > 1 and token[1:].lower() != token[1:]
            )
            lowered = token.lower()
            # "us" is a pronoun, "US" is not.
            is_abbreviation = len(token) > 1 and token.isupper()
            is_name = is_abbreviation or lowered not in _FUNCTION_WORDS
            if position and is_capitalised and is_name and not _numbers_in(lowered):
                names.add(lowered.removesuffix("'s"))
    # A text all in capitals names nothing.
    return frozenset() if text.isupper() else frozenset(names)
