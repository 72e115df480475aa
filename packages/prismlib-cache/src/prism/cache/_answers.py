"""Which stored answers say the same, though a model words them anew at each call.

The verdict asks how near the closest question with a *different* answer is, and the calibrator
whether a stored answer would have been right. Taking two different answers for one makes both bold,
taking one for two makes them cautious: so this errs towards "different". Answers are the same when
their facts (numbers, negation, opposites) agree and the two mean nearly the same to the embedder.
Until that has seen them, and where they share numbers, it is enough that the words of one are
nearly all in the other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import product

from prism.cache._language.antonyms import are_opposite
from prism.cache._language.quantities import Quantity, unmatched
from prism.cache._language.words import analyse, normalise, take_apart

__all__ = ["AnswerSketch", "compare", "readable", "say_the_same", "sketch"]

# Sketches stay in memory with their entries.
_MUCH_TEXT = 600
_YES_OR_NO = re.compile(r"\s*(yes|no)\b", re.IGNORECASE)
_DIGITS = re.compile(r"\d+")
# Memory of a sketch's facts: of each different word, half of which carry no content, and above that
# of each number.
_WORD_BYTES, _NUMBER_BYTES = 80, 150
# Of the words of the shorter answer. Lower takes more wordings of one answer for the same, and more
# answers that differ in a few words too.
_SHARED_WORDS = 0.8
# Cosine of two answers whose facts agree, by how many numbers they have in common: numbers that
# agree are evidence themselves. Of the demo's FAQ as its mock model words it, 765 pairs of wordings
# and 45,900 pairs of different answers, with MiniLM, these join 97 % of the first and 36 of the
# others; .05 more or less of each moves the first by three hundredths.
_NEAR_IN_MEANING = (0.75, 0.65, 0.55)
_SEVERAL_NUMBERS = 2
_NOTHING: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Facts:
    """What an answer says.

    Attributes:
        numbers: Its amounts, dates and ids.
        polarity: Whether it begins with yes or no, and whether it is negated after that.
        words: Its content words, cut to stems.
        echoes: Those of its numbers that its question has too.
    """

    numbers: tuple[Quantity, ...]
    polarity: tuple[str, bool]
    words: frozenset[str]
    echoes: frozenset[tuple[str, str]] = _NOTHING


class AnswerSketch:
    """What is compared of an answer.

    Its facts are read when they are first asked for: that takes ten times as long as all else that
    storing an answer has to wait for, and whoever learns from the answer has them read beside the
    questions. Threads may ask at once; they read the same.

    Attributes:
        digest: Hash of the normalised text.
        size_bytes: Estimated memory of its facts, by its words and digits.
    """

    __slots__ = ("_content", "digest", "size_bytes")

    def __init__(self, text: str, question: str) -> None:
        opening = _YES_OR_NO.match(text)
        rest = text[opening.end() if opening else 0 :][:_MUCH_TEXT]
        self.digest = hash(normalise(text))
        self.size_bytes = _WORD_BYTES * len(set(rest.split())) + _NUMBER_BYTES * len(
            _DIGITS.findall(rest)
        )
        # One slot for both, so that no thread sees neither.
        self._content: Facts | tuple[str, str, str] = (
            opening[1].lower() if opening else "",
            rest,
            question,
        )

    @property
    def facts(self) -> Facts:
        """What the answer says. Cost: the first time about 0.2 ms, if it is of 600 characters."""
        content = self._content
        if isinstance(content, Facts):
            return content
        polarity, rest, question = content
        words = take_apart(rest)
        facts = Facts(
            numbers=words.numbers,
            polarity=(polarity, words.is_negated),
            words=words.content,
            echoes=_echoes(words.numbers, question) if words.numbers else _NOTHING,
        )
        self._content = facts
        return facts


def sketch(text: str, question: str = "") -> AnswerSketch:
    """Sketch an answer; of a long one the first 600 characters count."""
    return AnswerSketch(text, question)


def _echoes(numbers: tuple[Quantity, ...], question: str) -> frozenset[tuple[str, str]]:
    asked = {number[:2] for number in analyse(question).numbers}
    echoes = [number[:2] for number in numbers if number[:2] in asked]
    return frozenset(echoes) if echoes else _NOTHING


def readable(text: str) -> str:
    """Give the part of an answer that is compared."""
    return text[:_MUCH_TEXT]


def compare(one: AnswerSketch, other: AnswerSketch, cosine: float | None = None) -> bool | None:
    """Tell whether two answers can stand for each other. Cost: O(words).

    Args:
        one: An answer.
        other: Another one.
        cosine: Of the two answers to each other, if the embedder has seen them.

    Returns:
        `None` if they are near in everything but in what they deny, or agree in several numbers but
        have opposites in them: "needs no card" and "there is nothing else to pay" may belong to one
        answer or make two of it.
    """
    if one.digest == other.digest:
        return True
    ours, theirs = one.facts, other.facts
    # The cheap look first: most pairs end there.
    if not _are_near(ours, theirs, cosine) or _differ_in_numbers(ours, theirs):
        return False
    # Who agrees in several numbers hardly contradicts: a "do not hesitate" or an "open till 5" is a
    # wording then.
    has_facts = len(ours.numbers) >= _SEVERAL_NUMBERS
    here, there = ours.words - theirs.words, theirs.words - ours.words
    if any(are_opposite(a, b) for a, b in product(here, there)):
        return None if has_facts else False
    return None if _deny_differently(ours, theirs) and not has_facts else True


def say_the_same(one: AnswerSketch, other: AnswerSketch, cosine: float | None = None) -> bool:
    """Tell whether two answers certainly can stand for each other; see `compare`."""
    return compare(one, other, cosine) is True


def _are_near(one: Facts, other: Facts, cosine: float | None) -> bool:
    shared = min(len(one.numbers), len(_NEAR_IN_MEANING) - 1)
    if cosine is not None and (cosine >= _NEAR_IN_MEANING[shared] or not shared):
        return cosine >= _NEAR_IN_MEANING[shared]
    smaller, larger = sorted((one.words, other.words), key=len)
    return bool(smaller) and len(smaller & larger) >= _SHARED_WORDS * len(smaller)


def _differ_in_numbers(one: Facts, other: Facts) -> bool:
    """Tell whether one has a number that the other lacks.

    One that only repeats the question ("charged twice") may be missing from the other; not if that
    has another instead.
    """
    ours, theirs = unmatched(one.numbers, other.numbers)
    if ours and theirs:
        return True
    echoes = one.echoes if ours else other.echoes
    return any(number[:2] not in echoes for number in ours or theirs)


def _deny_differently(one: Facts, other: Facts) -> bool:
    (ours, is_ours_negated), (theirs, is_theirs_negated) = one.polarity, other.polarity
    if ours != theirs:
        # "Yes, in offline mode" and "In offline mode" agree; "No" is a negation by itself.
        if ours and theirs:
            return True
        is_ours_negated |= ours == "no"
        is_theirs_negated |= theirs == "no"
    return is_ours_negated != is_theirs_negated
