"""Texts that the default embedder does not see whole get the answer to the same text only."""

from __future__ import annotations

import pytest

from prism.cache import PrismCache

TAIL = " The guests may bring a picnic and sit in the garden as long as they like." * 8


@pytest.fixture(scope="module")
def cache() -> PrismCache:
    return PrismCache.build("tests", "gpt-4o")


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        ("ฉันจะรีเซ็ตรหัส", "ราคาเท่าไร"),
        ("怎么取消预约?", "怎么确认预约?"),
        ("translate \U0001f34e", "translate \U0001f34c"),
        (f"Summarise this.{3 * TAIL} I want a refund.", f"Summarise this.{3 * TAIL} Thank you."),
    ],
)
def test_only_the_same_text_hits(cache: PrismCache, stored: str, asked: str) -> None:
    cache.put(stored, "answer")
    assert cache.lookup(stored).hit
    assert not cache.lookup(asked).hit
    assert "only the same text could hit" in cache.explain(asked).reason
    assert cache.get_or_call(asked, lambda: "another") == "another"
