"""Reasons not to trust a high cosine: small differences that turn an answer wrong.

Embeddings put "enable" and "disable", or order 5501 and order 5502, within .01 of each other
(research on nine encoders found .83 to .9997), so no threshold separates them. A guard looks at the
words themselves and objects. Each guard is a pure function of two analysed questions; which of them
forbid a hit and which only ask for a higher score is data, in `GUARDS` and `STRICT_GUARDS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from prism.cache._antonyms import are_opposite
from prism.cache._words import Words, analyse, stem

__all__ = ["GUARDS", "STRICT_GUARDS", "Guard", "Objection", "objections"]

_DIRECTIONS = frozenset(
    ("from to than before after versus vs over beat beats into instead").split()
)
_PRINCIPALS = {
    word: who
    for who, words in {
        "he or she": "his her hers him he she",
        "they": "their theirs them they",
        "spouse": "wife husband spouse partner",
        "child": "son daughter kid kids child children",
        "parent": "mother father mom dad mum parent parents",
        "friend": "friend friends colleague coworker",
    }.items()
    for word in words.split()
}
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
    found = ((guard, guard.differs(ours, theirs)) for guard in guards)
    return tuple(
        Objection(guard.name, reason, guard.penalty)
        for guard, reason in found
        if reason is not None
    )


def _numbers(asked: Words, stored: Words) -> str | None:
    if asked.numbers == stored.numbers:
        return None
    ours = ", ".join(n for n, _ in asked.numbers) or "no number"
    theirs = ", ".join(n for n, _ in stored.numbers) or "no number"
    return f"asked about {ours}, stored about {theirs}"


def _negation(asked: Words, stored: Words) -> str | None:
    if asked.is_negated == stored.is_negated:
        return None
    return "asked negated, stored not" if asked.is_negated else "stored negated, asked not"


def _antonyms(asked: Words, stored: Words) -> str | None:
    for ours in sorted(asked.bag - stored.bag):
        for theirs in sorted(stored.bag - asked.bag):
            if are_opposite(ours, theirs):
                return f"asked {ours!r}, stored {theirs!r}"
    return None


def _names(asked: Words, stored: Words) -> str | None:
    # A name on one side only is often a detail; a name against another name is another question.
    ours = {name for name in asked.names - stored.bag if stem(name) not in stored.stems}
    theirs = {name for name in stored.names - asked.bag if stem(name) not in asked.stems}
    if ours and theirs:
        return f"asked about {', '.join(sorted(ours))}, stored about {', '.join(sorted(theirs))}"
    return None


def _order(asked: Words, stored: Words) -> str | None:
    ours, theirs = _roles(asked), _roles(stored)
    if ours["from"] & theirs["to"] and ours["to"] & theirs["from"]:
        return "from and to are exchanged"
    if asked.stems == stored.stems or sorted(asked.stems) != sorted(stored.stems):
        return None
    if any(
        before & after_there and after & before_there
        for word, before, after in _sides(asked)
        for other, before_there, after_there in _sides(stored)
        if word == other
    ):
        return "the two sides are exchanged"
    moved = [i for i, (a, b) in enumerate(zip(asked.stems, stored.stems, strict=True)) if a != b]
    if len(moved) == 2 and moved[1] - moved[0] > 1:
        return f"{asked.stems[moved[0]]} and {asked.stems[moved[1]]} are exchanged"
    return None


def _sides(words: Words) -> list[tuple[str, frozenset[str], frozenset[str]]]:
    """Each word of direction with the content words before and after it."""
    content = frozenset(words.stems)
    stems = [stem(word) for word in words.order]
    return [
        (word, content.intersection(stems[:place]), content.intersection(stems[place + 1 :]))
        for place, word in enumerate(words.order)
        if word in _DIRECTIONS
    ]


def _roles(words: Words) -> dict[str, frozenset[str]]:
    roles: dict[str, set[str]] = {"from": set(), "to": set()}
    for here, after in zip(words.order, words.order[1:], strict=False):
        if here in roles:
            roles[here].add(stem(after))
    return {role: frozenset(found) for role, found in roles.items()}


def _substitution(asked: Words, stored: Words) -> str | None:
    ours = set(asked.stems) - set(stored.stems)
    theirs = set(stored.stems) - set(asked.stems)
    shared = set(asked.stems) & set(stored.stems)
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
    if stem(ours) not in asked.stems or stem(theirs) not in stored.stems:
        return None
    return f"only {ours!r} differs, where {theirs!r} stood"


def _principal(asked: Words, stored: Words) -> str | None:
    ours = {_PRINCIPALS[w] for w in asked.bag if w in _PRINCIPALS}
    theirs = {_PRINCIPALS[w] for w in stored.bag if w in _PRINCIPALS}
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
    Guard("order", _order),
)

GUARDS: tuple[Guard, ...] = (
    *_VETOES,
    Guard("frame", _same_frame, penalty=_ONE_WORD_IN_THE_SAME_SENTENCE),
    Guard("substitution", _substitution, penalty=_REPLACED_WORDS),
)
"""The default: five vetoes, and two doubts about replaced words."""

STRICT_GUARDS: tuple[Guard, ...] = (
    *_VETOES,
    Guard("substitution", _substitution),
    Guard("principal", _principal),
)
"""Strict mode: a replaced word or another person forbids the hit. Costs about a fifth of the true
paraphrases, serves a third of the look-alikes that the default serves."""
