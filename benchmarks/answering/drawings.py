"""Two drawings of a run: hits against wrong answers, and wrong answers along the way."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from answering.asking import TARGETS, US
from answering.load import Load
from answering.rules import EXACT
from answering.tally import Tally
from contestant import optional

HITS, COURSE, LOADS = "cache-hits.svg", "cache-course.svg", "cache-load.svg"

_OURS = "#0b5394"
_TARGET_COLOURS = dict(zip(TARGETS, ("#0b5394", "#6fa8dc", "#a64d79"), strict=True))
_TICKS = (0, 0.5, 1, 2, 5, 10, 20)
_OTHERS = ("#cc4125", "#7f6000", "#38761d", "#999999")


def draw_tallies(tallies: Sequence[Tally], folder: Path) -> list[str]:
    """Write both drawings; give their names, none when matplotlib is not installed."""
    if not tallies or optional("matplotlib") is None:
        return []
    matplotlib: Any = optional("matplotlib")
    matplotlib.use("Agg")
    # The same run gives the same file; and text stays text.
    matplotlib.rcParams.update({"svg.hashsalt": "cache", "svg.fonttype": "none"})
    for name, panel in ((HITS, _hits), (COURSE, _course)):
        pyplot: Any = optional("matplotlib.pyplot")
        streams = list(dict.fromkeys((tally.data, tally.kind) for tally in tallies))
        figure, axes = pyplot.subplots(2, -(-len(streams) // 2), figsize=(11, 9), squeeze=False)
        for stream, place in zip(streams, axes.flat, strict=False):
            panel(place, [tally for tally in tallies if (tally.data, tally.kind) == stream])
            place.set_title(" ".join(stream))
            place.grid(visible=True, alpha=0.2)
        axes.flat[0].legend(fontsize="small", loc="best")
        figure.tight_layout()
        figure.savefig(folder / name, metadata={"Date": None})
        pyplot.close(figure)
    return [HITS, COURSE]


def draw_loads(loads: Sequence[Load], folder: Path) -> list[str]:
    """Write what the users saw; give the drawing's name, none when matplotlib is not installed."""
    if not loads or optional("matplotlib") is None:
        return []
    matplotlib: Any = optional("matplotlib")
    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.hashsalt": "cache", "svg.fonttype": "none"})
    pyplot: Any = optional("matplotlib.pyplot")
    figure, (shares, times) = pyplot.subplots(1, 2, figsize=(11, 4.5))
    places = range(len(loads))
    names = [f"{one.plan.pool}\n{one.plan.users} for {one.plan.seconds:.3g} s" for one in loads]
    for place, (label, rates) in enumerate(
        {
            "hits": [one.hit_rate for one in loads],
            "a dict's": [one.dict_rate for one in loads],
            "wrong": [one.wrong_rate for one in loads],
        }.items()
    ):
        beside = [at + 0.27 * (place - 1) for at in places]
        colour = (_OURS, "#999999", _OTHERS[0])[place]
        bars = shares.bar(beside, [100 * rate for rate in rates], 0.25, label=label, color=colour)
        shares.bar_label(bars, fmt="%.1f", fontsize="small")
    shares.set(ylabel="% of requests")
    for label, marker, values in (
        ("hit, p50", "o", [one.hit_p50_ms for one in loads]),
        ("miss, p50", "x", [one.miss_p50_ms for one in loads]),
        ("all, p95", "_", [one.p95_ms for one in loads]),
    ):
        known = [(at, value) for at, value in zip(places, values, strict=True) if value is not None]
        times.plot(*zip(*known, strict=True), linestyle="", marker=marker, label=label)
    times.set(ylabel="what a user waits, ms", yscale="log")
    for axes in (shares, times):
        axes.set_xticks(list(places), labels=names, fontsize="small")
        axes.legend(fontsize="small")
        axes.grid(visible=True, axis="y", alpha=0.2)
    figure.tight_layout()
    figure.savefig(folder / LOADS, metadata={"Date": None})
    pyplot.close(figure)
    return [LOADS]


def _hits(axes: Any, tallies: Sequence[Tally]) -> None:
    others = [name for name in dict.fromkeys(tally.who for tally in tallies) if name != US]
    colours = dict(zip(others, _OTHERS, strict=False))
    ours = f"{US}, max_error {_percents(TARGETS)}"
    for name, admits_all in ((US, False), (US, True), *((name, False) for name in others)):
        runs = [t for t in tallies if (t.who, t.admits_all) == (name, admits_all)]
        colour = _OURS if name == US else colours[name]
        axes.scatter(
            [100 * tally.wrong_share for tally in runs],
            [100 * tally.hit_share for tally in runs],
            edgecolors=None if name == EXACT else colour,
            color="none" if admits_all else colour,
            marker="x" if name == EXACT else "o",
            label=f"{ours}{', without admission rules' * admits_all}" if name == US else name,
        )
    for target in TARGETS:
        axes.axvline(100 * target, color=_OURS, linewidth=0.5, linestyle=":")
    axes.set_xscale("symlog", linthresh=1)
    axes.set_xticks(_TICKS, labels=[str(tick) for tick in _TICKS])
    axes.set(xlabel="wrong answers, % of requests", ylabel="hits, % of requests", xlim=(-0.1, 40))


def _course(axes: Any, tallies: Sequence[Tally]) -> None:
    for target, colour in _TARGET_COLOURS.items():
        runs = [t for t in tallies if (t.who, t.target, t.admits_all) == (US, target, False)]
        for place, tally in enumerate(runs):
            axes.plot(
                [requests for requests, _, _ in tally.course],
                [100 * wrong / requests for requests, _, wrong in tally.course],
                color=colour,
                label=f"max_error {target:.0%}" if not place else None,
            )
        axes.axhline(100 * target, color=colour, linewidth=0.7, linestyle=":")
    axes.set(xlabel="requests so far", ylabel="wrong answers so far, %", ylim=(0, None))


def _percents(shares: Sequence[float]) -> str:
    return ", ".join(f"{share:.0%}" for share in shares)
