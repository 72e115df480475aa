"""A run's figures for the eye."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table

from bandwidth import Speed
from contest import THRESHOLD, THRESHOLD_TOP_K, TOP_K, Answered, Contest
from fresh import FIRST_ROWS, FirstAnswer, Footprint
from peers import GRAPHS
from ratios import Ratio

_GRAPH_NAMES = {kind.name for kind in GRAPHS}
_RECALLS = (0.95, 0.99, 0.999)


def speed_table(speeds: Sequence[Speed]) -> Table:
    """Show what the memory delivers."""
    table = _table("reading memory", ["block"], ["threads", "best GB/s", "median GB/s"])
    for speed in speeds:
        size = f"{speed.size_bytes / (1 << 20):g} MiB"
        table.add_row(
            size,
            str(speed.threads),
            f"{speed.best_gb_s:.1f}",
            f"{speed.median_gb_s:.1f}",
        )
    return table


def contest_tables(contest: Contest) -> Iterator[Table]:
    """Show one size's queries."""
    kinds = (
        (f"query(threshold={THRESHOLD}, top_k={THRESHOLD_TOP_K})", contest.threshold),
        (f"query(top_k={TOP_K})", contest.top),
    )
    for query, answered in kinds:
        table = _table(
            f"{query}, {contest.rows:,} rows, kernels: {contest.kernel or 'none'}",
            ["who", "rows"],
            [
                "recall\nfull", "recall\nprojected", "false\nanswers",
                "least\nus", "median\nus", "CPU\nus",
            ],
        )  # fmt: skip
        for row in _shown(answered):
            timing = row.timing
            table.add_row(
                f"{row.contestant} {row.effort or ''}".strip(),
                row.space,
                _share(row.recall_full),
                _share(row.recall_projected),
                "" if row.false_share is None else f"{row.false_share:.1%}",
                *map(_micros, (timing.min_us, timing.median_us, timing.cpu_us)),
            )
        yield table


def ratio_table(rows: int, found: Sequence[Ratio]) -> Table:
    """Show one size's comparisons."""
    title = f"{rows:,} rows: WaveIndex beside others in this run; above 1 it is better"
    table = _table(title, ["what"], ["median", "least", "CPU"], ["note"])
    for ratio in found:
        if ratio.rows == rows:
            figures = (ratio.by_median, ratio.by_least, ratio.by_cpu)
            table.add_row(
                ratio.what, *("" if by is None else f"{by:.2f}" for by in figures), ratio.note
            )
    return table


def first_table(answers: Sequence[FirstAnswer], footprints: Sequence[Footprint]) -> Table:
    """Show what fresh processes say."""
    table = _table(
        f"fresh processes: first answer among {FIRST_ROWS:,} rows, and memory",
        ["who"],
        ["import ms", "answer ms", "CPU ms", "least ms", "bytes a row", "fixed MB"],
    )
    weights = {row.contestant: row for row in footprints}
    rows = {row.contestant: row for row in answers}
    for name in dict.fromkeys([*rows, *weights]):
        first, weight = rows.get(name), weights.get(name)
        times = [first.import_ms, first.answer_ms, first.cpu_ms, first.least_ms] if first else []
        sizes = [weight.bytes_a_row, weight.fixed_bytes / 1e6] if weight else []
        cells = [f"{figure:,.0f}" for figure in times] or [""] * 4
        table.add_row(name, *cells, *(f"{figure:,.0f}" for figure in sizes))
    return table


def _shown(answered: Sequence[Answered]) -> Iterator[Answered]:
    """Leave out all efforts of a graph but those that first reach a recall, and the last."""
    for row in answered:
        own = [
            other
            for other in answered
            if (other.contestant, other.space) == (row.contestant, row.space)
        ]
        if row.contestant not in _GRAPH_NAMES:
            yield row
            continue
        firsts = [next((r for r in own if r.recall >= recall), own[-1]) for recall in _RECALLS]
        if row in firsts:
            yield row


def _share(share: float | None) -> str:
    return "" if share is None else f"{share:.3f}"


def _micros(time_us: float) -> str:
    return f"{time_us:,.0f}" if time_us >= 10 else f"{time_us:.1f}"


def _table(
    title: str, names: Sequence[str], figures: Sequence[str], notes: Sequence[str] = ()
) -> Table:
    table = Table(title=title, title_justify="left")
    for name in names:
        table.add_column(name)
    for figure in figures:
        table.add_column(figure, justify="right")
    for note in notes:
        table.add_column(note)
    return table
