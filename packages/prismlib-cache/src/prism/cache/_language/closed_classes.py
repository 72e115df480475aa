"""Small words that change a question though its topic stays: all or some, may or must, was or will.

Each function compares one closed class and says what differs, or `None`. They read the words that
carry grammar, so they ask for both sides to say something: a word on one side only is a wording.
"""

from __future__ import annotations

from collections.abc import Sequence

from prism.cache._language.lexicon import FUNCTION_WORDS, PEOPLE
from prism.cache._language.stems import stem
from prism.cache._language.words import Words

__all__ = [
    "another_condition",
    "another_force",
    "another_person",
    "another_quantifier",
    "another_tense",
    "is_past",
]

_ALL = frozenset("all every each both everyone everybody everything always entire whole".split())
_SOME = frozenset(
    "some any one few several someone anyone somebody anybody certain single half most".split()
)
_ONLY = frozenset("only solely exclusively".split())
_UNTIL = frozenset("until till".split())
_ONCE = frozenset("when whenever once after if".split())
# "Can any student apply?" asks for all of them.
_FREE_CHOICE = frozenset("can could may might".split())

_FORCES = {
    **dict.fromkeys("can could may might".split(), "may"),
    **dict.fromkeys("must".split(), "must"),
    "should": "should",
}
_TENSES = {
    **dict.fromkeys("was were did had".split(), "past"),
    **dict.fromkeys("will".split(), "future"),
    **dict.fromkeys("is are am do does".split(), "present"),
}
_QUESTION_WORDS = frozenset("what which who whom whose when where why how".split())
_ASIDE = frozenset("and but if because".split())
_AUXILIARIES = frozenset((*_TENSES, *_FORCES))
_BE = frozenset("is are was were".split())
_HEAD = 4
_OWNED = 2
_OTHERS = frozenset(PEOPLE)
_SELF = frozenset("i me my mine we us our ours myself".split())


def another_quantifier(asked: Words, stored: Words) -> str | None:
    """All against some, all against only."""
    if _ALL.isdisjoint(asked.bag) and _ALL.isdisjoint(stored.bag):
        return None
    ours, theirs = _quantified(asked), _quantified(stored)
    for one, other in (ours, theirs), (theirs, ours):
        if "all" in one - other and not other.isdisjoint(("some", "only")) and "all" not in other:
            return "one asks about all, the other about some"
    return None


def _quantified(words: Words) -> frozenset[str]:
    kinds = set()
    if not words.bag.isdisjoint(_ALL):
        kinds.add("all")
    some = words.bag & _SOME
    if words.bag & _FREE_CHOICE:
        some -= {"any", "anyone", "anybody"}
    if some:
        kinds.add("some")
    if not words.bag.isdisjoint(_ONLY):
        kinds.add("only")
    return frozenset(kinds)


def another_condition(asked: Words, stored: Words) -> str | None:
    """Until it happens against when it happens."""
    if _UNTIL.isdisjoint(asked.bag) and _UNTIL.isdisjoint(stored.bag):
        return None
    for one, other in (asked, stored), (stored, asked):
        if (_UNTIL & one.bag) and not (_UNTIL & other.bag) and _ONCE & (other.bag - one.bag):
            return "one holds until it happens, the other from then on"
    return None


def another_force(asked: Words, stored: Words) -> str | None:
    """May I, must I, should I: of questions for yes or no alone."""
    ours, theirs = _force(asked.order), _force(stored.order)
    if ours and theirs and ours != theirs:
        return f"asked whether one {ours}, stored whether one {theirs}"
    return None


def _force(order: Sequence[str]) -> str:
    if not order:
        return ""
    if order[0] in _FORCES:
        return _FORCES[order[0]]
    # "do i must" is what "do I have to" was folded to.
    if order[0] in ("do", "does", "did", "am", "are", "is", "will"):
        return next((_FORCES[word] for word in order[1:_HEAD] if word in _FORCES), "")
    return ""


