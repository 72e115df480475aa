"""A run's figures for the eye."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table

from bandwidth import Speed
from contest import THRESHOLD, THRESHOLD_TOP_K, TOP_K, Answered, Contest
from fresh import FIRST_ROWS, FirstAnswer, Footprint, Opened
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


def first_table(answers: Sequence[FirstAnswer]) -> Table:
    """Show how soon fresh processes answer."""
    table = _table(
        f"fresh processes: first answer among {FIRST_ROWS:,} rows",
        ["who"],
        ["import ms", "answer ms", "CPU ms", "least ms"],
    )
    for row in answers:
        times = (row.import_ms, row.answer_ms, row.cpu_ms, row.least_ms)
        table.add_row(row.contestant, *(f"{figure:,.0f}" for figure in times))
    return table


def footprint_table(footprints: Sequence[Footprint]) -> Table:
    """Show what a row weighs."""
    widths = sorted({row.width for row in footprints})
    table = _table(
        "memory of fresh processes, bytes a row",
        ["who"],
        [*(f"{width} components" for width in widths), "fixed MB"],
    )
    for name in dict.fromkeys(row.contestant for row in footprints):
        own = {row.width: row for row in footprints if row.contestant == name}
        fixed = max(row.fixed_bytes for row in own.values()) / 1e6
        sizes = (f"{own[width].bytes_a_row:,.0f}" if width in own else "" for width in widths)
        table.add_row(name, *sizes, f"{fixed:,.0f}")
    return table


def opened_table(rows: Sequence[Opened]) -> Table:
    """Show how soon an index on disk answers."""
    table = _table(
        "saved and opened: from the call of open to the first answer, in fresh processes",
        ["rows"],
        ["save ms", "again ms", "bytes a row", "open and answer ms", "numpy load and product ms"],
    )
    for row in rows:
        figures = (row.save_ms, row.again_ms, row.disk_bytes, row.open_ms, row.load_ms)
        table.add_row(f"{row.rows:,} of {row.width}", *(f"{figure:,.0f}" for figure in figures))
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
