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
# Of the words of the shorter answer. Lower takes more wordings of one answer for the same, and more
# answers that differ in a few words too.
_SHARED_WORDS = 0.8
# Cosine of two answers whose facts agree, by how many numbers they have in common: numbers that
# agree are evidence themselves. Of the demo's FAQ as its mock model words it, 765 pairs of wordings
# and 45,900 pairs of different answers, with MiniLM, these join 97 % of the first and 36 of the
# others; .05 more or less of each moves the first by three hundredths.
_NEAR_IN_MEANING = (0.75, 0.65, 0.55)
_SEVERAL_NUMBERS = 2


@dataclass(frozen=True, slots=True)
class AnswerSketch:
    """What is compared of an answer.

    Attributes:
        digest: Hash of the normalised text.
        numbers: Its amounts, dates and ids.
        polarity: Whether it begins with yes or no, and whether it is negated after that.
        words: Its content words, cut to stems.
        echoes: Those of its numbers that its question has too.
    """

    digest: int
    numbers: tuple[Quantity, ...]
    polarity: tuple[str, bool]
    words: frozenset[str]
    echoes: frozenset[tuple[str, str]] = frozenset()

    @property
    def size_bytes(self) -> int:
        """Estimated memory, above that of an empty sketch."""
        return 110 * len(self.words) + 200 * len(self.numbers)


def sketch(text: str, question: str = "") -> AnswerSketch:
    """Sketch an answer; of a long one the first 600 characters count."""
    opening = _YES_OR_NO.match(text)
    words = take_apart(text[opening.end() if opening else 0 :][:_MUCH_TEXT])
    return AnswerSketch(
        digest=hash(normalise(text)),
        numbers=words.numbers,
        polarity=(opening[1].lower() if opening else "", words.is_negated),
        words=words.content,
        echoes=_echoes(words.numbers, question) if words.numbers else frozenset(),
    )


def _echoes(numbers: tuple[Quantity, ...], question: str) -> frozenset[tuple[str, str]]:
    asked = {number[:2] for number in analyse(question).numbers}
    return frozenset(number[:2] for number in numbers if number[:2] in asked)


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
    # The cheap look first: most pairs end there.
    if not _are_near(one, other, cosine) or _differ_in_numbers(one, other):
        return False
    # Who agrees in several numbers hardly contradicts: a "do not hesitate" or an "open till 5" is a
    # wording then.
    has_facts = len(one.numbers) >= _SEVERAL_NUMBERS
    ours, theirs = one.words - other.words, other.words - one.words
    if any(are_opposite(a, b) for a, b in product(ours, theirs)):
        return None if has_facts else False
    return None if _deny_differently(one, other) and not has_facts else True


def say_the_same(one: AnswerSketch, other: AnswerSketch, cosine: float | None = None) -> bool:
    """Tell whether two answers certainly can stand for each other; see `compare`."""
    return compare(one, other, cosine) is True


def _are_near(one: AnswerSketch, other: AnswerSketch, cosine: float | None) -> bool:
    shared = min(len(one.numbers), len(_NEAR_IN_MEANING) - 1)
    if cosine is not None and (cosine >= _NEAR_IN_MEANING[shared] or not shared):
        return cosine >= _NEAR_IN_MEANING[shared]
    smaller, larger = sorted((one.words, other.words), key=len)
    return bool(smaller) and len(smaller & larger) >= _SHARED_WORDS * len(smaller)


def _differ_in_numbers(one: AnswerSketch, other: AnswerSketch) -> bool:
    """Tell whether one has a number that the other lacks.

    One that only repeats the question ("charged twice") may be missing from the other; not if that
    has another instead.
    """
    ours, theirs = unmatched(one.numbers, other.numbers)
    if ours and theirs:
        return True
    echoes = one.echoes if ours else other.echoes
    return any(number[:2] not in echoes for number in ours or theirs)


def _deny_differently(one: AnswerSketch, other: AnswerSketch) -> bool:
    (ours, is_ours_negated), (theirs, is_theirs_negated) = one.polarity, other.polarity
    if ours != theirs:
        # "Yes, in offline mode" and "In offline mode" agree; "No" is a negation by itself.
        if ours and theirs:
            return True
        is_ours_negated |= ours == "no"
        is_theirs_negated |= theirs == "no"
    return is_ours_negated != is_theirs_negated
