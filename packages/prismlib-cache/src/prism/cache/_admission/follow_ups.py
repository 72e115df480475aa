"""Texts that say something only together with what was said before them."""

from __future__ import annotations

import re
from functools import cache

from prism.cache._admission.reading import Reading, read

__all__ = ["has_open_reference", "is_follow_up"]

_LONGEST = 12

_FOLLOWING = r"""
    (?:and|but|or|also|so)\ (?:what|how|why|when|where|who|which|if|is|are|does|do|can|for|in|the|with
        |about|then|now|after|before|tomorrow|today)\b
  | (?:and|or|but)$
  | (?:what|how)\ about\b
  | (?:what|and|how)\ if\ (?:not|so|i\ do\ not)$
  | (?:yes|no|yeah|yep|nope|ok|okay|sure|correct|exactly|right|great|thanks|maybe|neither|both)
        (?:\ (?:please|thanks|thank|you|it|is|that|do|go|ahead|sure|i|am|does|did|not|right|sir|ok))*$
  | (?:why|why\ not|how|how\ so|how\ come|when|where|who|which|which\ one|which\ ones|really|how\ much
        |how\ many|how\ long|since\ when|like\ what|such\ as|what|what\ else|anything\ else|what\ then
        |what\ next|then\ what|go\ on|continue|more|next|again|another|another\ one|one\ more|same
        |the\ same|stop)$
  | (?:tell|give|show)\ me\ (?:more|another|another\ one|one\ more|the\ rest|others?|an\ example
        |some\ examples|more\ (?:about|on|of)\ (?:it|that|this|them|these|those))$
  | (?:say|do|try|repeat|explain|rephrase|shorten|translate|summari[sz]e|expand|elaborate|simplify
        |rewrite|format|redo|undo)(?:\ (?:it|that|this|them|on|again|more|further|please|shorter
        |longer|simpler|in|to|the))*(?:\ (?:english|french|german|spanish|italian|detail))?$
  | (?:the|that|this)\ (?:first|second|third|last|other|former|latter|previous|next|same|red|blue
        |big|small|cheaper|bigger|smaller)\ ?(?:one|ones|option)?$
  | (?:can|could|would)\ you\ (?:elaborate|repeat\ that|say\ that\ again|explain\ (?:that|this|it)
        |expand\ on\ (?:that|this|it)|be\ more\ specific|clarify|go\ on|continue)\b
  | (?:what|how)\ do\ you\ mean\b
  | (?:is|are|was|were|does|do|did|will|can|has)\ (?:he|she|they|those|these)\b
  | (?:what|where|when|how|who|why)\ (?:is|are|was|were|does|do|did|will|has|old\ is|tall\ is
        |old\ was)\ (?:he|she|his|her|their|they|those|these)\b
"""
# "It" that points: what it costs, whether it is free. "It" that only fills a place is followed by
# "take", "possible", "to" and the like, or by a clause.
_POINTING = r"""
    (?:what|how|how\ much|how\ long|how\ often|when|where|why|who|which|in\ what\ way)
        \ (?:much\ )?(?:does|do|did|is|was|will|would|can|could|should|has)\ (?:it|that|this)
        (?:\ (?:cost|work|works|mean|do|last|end|start|begin|open|close|expire|arrive|called|made|happen
          |run|go|come|look|compare|help|weigh|contain|include|support|differ|for|from|like|about|used
          |be|free|safe|different|better|worth|again|there|here|still|then|now))*$
  | (?:is|was|does|do|did|will|would|can|could|should|has)\ (?:it|that|this)
        (?:\ (?:free|safe|good|bad|true|correct|right|ok|okay|better|cheaper|expensive|included
          |available|worth|it|work|works|cost|support|come|last|new|still|also|really|normal|legal
          |enough|open|closed|there|possible|too|a|lot|the|same|then|now|always|refundable))*$
  | (?:how|where|when|why)\ (?:can|do|should|could|would|must)\ (?:i|we|one|you)
        \ (?:\w+\ ){1,2}(?:it|that|this|them|those|these|one)$
  | (?:can|could|should|may|do|must)\ (?:i|we)\ (?:\w+\ ){1,2}(?:it|that|this|them|those|these)$
"""


@cache
def _following() -> re.Pattern[str]:
    return re.compile(_FOLLOWING, re.VERBOSE)


@cache
def _pointing() -> re.Pattern[str]:
    return re.compile(_POINTING, re.VERBOSE)


_SIGNS = frozenset(
    (
        "and but or also so what how yes no yeah yep nope ok okay sure correct exactly right great "
        "thanks maybe neither both why when where who which really since like such anything go "
        "continue more next again another one same stop tell give show say do try repeat explain "
        "rephrase shorten translate summarize summarise expand elaborate simplify rewrite format "
        "redo undo the that this can could would is are was were does did will has then"
    ).split()
)
_POINTERS = frozenset("it that this them those these one".split())


def is_follow_up(question: str) -> bool:
    """Tell whether a text goes on with something: "and in France?", "why not?", "yes, please"."""
    reading = read(question)
    first = _only_clause(reading)
    if first is None or first[0] not in _SIGNS:
        return False
    return _following().match(" ".join(first)) is not None


def has_open_reference(question: str) -> bool:
    """Tell whether a text is about an "it" that it does not name: "What does it cost?"."""
    reading = read(question)
    if reading.words.isdisjoint(_POINTERS):
        return False
    first = _only_clause(reading)
    return first is not None and _pointing().match(" ".join(first)) is not None


def _only_clause(reading: Reading) -> tuple[str, ...] | None:
    """Join the clauses of a short text; `None` where more is said than its words."""
    if not reading.is_whole or not reading.clauses or reading.has_other_signs:
        return None
    words = tuple(word for clause in reading.clauses for word in clause)
    return words if len(words) <= _LONGEST else None
