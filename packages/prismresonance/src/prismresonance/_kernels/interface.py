"""What the index asks of its inner loops."""

from __future__ import annotations

from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Find", "FindMany", "Integers", "Kernels"]

Integers: TypeAlias = npt.NDArray[np.int16] | npt.NDArray[np.int8]
"""Stored rows."""


class Find(Protocol):
    """A whole query in one call."""

    def __call__(
        self,
        vector: npt.NDArray[np.float32],
        matrix: npt.NDArray[np.float32],
        directory: npt.NDArray[np.int64],
        rows: int,
        row_bytes: int,
        epoch: int,
        threshold: float,
        threshold_sigmas: float,
        top_k_sigmas: float,
        admitted: npt.NDArray[np.uint8],
        places: npt.NDArray[np.int64],
        scores: npt.NDArray[np.float64],
        /,
    ) -> tuple[int, int, int]:
        """Find the best rows of a snapshot; see `find.find`."""


class FindMany(Protocol):
    """Several queries in one call."""

    def __call__(
        self,
        vectors: npt.NDArray[np.float32],
        matrix: npt.NDArray[np.float32],
        directory: npt.NDArray[np.int64],
        row_bytes: int,
        epoch: int,
        threshold: float,
        threshold_sigmas: float,
        top_k_sigmas: float,
        admitted: npt.NDArray[np.uint8],
        places: npt.NDArray[np.int64],
        scores: npt.NDArray[np.float64],
        counts: npt.NDArray[np.int64],
        /,
    ) -> tuple[int, int]:
        """Find the best rows for each of several queries; see `find.find_many`."""


class Kernels(Protocol):
    """The inner loops; see `plain` for what each does.

    `exact` and the ids may not differ between implementations. `quantise` may differ by one unit
    where a component lies halfway between two, `encode` where a projected one rounds differently.
    """

    @property
    def find(self) -> Find | None:
        """A whole query in one call, if these kernels have that."""

    @property
    def find_many(self) -> FindMany | None:
        """Several queries in one call, likewise."""

    def quantise(
        self,
        source: npt.NDArray[np.float32],
        rows: Integers,
        squared_norms: npt.NDArray[np.int32],
        top: int,
    ) -> int:
        """Round rows to integers; gives the first row that has no direction, or -1."""

    def encode(
        self,
        products: npt.NDArray[np.float32],
        codes: npt.NDArray[np.uint8],
        low: npt.NDArray[np.int8] | None,
        start: int,
    ) -> None:
        """Write what is stored of projected rows; see `codes.encode`."""

    def exact(
        self, rows: Integers, chosen: npt.NDArray[np.int64], query: npt.NDArray[np.int16]
    ) -> npt.NDArray[np.float64]:
        """Multiply chosen rows with the query."""

    def locate_ids(
        self,
        slots: npt.NDArray[np.int64],
        ids: npt.NDArray[np.int64],
        places: npt.NDArray[np.int64],
    ) -> None:
        """Find ids in their table; see `slots`."""

    def store_ids(
        self,
        slots: npt.NDArray[np.int64],
        ids: npt.NDArray[np.int64],
        seqs: npt.NDArray[np.int64],
    ) -> int:
        """Store ids in their table; see `slots`."""
