"""What do three nodes save when they share answers? The published test, and what it left out.

Three real processes ask a mock model. They share answers over a mesh with a secret (ClusterCache);
or each has a PrismCache of its own, with the same settings and the same traffic, in the same run.
What a dict of exact texts on each node would have called is counted beside.

The published figure was 76.1 % of tokens saved, "100 %" on both followers. It was the mean of three
nodes' shares, over seven queries in all: five on one node, one on each other. That phase is played
here as it was, with its number of queries; the others have the same shape with enough of them.

  mean        of the nodes' shares, as was published: a node with one query weighs as much as one
              with all the rest
  saved       by tokens, over all nodes: 1 - spent / what a call for each query would have cost
  wrong       answers to another question. Only people's own words can show one: what is made up
              names a number each
  visible     from the model's return on one node until another node has the answer
  takeover    from SIGKILL of GREEN until another node is GREEN, once for each seed

All three nodes share the machine's cores: on two of them the visible times are those of a busy one.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.progress import Progress
from rich.table import Table

from command import Telling, add_telling, parsed, parser_of
from contestant import optional
from goal import Goal, goal_table, plain_table
from sharing.phases import AT_ONCE, PHASES, Step, plan, play, visible_s
from sharing.processes import Nodes
from sharing.tally import CLUSTER, OWN, Phase, Request, Share, Way, dict_way, way

DRAWING = "cluster.svg"
PACKAGES = ("prismlib-micro", "prismlib-cache", "chorus-fabric", "prismresonance", "numpy")
PUBLISHED = {"mean_saved": 0.761, "queries": 7, "saved": 0.448, "followers_saved": 1.0}
_EPILOG = """\
examples:
  hatch run bench cluster                  three seeds, about six minutes on two cores
  hatch run bench cluster --quick          whether it runs, in a minute
  hatch run bench cluster --seeds 1 --own-words 6000
