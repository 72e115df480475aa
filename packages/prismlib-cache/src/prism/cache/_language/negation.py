"""What a question denies, and whether another denies the same.

A count of "not" is not enough: "are dogs not allowed" and "are dogs forbidden" agree, "if I fail to
pay" denies paying, "isn't it open?" denies nothing. So each negation is read with the words it
stands before (its scope), and a word that is negative by itself may answer a negation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prism.cache._language.lexicon import FUNCTION_WORDS, NEGATIONS, NEGATIVE_VERBS, NEGATIVE_WORDS
from prism.cache._language.stems import stem

__all__ = ["Negation", "is_negation", "negation_in"]

# Content words after a negation that it may deny: "not yet been paid", "no second driver".
_REACH = 2
_LINKS = frozenset(("and", "but", "or", "if", "because", "so", "when"))


@dataclass(frozen=True, slots=True)
class Negation:
    """What one question denies.

    Attributes:
        count: Negations, those that only ask ("isn't it open?") left out.
        asks: Whether there is one that only asks.
        denied: Stems in the scope of an odd number of negations.
        refused: Stems denied by a verb: "fail to pay".
        negative: Words that are negative by themselves, as stems.
    """

    count: int
    asks: bool
    denied: frozenset[str]
    refused: frozenset[str]
    negative: frozenset[str]


_NONE = Negation(0, False, frozenset(), frozenset(), frozenset())  # noqa: FBT003


def is_negation(token: str) -> bool:
    """Tell whether a lower-case token is a word of negation."""
    return token in NEGATIONS or token.endswith("n't")


def negation_in(tokens: Sequence[str]) -> Negation:
    """Find what the tokens deny. Cost: O(number of tokens)."""
    places = [
        place
        for place, token in enumerate(tokens)
        if token in NEGATIONS or token.endswith("n't")  # `is_negation`, for each of all words
    ]
    negative = frozenset(
        stem(token)
        for token in tokens
        if token in NEGATIVE_WORDS or (token.endswith("less") and len(token) > 6)
    )
    if not places and not negative:
        return _NONE
    asking = {place for place in places if _only_asks(tokens, place)}
    denied: set[str] = set()
    for place in places:
        # Two negations of one word cancel.
        denied ^= _scope(tokens, place)
    refused = {
        denied_stem
        for place, token in enumerate(tokens)
        if token in NEGATIVE_VERBS
        for denied_stem in _complement(tokens, place)
    }
    for token in tokens:
        if len(token) > 6 and token.endswith("less"):
            refused.add(stem(token[:-4]))
    return Negation(
        count=len(places) - len(asking),
        asks=bool(asking),
        denied=frozenset(denied),
        refused=frozenset(refused),
        negative=negative,
    )


def _only_asks(tokens: Sequence[str], place: int) -> bool:
    """Tell whether it is the "not" of "isn't it open?" or of "it is not open, is it?"."""
    if tokens[-1] == "tagquestion":
        return True
    return place == 0 and tokens[0].endswith("n't") and len(tokens) > 2


def _scope(tokens: Sequence[str], place: int) -> set[str]:
    scope: set[str] = set()
    for token in tokens[place + 1 :]:
        if token in _LINKS:
            break
        if token not in FUNCTION_WORDS and not is_negation(token):
            scope.add(stem(token))
            if len(scope) == _REACH:
                break
    return scope


def _complement(tokens: Sequence[str], place: int) -> set[str]:
    after = tokens[place + 1] if place + 1 < len(tokens) else ""
    if after == "to":
        return {stem(tokens[place + 2])} if place + 2 < len(tokens) else set()
    is_object = tokens[place].startswith(("lack", "omit", "skip")) or after.endswith("ing")
    return {stem(after)} if after and is_object else set()
