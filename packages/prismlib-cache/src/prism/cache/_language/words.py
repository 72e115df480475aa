"""A question taken apart once: what the guards compare.

The analysis is for English. In other languages numbers, ids and names are still seen; negations
and antonyms are not, which the documentation says where it promises guards.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from sys import intern

from prism.cache._language.lexicon import FUNCTION_WORDS
from prism.cache._language.measures import UNITS
from prism.cache._language.negation import Negation, is_negation, negation_in
from prism.cache._language.places import PLACES
from prism.cache._language.quantities import Quantity, quantities
from prism.cache._language.stems import stem
from prism.cache._language.wording import tokens

__all__ = ["MUCH_TEXT", "Words", "analyse", "normalise", "take_apart"]

MUCH_TEXT = 2_000
"""Characters of a text that are read; guards are about questions, not documents."""

# A capital and small letters, or one of the two words of one letter; no part of a longer sign.
_ORDINARY_WORD = re.compile(r"(?<![\w=+/-])(?:[IA]|[^\W\d_][^\W\d_A-Z]+)(?![\w=+/])")
# The same of ASCII, less the words that are in lower case already: found in a fifth of the time.
_CAPITALISED = re.compile(r"(?<![\w=+/-])(?:[IA]|[A-Z][a-z]+)(?![\w=+/])")
_SENTENCE = re.compile(r"[.!?:]\s")
_NAME = re.compile(r"[^\W_]+")
# Share of capitalised words above which a text is a title, whose capitals name nothing.
_TITLE = 0.8
_FEW_WORDS = 4


def normalise(text: str) -> str:
    """Fold a question to the form in which two askings count as the same text.

    Runs of white space, typographic apostrophes, closing punctuation and the case of ordinary words
    go. What may carry meaning stays: every other sign ("C" is not "C++"), the case inside a word,
    of single letters and of abbreviations ("-r" is not "-R", "us" not "US"), and in a text of
    several lines, such as code, the lines and their indentation.
    """
    text = text.replace("\u2019", "'").strip()
    if text.isupper() and _is_shouted(text.split()):
        # Shouted; a sign or two in capitals ("10 M", "US") may mean just them.
        text = text.lower()
    lines = text.splitlines()
    if len(lines) == 1:
        folded = _folded(lines[0])
    else:
        folded = "\n".join(
            " " * (len(line) - len(line.lstrip())) + _folded(line.strip()) for line in lines
        )
    return folded[: _end_of(folded)] or folded


def _folded(line: str) -> str:
    """Fold a line that has no white space around it."""
    if not line.isascii():
        line = _ORDINARY_WORD.sub(_lowered, line)
    elif not line.islower():
        line = _CAPITALISED.sub(_in_lower_case, line)
    return " ".join(line.split())


def _in_lower_case(word: re.Match[str]) -> str:
    return word[0].lower()


def _is_shouted(words: list[str]) -> bool:
    return len(words) >= _FEW_WORDS or any(len(word) > _FEW_WORDS for word in words)


def _end_of(text: str) -> int:
    """Where closing punctuation begins; a full stop closes only right behind something."""
    end = len(text)
    while end:
        if text[end - 1] in " \n?":
            end -= 1
            continue
        stop = end
        while stop and text[stop - 1] == ".":
            stop -= 1
        if stop in (0, end) or text[stop - 1].isspace():
            break
        end = stop
    return end


def _lowered(word: re.Match[str]) -> str:
    text = word[0]
    return text if any(map(str.isupper, text[1:])) else text.lower()


@dataclass(frozen=True, slots=True)
class Words:
    """What the guards read of one question.

    Attributes:
        order: Lower-case tokens in their order, fixed wordings folded to one.
        bag: The same tokens as a set.
        stems: Content words in their order, cut to their stems.
        content: The same stems as a set.
        numbers: Amounts, dates, times and ids, each in one spelling.
        units: Units without an amount: "how many miles".
        names: Capitalised words inside a sentence, and known places, in lower case.
        negation: What is denied.
    """

    order: tuple[str, ...]
    bag: frozenset[str]
    stems: tuple[str, ...]
    content: frozenset[str]
    numbers: tuple[Quantity, ...]
    units: frozenset[str]
    names: frozenset[str]
    negation: Negation

    @property
    def is_negated(self) -> bool:
        """Whether negations occur an odd number of times."""
        return self.negation.count % 2 == 1


def analyse(text: str) -> Words:
    """Take the first 2,000 characters of `text` apart, or remember what came of it.

    Cost: O(length), about 60 us for a question of ten words, 1 us when remembered.
    """
    return _remembered(text[:MUCH_TEXT])


def take_apart(text: str) -> Words:
    """Take the first 2,000 characters of `text` apart, without remembering it."""
    text = text[:MUCH_TEXT]
    # Texts share their words: a third less to remember of each.
    order = [intern(token) for token in tokens(text)]
    numbers, counted = quantities(order)
    content = [
        word
        for place, word in enumerate(order)
        if word not in FUNCTION_WORDS and place not in counted and not is_negation(word)
    ]
    stems = tuple(stem(word) for word in content)
    bag = frozenset(order)
    return Words(
        order=tuple(order),
        bag=bag,
        stems=stems,
        content=frozenset(stems),
        numbers=numbers,
        units=frozenset(UNITS[word][0] for word in content if word in UNITS and len(word) > 2),
        names=((_names_in(text) & bag) | (bag & PLACES)) - {order[place] for place in counted},
        negation=negation_in(order),
    )


# Guards see the same stored questions again and again; 8,192 analyses of ten words are about 15 MB.
_remembered = lru_cache(maxsize=8192)(take_apart)


def _names_in(text: str) -> frozenset[str]:
    if text.isupper() or (text.islower() and text.isascii()):
        return frozenset()
    names: set[str] = set()
    seen = capitalised = 0
    for sentence in _SENTENCE.split(text.replace("\u2019", "'")):
        found = _NAME.findall(sentence)
        seen += len(found)
        for position, token in enumerate(found):
            if token.islower() or token[0].isdigit():
                continue
            capitalised += 1
            lowered = token.lower()
            # "us" is a pronoun, "US" is not.
            is_name = (len(token) > 1 and token.isupper()) or lowered not in FUNCTION_WORDS
            if position and is_name:
                names.add(lowered)
    is_title = seen > _FEW_WORDS and capitalised > _TITLE * seen
    return frozenset() if is_title else frozenset(names)
