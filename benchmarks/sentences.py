"""Real sentences that every machine with this environment has, and what to do when they run out.

In this order: the questions of BANKING77 and CLINC150 together with the sentences of docstrings,
comments and descriptions of the standard library and of the installed packages, each text once,
shuffled; after the last one, pairs of clauses taken from different sentences. How many there are
of each depends on what is installed, so a run states it.
"""

from __future__ import annotations

import random
import re
import sysconfig
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np

import intents

BLOCK = 10_000
RECOMBINED = "recombined: two clauses of different sentences"

_QUESTIONS = "questions: BANKING77 and CLINC150"
_DESCRIPTIONS = "descriptions of installed packages"
_FOLDERS = {
    "docstrings and comments: standard library": "stdlib",
    "docstrings and comments: installed packages": "purelib",
}
_QUOTED = re.compile(r'"""(.*?)"""|' + r"'''(.*?)'''", re.DOTALL)
_COMMENTED = re.compile(r"(?:^[ \t]*#[ :].*\n)+", re.MULTILINE)
_COMMENT_SIGN = re.compile(r"^[ \t]*#[ :]?", re.MULTILINE)
_PARAGRAPH_END = re.compile(r"\n\s*\n")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'(])")
_CLAUSE_END = re.compile(r"[,;:.?!]+(?:\s+|$)|\s+(?=(?:and|but|because|if|when|so|or|which)\b)")
_LEAST_LETTERS = 0.85  # below it, it is a table, a formula or code


class Sentences:
    """Texts to store and texts to ask.

    Args:
        stored: The largest number of texts to store.
        held_out: How many texts to keep for questions.
        seed: Draws the order, the pairs and the questions.
    """

    def __init__(self, *, stored: int, held_out: int, seed: int) -> None:
        origin = dict.fromkeys(questions(), _QUESTIONS)
        if len(origin) < stored + held_out:
            for text, where in documentation():
                origin.setdefault(text, where)
        texts = sorted(origin)
        random.Random(seed).shuffle(texts)
        self._seed = seed
        self._origin = origin
        self._held_out, self._distinct = texts[:held_out], texts[held_out:]
        self._clauses: list[str] = []
        if len(self._distinct) < stored:
            self._clauses = sorted(set(chain.from_iterable(map(clauses, self._distinct))))

    def blocks(self, count: int) -> Iterator[list[str]]:
        """Yield the first `count` texts to store, `BLOCK` at a time."""
        for number in range(-(-count // BLOCK)):
            yield self.block(number)[: count - number * BLOCK]

    def block(self, number: int) -> list[str]:
        """Give one block of texts, the same one whenever it is asked for."""
        texts = self._distinct[number * BLOCK : (number + 1) * BLOCK]
        missing = BLOCK - len(texts)
        if missing and self._clauses:
            rng = np.random.default_rng([self._seed, number])
            pairs = rng.integers(len(self._clauses), size=(missing, 2)).tolist()
            texts += [f"{self._clauses[one]}, {self._clauses[other]}" for one, other in pairs]
        return texts

    def composition(self, count: int) -> dict[str, int]:
        """Say where the first `count` texts come from."""
        counts = Counter(self._origin[text] for text in self._distinct[:count])
        counts[RECOMBINED] = max(0, count - len(self._distinct))
        return dict(counts)

    def asked(self, count: int, *, among: int) -> list[str]:
        """Give `count` questions in random order: half are held-out texts, half stored ones, worn.

        A worn text has lost each word with a probability of 15 %, and two neighbours have changed
        places.

        Args:
            count: How many.
            among: The worn ones are drawn from the first `among` stored texts.
        """
        rng = random.Random(self._seed)
        asked = self._held_out[: count // 2]
        for _ in range(count - len(asked)):
            number, row = divmod(rng.randrange(among), BLOCK)
            asked.append(_worn(self.block(number)[row], rng))
        rng.shuffle(asked)
        return asked


def questions() -> Iterator[str]:
    """Yield the questions of both labelled sets."""
    for name in intents.SETS:
        for text, _ in intents.stream(name, seed=0, length=1_000_000):
            yield text


def documentation() -> Iterator[tuple[str, str]]:
    """Yield the sentences that explain the installed code, each with where it is from."""
    for where, folder in _FOLDERS.items():
        root = Path(sysconfig.get_path(folder))
        for path in sorted(root.rglob("*.py")):
            if folder == "stdlib" and "site-packages" in path.parts:
                continue
            for prose in _prose(_content(path)):
                for sentence in sentences(prose):
                    yield sentence, where
    for path in sorted(Path(sysconfig.get_path("purelib")).glob("*.dist-info/METADATA")):
        _, _, description = _content(path).partition("\n\n")
        for sentence in sentences(description):
            yield sentence, _DESCRIPTIONS


def sentences(prose: str) -> Iterator[str]:
    """Split prose into sentences of 4 to 40 words; leave out what is not English words mostly."""
    for paragraph in _PARAGRAPH_END.split(prose):
        for sentence in _SENTENCE_END.split(" ".join(paragraph.split())):
            letters = sum(sign.isalpha() or sign == " " for sign in sentence)
            worded = sentence.isascii() and letters >= _LEAST_LETTERS * len(sentence)
            if worded and 4 <= len(sentence.split()) <= 40:
                yield sentence


def clauses(sentence: str) -> Iterator[str]:
    """Split a sentence into clauses of 3 to 15 words."""
    for clause in _CLAUSE_END.split(sentence):
        if 3 <= len(clause.split()) <= 15:
            yield clause


def _prose(code: str) -> Iterator[str]:
    for match in _QUOTED.finditer(code):
        yield match[1] or match[2] or ""
    for match in _COMMENTED.finditer(code):
        yield _COMMENT_SIGN.sub("", match[0])


def _content(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""  # other encodings exist on purpose in the standard library's tests


def _worn(text: str, rng: random.Random) -> str:
    words = text.split()
    words = [word for word in words if rng.random() > 0.15] or words
    place = rng.randrange(len(words))
    words[place : place + 2] = reversed(words[place : place + 2])
    return " ".join(words)
