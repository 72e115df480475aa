"""Two drawings of a run: time against the number of rows, and recall against time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from contest import TOP_K, Contest
from contestant import FULL, PROJECTED, optional
from peers import GRAPHS
from ratios import equal_graph, pick

TIME, RECALL = "index-time.svg", "index-recall.svg"

_LINES: dict[tuple[str, str], dict[str, Any]] = {
    ("WaveIndex", FULL): {"color": "#0b5394", "marker": "o", "linewidth": 2.5},
    ("WaveIndex", PROJECTED): {"color": "#6fa8dc", "marker": "o"},
    ("WaveIndex int8", FULL): {"color": "#0b5394", "marker": "o", "linestyle": "--"},
    ("WaveIndex, numpy only", FULL): {"color": "#0b5394", "marker": ".", "linestyle": ":"},
    ("faiss flat", PROJECTED): {"color": "#cc4125", "marker": "s"},
    ("faiss flat", FULL): {"color": "#cc4125", "marker": "s", "linestyle": "--"},
    ("numpy", PROJECTED): {"color": "#7f6000", "marker": "^"},
    ("numpy", FULL): {"color": "#7f6000", "marker": "^", "linestyle": "--"},
    ("floor, 256 B a row", PROJECTED): {"color": "#999999", "marker": ""},
    ("floor, 8 B a row", PROJECTED): {"color": "#999999", "marker": "", "linestyle": ":"},
}
_COLOURS = ("#38761d", "#a64d79", "#e69138")
_GRAPH_COLOURS = dict(zip((kind.name for kind in GRAPHS), _COLOURS, strict=True))


def draw(contests: Sequence[Contest], folder: Path) -> list[str]:
    """Write both drawings; give their names, none when matplotlib is not installed."""
    if optional("matplotlib") is None:
        return []
    matplotlib: Any = optional("matplotlib")
    matplotlib.use("Agg")
    # The same run gives the same file; and text stays text.
    matplotlib.rcParams.update({"svg.hashsalt": "index", "svg.fonttype": "none"})
    _save(_time(contests), folder / TIME)
    _save(_recall(contests), folder / RECALL)
    return [TIME, RECALL]


def _time(contests: Sequence[Contest]) -> Any:
    pyplot: Any = optional("matplotlib.pyplot")
    figure, axes = pyplot.subplots(figsize=(9, 5))
    for (name, space), style in _LINES.items():
        points = [
            (contest.rows, row.timing.cpu_us)
            for contest in contests
            for row in contest.threshold
            if (row.contestant, row.space) == (name, space)
        ]
        if points:
            label = name if name.startswith("floor") else f"{name}, {space}"
            axes.plot(*zip(*points, strict=True), label=label, **({"linewidth": 1.5} | style))
    graphs = []
    for contest in contests:
        ours = pick(contest.threshold, "WaveIndex", FULL)
        graph = ours and equal_graph(contest.threshold, FULL, ours.recall)
        if graph:
            graphs.append((contest.rows, graph.timing.cpu_us))
    if graphs:
        label = "best graph of equal recall, full"
        axes.plot(*zip(*graphs, strict=True), label=label, color=_COLOURS[0], marker="d")
    axes.set(xscale="log", yscale="log", xlabel="rows", ylabel="CPU time of a query, median, us")
    axes.set_title("query(threshold=0.85, top_k=5)")
    axes.grid(visible=True, which="both", alpha=0.2)
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def _recall(contests: Sequence[Contest]) -> Any:
    pyplot: Any = optional("matplotlib.pyplot")
    figure, panels = pyplot.subplots(
        1, len(contests), figsize=(6.5 * len(contests), 5), squeeze=False
    )
    for contest, axes in zip(contests, panels[0], strict=True):
        own = [row for row in contest.top if row.space == FULL and row.recall_full is not None]
        for name in dict.fromkeys(row.contestant for row in own):
            points = [(r.recall_full, r.timing.cpu_us) for r in own if r.contestant == name]
            style = _LINES.get((name, FULL)) or {"color": _GRAPH_COLOURS[name], "marker": "."}
            axes.plot(*zip(*points, strict=True), label=name, **style)
        axes.set(yscale="log", xlabel="recall at full width", ylabel="CPU time, median, us")
        axes.set_title(f"query(top_k={TOP_K}), {contest.rows:,} rows")
        axes.grid(visible=True, which="both", alpha=0.2)
        axes.legend(fontsize="small")
    return figure


def _save(figure: Any, path: Path) -> None:
    pyplot: Any = optional("matplotlib.pyplot")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
