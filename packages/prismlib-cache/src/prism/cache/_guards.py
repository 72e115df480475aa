"""Reasons not to trust a high cosine: small differences that turn an answer wrong.

Embeddings put "enable" and "disable", or order 5501 and order 5502, nearer to each other than most
paraphrases, so no threshold separates them. A guard looks at the
words themselves and objects. Each guard is a pure function of two analysed questions; which of them
forbid a hit and which only ask for a higher score is data, in `GUARDS` and `STRICT_GUARDS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from prism.cache._language.antonyms import are_opposite
from prism.cache._language.closed_classes import (
    another_condition,
    another_force,
    another_person,
    another_quantifier,
    another_tense,
    is_past,
)
from prism.cache._language.lexicon import FUNCTION_WORDS, PEOPLE
from prism.cache._language.measures import UNIT_KINDS, UNITS
from prism.cache._language.order import other_order
from prism.cache._language.quantities import Quantity, unmatched
from prism.cache._language.stems import is_typo_of, stem
from prism.cache._language.words import Words, analyse

__all__ = ["GUARDS", "STRICT_GUARDS", "Guard", "Objection", "objections"]

# Score that replaced words must outweigh. Measured with MiniLM at a required score of 1.02: on
# natural traffic (BANKING77, CLINC150) the first costs 3 hits of 100 requests and the second none,
# since people seldom repeat a sentence with one word changed; on minimal pairs (fow-cache) the two
# together serve half as many look-alikes and a tenth fewer same questions. The results hardly move
# with the second between .05 and .15.
_REPLACED_WORDS = 0.05
_ONE_WORD_IN_THE_SAME_SENTENCE = 0.1


@dataclass(frozen=True, slots=True)
class Objection:
    """What one guard found.

    Attributes:
        guard: Name of the guard.
        reason: What differs, in words for the person who reads `explain`.
        penalty: Score to add to what is required; infinite for a veto.
    """

    guard: str
    reason: str
    penalty: float

    @property
    def is_veto(self) -> bool:
        """Whether no score outweighs this objection."""
        return self.penalty == float("inf")


@dataclass(frozen=True, slots=True)
class Guard:
    """One kind of difference, and how much it weighs.

    Attributes:
        name: Short name, used in metrics and explanations.
        differs: Says what differs between asked and stored question, or `None`.
        penalty: Score to add to what is required when it differs; infinite for a veto.
    """

    name: str
    differs: Callable[[Words, Words], str | None]
    penalty: float = float("inf")


def objections(asked: str, stored: str, guards: tuple[Guard, ...]) -> tuple[Objection, ...]:
    """Let every guard compare the two questions.

    Cost: O(words), about 10 us a pair once both texts are analysed.
    """
    ours, theirs = analyse(asked), analyse(stored)
    return tuple(
        [
            Objection(guard.name, reason, guard.penalty)
            for guard in guards
            if (reason := guard.differs(ours, theirs)) is not None
        ]
    )


def _numbers(asked: Words, stored: Words) -> str | None:
    if asked.numbers != stored.numbers:
        ours, theirs = unmatched(asked.numbers, stored.numbers)
        is_one = _is_one(ours, theirs, stored.bag) or _is_one(theirs, ours, asked.bag)
        if (ours or theirs) and not is_one:
            return f"asked about {_listed(ours)}, stored about {_listed(theirs)}"
    # "How many miles" is not "how many kilometres".
    if not asked.units or not stored.units:
        return None
    ours_only, theirs_only = asked.units - stored.units, stored.units - asked.units
    if any(
        one in kind and other in kind
        for kind in UNIT_KINDS
        for one in ours_only
        for other in theirs_only
    ):
        return (
            f"asked in {', '.join(sorted(ours_only))}, stored in {', '.join(sorted(theirs_only))}"
        )
    return None


def _is_one(ours: list[Quantity], theirs: list[Quantity], their_words: frozenset[str]) -> bool:
    """Tell whether the one difference is "1 ticket" against "a ticket"."""
    is_one = len(ours) == 1 and not theirs and ours[0][:2] == ("number", "1")
    return is_one and not their_words.isdisjoint(("a", "an", "one", "single"))


def _listed(found: list[Quantity]) -> str:
    return ", ".join(quantity.value for quantity in found) or "no number"


def _negation(asked: Words, stored: Words) -> str | None:
    ours, theirs = asked.negation, stored.negation
    if not (ours.count or theirs.count or ours.refused or theirs.refused):
        return None
    for one, other, words, others, who in (
        (ours, theirs, asked, stored, "asked"),
        (theirs, ours, stored, asked, "stored"),
    ):
        refused = (one.refused & others.content) - one.denied - other.denied - other.refused
        if refused and not other.count and not other.asks and not other.negative - one.negative:
            return f"{who} denies {min(refused)!r}, the other side does not"
        if one.count and not other.count:
            if other.asks or _is_answered(words, others):
                continue
            return f"{who} negated, the other side not"
    if ours.count and theirs.count:
        # Each denies what the other affirms.
        here = (ours.denied & stored.content) - theirs.denied
        there = (theirs.denied & asked.content) - ours.denied
        if here and there:
            return f"asked denies {min(here)!r}, stored denies {min(there)!r}"
        if (ours.denied == theirs.denied or not ours.denied or not theirs.denied) and (
            ours.count % 2 != theirs.count % 2
        ):
            return "one negated, the other twice"
    return None


def _is_answered(negated: Words, other: Words) -> bool:
    """Tell whether the other side says "not" in one word: "forbidden" for "not allowed"."""
    if other.negation.negative - negated.content:
        return True
    denied = negated.negation.denied
    if denied & other.negation.refused:
        return True
    return any(
        are_opposite(one, theirs)
        for one in sorted(denied)[:_REACH]
        for theirs in _alone(other, negated)
    )


def _alone(words: Words, others: Words) -> list[str]:
    """Words of one side only; the first few of many, since each is held against each."""
    return sorted(words.bag - others.bag - _GRAMMAR)[:_MANY_WORDS]


_MANY_WORDS = 32
_REACH = 8
_FEW_WORDS = 4
# Function words that have opposites all the same.
_GRAMMAR = FUNCTION_WORDS - frozenset("on off in out up down over under".split())


def _antonyms(asked: Words, stored: Words) -> str | None:
    denied = asked.negation.denied, stored.negation.denied
    there = _alone(stored, asked)
    has_amounts = bool(asked.numbers and stored.numbers)
    for ours in _alone(asked, stored) if there else ():
        for theirs in there:
            if has_amounts and (ours in UNITS or theirs in UNITS):
                continue
            # "not allowed" is "forbidden".
            if are_opposite(ours, theirs) and (stem(ours) in denied[0]) == (
                stem(theirs) in denied[1]
            ):
                return f"asked {ours!r}, stored {theirs!r}"
    return None


def _names(asked: Words, stored: Words) -> str | None:
    if not asked.names or not stored.names:
        return None
    # A name on one side only is often a detail; a name against another name is another question.
    ours = {name for name in asked.names - stored.bag if stem(name) not in stored.content}
    theirs = {name for name in stored.names - asked.bag if stem(name) not in asked.content}
    if ours and theirs:
        return f"asked about {', '.join(sorted(ours))}, stored about {', '.join(sorted(theirs))}"
    return None


def _substitution(asked: Words, stored: Words) -> str | None:
    ours, theirs = asked.content - stored.content, stored.content - asked.content
    shared = asked.content & stored.content
    if len(shared) >= 2 and max(len(ours), len(theirs)) <= _FEW_WORDS:
        typos = [(one, other) for one in ours for other in theirs if is_typo_of(one, other)]
        ours -= {one for one, _ in typos}
        theirs -= {other for _, other in typos}
    if len(shared) >= 2 and 1 <= len(ours) <= 2 and 1 <= len(theirs) <= 2:
        return f"{' '.join(sorted(ours))} stands where {' '.join(sorted(theirs))} stood"
    return None


def _same_frame(asked: Words, stored: Words) -> str | None:
    if len(asked.order) != len(stored.order):
        return None
    replaced = [
        (a, b) for a, b in zip(asked.order, stored.order, strict=True) if stem(a) != stem(b)
    ]
    if len(replaced) != 1 or len(asked.order) < 3:
        return None
    ours, theirs = replaced[0]
    if stem(ours) not in asked.content or stem(theirs) not in stored.content:
        return None
    if is_typo_of(stem(ours), stem(theirs)):
        return None
    return f"only {ours!r} differs, where {theirs!r} stood"


def _principal(asked: Words, stored: Words) -> str | None:
    ours = {PEOPLE[w] for w in asked.bag if w in PEOPLE}
    theirs = {PEOPLE[w] for w in stored.bag if w in PEOPLE}
    if ours == theirs:
        return None
    return f"asked for {_either(ours)}, stored for {_either(theirs)}"


def _either(people: set[str]) -> str:
    return " and ".join(sorted(people)) or "oneself"


_VETOES = (
    Guard("number", _numbers),
    Guard("negation", _negation),
    Guard("antonym", _antonyms),
    Guard("name", _names),
    Guard("order", other_order),
    Guard("quantifier", another_quantifier),
    Guard("condition", another_condition),
    Guard("modality", another_force),
    Guard("tense", another_tense),
    Guard("person", another_person),
)

GUARDS: tuple[Guard, ...] = (
    *_VETOES,
    Guard("frame", _same_frame, penalty=_ONE_WORD_IN_THE_SAME_SENTENCE),
    Guard("past", is_past, penalty=_ONE_WORD_IN_THE_SAME_SENTENCE),
    Guard("substitution", _substitution, penalty=_REPLACED_WORDS),
)
"""The default: ten vetoes, and three doubts about replaced words."""

STRICT_GUARDS: tuple[Guard, ...] = (
    *_VETOES,
    Guard("frame", _same_frame),
    Guard("past", is_past),
    Guard("substitution", _substitution),
    Guard("principal", _principal),
)
"""Strict mode: a replaced word or another person forbids the hit. On minimal pairs (fow-cache,
MiniLM) it serves a sixth fewer same questions and two thirds of the look-alikes of the default.
What it serves, the default serves too."""
