"""The peers: numpy, and the libraries that are installed. All search with one thread.

Graphs are built with 16 links a row and 100 candidates a step, which is what the libraries' own
documents start from; `efforts` are their candidate counts at search time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from contestant import Contestant, Rows, optional

LINKS = 16
BUILD_EFFORT = 100
EFFORTS = (16, 32, 64, 128, 256, 512)


class Numpy(Contestant):
    """A matrix times the query, and the best of it."""

    name = "numpy"
    ingests = False

    def __init__(self, *, rows: int, width: int, threads: int) -> None:
        super().__init__(rows=rows, width=width, threads=threads)
        self._matrix = np.empty((rows, width), np.float32)
        self._count = 0

    def add(self, rows: Rows) -> None:
        """Copy the rows."""
        self._matrix[self._count : self._count + len(rows)] = rows
        self._count += len(rows)

    def search(self, query: Rows, top_k: int, threshold: float | None) -> Any:
        """Score all rows; partition by the k-th best, or keep what reaches the threshold."""
        scores = self._matrix @ query
        if threshold is None:
            best = np.argpartition(scores, len(scores) - top_k)[len(scores) - top_k :]
        else:
            best = np.flatnonzero(scores >= np.float32(threshold))
        return best[np.argsort(-scores[best])[:top_k]]


class _Faiss(Contestant):
    """What faiss's two indexes share."""

    @classmethod
    def missing(cls) -> str | None:
        """Name the package."""
        return None if optional("faiss") else "faiss-cpu"

    def __init__(self, *, rows: int, width: int, threads: int) -> None:
        super().__init__(rows=rows, width=width, threads=threads)
        self._faiss: Any = optional("faiss")
        self._index = self._make(width)

    def _make(self, width: int) -> Any:
        raise NotImplementedError

    def add(self, rows: Rows) -> None:
        """Add with all threads."""
        self._faiss.omp_set_num_threads(self.threads)
        self._index.add(rows)
        self._faiss.omp_set_num_threads(1)

    def prepared(self, queries: Rows) -> Sequence[Any]:
        """Make each a matrix of one row."""
        return [query[np.newaxis, :] for query in queries]

    def search(self, query: Any, top_k: int, threshold: float | None) -> Any:
        """Search, then drop what the threshold excludes."""
        scores, numbers = self._index.search(query, top_k)
        return numbers[0] if threshold is None else numbers[0][scores[0] >= threshold]


class FaissFlat(_Faiss):
    """Every row, float32."""

    name = "faiss flat"

    def _make(self, width: int) -> Any:
        return self._faiss.IndexFlatIP(width)


class FaissHnsw(_Faiss):
    """faiss's graph of float32 rows."""

    name = "faiss HNSW"
    efforts = EFFORTS

    @staticmethod
    def row_bytes(width: int) -> int:
        """Rows and links."""
        return 4 * width + 10 * LINKS

    def _make(self, width: int) -> Any:
        index = self._faiss.IndexHNSWFlat(width, LINKS, self._faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = BUILD_EFFORT
        return index

    def set_effort(self, effort: int) -> None:
        """Set the candidate count."""
        self._index.hnsw.efSearch = effort


class Hnswlib(Contestant):
    """hnswlib's graph of float32 rows."""

    name = "hnswlib"
    efforts = EFFORTS

    @classmethod
    def missing(cls) -> str | None:
        """Name the package."""
        return None if optional("hnswlib") else "hnswlib"

    @staticmethod
    def row_bytes(width: int) -> int:
        """Rows, links and labels."""
        return 4 * width + 12 * LINKS

    def __init__(self, *, rows: int, width: int, threads: int) -> None:
        super().__init__(rows=rows, width=width, threads=threads)
        library: Any = optional("hnswlib")
        self._index = library.Index(space="ip", dim=width)
        self._index.init_index(max_elements=rows, M=LINKS, ef_construction=BUILD_EFFORT)

    def add(self, rows: Rows) -> None:
        """Add with all threads."""
        self._index.add_items(rows, num_threads=self.threads)

    def set_effort(self, effort: int) -> None:
        """Set the candidate count."""
        self._index.set_ef(effort)

    def search(self, query: Rows, top_k: int, threshold: float | None) -> Any:
        """Search, then drop what the threshold excludes."""
        numbers, distances = self._index.knn_query(query, top_k, num_threads=1)
        return numbers[0] if threshold is None else numbers[0][distances[0] <= 1.0 - threshold]


class Usearch(Contestant):
    """usearch's graph of float16 rows: faster than its float32 at the same recall."""

    name = "usearch f16"
    efforts = EFFORTS

    @classmethod
    def missing(cls) -> str | None:
        """Name the package."""
        return None if optional("usearch") else "usearch"

    @staticmethod
    def row_bytes(width: int) -> int:
        """Rows, links and keys."""
        return 2 * width + 12 * LINKS

    def __init__(self, *, rows: int, width: int, threads: int) -> None:
        super().__init__(rows=rows, width=width, threads=threads)
        library: Any = optional("usearch.index")
        self._index = library.Index(
            ndim=width, metric="ip", dtype="f16", connectivity=LINKS, expansion_add=BUILD_EFFORT
        )

    def add(self, rows: Rows) -> None:
        """Add with all threads."""
        first = len(self._index)
        self._index.add(np.arange(first, first + len(rows)), rows, threads=self.threads)

    def set_effort(self, effort: int) -> None:
        """Set the candidate count."""
        self._index.expansion_search = effort

    def search(self, query: Rows, top_k: int, threshold: float | None) -> Any:
        """Search, then drop what the threshold excludes."""
        matches = self._index.search(query, top_k, threads=1)
        if threshold is None:
            return matches.keys
        return matches.keys[matches.distances <= 1.0 - threshold]


FLAT: tuple[type[Contestant], ...] = (FaissFlat, Numpy)
GRAPHS: tuple[type[Contestant], ...] = (FaissHnsw, Hnswlib, Usearch)
