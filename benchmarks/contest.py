"""One size: every contestant stores the same rows and answers the same queries."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.progress import Progress

import machine
from bandwidth import BitFloor, FloatFloor
from concurrency import Streaming, Threads, two_threads, while_streaming
from contestant import FULL, PROJECTED, Contestant, Rows
from ours import TENANT, Wave, WaveBytes, WaveNumpyOnly
from peers import FLAT, GRAPHS, FaissFlat, Numpy
from prismresonance import PrismProjector
from sentences import BLOCK, Sentences
from timing import Entry, Timing, take_turns
from truth import Truth

THRESHOLD, THRESHOLD_TOP_K = 0.85, 5
TOP_K = 10
MOST_GRAPH_ROWS = 1_000_000
_ROOM = 0.85  # of the memory that is left

_LINEUP: tuple[tuple[type[Contestant], str], ...] = (
    (Wave, FULL),
    (FaissFlat, PROJECTED),
    (FloatFloor, PROJECTED),
    (BitFloor, PROJECTED),
    (Wave, PROJECTED),
    (WaveBytes, FULL),
    (Numpy, PROJECTED),
    *((kind, FULL) for kind in FLAT),
    (WaveNumpyOnly, FULL),
    *((kind, FULL) for kind in GRAPHS),
    *((kind, PROJECTED) for kind in GRAPHS),
)
"""Who takes part, those who matter most first: where memory ends, so does the list."""


@dataclass(frozen=True)
class Plan:
    """What a run is to do.

    Attributes:
        queries: How many questions, each timed once.
        seconds: Length of each turn of the measurements that last a given time.
        graphs: Whether graphs take part.
    """

    queries: int
    seconds: float
    graphs: bool


@dataclass(frozen=True)
class Answered:
    """One contestant's queries of one kind.

    Attributes:
        contestant: Who.
        space: Its rows: `"full"` width, or `"projected"` to 64 dimensions.
        effort: Its setting; 0 for the default, or when it has none.
        recall_full: Share found of the exact answer at full width; `None` for floors.
        recall_projected: Share found of the exact answer in the projected space.
        false_share: Share of queries answered with a row that is below the threshold at full
            width; `None` without a threshold.
        timing: Of single queries.
    """

    contestant: str
    space: str
    effort: int
    recall_full: float | None
    recall_projected: float | None
    false_share: float | None
    timing: Timing

    @property
    def recall(self) -> float:
        """The recall in the contestant's own space; 0 for floors."""
        return (self.recall_full if self.space == FULL else self.recall_projected) or 0.0


@dataclass(frozen=True)
class Ingested:
    """Adding in batches, under ids counted up.

    Of ours without the map of ids, which is made when one is first looked up, at 0.1 us a row.

    Attributes:
        contestant: Who.
        space: As in `Answered`.
        threads: How many threads it was allowed.
        rows_s: Rows a second on the clock.
    """

    contestant: str
    space: str
    threads: int
    rows_s: float


@dataclass
class Contest:
    """The results at one size.

    Attributes:
        rows: How many rows.
        width: Their width.
        composition: Where the texts come from.
        answered_share: Share of queries with a row at the threshold or above, at full width.
        kernel: What `WaveIndex.stats` says computes.
        absent: Who does not take part, and why.
        ingested: Adding.
        threshold: `query(threshold=0.85, top_k=5)`.
        top: `query(top_k=10)`.
        threads: One thread against two.
        streaming: Beside a writer.
    """

    rows: int
    width: int
    composition: dict[str, int]
    answered_share: float = 0.0
    kernel: str = ""
    absent: dict[str, str] = field(default_factory=dict)
    ingested: list[Ingested] = field(default_factory=list)
    threshold: list[Answered] = field(default_factory=list)
    top: list[Answered] = field(default_factory=list)
    threads: list[Threads] = field(default_factory=list)
    streaming: list[Streaming] = field(default_factory=list)


@dataclass
class _Seat:
    """A contestant, its space and its prepared queries."""

    contestant: Contestant
    space: str
    queries: Sequence[Any]
    spent_s: float = 0.0


