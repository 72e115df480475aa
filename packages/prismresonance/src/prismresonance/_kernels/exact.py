"""The exact score as numba compiles it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["exact"]


def exact(
    rows: npt.NDArray[np.float32],
    chosen: npt.NDArray[np.int64],
    query: npt.NDArray[np.float64],
    products: npt.NDArray[np.float64],
) -> None:
    """Write the float64 products of chosen rows with the query; as `plain.exact`.

    Compiled with `fastmath` too: on the grid of `_vectors` no addition rounds, so the order in
    which LLVM adds does not matter, and the result has the same bits as numpy's.
    """
    width = query.shape[0]
    for place in range(chosen.shape[0]):
        row = chosen[place]
        total = 0.0
        for column in range(width):
            total += np.float64(rows[row, column]) * query[column]
        products[place] = total
