"""The words and figures of the demo's output, apart from where they are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from _scoreboard import percentile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _acts import AtOnce, Restart, Told
    from _scoreboard import Column, Outcome, Scoreboard

__all__ = [
    "as_dict",
    "head",
    "outcome_cells",
    "plain_table",
    "possible_line",
    "rows",
    "status_line",
    "wrong_lines",
]

NONE = "-"


def head() -> tuple[str, str, str]:
    """Return the titles of the columns of `rows`."""
    return "", "PrismCache", "dict of exact texts"


def rows(board: Scoreboard) -> list[tuple[str, str, str]]:
    """Return what both contestants did, one figure a row."""
    cache, exact = board.cache, board.exact
    return [
        ("answered without the model", _hits(cache), _hits(exact)),
        ("  of them asked in other words", str(cache.similar_hits), NONE),
        ("WRONG answers from the store", str(cache.wrong_hits), str(exact.wrong_hits)),
        ("near matches refused by a guard", str(cache.guarded), NONE),
        ("calls of the (mock) model", str(cache.misses), str(exact.misses)),
        ("tokens saved", f"{cache.saved_tokens:,}", f"{exact.saved_tokens:,}"),
        ("money saved, at list price", usd(cache.saved_usd), usd(exact.saved_usd)),
        ("  in a million such questions", _million(cache), _million(exact)),
        ("latency of a hit, p50 / p95", _latency(board.hit_latencies_s), NONE),
        ("latency of a miss, p50 / p95", _latency(board.miss_latencies_s), NONE),
    ]


def plain_table(board: Scoreboard) -> str:
    """Return `rows` as lines of even width."""
    lines = [head(), *rows(board)]
    first, second, third = (max(len(line[n]) for line in lines) for n in range(3))
    return "\n".join(f"  {a:<{first}}  {b:>{second}}  {c:>{third}}" for a, b, c in lines)


def status_line(board: Scoreboard, total: int) -> str:
    """Return the counts so far on one line."""
    cache = board.cache
    return (
        f"  {board.questions:>4} of {total}: {cache.hits} hits"
        f" ({cache.similar_hits} in other words), {cache.wrong_hits} wrong,"
        f" {cache.misses} misses, {cache.saved_tokens:,} tokens saved; dict {board.exact.hits} hits"
    )


def possible_line(board: Scoreboard) -> str:
    """Say what there was to get: the measure for both columns."""
    return (
        f"  {board.possible} of {board.questions} had an answer in store,"
        " in whatever words they were asked."
    )


def wrong_lines(board: Scoreboard) -> list[str]:
    """Return each wrong hit in full; a demo that hid them would prove nothing."""
    return [
        f"  WRONG: {hit.question!r} got the answer to {hit.matched!r}"
        f" ({hit.served_entry_id}, not {hit.entry_id})"
        for hit in board.wrong
    ]


def as_dict(
    board: Scoreboard, told: Sequence[Told], at_once: AtOnce, restarted: Restart
) -> dict[str, object]:
    """Return everything for machines."""
    cache, exact = board.cache, board.exact
    return {
        "questions": board.questions,
        "cache": {
            "hits": cache.hits,
            "possible_hits": board.possible,
            "similar_hits": cache.similar_hits,
            "wrong_hits": cache.wrong_hits,
            "misses": cache.misses,
            "guarded": cache.guarded,
            "tokens_saved": cache.saved_tokens,
            "cost_saved_usd": cache.saved_usd,
            "latency_s": {
                "hit_p50": percentile(board.hit_latencies_s, 0.5),
                "hit_p95": percentile(board.hit_latencies_s, 0.95),
                "miss_p50": percentile(board.miss_latencies_s, 0.5),
                "miss_p95": percentile(board.miss_latencies_s, 0.95),
            },
        },
        "dict": {
            "hits": exact.hits,
            "wrong_hits": exact.wrong_hits,
            "misses": exact.misses,
            "tokens_saved": exact.saved_tokens,
            "cost_saved_usd": exact.saved_usd,
        },
        "wrong_hits": [
            {
                "question": hit.question,
                "matched": hit.matched,
                "entry_id": hit.entry_id,
                "served_entry_id": hit.served_entry_id,
            }
            for hit in board.wrong
        ],
        "decisions": [
            {
                "title": one.decision.title,
                "stored": one.decision.stored,
                "asked": one.decision.asked,
                "expected": one.decision.expect,
                "decision": one.kind,
                "reason": one.reason,
            }
            for one in told
        ],
        "at_once": {"people": at_once.people, "calls": at_once.calls},
        "restart": {
            "open_s": restarted.open_s,
            "hit": restarted.hit,
            "calls": restarted.calls,
        },
    }


def outcome_cells(outcome: Outcome) -> tuple[str, str, str, str]:
    """Return kind, cosine, question and matched question of one outcome, ready to show."""
    return (
        "WRONG" if outcome.hit and outcome.wrong else outcome.kind,
        "" if outcome.cosine is None else f"{outcome.cosine:.2f}",
        outcome.question,
        outcome.matched if outcome.kind == "similar" and outcome.matched else "",
    )


def usd(amount: float | None) -> str:
    """Return an amount of money; an unknown one is not 0."""
    return "unknown" if amount is None else f"${amount:.4f}"


def _million(column: Column) -> str:
    """Estimate what a million questions like the ones so far would save."""
    questions = column.hits + column.misses
    if column.saved_usd is None or not questions:
        return usd(None)
    return f"about ${column.saved_usd / questions * 1e6:,.0f}"


def milliseconds(seconds: float | None) -> str:
    """Return a latency, with more digits where it is small."""
    if seconds is None:
        return NONE
    value = seconds * 1000
    return (
        f"{value:.2f} ms" if value < 1 else f"{value:.1f} ms" if value < 10 else f"{value:.0f} ms"
    )


def _latency(values: list[float]) -> str:
    if not values:
        return NONE
    return f"{milliseconds(percentile(values, 0.5))} / {milliseconds(percentile(values, 0.95))}"


def _hits(column: Column) -> str:
    rate = column.hit_rate
    return str(column.hits) if rate is None else f"{column.hits} ({rate:.0%})"
