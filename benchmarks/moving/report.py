"""A run of the fabric benchmark for the eye, and its goals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table

from contestant import optional
from moving import work
from moving.ways import MTLS, RAW, WAYS, Pace
from moving.work import Step

DRAWING = "fabric-ways.svg"
LEAST_ROWS_S, LEAST_TO_RAW, MOST_US = 1.5e6, 0.6, 1.2


@dataclass
class Findings:
    """What was measured."""

    steps: list[Step] = field(default_factory=list)
    paces: list[Pace] = field(default_factory=list)


@dataclass(frozen=True)
class Goal:
    """A figure that was aimed at."""

    figure: str
    goal: str
    measured: str
    met: bool


def goals(found: Findings, rows: int) -> Iterator[Goal]:
    """Compare with what was aimed at, for frames of so many rows."""
    for pace in found.paces:
        if pace.way == MTLS and pace.rows == rows:
            yield Goal(
                "rows over gRPC with mutual TLS",
                f">= {LEAST_ROWS_S / 1e6:g} M rows/s or >= {LEAST_TO_RAW:g} x raw TCP",
                f"{pace.median_rows_s / 1e6:.2f} M rows/s (best {pace.best_rows_s / 1e6:.2f}), "
                f"{pace.to_raw:.2f} x raw TCP",
                pace.median_rows_s >= LEAST_ROWS_S or pace.to_raw >= LEAST_TO_RAW,
            )
    own = [step for step in found.steps if step.name in work.STEPS and step.rows == rows]
    if own:
        total = sum(step.us_a_row for step in own)
        yield Goal(
            "rotate + watermark + seal",
            f"<= {MOST_US:g} us CPU a row",
            f"{total:.2f} us ("
            + ", ".join(f"{step.name} {step.us_a_row:.2f}" for step in own)
            + ")",
            total <= MOST_US,
        )


def report(found: Findings, rows: int) -> Iterator[Table]:
    """Show what was measured."""
    for size in dict.fromkeys(step.rows for step in found.steps):
        table = _table(f"work on frames of {size:,} rows", ["step"], ["CPU us a row", "least"])
        for step in (step for step in found.steps if step.rows == size):
            table.add_row(step.name, f"{step.us_a_row:.3f}", f"{step.least_us_a_row:.3f}")
        yield table
    for size in dict.fromkeys(pace.rows for pace in found.paces):
        table = _table(
            f"frames of {size:,} rows over loopback",
            ["way"],
            ["median\nM rows/s", "best", "to raw TCP", "sender\nCPU us a row", "receiver\nCPU us"],
        )
        for pace in (pace for pace in found.paces if pace.rows == size):
            table.add_row(
                pace.way,
                f"{pace.median_rows_s / 1e6:.2f}",
                f"{pace.best_rows_s / 1e6:.2f}",
                f"{pace.to_raw:.2f}",
                f"{pace.sender_us:.2f}",
                f"{pace.receiver_us:.2f}",
            )
        yield table
    table = _table("goals", ["figure", "goal", "measured", "met"], [])
    for goal in goals(found, rows):
        met = "[green]yes[/green]" if goal.met else "[red]no[/red]"
        table.add_row(goal.figure, goal.goal, goal.measured, met)
    yield table


def draw(paces: Sequence[Pace], folder: Path) -> list[str]:
    """Draw rows a second against rows a frame; nothing when matplotlib is not installed."""
    matplotlib: Any = optional("matplotlib")
    if matplotlib is None or not paces:
        return []
    matplotlib.use("Agg")
    # The same run gives the same file; and text stays text.
    matplotlib.rcParams.update({"svg.hashsalt": "fabric", "svg.fonttype": "none"})
    pyplot: Any = optional("matplotlib.pyplot")
    figure, axes = pyplot.subplots(figsize=(9, 5))
    for way in WAYS:
        points = [(pace.rows, pace.median_rows_s / 1e6) for pace in paces if pace.way == way]
        style = {"color": "#999999"} if way == RAW else {}
        axes.plot(*zip(*points, strict=True), marker="o", label=way, **style)
    axes.axhline(LEAST_ROWS_S / 1e6, color="#999999", linewidth=0.7, linestyle=":")
    axes.set(xscale="log", xlabel="rows a frame", ylabel="M rows/s, median round")
    axes.set_title("rows of 64 components and 130 bytes of text over loopback")
    axes.grid(visible=True, alpha=0.2)
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.01, 0.5))
    figure.tight_layout()
    figure.savefig(folder / DRAWING, metadata={"Date": None})
    pyplot.close(figure)
    return [DRAWING]


def _table(title: str, left: Sequence[str], right: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left")
    for name in left:
        table.add_column(name)
    for name in right:
        table.add_column(name, justify="right")
    return table