def another_tense(asked: Words, stored: Words) -> str | None:
    """What was against what will be; of "who is" and "what is" also what was against what is."""
    tenses = {_tense(asked.order), _tense(stored.order)}
    if tenses == {"past", "present"} and all(
        words.order[0] in ("who", "what") and words.order[1] in _BE for words in (asked, stored)
    ):
        return "one is about the past, one about now"
    return "one is about the past, one about the future" if tenses == {"past", "future"} else None


def is_past(asked: Words, stored: Words) -> str | None:
    """What was against what is: "why was it declined" may well mean "why is it declined"."""
    tenses = {_tense(asked.order), _tense(stored.order)}
    return "one is about the past, one about now" if tenses == {"past", "present"} else None


def _tense(order: Sequence[str]) -> str:
    """The tense of the verb that heads the question, "" if none does."""
    if not order or (order[0] not in _QUESTION_WORDS and order[0] not in _TENSES):
        return ""
    for word in order[: _HEAD + 1]:
        if word in _ASIDE or word in _FORCES:
            return ""
        if word in _TENSES:
            return _TENSES[word]
    return ""


def another_person(asked: Words, stored: Words) -> str | None:
    """Whose thing it is, who does it, for whom: mine against my daughter's."""
    if _OTHERS.isdisjoint(asked.bag) and _OTHERS.isdisjoint(stored.bag):
        return None
    for read in (_owners, _doers, _beneficiaries):
        ours, theirs = read(asked.order), read(stored.order)
        for what, who in ours.items():
            other = theirs.get(what, who)
            if who != other and not _may_be_one(who, other):
                return f"asked for {who}, stored for {other}"
    kin = [{PEOPLE[w] for w in words.bag if w in PEOPLE} - _PRONOUNS for words in (asked, stored)]
    if kin[0] and kin[1] and kin[0].isdisjoint(kin[1]):
        return f"asked for {_listed(kin[0])}, stored for {_listed(kin[1])}"
    return None


_PRONOUNS = frozenset(("he or she", "they"))


def _may_be_one(one: str, other: str) -> bool:
    """A pronoun may stand for anybody but oneself."""
    return bool(_PRONOUNS & {one, other}) and "oneself" not in (one, other)


def _listed(people: set[str]) -> str:
    return " and ".join(sorted(people))


def _who(word: str) -> str:
    return "oneself" if word in _SELF else PEOPLE.get(word, "")


def _owners(order: Sequence[str]) -> dict[str, str]:
    """Whom the things belong to: "my daughter's passport" is the child's."""
    owners: dict[str, str] = {}
    for place, word in enumerate(order):
        if word not in ("my", "our", "his", "her", "their"):
            continue
        who, owned = _who(word), 0
        for after in order[place + 1 : place + 2 + _OWNED]:
            if after in PEOPLE:
                who = PEOPLE[after]
            elif after in FUNCTION_WORDS or owned == _OWNED:
                break
            else:
                owners[stem(after)] = who
                owned += 1
    return owners


def _doers(order: Sequence[str]) -> dict[str, str]:
    """Who does it: the subject after the first auxiliary."""
    for place, word in enumerate(order[:-1]):
        if word in _AUXILIARIES:
            who = _person_at(order, place + 1)
            return {"doer": who} if who else {}
    return {}


def _beneficiaries(order: Sequence[str]) -> dict[str, str]:
    for place, word in enumerate(order[:-1]):
        if word == "for" and (who := _person_at(order, place + 1)):
            return {"beneficiary": who}
    return {}


def _person_at(order: Sequence[str], place: int) -> str:
    word = order[place]
    if word in ("my", "our", "his", "her", "their"):
        after = order[place + 1] if place + 1 < len(order) else ""
        return PEOPLE.get(after, "her" if word == "her" and not after else "")
    return _who(word)
