"""The same words in another order: who does what to whom, from where to where."""

from __future__ import annotations

from prism.cache._language.lexicon import FUNCTION_WORDS
from prism.cache._language.stems import stem
from prism.cache._language.words import Words

__all__ = ["other_order"]

_DIRECTIONS = frozenset(
    "from to than before after over beat beats into onto instead then until".split()
)
_MANY_SIDES = 6
# Their two sides may be exchanged: "between Oslo and Rome".
_SYMMETRIC = frozenset(
    "between difference differences differ different distance far apart versus compare same "
    "similar equal both".split()
)


def other_order(asked: Words, stored: Words) -> str | None:
    """Say what is exchanged: from and to, the sides of *than* or *before*, who does it to whom."""
    both_from = "from" in asked.bag and "from" in stored.bag
    if not both_from and asked.content != stored.content:
        return None
    is_symmetric = bool(_SYMMETRIC & asked.bag & stored.bag)
    if both_from and not is_symmetric:
        ours, theirs = _roles(asked), _roles(stored)
        crossed = ours["from"] & theirs["to"] and ours["to"] & theirs["from"]
        if crossed and ours != theirs:
            return "from and to are exchanged"
    if asked.content != stored.content or sorted(asked.stems) != sorted(stored.stems):
        return None
    passive = _agent(asked), _agent(stored)
    if (passive[0] is None) != (passive[1] is None):
        return _passive(asked, stored, passive[0] or passive[1] or "")
    if _acts(asked, "i") & _acts(stored, "me") or _acts(asked, "me") & _acts(stored, "i"):
        return "who does it and to whom are exchanged"
    if asked.stems == stored.stems or is_symmetric:
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


_BE = frozenset("be been being is are was were am get gets got".split())


def _agent(words: Words) -> str | None:
    """Who does it in a passive: "sent by the shop"; `None` in an active."""
    order = words.order
    for place in range(2, len(order) - 1):
        if order[place] == "by" and not _BE.isdisjoint(order[:place]):
            return next((stem(w) for w in order[place + 1 :] if stem(w) in words.content), None)
    return None


def _passive(asked: Words, stored: Words, agent: str) -> str | None:
    """Compare a passive with an active: its agent must come before the verb there."""
    active, passive = (asked, stored) if _agent(asked) is None else (stored, asked)
    place = passive.stems.index(agent)
    verb = passive.stems[place - 1] if place else ""
    if verb and active.stems.index(agent) > active.stems.index(verb):
        return f"{agent!r} does it on one side only"
    return None


def _acts(words: Words, pronoun: str) -> set[str]:
    """Stems of what "I" do, or of what is done to "me"."""
    pairs = zip(words.order, words.order[1:], strict=False)
    if pronoun == "i":
        return {stem(after) for here, after in pairs if here == "i"} & words.content
    return {stem(here) for here, after in pairs if after == "me"} & words.content


def _sides(words: Words) -> list[tuple[str, frozenset[str], frozenset[str]]]:
    """Each word of direction with the content words before and after it."""
    if _DIRECTIONS.isdisjoint(words.bag):
        return []
    stems = [stem(word) for word in words.order]
    return [
        (word, words.content.intersection(stems[:place]), words.content.intersection(stems[place:]))
        for place, word in enumerate(words.order)
        if word in _DIRECTIONS
    ][:_MANY_SIDES]


def _roles(words: Words) -> dict[str, set[str]]:
    """What stands after "from" and after "to", up to the next word of direction."""
    roles: dict[str, set[str]] = {"from": set(), "to": set()}
    role = ""
    for word in words.order:
        if word in _DIRECTIONS or word == "into":
            role = {"from": "from", "to": "to", "into": "to", "onto": "to"}.get(word, "")
        elif role and word not in FUNCTION_WORDS:
            roles[role].add(stem(word))
        elif word in ("and", "for", "with", "on", "at", "in", "by"):
            role = ""
    return roles