class Hall:
    """Holds one contest.

    Args:
        sentences: The texts.
        embedder: Makes vectors of them.
        plan: What to do.
        rows: The size.
        bar: Shows the progress.
    """

    def __init__(
        self, sentences: Sentences, embedder: Any, plan: Plan, *, rows: int, bar: Progress
    ) -> None:
        self._sentences, self._embedder, self._plan, self._bar = sentences, embedder, plan, bar
        self._projector = PrismProjector(tenant_id=TENANT)
        self._result = Contest(rows, embedder.dim, sentences.composition(rows))
        asked = embedder.embed(sentences.asked(plan.queries, among=rows))
        self._asked = {FULL: asked, PROJECTED: self._projector.project(asked)}
        self._truths = {space: Truth(queries) for space, queries in self._asked.items()}
        self._first: Rows = asked[:0]
        self._seats = list(self._seated())

    def hold(self) -> Contest:
        """Measure everything."""
        result = self._result
        try:
            self._fill()
            for seat in self._seats:
                seat.contestant.ready()
            result.answered_share = self._truths[FULL].answered_share(THRESHOLD)
            result.threshold = self._ask(THRESHOLD_TOP_K, THRESHOLD, "threshold")
            result.top = self._ask(TOP_K, None, "top 10")
            self._crowd()
        finally:
            for seat in self._seats:
                seat.contestant.close()
        return result

    def _seated(self) -> Iterator[_Seat]:
        rows, absent = self._result.rows, self._result.absent
        left = machine.available_bytes()
        room = None if left is None else left * _ROOM
        for kind, space in _LINEUP:
            label = f"{kind.name}, {space}"
            width = self._asked[space].shape[1]
            need = rows * kind.row_bytes(width)
            package = kind.missing()
            if package is not None:
                absent[label] = f"{package} is not installed"
            elif kind in GRAPHS and not self._plan.graphs:
                absent[label] = "left out on request"
            elif rows > MOST_GRAPH_ROWS and (kind in GRAPHS or kind is WaveNumpyOnly):
                absent[label] = f"not beyond {MOST_GRAPH_ROWS:,} rows"
            elif room is not None and need > room:
                absent[label] = f"no room for {need / 1e9:.1f} GB"
            else:
                room = None if room is None else room - need
                contestant = kind(rows=rows, width=width, threads=machine.cores())
                yield _Seat(contestant, space, contestant.prepared(self._asked[space]))

    def _fill(self) -> None:
        """Give each block to all contestants in turn, so that a slow moment slows all of them."""
        rows = self._result.rows
        blocks = self._sentences.blocks(rows)
        total = -(-rows // BLOCK)
        for texts in self._bar.track(blocks, total, description=f"{rows:,} rows: storing"):
            full = self._embedder.embed(texts)
            batch = {FULL: full, PROJECTED: self._projector.project(full)}
            for space, truth in self._truths.items():
                truth.add(batch[space])
            for seat in self._seats:
                start = time.perf_counter()
                seat.contestant.add(batch[seat.space])
                seat.spent_s += time.perf_counter() - start
            if not len(self._first):
                self._first = full
        for seat in self._seats:
            if seat.contestant.ingests:
                kind = type(seat.contestant)
                threads = machine.cores() if kind in GRAPHS else 1
                self._result.ingested.append(
                    Ingested(kind.name, seat.space, threads, rows / seat.spent_s)
                )

    def _ask(self, top_k: int, threshold: float | None, what: str) -> list[Answered]:
        gc.collect()
        title = f"{self._result.rows:,} rows: {what}"
        found: list[tuple[Entry, str, list[list[int]]]] = []
        for seat in self._bar.track(self._seats, description=f"{title}, recall"):
            for effort in seat.contestant.efforts:
                seat.contestant.set_effort(effort)
                answers = [seat.contestant.found(query, top_k, threshold) for query in seat.queries]
                found.append((Entry(seat.contestant, effort, seat.queries), seat.space, answers))
        take_turns(
            [entry for entry, _, _ in found],
            queries=self._plan.queries,
            top_k=top_k,
            threshold=threshold,
            track=lambda turns: self._bar.track(turns, description=f"{title}, time"),
        )
        for seat in self._seats:
            seat.contestant.set_effort(seat.contestant.efforts[0])
        return [
            self._answered(entry, space, answers, top_k, threshold)
            for entry, space, answers in found
        ]

    def _answered(
        self,
        entry: Entry,
        space: str,
        answers: list[list[int]],
        top_k: int,
        threshold: float | None,
    ) -> Answered:
        full, projected = (self._truths[name] for name in (FULL, PROJECTED))
        floor = isinstance(entry.contestant, FloatFloor | BitFloor)
        return Answered(
            contestant=entry.contestant.name,
            space=space,
            effort=entry.effort,
            recall_full=None if floor else full.recall(answers, top_k, threshold),
            recall_projected=None if floor else projected.recall(answers, top_k, threshold),
            false_share=(
                None if floor or threshold is None else full.false_share(answers, threshold)
            ),
            timing=entry.timing,
        )

    def _crowd(self) -> None:
        """Measure several threads; the writer comes last, because it leaves dead rows behind."""
        title = f"{self._result.rows:,} rows:"
        kinds = (Wave, FaissFlat)
        wanted = [seat for seat in self._seats if type(seat.contestant) in kinds]
        for seat in self._bar.track(wanted, description=f"{title} two threads"):
            self._result.threads.append(
                two_threads(
                    seat.contestant,
                    seat.space,
                    seat.queries,
                    THRESHOLD_TOP_K,
                    THRESHOLD,
                    seconds=self._plan.seconds / 2,
                )
            )
        seat = self._seats[0]
        wave = seat.contestant
        if not isinstance(wave, Wave):
            return
        self._result.kernel = wave.index.stats().kernel
        for pauses in self._bar.track((True, False), description=f"{title} with a writer"):
            self._result.streaming.append(
                while_streaming(
                    wave,
                    self._first,
                    seat.queries,
                    THRESHOLD_TOP_K,
                    THRESHOLD,
                    pauses=pauses,
                    seconds=self._plan.seconds,
                )
            )
