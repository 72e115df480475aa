"""The exact score, and the grid that makes it exact, as numba compiles them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["exact", "snap"]

_GRID = float(2**26)


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


def snap(
    wide: npt.NDArray[np.float64],
    lengths: npt.NDArray[np.float64],
    rows: npt.NDArray[np.float32],
    squared_norms: npt.NDArray[np.float64],
) -> None:
    """Scale rows to length 1 and round them to the grid; as `plain.snap`.

    Not compiled with all of `fastmath`: a division by way of the reciprocal would round otherwise
    than numpy's.
    """
    width = wide.shape[1]
    for row in range(wide.shape[0]):
        length = lengths[row]
        for column in range(width):
            single = np.float32(wide[row, column] / length)
            wide[row, column] = np.rint(np.float64(single) * _GRID) * (1.0 / _GRID)
        total = 0.0
        for column in range(width):
            rows[row, column] = wide[row, column]
            total += wide[row, column] * wide[row, column]
        squared_norms[row] = total
