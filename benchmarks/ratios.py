"""What a run says: ours beside another figure of the same run, above 1 where ours is better."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from bandwidth import BitFloor, FloatFloor
from concurrency import ROWS_A_SECOND, Streaming
from contest import Answered, Contest, Ingested
from contestant import FULL, PROJECTED
from ours import Wave, WaveNumpyOnly
from peers import GRAPHS, FaissFlat

_GRAPH_NAMES = {kind.name for kind in GRAPHS}
_RECALL_ROUNDING = 5e-4
_EQUAL_RECALL = 0.97


@dataclass(frozen=True)
class Ratio:
    """One comparison.

    Attributes:
        rows: At which size.
        what: Of what, against what.
        by_median: By the median time on the clock, or by the rate where that is measured; `None`
            when the run cannot tell.
        by_least: By the least time; `None` where it does not exist.
        by_cpu: By the median time of the CPU; `None` where it does not exist.
        note: What to know about it.
    """

    rows: int
    what: str
    by_median: float | None
    by_least: float | None = None
    by_cpu: float | None = None
    note: str = ""


def ratios(contest: Contest) -> Iterator[Ratio]:
    """Compare one size's figures."""
    for query, answered in (("threshold", contest.threshold), ("top 10", contest.top)):
        for space in (FULL, PROJECTED):
            yield from _queries(contest.rows, query, answered, space)
    yield from _ingest(contest)
    for threads in contest.threads:
        who = f"{threads.contestant}, {threads.space}"
        yield Ratio(contest.rows, f"two threads against one: {who}", threads.two / threads.one)
    for streaming in contest.streaming:
        yield _beside_writer(contest.rows, streaming)


def pick(answered: Sequence[Answered], contestant: str, space: str) -> Answered | None:
    """Find a contestant's figures; of several efforts the first."""
    own = (row for row in answered if (row.contestant, row.space) == (contestant, space))
    return next(own, None)


def equal_graph(answered: Sequence[Answered], space: str, recall: float) -> Answered | None:
    """Find the graph that takes the least CPU among those of at least this recall.

    When none reaches it, the one that comes nearest; `None` without graphs.
    """
    enough = _quickest(answered, _GRAPH_NAMES, space, recall)
    if enough is not None:
        return enough
    graphs = [row for row in answered if row.contestant in _GRAPH_NAMES and row.space == space]
    return max(graphs, key=lambda row: (row.recall, -row.timing.cpu_us), default=None)


def _quickest(
    answered: Sequence[Answered], names: Collection[str], space: str, recall: float
) -> Answered | None:
    """Find who takes the least CPU among those of at least this recall."""
    enough = [
        row
        for row in answered
        if row.contestant in names
        and row.space == space
        and row.recall >= recall - _RECALL_ROUNDING
    ]
    return min(enough, key=lambda row: row.timing.cpu_us, default=None)


def _queries(rows: int, query: str, answered: Sequence[Answered], space: str) -> Iterator[Ratio]:
    ours = pick(answered, Wave.name, space)
    if ours is None:
        return
    # Projected rows alone are no match for what knows the full ones, so the other way only.
    for other_space in (PROJECTED, FULL) if space == FULL else (PROJECTED,):
        flat = pick(answered, FaissFlat.name, other_space)
        if flat is not None:
            yield _ratio(rows, f"{query}, {space}: against faiss flat, {other_space}", ours, flat)
    graph = equal_graph(answered, space, ours.recall)
    if graph is not None:
        recalls = f"recall {graph.recall:.3f}, ours {ours.recall:.3f}"
        note = f"{graph.contestant} {graph.effort}: {recalls}"
        yield _ratio(rows, f"{query}, {space}: against the best graph", ours, graph, note)
    enough = equal_graph(answered, space, _EQUAL_RECALL)
    quick = _quickest(answered, {Wave.name}, space, _EQUAL_RECALL) or ours
    if enough is not None and (enough, quick) != (graph, ours):
        recalls = f"recall {enough.recall:.3f}, ours {quick.effort or ''} {quick.recall:.3f}"
        note = f"{enough.contestant} {enough.effort}: {recalls}"
        what = f"{query}, {space}: against the best graph at recall {_EQUAL_RECALL}"
        yield _ratio(rows, what, quick, enough, note)
    plain = pick(answered, WaveNumpyOnly.name, space)
    if plain is not None:
        yield _ratio(rows, f"{query}, {space}: against itself without numba", ours, plain)
    if query == "threshold":
        for floor in (FloatFloor, BitFloor):
            read = pick(answered, floor.name, PROJECTED)
            if read is not None:
                size = rows * floor.bytes_a_row / 1e3  # over microseconds: 10**9 bytes a second
                note = (
                    f"{size / ours.timing.cpu_us:.1f} GB/s, "
                    f"the memory {size / read.timing.cpu_us:.1f}"
                )
                yield _ratio(rows, f"{query}, {space}: against the {floor.name}", ours, read, note)


def _ratio(rows: int, what: str, ours: Answered, other: Answered, note: str = "") -> Ratio:
    return Ratio(
        rows,
        what,
        other.timing.median_us / ours.timing.median_us,
        other.timing.min_us / ours.timing.min_us,
        other.timing.cpu_us / ours.timing.cpu_us,
        note,
    )


def _beside_writer(rows: int, streaming: Streaming) -> Ratio:
    pace = "with pauses" if streaming.pauses else "back to back"
    what = f"queries {pace}: at rest against beside a writer"
    rest, beside = streaming.at_rest, streaming.beside
    note = (
        f"{rest.median_us:,.0f} us, then {beside.median_us:,.0f} "
        f"beside {streaming.rows_s:,.0f} rows/s"
    )
    if streaming.rows_s < 0.5 * ROWS_A_SECOND:
        return Ratio(rows, what, None, note=f"{note}: too few to tell")
    by_median, by_cpu = rest.median_us / beside.median_us, rest.cpu_us / beside.cpu_us
    return Ratio(rows, what, by_median, by_cpu=by_cpu, note=note)


def _ingest(contest: Contest) -> Iterator[Ratio]:
    for space in (FULL, PROJECTED):
        own = [row for row in contest.ingested if row.space == space]
        ours = next((row for row in own if row.contestant == Wave.name), None)
        graphs = [row for row in own if row.contestant in _GRAPH_NAMES]
        flat = next((row for row in own if row.contestant == FaissFlat.name), None)
        best = max(graphs, key=lambda row: row.rows_s, default=None)
        for name, other in (("the best graph", best), ("faiss flat", flat)):
            if ours is not None and other is not None:
                yield Ratio(
                    contest.rows,
                    f"ingest, {space}: against {name}",
                    ours.rows_s / other.rows_s,
                    note=_rates(ours, other),
                )


def _rates(ours: Ingested, other: Ingested) -> str:
    return (
        f"{ours.rows_s:,.0f} rows/s against {other.rows_s:,.0f} "
        f"({other.contestant}, threads: {other.threads})"
    )
