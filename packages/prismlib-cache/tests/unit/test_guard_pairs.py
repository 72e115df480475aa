"""The guards against pairs of our own, without an embedder: what they veto, by its kind."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from prism.cache._guards import GUARDS, STRICT_GUARDS, Guard, objections

PAIRS = tomllib.loads((Path(__file__).parent / "guard_pairs.toml").read_text("utf-8"))


def vetoed(kind: str, guards: tuple[Guard, ...]) -> float:
    """Give the share of pairs of a kind that a guard vetoes."""
    pairs = [pair for group in PAIRS[kind].values() for pair in group]
    found = [any(o.is_veto for o in objections(a, b, guards)) for a, b in pairs]
    return sum(found) / len(found)


def test_look_alikes_are_vetoed() -> None:
    assert vetoed("traps", GUARDS) >= 0.92


def test_other_wordings_are_not() -> None:
    assert vetoed("paraphrases", GUARDS) <= 0.03


def test_strict_mode_vetoes_more_of_both() -> None:
    assert vetoed("traps", STRICT_GUARDS) >= 0.95
    assert vetoed("paraphrases", STRICT_GUARDS) <= 0.25


@pytest.mark.parametrize(
    ("asked", "stored"),
    [pair for kind in PAIRS.values() for group in kind.values() for pair in group],
)
def test_either_may_be_the_stored_one(asked: str, stored: str) -> None:
    there = {o.guard for o in objections(asked, stored, STRICT_GUARDS)}
    assert there == {o.guard for o in objections(stored, asked, STRICT_GUARDS)}
    assert objections(asked, asked, STRICT_GUARDS) == ()
