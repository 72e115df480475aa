"""One form for the forms of a word: endings, irregular forms, British and American spelling."""

from __future__ import annotations

from functools import lru_cache

from prism.cache._language.lexicon import IRREGULAR

__all__ = ["american", "is_typo_of", "stem"]

_ENDINGS = ("ations", "ation", "ings", "ing", "edly", "ed", "ies", "es", "s", "ly")
_LONG_WORD = 40
# "four" and "tour" are no British spellings.
_KEEPS_OUR = frozenset("four hour your our tour pour sour flour detour contour".split())
_KEEPS_ISE = frozenset(
    (
        "rise raise noise wise cruise exercise promise precise premise advise revise supervise "
        "surprise franchise merchandise otherwise likewise disguise demise expertise praise "
        "paradise concise televise comprise enterprise treatise bruise"
    ).split()
)


def american(word: str) -> str:
    """Spell a lower-case British word the American way; leave others as they are."""
    for ending in ("s", "ed", "ing", "d", "r", ""):
        base = word.removesuffix(ending) if ending else word
        if not word.endswith(ending) or len(base) < 4:
            continue
        if base.endswith("our") and base not in _KEEPS_OUR and base + "s" not in _KEEPS_OUR:
            return base[:-3] + "or" + ending
        if base.endswith("tre") and len(base) > 5:
            return base[:-2] + "er" + ending
        if base.endswith("logue"):
            return base[:-2] + ending
    for british, ours in (("isation", "ization"), ("ising", "izing"), ("yse", "yze")):
        if british in word[3:]:
            return word.replace(british, ours)
    for ending in ("ise", "ised", "ises", "iser"):
        if word.endswith(ending) and word[: len(word) - len(ending)] + "ise" not in _KEEPS_ISE:
            return word[: -len(ending)] + "ize" + ending[3:] if len(word) > 6 else word
    return word


# 2,048 words are about 300 kB.
@lru_cache(maxsize=2048)
def stem(word: str) -> str:
    """Cut the commonest English endings; rough on purpose, both sides are cut alike."""
    if len(word) > _LONG_WORD:
        return word
    word = american(IRREGULAR.get(word, word))
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            word = word[: -len(ending)]
            break
    if len(word) > 3 and word[-1] == word[-2]:
        return word[:-1]
    return word[:-1] if len(word) > 3 and word[-1] in "eiy" else word


def is_typo_of(one: str, other: str) -> bool:
    """Tell whether two words look like one word mistyped.

    Two neighbours exchanged, a letter doubled or not, or, in words of seven letters and more that
    begin alike, one letter more, less or other. Short words are left alone: "hotel", "hostel".
    """
    if one == other or one[:1] != other[:1]:
        return False
    longer, shorter = (one, other) if len(one) >= len(other) else (other, one)
    if len(longer) > _LONG_WORD or len(shorter) < 4 or len(longer) - len(shorter) > 1:
        return False
    start = next((i for i, (a, b) in enumerate(zip(longer, shorter, strict=False)) if a != b), -1)
    if start < 0:
        return len(longer) >= 7 or longer[-1] == longer[-2]
    if len(longer) > len(shorter):
        is_doubled = longer[start] == longer[start - 1]
        return longer[start + 1 :] == shorter[start:] and (is_doubled or len(longer) >= 7)
    if longer[start + 2 :] == shorter[start + 2 :] and (
        longer[start : start + 2] == shorter[start : start + 2][::-1]
    ):
        return True
    return len(longer) >= 7 and longer[start + 1 :] == shorter[start + 1 :]
