"""What `hatch run bench feed` found, beside what it should be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from feeding.arriving import Arrival
from feeding.bounded import Bounded
from feeding.latency import Latency
from feeding.rate import Comparison, Rate
from goal import Goal

DECODE, ARRIVE, COPY, EMBED = "decode", "replica", "copy", "embed"
LEAST = {DECODE: 0.85, ARRIVE: 0.55, COPY: 0.55, EMBED: 0.85}
MOST_P50_MS, MOST_P99_MS = 20.0, 100.0
# A million rows held as they came would take the wrapper a gigabyte.
MOST_GROWTH_BYTES = 256 << 20
MOST_OVER_AFTER = 1.25
_MIB = 1 << 20


@dataclass
class Findings:
    """All that a run measured; what was left out is empty.

    Attributes:
        rates: Rows a second of every way.
        comparisons: Ours beside peers.
        arrivals: What each row took on its way to the replica, by part.
        joins: Rows of a replica, and the seconds a new driver took to have them all.
        latencies: From COMMIT to visible.
        memory: Of wrapper and driver.
    """

    rates: list[Rate] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    arrivals: dict[str, list[Arrival]] = field(default_factory=dict)
    joins: list[tuple[int, float]] = field(default_factory=list)
    latencies: list[Latency] = field(default_factory=list)
    memory: Bounded | None = None


def goals(found: Findings) -> Iterator[Goal]:
    """Compare what was measured with what it should be."""
    for comparison in found.comparisons:
        if comparison.goal is not None:
            yield Goal(
                f"{comparison.ours} to {comparison.peer}",
                f">= {comparison.goal:g}",
                f"{comparison.ratio:.2f} (pairs {comparison.paired:.2f})",
                comparison.ratio >= comparison.goal,
            )
    for row in found.latencies:
        what = f"commit to visible at {row.rate:,.0f} rows/s, {_embeds(row)}"
        for quantile, ms, most in (
            ("p50", row.p50_ms, MOST_P50_MS),
            ("p99", row.p99_ms, MOST_P99_MS),
        ):
            yield Goal(f"{what}, {quantile}", f"<= {most:g} ms", f"{ms:.1f} ms", ms <= most)
    if found.memory is not None:
        largest = max(found.memory.transactions, key=lambda memory: memory.rows)
        what = f"a transaction of {largest.rows:,} rows and a subscriber that reads nothing"
        yield Goal(
            f"wrapper's memory: growth in {what}",
            f"<= {MOST_GROWTH_BYTES // _MIB} MiB",
            f"{largest.wrapper_growth / _MIB:,.0f} MiB",
            largest.wrapper_growth <= MOST_GROWTH_BYTES,
        )
        over = largest.driver_most / largest.driver_after
        yield Goal(
            "driver's memory: the most to what its rows take afterwards",
            f"<= {MOST_OVER_AFTER:g}",
            f"{over:.2f}",
            over <= MOST_OVER_AFTER,
        )


def _embeds(row: Latency) -> str:
    return "embedded" if row.embeds else "without embedder"
