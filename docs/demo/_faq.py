"""The corpus of the demo: which questions have which answer.

The file is `faq.toml`. Loading is strict, since a wrong label would be counted as a wrong hit.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["Decision", "Entry", "Expectation", "Faq", "FaqError", "load", "normalised", "parse"]

Expectation = Literal["hit", "miss"]


class FaqError(ValueError):
    """The corpus breaks one of its rules; the message names the place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One answer and the ways people ask for it.

    Attributes:
        id: Its label.
        family: Name shared by entries that look alike and have different answers, if any.
        answers: Wordings of the one answer, two or more.
        questions: Ways to ask, the most usual one first.
    """

    id: str
    family: str | None
    answers: tuple[str, ...]
    questions: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A pair of questions to explain after the traffic.

    Attributes:
        title: How the two relate.
        stored: The question whose answer is in the cache.
        asked: The question that comes next; the traffic never contains it.
        expect: What a good cache does with it.
    """

    title: str
    stored: str
    asked: str
    expect: Expectation


@dataclass(frozen=True, slots=True)
class Faq:
    """A valid corpus: no question stands in two places, every decision names known questions."""

    entries: tuple[Entry, ...]
    decisions: tuple[Decision, ...]

    def entry_of(self, question: str) -> Entry:
        """Return the entry that a question belongs to.

        Raises:
            KeyError: The question is not in the corpus.
        """
        for entry in self.entries:
            if question in entry.questions:
                return entry
        raise KeyError(question)

    def in_traffic(self) -> tuple[Entry, ...]:
        """Return what may be asked before the decisions are explained.

        Their `asked` texts are taken out, and where a refusal is expected the whole entry is:
        once the right answer is stored, serving it is no mistake.
        """
        texts = {decision.asked for decision in self.decisions}
        refused = {self.entry_of(d.asked).id for d in self.decisions if d.expect == "miss"}
        return tuple(
            Entry(
                id=entry.id,
                family=entry.family,
                answers=entry.answers,
                questions=tuple(q for q in entry.questions if q not in texts),
            )
            for entry in self.entries
            if entry.id not in refused
        )


def normalised(text: str) -> str:
    """Return a text without case, punctuation and spacing: what two texts must not share."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def load(path: Path) -> Faq:
    """Read and check a corpus.

    Raises:
        FaqError: It breaks a rule.
        OSError: It cannot be read.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FaqError(f"{path.name}: {error}") from error
    return parse(document)


def parse(document: Mapping[str, object]) -> Faq:
    """Check a decoded corpus.

    Raises:
        FaqError: An unknown key, a missing or empty value, an id or a text that occurs twice, an
            answer shared by two entries, or a decision about an unknown question.
    """
    _known_keys(document, {"entries", "decisions"}, "the file")
    faq = Faq(
        entries=tuple(_entry(t, n) for n, t in enumerate(_tables(document, "entries"), 1)),
        decisions=tuple(_decision(t, n) for n, t in enumerate(_tables(document, "decisions"), 1)),
    )
    _check_unique([(entry.id, entry.id) for entry in faq.entries], "id")
    _check_unique([(normalised(q), e.id) for e in faq.entries for q in e.questions], "question")
    _check_unique([(normalised(a), e.id) for e in faq.entries for a in e.answers], "answer")
    families = [entry.family for entry in faq.entries if entry.family is not None]
    if lonely := sorted(name for name in set(families) if families.count(name) == 1):
        raise FaqError(f"family {lonely[0]!r} has one member; nothing there looks alike")
    for decision in faq.decisions:
        _check_decision(decision, faq)
    return faq


def _entry(table: Mapping[str, object], number: int) -> Entry:
    place = f"entry {table.get('id', number)}"
    _known_keys(table, {"id", "family", "answers", "questions"}, place)
    answers, questions = _texts(table, "answers", place), _texts(table, "questions", place)
    if len(answers) < 2:
        raise FaqError(f"{place}: needs two answers, since a model words each one anew")
    if len(questions) < 5:
        raise FaqError(f"{place}: needs five questions")
    return Entry(
        id=_text(table, "id", place),
        family=_text(table, "family", place) if "family" in table else None,
        answers=answers,
        questions=questions,
    )


def _decision(table: Mapping[str, object], number: int) -> Decision:
    place = f"decision {number}"
    _known_keys(table, {"title", "stored", "asked", "expect"}, place)
    expect = _text(table, "expect", place)
    if expect not in get_args(Expectation):
        raise FaqError(f"{place}: expect is {expect!r}, must be 'hit' or 'miss'")
    return Decision(
        title=_text(table, "title", place),
        stored=_text(table, "stored", place),
        asked=_text(table, "asked", place),
        expect="hit" if expect == "hit" else "miss",
    )


def _check_decision(decision: Decision, faq: Faq) -> None:
    try:
        same = faq.entry_of(decision.stored) is faq.entry_of(decision.asked)
    except KeyError as error:
        raise FaqError(f"decision {decision.title!r}: no entry has {error.args[0]!r}") from None
    if same is not (decision.expect == "hit"):
        raise FaqError(f"decision {decision.title!r}: expect does not follow from the entries")


def _check_unique(keys: Sequence[tuple[str, str]], kind: str) -> None:
    first: dict[str, str] = {}
    for key, owner in keys:
        if key in first:
            raise FaqError(f"{kind} {key!r} occurs twice: {first[key]} and {owner}")
        first[key] = owner


def _known_keys(table: Mapping[str, object], known: set[str], place: str) -> None:
    if unknown := sorted(set(table) - known):
        raise FaqError(f"{place}: unknown key {unknown[0]!r}; known are {', '.join(sorted(known))}")


def _tables(document: Mapping[str, object], key: str) -> list[Mapping[str, object]]:
    tables = document.get(key)
    if not isinstance(tables, list) or not tables:
        raise FaqError(f"the file needs [[{key}]]")
    if not all(isinstance(table, dict) for table in tables):
        raise FaqError(f"{key} must be tables, written as [[{key}]]")
    return tables


def _text(table: Mapping[str, object], key: str, place: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value or value != value.strip():
        raise FaqError(f"{place}: {key} must be a text without blanks around it, is {value!r}")
    return value


def _texts(table: Mapping[str, object], key: str, place: str) -> tuple[str, ...]:
    values = table.get(key)
    if not isinstance(values, list):
        raise FaqError(f"{place}: {key} must be a list of texts")
    return tuple(_text({key: value}, key, place) for value in values)
