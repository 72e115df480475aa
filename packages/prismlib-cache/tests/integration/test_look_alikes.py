"""A cold cache with a whole FAQ, the default embedder and default settings."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from prism.cache import PrismCache

ROOT = Path(__file__).parents[4]
ENTRIES: list[dict[str, Any]] = tomllib.loads(
    (ROOT / "docs" / "demo" / "faq.toml").read_text(encoding="utf-8")
)["entries"]
ANSWERED = {answer: entry["id"] for entry in ENTRIES for answer in entry["answers"]}


@pytest.fixture(scope="module")
def faq() -> Iterator[PrismCache]:
    with PrismCache.build("faq", "gpt-4o") as cache:
        for entry in ENTRIES:
            cache.put(entry["questions"][0], entry["answers"][0])
        yield cache


def test_the_promised_pair_hits_beside_its_look_alike(faq: PrismCache) -> None:
    assert faq.lookup("How do I change my password?").hit
    found = faq.lookup("I forgot my password, help")
    assert found.hit
    assert ANSWERED[str(found.answer)] == "password-reset"


def test_no_look_alike_is_answered_with_another(faq: PrismCache) -> None:
    hits, wrong = 0, []
    for entry in ENTRIES:
        for question in entry["questions"][1:]:
            found = faq.lookup(question)
            hits += found.hit
            if found.hit and ANSWERED[str(found.answer)] != entry["id"]:
                wrong.append((question, found.answer))
    assert wrong == []
    assert hits >= 90


def test_hardly_a_look_alike_is_served_for_what_is_not_stored(faq: PrismCache) -> None:
    asked = served = 0
    for entry in (entry for entry in ENTRIES if "family" in entry):
        faq.invalidate(query=entry["questions"][0])
        asked += len(entry["questions"])
        served += sum(faq.lookup(question).hit for question in entry["questions"])
        faq.put(entry["questions"][0], entry["answers"][0])
    assert served <= 0.03 * asked