"""


@dataclass(frozen=True)
class Timed:
    """Times of one seed, in milliseconds.

    Attributes:
        seed: Which.
        visible_ms: Of each answer on each other node.
        takeover_ms: Of one takeover.
    """

    seed: int
    visible_ms: list[float]
    takeover_ms: float


def main(argv: Sequence[str]) -> int:
    """Run the command line."""
    options = _options(argv)
    telling = Telling("cluster", options, drawings="drawing")
    with telling.bar as bar:
        phases, timed = _measure(options, bar)
    goals = list(_goals(phases, timed))
    document = telling.document(
        PACKAGES,
        ("seeds", "followed", "own_words", "at_once", "visible", "latency_ms", "quick"),
        published=PUBLISHED,
        phases=[_phase_document(phase) for phase in phases],
        visible_ms=_quantiles(timed),
        takeover_ms=[one.takeover_ms for one in timed],
        goals=[asdict(goal) for goal in goals],
    )
    return telling.tell(
        document,
        draw=partial(draw, phases),
        more=f"; {len(options.seeds)} seeds, a call takes {options.latency_ms:g} ms",
        tables=lambda: (*map(partial(_table, phases), PHASES), goal_table(goals)),
    )


def draw(phases: Sequence[Phase], folder: Path) -> bool:
    """Draw what was saved in each phase; false when matplotlib is not installed."""
    if optional("matplotlib") is None:
        return False
    matplotlib: Any = optional("matplotlib")
    matplotlib.use("Agg")
    # The same run gives the same file; and text stays text.
    matplotlib.rcParams.update({"svg.hashsalt": "cluster", "svg.fonttype": "none"})
    pyplot: Any = optional("matplotlib.pyplot")
    figure, axes = pyplot.subplots(figsize=(8, 4.5))
    names = list(PHASES)
    for n, (who, colour) in enumerate(
        zip(_who(phases), ("#0b5394", "#6fa8dc", "#999999"), strict=True)
    ):
        saved = [100 * (_whole(phases, name, who).saved or 0.0) for name in names]
        places = [place + 0.27 * (n - 1) for place in range(len(names))]
        axes.bar(places, saved, 0.25, color=colour, label=who)
    axes.set_xticks(range(len(names)), names)
    axes.set(ylabel="tokens saved by all nodes, %", ylim=(0, 100))
    axes.set_title("three nodes, the same traffic")
    axes.grid(visible=True, axis="y", alpha=0.2)
    axes.legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(folder / DRAWING, metadata={"Date": None})
    pyplot.close(figure)
    return True


def _measure(options: argparse.Namespace, bar: Progress) -> tuple[list[Phase], list[Timed]]:
    phases, timed = [], []
    steps_a_seed = 2 * (len(PHASES) + 1) + 1
    task = bar.add_task("starting", total=steps_a_seed * len(options.seeds))
    for seed in options.seeds:
        plans = {
            name: plan(
                name, seed=seed, followed=options.followed, own_words=options.own_words,
                at_once=options.at_once,
            )
            for name in PHASES
        }  # fmt: skip
        ways: dict[str, list[Way]] = {name: [] for name in PHASES}
        for who, shared in ((CLUSTER, True), (OWN, False)):
            bar.update(task, description=f"seed {seed}: {who}")
            with Nodes(seed=seed, latency_ms=options.latency_ms, shared=shared) as nodes:
                bar.advance(task)
                for name, steps in plans.items():
                    bar.update(task, description=f"seed {seed}: {who}, {name}")
                    ways[name].append(way(who, _asked(steps), play(nodes, steps)))
                    bar.advance(task)
                if shared:
                    bar.update(task, description=f"seed {seed}: visible, takeover")
                    seen = [1000 * s for s in visible_s(nodes, seed=seed, count=options.visible)]
                    timed.append(Timed(seed, seen, 1000 * nodes.takeover_s()))
                    bar.advance(task)
        for name, steps in plans.items():
            asked = _asked(steps)
            distinct = len({text for requests in asked.values() for text, _ in requests})
            phases.append(Phase(name, seed, distinct, [*ways[name], dict_way(asked)]))
    return phases, timed


def _asked(steps: Sequence[Step]) -> dict[str, list[Request]]:
    asked: dict[str, list[Request]] = {}
    for step in steps:
        for node, requests in step.asked.items():
            asked.setdefault(node, []).extend(requests)
    return asked


def _goals(phases: Sequence[Phase], timed: Sequence[Timed]) -> Iterator[Goal]:
    at_once = [one for one in phases if one.name == AT_ONCE]
    calls = sum(one.ways[0].whole.calls for one in at_once)
    distinct = sum(one.distinct for one in at_once)
    yield Goal(
        "calls for questions asked on all nodes at once", f"{distinct:,}", f"{calls:,}",
        calls == distinct,
    )  # fmt: skip
    quantiles = _quantiles(timed)
    for name, most in (("p50", 10.0), ("p99", 100.0)):
        yield Goal(
            f"visible on other nodes, {name}", f"{most:g} ms", f"{quantiles[name]:.1f} ms",
            quantiles[name] <= most,
        )  # fmt: skip
    slowest = max(one.takeover_ms for one in timed)
    yield Goal("takeover after SIGKILL", "1,500 ms", f"{slowest:,.0f} ms", slowest <= 1500)
    unserved = sum(own.unserved for phase in phases for own in phase.ways)
    yield Goal("queries not looked up, no node being cut off", "0", str(unserved), unserved == 0)
    published = _ways(phases, "as published", CLUSTER)
    mean = statistics.fmean(one.mean_saved or 0.0 for one in published)
    whole = _whole(phases, "as published", CLUSTER)
    yield Goal("as published: mean of three nodes, 7 queries", "76.1 %", f"{mean:.1%}", None)
    yield Goal("  the same by tokens", "44.8 %", f"{whole.saved:.1%}", None)


def _quantiles(timed: Sequence[Timed]) -> dict[str, float]:
    seen = [ms for one in timed for ms in one.visible_ms]
    return {"p50": statistics.median(seen), "p99": statistics.quantiles(seen, n=100)[98]}


def _phase_document(phase: Phase) -> dict[str, Any]:
    document = asdict(phase)
    for written, own in zip(document["ways"], phase.ways, strict=True):
        written["whole"]["saved"] = own.whole.saved
        for name, share in own.nodes.items():
            written["nodes"][name]["saved"] = share.saved
    return document


def _who(phases: Sequence[Phase]) -> list[str]:
    return [own.who for own in phases[0].ways]


def _ways(phases: Iterable[Phase], name: str, who: str) -> list[Way]:
    return [own for phase in phases if phase.name == name for own in phase.ways if own.who == who]


def _whole(phases: Sequence[Phase], name: str, who: str) -> Share:
    """Add up all seeds."""
    return _sum(own.whole for own in _ways(phases, name, who))


def _sum(shares: Iterable[Share]) -> Share:
    rows = [tuple(asdict(share).values()) for share in shares]
    return Share(*map(sum, zip(*rows, strict=True)))


def _table(phases: Sequence[Phase], name: str) -> Table:
    distinct = sum(phase.distinct for phase in phases if phase.name == name)
    nodes = sorted(phases[0].ways[0].nodes)
    table = plain_table(
        f"{name}: {PHASES[name]} ({distinct:,} distinct, all seeds)",
        ["who"],
        ["queries", "calls", "tokens spent", *(f"{node}\nsaved" for node in nodes), "mean",
         "saved", "wrong"],
    )  # fmt: skip
    for who in _who(phases):
        ways, whole = _ways(phases, name, who), _whole(phases, name, who)
        mean = statistics.fmean(own.mean_saved or 0.0 for own in ways)
        each = (_sum(own.nodes[node] for own in ways).saved for node in nodes)
        table.add_row(
            who, f"{whole.queries:,}", f"{whole.calls:,}", f"{whole.tokens_spent:,}",
            *map(_percent, each), _percent(mean), _percent(whole.saved), f"{whole.wrong:,}",
        )  # fmt: skip
    return table


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = parser_of("cluster", __doc__, epilog=_EPILOG)
    parser.add_argument("--seeds", type=int, nargs="+", help="seeds of the traffic (1 2 3)")
    for name, what in (
        ("--followed", "questions that followers repeat (300)"),
        ("--own-words", "queries in people's own words (3000)"),
        ("--at-once", "questions asked on all nodes at once (1000)"),
        ("--visible", "answers whose way to the others is timed (300)"),
    ):
        parser.add_argument(name, type=int, help=what)
    parser.add_argument("--latency-ms", type=float, help="what a call takes (20)")
    add_telling(parser, "cluster", drawings="the drawing")
    return parsed(
        parser,
        argv,
        whole={"seeds": [1, 2, 3], "followed": 300, "own_words": 3000, "at_once": 1000,
               "visible": 300, "latency_ms": 20.0},
        quick={"seeds": [1], "followed": 40, "own_words": 300, "at_once": 150, "visible": 40,
               "latency_ms": 5.0},
    )  # fmt: skip
