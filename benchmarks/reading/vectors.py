"""Reads by meaning: pgvector and the replica, the same rows, vectors and questions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from reading.shelf import Neighbours, exact, recall, ways, written
from timing import Timing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from feeding.shop import Shop
    from prism.ffi import PrismDriverSync

OURS = "driver.query"
THRESHOLD, THRESHOLD_TOP_K = 0.85, 5
TOP_K = 10
_BLOCK = 5


@dataclass(frozen=True)
class VectorRead:
    """One way to find the nearest rows.

    Attributes:
        who: Which way.
        rows: Rows in the table.
        width: Components of a vector.
        top_k: How many rows were asked for.
        threshold: The least score; `None` for any.
        recall: Share of the true answer that was found.
        timing: Of single reads, with the rows' columns.
    """

    who: str
    rows: int
    width: int
    top_k: int
    threshold: float | None
    recall: float
    timing: Timing


def vector_reads(
    shop: Shop,
    driver: PrismDriverSync,
    *,
    vectors: npt.NDArray[np.float32],
    questions: npt.NDArray[np.float32],
    with_index: bool,
    track: Callable[[Iterable[int]], Iterable[int]],
) -> list[VectorRead]:
    """Ask every question of every way, in turns, for the best ten and for those above a score.

    Args:
        shop: The database; its shelf has `vectors`.
        driver: Has the same rows.
        vectors: Shape (rows, width), float32, unit rows; row `i` has id `i + 1`.
        questions: Shape (questions, width), float32, unit rows.
        with_index: Whether the HNSW index is there.
        track: Shows how far it is.
    """
    reads: list[VectorRead] = []
    texts = written(questions)
    for top_k, threshold in ((TOP_K, None), (THRESHOLD_TOP_K, THRESHOLD)):
        _, best = exact(vectors, questions, top_k=top_k)
        with ExitStack() as stack:
            asked: dict[str, Callable[[int], list[tuple[int, float]]]] = {}
            for way in ways(with_index=with_index):
                peer = stack.enter_context(
                    closing(Neighbours(shop.dsn, way, top_k=top_k, width=vectors.shape[1]))
                )
                plan = peer.plan(texts[0])
                if ("shelf_hnsw" in plan) != bool(way.effort):
                    raise RuntimeError(f"{way.name} is not what the server does:\n{plan}")
                asked[way.name] = _peer(peer, texts)
            asked[OURS] = _ours(driver, questions, top_k=top_k, threshold=threshold)
            walls, cpus, found = _time(asked, len(questions), track)
        for who, answers in found.items():
            kept = [
                [row for row, score in rows if threshold is None or score >= threshold]
                for rows in answers
            ]
            reads.append(
                VectorRead(
                    who=who, rows=len(vectors), width=vectors.shape[1], top_k=top_k,
                    threshold=threshold,
                    recall=recall(
                        kept, best, vectors=vectors, questions=questions, threshold=threshold
                    ),
                    timing=Timing.of(walls[who], cpus[who]),
                )
            )  # fmt: skip
    return reads


def _time(
    asked: dict[str, Callable[[int], list[tuple[int, float]]]],
    questions: int,
    track: Callable[[Iterable[int]], Iterable[int]],
) -> tuple[dict[str, list[float]], dict[str, list[float]], dict[str, list[Any]]]:
    walls: dict[str, list[float]] = {who: [] for who in asked}
    cpus: dict[str, list[float]] = {who: [] for who in asked}
    found: dict[str, list[Any]] = {who: [] for who in asked}
    for start in track(range(0, questions, _BLOCK)):
        for who, ask in asked.items():
            ask(start)  # the first would find the caches full of the one before
            for place in range(start, min(start + _BLOCK, questions)):
                cpu, begin = time.thread_time(), time.perf_counter()
                answer = ask(place)
                end, cpu_end = time.perf_counter(), time.thread_time()
                walls[who].append(end - begin)
                cpus[who].append(cpu_end - cpu)
                found[who].append(answer)
    return walls, cpus, found


def _peer(peer: Neighbours, texts: Sequence[str]) -> Callable[[int], list[tuple[int, float]]]:
    return lambda place: [(row[0] - 1, row[-1]) for row in peer.ask(texts[place])]


def _ours(
    driver: PrismDriverSync,
    questions: npt.NDArray[np.float32],
    *,
    top_k: int,
    threshold: float | None,
) -> Callable[[int], list[tuple[int, float]]]:
    def ask(place: int) -> list[tuple[int, float]]:
        found = driver.query(embedding=questions[place], top_k=top_k, threshold=threshold)
        return [(int(match.row_id) - 1, match.score) for match in found]

    return ask
