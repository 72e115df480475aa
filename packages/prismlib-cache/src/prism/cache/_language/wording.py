"""Fold fixed wordings to one: courtesies to nothing, "log in" to one word, "ppl" to people."""

from __future__ import annotations

import re

from prism.cache._language.lexicon import ABBREVIATIONS, PHRASAL_VERBS, PHRASES
from prism.cache._language.measures import UNITS
from prism.cache._language.stems import stem

__all__ = ["tokens"]

_TOKEN = re.compile(
    r"""
      [^\W\d_]+(?:['][^\W\d_]+)*(?![\w])   # a word, with its inner apostrophes
    | [^\W_]*\d[\w.,:/-]*[^\W_]                  # number, date, version or id, two signs or more
    | \d                                         # a single digit
    | [^\W_]+                                    # anything else that is letters and digits
    """,
    re.VERBOSE,
)
# What a text must have for a pattern to match, since that shows sooner; the pattern; its stead.
_SIGNS = (
    ("", re.compile(r"([$\u20ac\u00a3\u00a5])\s?(\d[\d.,]{0,20}(?:k|bn|mn)?)(?![\d])"), r"\2 \1 "),
    ("\u00b0", re.compile(r"(\d)\s?\u00b0\s?"), r"\1 degrees "),
    ("m", re.compile(r"(\d)\s{1,3}([ap])\.?m\b\.?"), r"\1\2m"),
    (".m.", re.compile(r"(\d)\s?([ap])\.m\."), r"\1\2m"),
    ("(", re.compile(r"(\d)\(([a-z])\)"), r"\1\2"),
    ("-", re.compile(r"\b([a-z]{1,2})-(?=\d)"), r"\1"),
    ("-", re.compile(r"(\d)-(?=[a-z]{3})"), r"\1 "),
)  # fmt: skip
_SPELLINGS = (
    ("-free", re.compile(r"\b([a-z]{2,30})-free\b"), r"without \1"),
    # "You do not ship, do you?" only asks whether.
    ("?", re.compile(r",\s?(?:do|does|did|is|are|can|will|have|has|was|were)(?:n't)? "
                r"(?:i|you|he|she|it|we|they)\s?\?"), " tagquestion?"),
)  # fmt: skip
# "LH 400" is "LH400"; "EUR 400" is an amount.
_CODE = re.compile(r"\b([A-Z]{2,3})[ -](\d{2,5})\b")
_NO_CODE = frozenset(("AM", "PM", "IN", "ON", "TO", "AT", "OF", "FOR", "THE", "MY", "BY"))
_DIGIT = re.compile(r"\d")
_SYMBOLS = {"%": " percent ", "\u00b0": " ", "$": " dollar "}
_SYMBOLS |= {"\u20ac": " euro ", "\u00a3": " pound ", "\u00a5": " yen "}
_PARTICLES = frozenset(("on", "off", "in", "out", "up", "down", "forward", "back"))
_BETWEEN = 4


def _rules(lines: str) -> dict[str, list[tuple[list[str], tuple[str, ...]]]]:
    """Index rules `some words=others` by their first word, the longest first."""
    rules: dict[str, list[tuple[list[str], tuple[str, ...]]]] = {}
    for left, right in re.findall(r"([a-z0-9' ]+)=(\S*)", lines.replace("\n", " ")):
        words = left.split()
        rules.setdefault(words[0], []).append((words, tuple(right.split())))
    for known in rules.values():
        known.sort(key=lambda rule: -len(rule[0]))
    return rules


_PHRASES = _rules(PHRASES)
_PHRASAL_VERBS = {
    (stem(words[0]), words[1]): joined[0]
    for known in _rules(PHRASAL_VERBS).values()
    for words, joined in known
}
_PHRASAL_FIRST = frozenset(verb for verb, _ in _PHRASAL_VERBS)


def tokens(text: str) -> list[str]:
    """Give the lower-case words of `text`, with fixed wordings folded. Cost: O(len(text))."""
    plain = text.replace("\u2019", "'")
    has_digits = _DIGIT.search(plain) is not None
    plain = (_CODE.sub(_joined, plain) if has_digits else plain).lower()
    for part, spelling, instead in (*_SPELLINGS, *_SIGNS) if has_digits else _SPELLINGS:
        if part in plain:
            plain = spelling.sub(instead, plain)
    for symbol, name in _SYMBOLS.items():
        plain = plain.replace(symbol, name)
    found = [token.removesuffix("'s") for token in _TOKEN.findall(plain)]
    return _join_verbs([ABBREVIATIONS.get(token, token) for token in _fold(found)])


def _joined(code: re.Match[str]) -> str:
    return code[0] if code[1].lower() in UNITS or code[1] in _NO_CODE else code[1] + code[2]


def _fold(found: list[str]) -> list[str]:
    if _PHRASES.keys().isdisjoint(found):
        return found
    folded: list[str] = []
    place = 0
    while place < len(found):
        for words, instead in _PHRASES.get(found[place], ()):
            if found[place : place + len(words)] == words:
                folded.extend(instead)
                place += len(words)
                break
        else:
            folded.append(found[place])
            place += 1
    # A text of courtesies alone is about them.
    return folded or found


def _join_verbs(found: list[str]) -> list[str]:
    """Make "turn the heating off" "switchoff the heating"."""
    if _PARTICLES.isdisjoint(found) and "into" not in found:
        return found
    joined = list(found)
    for place, word in enumerate(found):
        verb = stem(word)
        if verb not in _PHRASAL_FIRST:
            continue
        for after in range(place + 1, min(place + 1 + _BETWEEN, len(found))):
            whole = _PHRASAL_VERBS.get((verb, found[after]))
            if whole and joined[after]:
                joined[place], joined[after] = whole, ""
                break
            if found[after] in _PARTICLES:
                break
    return [word for word in joined if word]
