"""A run of the feed benchmark for the eye."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from rich.table import Table

from feeding.goals import Findings
from goal import plain_table

_MIB = 1 << 20
_PUBLISHED_ROWS_S = 26_000


def report(found: Findings) -> Iterator[Table]:
    """Show what was measured, part by part."""
    if found.rates:
        yield _rates(found)
    if found.comparisons:
        yield _comparisons(found)
    if found.arrivals:
        yield _arrivals(found)
    if found.joins:
        yield _joins(found)
    if found.latencies:
        yield _latencies(found)
    if found.memory is not None:
        yield _memory(found)


def _rates(found: Findings) -> Table:
    table = plain_table(
        "rows a second",
        ["part", "who"],
        ["rows", "runs", "best rows/s", "median rows/s", "client CPU\nus a row"],
    )
    for rate in found.rates:
        table.add_row(
            rate.part,
            rate.who,
            f"{rate.rows:,}",
            str(rate.runs),
            f"{rate.best_rows_s:,.0f}",
            f"{rate.median_rows_s:,.0f}",
            "" if rate.cpu_us is None else f"{rate.cpu_us:.2f}",
        )
    return table


def _comparisons(found: Findings) -> Table:
    table = plain_table(
        "ours beside the peer of the same run", ["ours", "peer"], ["best to best", "pairs, median"]
    )
    for one in found.comparisons:
        table.add_row(one.ours, one.peer, f"{one.ratio:.2f}", f"{one.paired:.2f}")
    return table


def _arrivals(found: Findings) -> Table:
    table = plain_table(
        "where a row's CPU goes on its way to the replica, us (median of the runs)",
        ["part"],
        ["database's sender", "wrapper", "driver"],
    )
    for part, runs in found.arrivals.items():
        columns = zip(
            *((run.sender_us, run.wrapper_us, run.driver_us) for run in runs), strict=True
        )
        table.add_row(part, *(f"{median(column):.1f}" for column in columns))
    return table


def _joins(found: Findings) -> Table:
    table = plain_table(
        f"a new driver, from its first contact to a whole replica "
        f"(published: 11,000 rows at {_PUBLISHED_ROWS_S:,} rows/s)",
        ["rows"],
        ["seconds", "rows/s"],
    )
    for rows, seconds in found.joins:
        table.add_row(f"{rows:,}", f"{seconds:.2f}", f"{rows / seconds:,.0f}")
    return table


def _latencies(found: Findings) -> Table:
    table = plain_table(
        "COMMIT to visible in the app, ms",
        ["rows"],
        [
            "written\nrows/s", "count", "p50", "p99", "most", "p50 from\nthe plan",
            "p99 from\nthe plan",
        ],
    )  # fmt: skip
    for row in found.latencies:
        times = (row.p50_ms, row.p99_ms, row.most_ms, row.planned_p50_ms, row.planned_p99_ms)
        table.add_row(
            "embedded" if row.embeds else "without embedder",
            f"{row.written_rate:,.0f}",
            f"{row.rows:,}",
            *(f"{ms:.1f}" for ms in times),
        )
    return table


def _memory(found: Findings) -> Table:
    memory = found.memory
    if memory is None:
        raise ValueError("nothing was measured")
    table = plain_table(
        "resident memory, MiB, while another subscriber reads nothing "
        f"(for {memory.silent_s:.0f} s; equal {memory.silent_caught_up_s:.1f} s after it went on)",
        ["rows in one\ntransaction"],
        [
            "seconds", "wrapper\nbefore", "wrapper\nmost", "driver\nbefore", "driver\nmost",
            "driver\nafter",
        ],
    )  # fmt: skip
    for row in memory.transactions:
        sizes = (
            row.wrapper_before, row.wrapper_most, row.driver_before, row.driver_most,
            row.driver_after,
        )  # fmt: skip
        table.add_row(
            f"{row.rows:,}", f"{row.seconds:.1f}", *(f"{size / _MIB:,.0f}" for size in sizes)
        )
    return table
