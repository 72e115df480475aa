"""The words of a text as its search sees them: folded, without endings, without small words."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["question_terms", "terms", "token_count"]

_WORD = re.compile(r"[^\W_]+")
_TOKEN = re.compile(r"\w+|[^\w\s]")
# Scripts without spaces between words: pairs of characters stand for words.
_UNSPACED = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]{2,}")
_SMALL_WORDS = frozenset(
    (
        "a an the of in on at by for to from with as and or but if that this these those it its "
        "is are was were be been being am do does did done has have had having will would can "
        "could should shall may might must not no i you he she we they me him her us them my your "
        "his our their there here so than then too very just also into onto over under about "
        "between during after before while s t d ll re ve m"
    ).split()
)  # fmt: skip
_ASKING_WORDS = frozenset(
    (
        "what which who whom whose when where why how many much does did tell explain describe "
        "please give name"
    ).split()
)  # fmt: skip
_ENDINGS = (
    ("ational", "ate"), ("isation", "ise"), ("ization", "ize"), ("fulness", "ful"),
    ("ousness", "ous"), ("iveness", "ive"), ("ations", "at"), ("ation", "at"), ("ments", ""),
    ("ment", ""), ("ities", ""),
    ("ity", ""), ("ings", ""), ("ing", ""), ("ness", ""), ("ions", ""), ("ion", ""), ("ies", "y"),
    ("ied", "y"), ("ers", ""), ("er", ""), ("ors", ""), ("or", ""), ("edly", ""), ("ed", ""),
    ("ally", "al"), ("ly", ""), ("sses", "ss"), ("es", ""), ("s", ""), ("e", ""), ("y", "i"),
)  # fmt: skip
_LEAST_STEM = 3


def terms(text: str) -> Iterator[str]:
    """Give the terms of a text, in their order, repeated as they are."""
    for word in _WORD.findall(_folded(text)):
        if word in _SMALL_WORDS:
            continue
        if _UNSPACED.fullmatch(word):
            yield from (word[at : at + 2] for at in range(len(word) - 1))
        else:
            yield _stem(word)


def question_terms(question: str) -> tuple[str, ...]:
    """Give a question's terms, each once, without the words that only ask.

    A question of nothing else ("Which?") keeps all its terms.
    """
    asking = {_stem(word) for word in _ASKING_WORDS}
    every = tuple(dict.fromkeys(terms(question)))
    return tuple(term for term in every if term not in asking) or every


def token_count(text: str) -> int:
    """Count words and marks: near what a model's tokenizer counts in plain English prose."""
    return len(_TOKEN.findall(text))


def _folded(text: str) -> str:
    """Lower the case and drop accents: who asks for "Chateau" means "Château"."""
    if text.isascii():
        return text.lower()
    parts = unicodedata.normalize("NFKD", text.casefold())
    return "".join(part for part in parts if not unicodedata.combining(part))


@lru_cache(maxsize=50_000)
def _stem(word: str) -> str:
    """Cut one ending off: cruder than Porter's rules, and enough to meet the same word again."""
    if len(word) <= _LEAST_STEM or not word.isascii() or not word.isalpha() or word.endswith("ss"):
        return word
    for ending, instead in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _LEAST_STEM:
            stem = word[: -len(ending)] + instead
            # "running" and "run", "stopped" and "stop".
            doubled = len(stem) > _LEAST_STEM and stem[-1] == stem[-2] and stem[-1] not in "lsz"
            return stem[:-1] if doubled and not instead else stem
    return word
