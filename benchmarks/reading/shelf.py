"""The rows with their vectors in the database, for pgvector."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg2

from feeding.shop import TABLE, Shop

SHELF = "shelf"
EFFORTS = (40, 100, 200)
_SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_INDEX = f"CREATE INDEX shelf_hnsw ON {SHELF} USING hnsw (embedding vector_cosine_ops)"
_PROGRESS = """
SELECT coalesce(max(tuples_done::float / nullif(tuples_total, 0)), 0)
FROM pg_stat_progress_create_index"""


@dataclass(frozen=True)
class Ask:
    """A way to ask pgvector.

    Attributes:
        name: What the tables call it.
        effort: `hnsw.ef_search`; 0 for an exact scan.
    """

    name: str
    effort: int


def ways(*, with_index: bool) -> list[Ask]:
    """Give the ways to ask."""
    graphs = [Ask(f"pgvector HNSW, ef_search {effort}", effort) for effort in EFFORTS]
    return [Ask("pgvector exact", 0), *(graphs if with_index else [])]


def put_up(shop: Shop, vectors: npt.NDArray[np.float32]) -> None:
    """Make a table of the shop's rows with vectors, row `i + 1` with `vectors[i]`.

    Args:
        shop: Where; pgvector must be among its extensions.
        vectors: Shape (rows, width), float32.
    """
    rows, width = vectors.shape
    record = np.dtype(
        [
            ("fields", ">i2"), ("id_size", ">i4"), ("id", ">i8"), ("size", ">i4"),
            ("width", ">u2"), ("unused", ">u2"), ("vector", ">f4", (width,)),
        ]
    )  # fmt: skip
    filled = np.zeros(rows, record)
    filled["fields"], filled["id_size"], filled["id"] = 2, 8, np.arange(1, rows + 1)
    filled["size"], filled["width"], filled["vector"] = 4 + 4 * width, width, vectors
    with shop.connected() as cursor:
        cursor.execute("CREATE EXTENSION IF NOT EXISTS vector")
        cursor.execute(f"DROP TABLE IF EXISTS {SHELF}")
        cursor.execute(f"CREATE TEMP TABLE arrived (id bigint, embedding vector({width}))")
        cursor.copy_expert(
            "COPY arrived FROM STDIN WITH (FORMAT binary)",
            io.BytesIO(_SIGNATURE + filled.tobytes() + _TRAILER),
        )
        cursor.execute(
            f"CREATE TABLE {SHELF} AS SELECT {TABLE}.*, embedding FROM {TABLE} JOIN arrived"
            " USING (id) ORDER BY id"
        )
        cursor.execute(f"ALTER TABLE {SHELF} ADD PRIMARY KEY (id)")
        cursor.execute(f"VACUUM ANALYZE {SHELF}")


def build_index(shop: Shop, note: Callable[[float], None]) -> float:
    """Build the HNSW index with pgvector's defaults; give the seconds it took.

    Args:
        shop: Where.
        note: Gets the share that is done, now and then.
    """
    failed: list[BaseException] = []

    def build() -> None:
        try:
            with shop.connected() as cursor:
                cursor.execute(_INDEX)
        except psycopg2.Error as error:
            failed.append(error)

    start = time.perf_counter()
    thread = threading.Thread(target=build, daemon=True)
    thread.start()
    with shop.connected() as cursor:
        while thread.is_alive():
            cursor.execute(_PROGRESS)
            note(float(cursor.fetchone()[0]))
            thread.join(0.5)
    if failed:
        raise failed[0]
    return time.perf_counter() - start


class Neighbours:
    """Asks pgvector through psycopg2, prepared. A context manager.

    Args:
        dsn: Where.
        way: How.
        top_k: How many rows.
        width: Of the vectors.
    """

    def __init__(self, dsn: str, way: Ask, *, top_k: int, width: int) -> None:
        self._stack = closing(psycopg2.connect(dsn))
        connection = self._stack.__enter__()
        connection.autocommit = True
        self._cursor: Any = connection.cursor()
        if way.effort:
            self._cursor.execute(f"SET hnsw.ef_search = {way.effort}")
            # Also where the planner would rather scan: small tables.
            self._cursor.execute("SET enable_seqscan = off")
        else:
            self._cursor.execute("SET enable_indexscan = off")
        self._cursor.execute(
            f"PREPARE nearest (vector({width})) AS SELECT id, name, description, price, stock,"
            f" 1 - (embedding <=> $1) FROM {SHELF} ORDER BY embedding <=> $1 LIMIT {top_k}"
        )

    def ask(self, question: str) -> list[tuple[Any, ...]]:
        """Give the nearest rows, the score last."""
        self._cursor.execute("EXECUTE nearest (%s)", (question,))
        found: list[tuple[Any, ...]] = self._cursor.fetchall()
        return found

    def plan(self, question: str) -> str:
        """Give how the server goes about it."""
        self._cursor.execute("EXPLAIN (COSTS OFF) EXECUTE nearest (%s)", (question,))
        return "\n".join(line for (line,) in self._cursor.fetchall())

    def close(self) -> None:
        """Close the connection."""
        self._stack.__exit__(None, None, None)


def written(vectors: npt.NDArray[np.float32]) -> list[str]:
    """Write vectors as pgvector reads them; not part of what is timed."""
    return ["[" + ",".join(map(repr, vector)) + "]" for vector in vectors.tolist()]


def exact(
    vectors: npt.NDArray[np.float32], questions: npt.NDArray[np.float32], *, top_k: int
) -> tuple[list[list[int]], npt.NDArray[np.float32]]:
    """Give the true nearest rows (from 0) of each question, best first, and all their scores."""
    scores = np.sort(-(questions @ vectors.T), axis=1)[:, :top_k]
    order = np.argsort(-(questions @ vectors.T), axis=1)[:, :top_k]
    return order.tolist(), -scores


def recall(
    found: Sequence[Sequence[int]],
    scores: npt.NDArray[np.float32],
    *,
    vectors: npt.NDArray[np.float32],
    questions: npt.NDArray[np.float32],
    threshold: float | None,
) -> float:
    """Give the share of the true answer that was found, equal scores being equal.

    Args:
        found: Rows (from 0) of each question.
        scores: The true best scores of each question, shape (questions, top_k).
        vectors: All rows.
        questions: All questions.
        threshold: The least score that counts; `None` for any.
    """
    hits = wanted = 0
    for question, rows, best in zip(questions, found, scores, strict=True):
        counted = best if threshold is None else best[best >= threshold]
        if not len(counted):
            continue
        wanted += len(counted)
        own = vectors[list(rows)] @ question if len(rows) else np.zeros(0)
        hits += min(len(counted), int((own >= counted[-1] - 1e-5).sum()))
    return hits / wanted if wanted else 1.0
