"""What the index asks of its inner loops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["Find", "Kernels"]


class Find(Protocol):
    """A whole query in one call."""

    def __call__(
        self,
        unit: npt.NDArray[np.float32],
        squared_norm: float,
        matrix: npt.NDArray[np.float32],
        directory: npt.NDArray[np.int64],
        rows: int,
        epoch: int,
        threshold: float,
        threshold_sigmas: float,
        top_k_sigmas: float,
        admitted: npt.NDArray[np.uint8],
        places: npt.NDArray[np.int64],
        scores: npt.NDArray[np.float64],
        /,
    ) -> tuple[int, int]:
        """Find the best rows of a snapshot; see `find.find`."""


class Kernels(Protocol):
    """The inner loops; see `plain` for what each does.

    `estimate` and `collect` may differ between implementations by float32 rounding, which the bars
    allow for; the others may not differ at all.
    """

    @property
    def find(self) -> Find | None:
        """A whole query in one call, if these kernels have that."""

    def estimate(
        self,
        rows: npt.NDArray[np.float32],
        count: int,
        query: npt.NDArray[np.float32],
        estimates: npt.NDArray[np.float32],
    ) -> None:
        """Write the products of the first rows with the query."""

    def collect(
        self,
        rows: npt.NDArray[np.float32],
        count: int,
        query: npt.NDArray[np.float32],
        bar: float,
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Find the rows whose product with the query reaches a bar."""

    def exact(
        self,
        rows: npt.NDArray[np.float32],
        chosen: npt.NDArray[np.int64],
        query: npt.NDArray[np.float64],
    ) -> npt.NDArray[np.float64]:
        """Multiply chosen rows with the query in float64."""

    def snap(
        self,
        wide: npt.NDArray[np.float64],
        lengths: npt.NDArray[np.float64],
        rows: npt.NDArray[np.float32],
        squared_norms: npt.NDArray[np.float64],
    ) -> None:
        """Scale rows to length 1 and round them to the grid of `_vectors`."""

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
