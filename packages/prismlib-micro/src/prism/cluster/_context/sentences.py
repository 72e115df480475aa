"""Where sentences end: by rules, for prose of any topic."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["sentence_spans"]

# An end mark with what closes after it, then either a space before something that can begin a
# sentence, or nothing at all for scripts that write no spaces.
_END = re.compile(r"[.!?…]+[\"'”’)\]]*(?=\s+[\"'“‘(\[]*[^\W_a-z])|[。！？]+[」』”）]*")
_ABBREVIATIONS = frozenset(
    (
        "mr mrs ms dr prof st sr jr gen col lt sgt capt rev hon gov sen rep pres no nos vol fig "
        "figs eq ed eds al approx ca cf vs etc eg ie e.g i.e inc ltd co corp dept est jan feb mar "
        "apr jun jul aug sep sept oct nov dec mt ft u.s u.k u.n a.m p.m b.c a.d ph.d"
    ).split()
)  # fmt: skip
_LAST_WORD = re.compile(r"[^\s(\[\"'“‘]+$")
_LEAST_WORDS = 3


def sentence_spans(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Divide `text[start:end]` into sentences, without the white space between them.

    What is shorter than three words stays with the sentence before it: "Yes." says nothing alone.
    """
    first: int | None = None
    for begin, stop in _cuts(text, start, end):
        if first is None:
            first, last = begin, stop
        elif len(text[begin:stop].split()) < _LEAST_WORDS:
            last = stop
        else:
            yield first, last
            first, last = begin, stop
    if first is not None:
        yield first, last


def _cuts(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    begin = start
    for mark in _END.finditer(text, start, end):
        if not _is_abbreviation(text, begin, mark):
            yield from _stripped(text, begin, mark.end())
            begin = mark.end()
    yield from _stripped(text, begin, end)


def _is_abbreviation(text: str, begin: int, mark: re.Match[str]) -> bool:
    if mark.group() != ".":
        return False
    word = _LAST_WORD.search(text, begin, mark.start())
    if word is None:
        return False
    said = word.group().lower()
    # A single letter is an initial ("J. Smith"), unless it is the pronoun at an end ("than I.").
    return said in _ABBREVIATIONS or (len(said) == 1 and said.isalpha() and word.group() != "I")


def _stripped(text: str, begin: int, end: int) -> Iterator[tuple[int, int]]:
    while begin < end and text[begin].isspace():
        begin += 1
    while end > begin and text[end - 1].isspace():
        end -= 1
    if begin < end:
        yield begin, end
