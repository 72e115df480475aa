"""Two drawings of a run: ours beside peers, and how long rows are on their way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from contestant import optional
from feeding.goals import MOST_P50_MS, MOST_P99_MS, Findings

RATES, LATENCY = "feed-rates.svg", "feed-latency.svg"

_OURS, _THEIRS = "#0b5394", "#999999"
_PEERS = ("pg_recvlogical", "psql", "bare")


def draw(found: Findings, folder: Path) -> list[str]:
    """Write the drawings; give their names, none when matplotlib is not installed."""
    if optional("matplotlib") is None:
        return []
    matplotlib: Any = optional("matplotlib")
    matplotlib.use("Agg")
    # The same run gives the same file; and text stays text.
    matplotlib.rcParams.update({"svg.hashsalt": "feed", "svg.fonttype": "none"})
    drawn = []
    if found.rates:
        _save(_rates(found), folder / RATES)
        drawn.append(RATES)
    if found.latencies:
        _save(_latency(found), folder / LATENCY)
        drawn.append(LATENCY)
    return drawn


def _rates(found: Findings) -> Any:
    pyplot: Any = optional("matplotlib.pyplot")
    parts = list(dict.fromkeys(rate.part for rate in found.rates))
    figure, panels = pyplot.subplots(1, len(parts), figsize=(4.2 * len(parts), 3.8), squeeze=False)
    for part, axes in zip(parts, panels[0], strict=True):
        rates = [rate for rate in found.rates if rate.part == part]
        axes.barh(
            [rate.who for rate in rates],
            [rate.best_rows_s / 1000 for rate in rates],
            color=[_THEIRS if rate.who.startswith(_PEERS) else _OURS for rate in rates],
        )
        axes.invert_yaxis()
        axes.set(title=part, xlabel="thousand rows a second, best run")
        axes.grid(visible=True, axis="x", alpha=0.2)
    return figure


def _latency(found: Findings) -> Any:
    pyplot: Any = optional("matplotlib.pyplot")
    figure, axes = pyplot.subplots(figsize=(8, 4.5))
    for row in found.latencies:
        quantiles, times = zip(*row.quantiles, strict=True)
        label = f"{row.rate:,.0f} rows/s, " + ("embedded" if row.embeds else "without embedder")
        axes.plot([100 * q for q in quantiles], times, marker=".", label=label)
    for most, where in ((MOST_P50_MS, 50), (MOST_P99_MS, 99)):
        axes.plot([where], [most], marker="v", color="#cc4125", linestyle="")
    axes.set(
        xlabel="rows, %", ylabel="COMMIT to visible, ms", yscale="log",
        title="triangles: the goals at 50 % and 99 %",
    )  # fmt: skip
    axes.grid(visible=True, which="both", alpha=0.2)
    axes.legend(fontsize="small")
    return figure


def _save(figure: Any, path: Path) -> None:
    pyplot: Any = optional("matplotlib.pyplot")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
