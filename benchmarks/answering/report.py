"""A run of the cache benchmark for the eye."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import mean

from rich.table import Table

from answering.asking import US
from answering.blind import Admitted
from answering.faq import ColdFaq
from answering.goals import Findings
from answering.latency import Latency
from answering.load import Load
from answering.pairs import Served
from answering.tally import Tally
from answering.threads import Throughput
from goal import plain_table


def report(found: Findings) -> Iterator[Table]:
    """Show what was measured, part by part."""
    tallies = found.tallies + found.blind_tallies
    for data, kind in dict.fromkeys((tally.data, tally.kind) for tally in tallies):
        runs = [tally for tally in tallies if (tally.data, tally.kind) == (data, kind)]
        yield _stream_table(f"{data} {kind}", runs)
    if found.admitted:
        yield _admitted_table(found.admitted)
    if found.pairs:
        yield _pair_table(found.pairs)
    if found.faq:
        yield _faq_table(found.faq)
    if found.latencies:
        yield _latency_table(found.latencies)
    if found.throughput:
        yield _throughput_table(found.throughput)
    if found.loads:
        yield _load_table(found.loads)


def _stream_table(name: str, tallies: Sequence[Tally]) -> Table:
    seeds = len({tally.seed for tally in tallies})
    table = plain_table(
        f"{name}: {tallies[0].requests:,} requests, mean of {seeds} seeds (worst)",
        ["who"],
        [
            "hits", "wrong", "calls", "refused", "of them\nchecks", "tokens", "saved\ntokens",
            "saved\nUSD",
        ],
    )  # fmt: skip
    ways = dict.fromkeys((tally.who, tally.target, tally.admits_all) for tally in tallies)
    for way in ways:
        who, target, admits_all = way
        runs = [tally for tally in tallies if (tally.who, tally.target, tally.admits_all) == way]
        worst = max(tally.wrong_share for tally in runs)
        settings = "" if target is None else f", max_error {target:.0%}"
        row = [
            f"{who}{settings}{', admits all' * admits_all}",
            f"{mean(t.hit_share for t in runs):.1%}",
            f"{mean(t.wrong_share for t in runs):.2%} ({worst:.2%})",
            f"{mean(t.calls for t in runs):,.0f}",
        ]
        if who == US:
            refused = mean((t.metrics or {})["refused"] / t.requests for t in runs)
            row += [
                f"{refused:.1%}",
                f"{mean(t.checks for t in runs):,.0f}",
                f"{mean(t.tokens or 0 for t in runs):,.0f}",
                f"{mean((t.metrics or {})['tokens_saved'] for t in runs):,.0f}",
                _usd([(t.metrics or {})["cost_saved_usd"] for t in runs]),
            ]
        table.add_row(*row)
    return table


def _admitted_table(rows: Sequence[Admitted]) -> Table:
    table = plain_table(
        "held back by the default rules; the kind follows from the intent's name alone",
        ["data", "kind of request"],
        ["requests", "refused", "by rule"],
    )
    for row in rows:
        refused = sum(row.refused.values())
        rules = ", ".join(f"{name} {count}" for name, count in row.refused.items())
        table.add_row(row.data, row.kind, str(row.requests), f"{refused / row.requests:.1%}", rules)
    return table


def _pair_table(pairs: Sequence[Served]) -> Table:
    table = plain_table(
        "fow-cache pairs, an empty cache for each",
        ["pairs", "who"],
        ["count", "traps served", "same answer served"],
    )
    for row in pairs:
        table.add_row(row.pairs, row.who, str(row.count), f"{row.traps:.3f}", f"{row.same:.3f}")
    return table


def _faq_table(faq: ColdFaq) -> Table:
    table = plain_table("a cold cache with the demo's FAQ, default settings", ["what"], ["share"])
    table.add_row(f"{faq.others} other ways to ask: served", f"{faq.served:.1%}")
    table.add_row("served with another answer", f"{faq.wrong:.1%}")
    table.add_row("the same while their own answer is absent", f"{faq.absent_served:.1%}")
    return table


def _latency_table(latencies: Sequence[Latency]) -> Table:
    table = plain_table(
        "one thread on one core",
        ["what", "embedder"],
        ["entries", "asked", "least us", "median us", "p99 us", "CPU us"],
    )
    for row in latencies:
        timing = row.timing
        table.add_row(
            row.what,
            row.model_id,
            f"{row.entries:,}",
            str(timing.queries),
            *(
                f"{time_us:,.0f}" if time_us >= 100 else f"{time_us:.1f}"
                for time_us in (timing.min_us, timing.median_us, timing.p99_us, timing.cpu_us)
            ),
        )
    return table


def _throughput_table(found: Throughput) -> Table:
    table = plain_table("exact tier, hits a second", ["threads"], ["hits a second"])
    table.add_row("1", f"{found.one:,.0f}")
    table.add_row(str(found.threads), f"{found.many:,.0f}")
    return table


def _load_table(loads: Sequence[Load]) -> Table:
    table = plain_table(
        "users before a mock provider that takes 80 ms, over HTTP",
        ["questions, users"],
        [
            "asked", "texts", "hits", "dict", "wrong", "p50\nms", "p95\nms", "hit\np50 ms",
            "miss\np50 ms", "saved\ntokens", "saved\nUSD",
        ],
    )  # fmt: skip
    for load in loads:
        metrics = load.metrics
        table.add_row(
            f"{load.plan.pool}, {load.plan.users} for {load.plan.seconds:.3g} s",
            f"{load.requests:,}",
            f"{load.distinct:,}",
            f"{load.hit_rate:.1%}",
            f"{load.dict_rate:.1%}",
            f"{load.wrong_rate:.2%}",
            *(
                "" if time_ms is None else f"{time_ms:.1f}"
                for time_ms in (load.p50_ms, load.p95_ms, load.hit_p50_ms, load.miss_p50_ms)
            ),
            f"{metrics['tokens_saved']:,}",
            _usd([metrics["cost_saved_usd"]]),
        )
    return table


def _usd(prices: Sequence[float | None]) -> str:
    known = [price for price in prices if price is not None]
    return f"{mean(known):.2f}" if known else ""
