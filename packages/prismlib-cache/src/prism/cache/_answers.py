"""Which stored answers say the same, though a model words them anew at each call.

The gap evidence of the verdict asks how near the closest question with a *different* answer is.
Taking two different answers for one makes the verdict bold, taking one for two makes it cautious:
so this errs towards "different". Answers are the same when their facts (numbers, negation,
opposites) agree and the words of one are nearly all in the other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import product

from prism.cache._language.antonyms import are_opposite
from prism.cache._language.quantities import Quantity, unmatched
from prism.cache._language.words import normalise, take_apart

__all__ = ["AnswerSketch", "say_the_same", "sketch"]

# Sketches stay in memory with their entries.
_MUCH_TEXT = 600
_YES_OR_NO = re.compile(r"\s*(yes|no)\b", re.IGNORECASE)
# Of the words of the shorter answer. Lower takes more wordings of one answer for the same, and more
# answers that differ in a few words too.
_SHARED_WORDS = 0.8


@dataclass(frozen=True, slots=True)
class AnswerSketch:
    """What is compared of an answer.

    Attributes:
        digest: Hash of the normalised text.
        numbers: Its amounts, dates and ids.
        polarity: Whether it begins with yes or no, and whether it is negated after that.
        words: Its content words, cut to stems.
    """

    digest: int
    numbers: tuple[Quantity, ...]
    polarity: tuple[str, bool]
    words: frozenset[str]

    @property
    def size_bytes(self) -> int:
        """Estimated memory, above that of an empty sketch."""
        return 110 * len(self.words) + 200 * len(self.numbers)


def sketch(text: str) -> AnswerSketch:
    """Sketch an answer; of a long one the first 600 characters count."""
    opening = _YES_OR_NO.match(text)
    words = take_apart(text[opening.end() if opening else 0 :][:_MUCH_TEXT])
    return AnswerSketch(
        digest=hash(normalise(text)),
        numbers=words.numbers,
        polarity=(opening[1].lower() if opening else "", words.is_negated),
        words=words.content,
    )


def say_the_same(one: AnswerSketch, other: AnswerSketch) -> bool:
    """Tell whether two answers can stand for each other. Cost: O(words)."""
    if one.digest == other.digest:
        return True
    if one.polarity != other.polarity or any(unmatched(one.numbers, other.numbers)):
        return False
    smaller, larger = sorted((one.words, other.words), key=len)
    if not smaller or len(smaller & larger) < _SHARED_WORDS * len(smaller):
        return False
    return not any(are_opposite(a, b) for a, b in product(smaller - larger, larger - smaller))
