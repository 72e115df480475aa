from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest

from prism.cache import Usage
from prism.cache._pricing import PriceBook, estimate_tokens

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC).timestamp()


def test_a_hit_saves_what_the_table_says() -> None:
    import genai_prices

    book = PriceBook()
    usage = Usage(input_tokens=1000, output_tokens=100)
    for _ in range(3):
        book.note("gpt-4o", usage, is_estimated=False, now=NOW)
    price = genai_prices.calc_price(
        genai_prices.Usage(input_tokens=1000, output_tokens=100),
        "gpt-4o",
        genai_request_timestamp=datetime.fromtimestamp(NOW, tz=UTC),
    ).total_price
    savings = book.savings()
    assert savings.tokens == 3300
    assert savings.tokens_estimated == 0
    assert savings.usd == pytest.approx(3 * float(price))
    assert savings == book.savings()


def test_cached_input_is_cheaper() -> None:
    dear, cheap = PriceBook(), PriceBook()
    dear.note("gpt-4o", Usage(input_tokens=1000, output_tokens=1), is_estimated=False, now=NOW)
    cheap.note(
        "gpt-4o",
        Usage(input_tokens=1000, output_tokens=1, cached_tokens=900),
        is_estimated=False,
        now=NOW,
    )
    assert cheap.savings().usd < dear.savings().usd


def test_an_unknown_price_is_told_and_never_a_zero() -> None:
    book = PriceBook()
    assert book.savings().usd == 0.0
    book.note("our-own-model", Usage(input_tokens=1, output_tokens=1), is_estimated=True, now=NOW)
    unknown = book.savings()
    assert math.isnan(unknown.usd)
    assert unknown.unpriced_hits == 1
    book.note("gpt-4o", Usage(input_tokens=1000, output_tokens=1), is_estimated=False, now=NOW)
    known = book.savings()
    assert known.usd > 0
    assert known.unpriced_hits == 1


def test_estimated_parts_are_told_apart() -> None:
    book = PriceBook()
    book.note("gpt-4o", Usage(input_tokens=10, output_tokens=10), is_estimated=True, now=NOW)
    book.note("gpt-4o", Usage(input_tokens=30, output_tokens=10), is_estimated=False, now=NOW)
    savings = book.savings()
    assert (savings.tokens, savings.tokens_estimated) == (60, 20)
    assert 0 < savings.usd_estimated < savings.usd
    assert estimate_tokens("x" * 400) == 100
