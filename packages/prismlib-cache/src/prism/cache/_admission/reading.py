"""A question as the rules read it: in clauses of lower-case words.

The rules are about what a sentence does (it commands, asks for a state, points at a time), which
shows at the beginnings of clauses. They read English.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

__all__ = ["Reading", "is_template", "read"]

# Characters above which a text is a document with a question somewhere in it; the finder, which
# compares none above that, has the same number.
_LONG_TEXT = 1_000

# How much of the end of a document is read: there the question stands, if it holds one.
_TAIL = 300
# Lines above which a text is no typed question. People use two or three; a pasted one has more.
_MANY_LINES = 6

_WORD = re.compile(r"[#$€£¥]?\w+(?:[.,'/:-]\w+)*")
_BREAK = re.compile(r"[.!?;,:…]+(?=\s|$)|[\n\r()\x22\u201c\u201d\u2013\u2014]|\s-+\s")
_OTHER = re.compile(r"[^\w\s.,;:!?'\"()-]")
_LABEL = re.compile(r"[ \t>*-]{0,4}\*{0,2}[A-Za-z][A-Za-z_ ]{1,24}\*{0,2}:")
# A role or a part of a prompt, at the beginning of the line with the question.
_ROLE = re.compile(
    r"\W{0,4}(?:question|query|user|human|customer|input|request|message|task|q)\W{0,3}:\s*",
    re.IGNORECASE,
)
_TAG = re.compile(r"</[A-Za-z][\w-]{0,30}>")
_HEADING = re.compile(r"#{1,6} ")
_PLACEHOLDER = re.compile(r"\{\{[^{}]{1,60}\}\}")

_CONTRACTIONS = {
    "what's": "what is", "whats": "what is", "where's": "where is", "wheres": "where is",
    "when's": "when is", "whens": "when is", "who's": "who is", "whos": "who is",
    "how's": "how is", "hows": "how is", "it's": "it is", "that's": "that is",
    "there's": "there is", "i'm": "i am", "im": "i am", "i've": "i have", "ive": "i have",
    "i'd": "i would", "id": "id", "i'll": "i will", "we're": "we are", "we've": "we have",
    "we'd": "we would", "let's": "let us", "don't": "do not", "dont": "do not",
    "what're": "what are", "where're": "where are", "u": "you", "ur": "your", "pls": "please",
    "plz": "please", "wanna": "want to", "gimme": "give me", "lemme": "let me",
    "tmrw": "tomorrow", "tomorow": "tomorrow", "tonite": "tonight", "hasn't": "has not",
    "haven't": "have not", "didn't": "did not", "isn't": "is not", "wasn't": "was not",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reading:
    """What the rules see of a text.

    Attributes:
        words: Its words in lower case, contractions as they stand and taken apart.
        clauses: The same in their order, contractions taken apart, one tuple for each clause.
        is_whole: Whether all of it was read; of a document only the last line is.
        has_other_signs: Whether it has signs beside words and punctuation: emoji, formulas.
    """

    words: frozenset[str]
    clauses: tuple[tuple[str, ...], ...]
    is_whole: bool
    has_other_signs: bool


@lru_cache(maxsize=256)
def read(text: str) -> Reading:
    """Read a text, or remember what was read. Cost: O(length), about 10 us for ten words."""
    is_whole = not is_template(text)
    plain = (text if is_whole else _last_line(text)).replace("\u2019", "'").lower()
    clauses = tuple(
        clause
        for part in _BREAK.split(plain)
        if (
            clause := tuple(
                " ".join([_CONTRACTIONS.get(w, w) for w in _WORD.findall(part)]).split()
            )
        )
    )
    words = frozenset(word for clause in clauses for word in clause)
    return Reading(words, clauses, is_whole, _OTHER.search(plain) is not None)


def is_template(text: str) -> bool:
    """Tell whether a text is a document, or was put together by a program."""
    if len(text) > _LONG_TEXT:
        return True
    if "```" in text or ("{{" in text and _PLACEHOLDER.search(text) is not None):
        return True
    if text.lstrip()[:1] in ("{", "[") and '":' in text.replace('" :', '":'):
        return True
    if "</" in text and _TAG.search(text) is not None:
        return True
    if "\n" not in text.strip():
        return False
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) >= _MANY_LINES:
        return True
    labels = sum(_LABEL.match(line) is not None for line in lines)
    return labels >= 2 or any(_HEADING.match(line) is not None for line in lines)


def _last_line(text: str) -> str:
    tail = text[-4 * _TAIL :].rstrip().rpartition("\n")[2][-_TAIL:]
    return _ROLE.sub("", tail, count=1)
