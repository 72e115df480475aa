"""Vectors that callers bring along, in the place of an embedder."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from prism.cluster.errors import ClusterConfigurationError

__all__ = ["GivenVectors"]


class GivenVectors:
    """Gives the vectors of the texts that are being asked; knows no others. Safe for threads."""

    def __init__(self, dim: int) -> None:
        self._dim = dim
        self._held: dict[str, tuple[npt.NDArray[np.float32], int]] = {}
        self._lock = threading.Lock()

    @property
    def model_id(self) -> str:
        """Name of what made them: nobody said."""
        return f"given-{self._dim}"

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return self._dim

    @contextlib.contextmanager
    def holding(self, text: str, vector: npt.ArrayLike) -> Iterator[None]:
        """Know a text's vector for a while.

        Raises:
            ClusterConfigurationError: It is of another width, zero, or not finite.
        """
        row = np.array(vector, np.float32).reshape(-1)
        length = float(np.linalg.norm(row))
        if row.shape != (self._dim,) or not np.isfinite(length) or length == 0:
            raise ClusterConfigurationError(
                f"query_vector has {self._dim} finite numbers, not all zero, as the first one had; "
                f"got {row.size}"
            )
        with self._lock:
            count = self._held[text][1] if text in self._held else 0
            self._held[text] = row / length, count + 1
        try:
            yield
        finally:
            with self._lock:
                held, count = self._held[text]
                if count == 1:
                    del self._held[text]
                else:
                    self._held[text] = held, count - 1

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Give the vectors of these texts; see `Embedder`."""
        with self._lock:
            rows = [self._held[text][0] for text in texts]
        return np.stack(rows) if rows else np.empty((0, self._dim), np.float32)
