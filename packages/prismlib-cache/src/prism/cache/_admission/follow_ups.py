"""Texts that say something only together with what was said before them."""

from __future__ import annotations

import re
from functools import cache

from prism.cache._admission.phrases import phrases
from prism.cache._admission.reading import Reading, read

__all__ = ["has_open_reference", "is_consent", "is_follow_up"]

_LONGEST = 12
# "Please do it now", and not "What should I do so that it is ...".
_LONGEST_DO = 5

_FOLLOWING = r"""
    (and|but|or) <going>\b
    (what|how) about\b
    what if (not|so|i do not)$
    <reply>( (please|you|it|is|that|do|go|ahead|i|am|does|did|not|sir|<reply>))*$
    <alone>$
    (tell|give|show) me <rest>$
    (tell|give|show) me more (about|on|of) <pointed>$
    <redo>( <manner>)*$
    (the|that|this) <which> ?(one|ones|option)?$
    (can|could|would) you (elaborate|repeat that|say that again|clarify|go on|continue)\b
    (can|could|would) you ((explain|expand on) (that|this|it)|be more specific)\b
    (what|how) do you mean\b
    (is|are|was|were|does|do|did|will|can|has) (he|she|those|these)\b
    (what|where|when|how|how old|how tall|who|why) <auxiliary> (he|she|his|her)\b
"""
_GOING = """
    what how why when where who which if is are does do can for in the with about then now after
    before tomorrow today
"""
_REPLY = """
    yes no yeah yep nope ok okay sure correct exactly right great thanks thank maybe neither both
"""
_ALONE = """
    why why_not how how_so how_come when where who which which_one which_ones really how_much
    how_many how_long since_when like_what such_as what what_else anything_else what_then what_next
    then_what go_on continue more next again another another_one one_more same the_same stop
"""
_REST = "more another another_one one_more the_rest others? an_example some_examples"
_REDO = """
    say do try repeat explain rephrase shorten translate summari[sz]e expand elaborate simplify
    rewrite format redo undo
"""
_MANNER = """
    it that this them on again more further please shorter longer simpler in into to the detail
    english french german spanish italian
"""
_WHICH = """
    first second third last other former latter previous next same red blue big small cheaper
    bigger smaller
"""
_POINTED = "it that this them these those"
_AUXILIARY = "is are was were does do did will has"

# "It" that points: what it costs, whether it is free. "It" that only fills a place is followed by
# "take", "possible", "to" and the like, or by a clause.
_POINTING = r"""
    <asking> (much )?(does|do|did|is|was|will|would|can|could|should|has) (it|that|this)( <said>)*$
    (is|was|does|do|did|will|would|can|could|should|has) (it|that|this)( <quality>)*$
    (how|where|when|why) (can|do|should|could|would|must) (i|we|one|you) (\w+ ){1,2}(<pointed>|one)$
    (can|could|should|may|do|must) (i|we) (\w+ ){1,2}<pointed>$
"""
_ASKING = "what how how_much how_long how_often when where why who which in_what_way"
_SAID = """
    cost work works mean do last end start begin open close expire arrive called made happen run
    go come look compare help weigh contain include support differ for from like about used be
    free safe different better worth again there here still then now
"""
_QUALITY = """
    free safe good bad true correct right ok okay better cheaper expensive included available worth
    it work works cost support come last new still also really normal legal enough open closed there
    possible too a lot the same then now always refundable
"""


@cache
def _following() -> re.Pattern[str]:
    return phrases(
        _FOLLOWING,
        going=_GOING,
        reply=_REPLY,
        alone=_ALONE,
        rest=_REST,
        redo=_REDO,
        manner=_MANNER,
        which=_WHICH,
        pointed=_POINTED,
        auxiliary=_AUXILIARY,
    )


@cache
def _pointing() -> re.Pattern[str]:
    return phrases(_POINTING, asking=_ASKING, said=_SAID, quality=_QUALITY, pointed=_POINTED)


# What agrees, and what may stand beside it. Of "do" it takes what is to be done.
_ASSENT = frozenset(
    (
        "yes yeah yep yup sure ok okay correct exactly right absolutely definitely certainly "
        "confirm confirmed proceed agreed agree accept accepted approve approved ahead"
    ).split()
)
_QUESTIONING = frozenset("is are was am should may does".split())
_DONE = frozenset("it that this so please them".split())
_BESIDE = frozenset(
    (
        "please do does go you can could should may it that this them so is are was i am we sounds "
        "good fine great perfect nice thanks thank the a first second last one all both of course "
        "for me us now then with just and sir madam want would like to works my"
    ).split()
)
# How a text that is matched above can begin.
_SIGNS = frozenset(
    f"{_REPLY} {_REDO} {_AUXILIARY} and but or also so what how why when where who which really "
    "since like such anything go continue more next again another one same stop tell give show the "
    "that this can could would then summarise summarize".split()
)
_POINTERS = frozenset(f"{_POINTED} one".split())


def is_follow_up(question: str) -> bool:
    """Tell whether a text goes on with something: "and in France?", "why not?", "yes, please"."""
    reading = read(question)
    words = _few_words(reading)
    if words is None or words[0] not in _SIGNS:
        return False
    return _following().match(" ".join(words)) is not None


def is_consent(question: str) -> bool:
    """Tell whether a text only agrees to what was offered: "Yes, please", "OK, do that".

    It says nothing but that, so whatever comes of it comes of the offer: an order that is
    cancelled, a table that is booked.
    """
    words = _few_words(read(question))
    if words is None or words[0] in _QUESTIONING:
        return False
    if not _BESIDE.issuperset(word for word in words if word not in _ASSENT):
        return False
    agrees = not _ASSENT.isdisjoint(words)
    return agrees or ("do" in words and not _DONE.isdisjoint(words) and len(words) <= _LONGEST_DO)


def has_open_reference(question: str) -> bool:
    """Tell whether a text is about an "it" that it does not name: "What does it cost?"."""
    reading = read(question)
    if reading.words.isdisjoint(_POINTERS):
        return False
    words = _few_words(reading)
    return words is not None and _pointing().match(" ".join(words)) is not None


def _few_words(reading: Reading) -> tuple[str, ...] | None:
    """Give the words of a short text; `None` where more is said than its words."""
    if not reading.is_whole or not reading.clauses or reading.has_other_signs:
        return None
    words = tuple(word for clause in reading.clauses for word in clause)
    return words if len(words) <= _LONGEST else None
