"""What the index asks of its inner loops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["Kernels"]


class Kernels(Protocol):
    """The inner loops; see `plain` for what each does.

    `estimate` and `collect` may differ between implementations by float32 rounding, which the bars
    allow for; `exact` may not differ at all.
    """

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
