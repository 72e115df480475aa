"""A provider's answer: checked, put in order, scaled to length 1."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["UnusableAnswerError", "unit_rows"]


class UnusableAnswerError(Exception):
    """An answer does not hold one vector for each text. Its message is in our own words."""


def unit_rows(
    vectors: Sequence[object], indices: Sequence[object], *, count: int, dim: int | None
) -> npt.NDArray[np.float32]:
    """Turn what a provider sent into rows.

    Args:
        vectors: The vectors in the order they came.
        indices: For each the number of the text it belongs to.
        count: How many texts were sent, at least one.
        dim: The width expected; `None` if any will do.

    Returns:
        Shape `(count, width)`, rows in the order of the texts and of length 1. A vector of zeros
        stays one.

    Raises:
        UnusableAnswerError: The number, order, width or values of the vectors are wrong.
    """
    if len(vectors) != count:
        raise UnusableAnswerError(f"{len(vectors)} vectors for {count} texts")
    order = [index for index in indices if type(index) is int]
    if len(order) != count or set(order) != set(range(count)):
        raise UnusableAnswerError("vectors that are not numbered 0, 1, 2 ...")
    try:
        received = np.array(vectors)
    except ValueError:
        raise UnusableAnswerError("vectors of different widths") from None
    if received.ndim != 2 or received.shape[1] == 0 or received.dtype.kind not in "fiu":
        raise UnusableAnswerError("something other than lists of numbers")
    if dim is not None and received.shape[1] != dim:
        raise UnusableAnswerError(f"vectors of width {received.shape[1]} in place of {dim}")
    if not np.isfinite(received).all():
        raise UnusableAnswerError("a vector with NaN or infinity")
    ordered = np.empty(received.shape, np.float64)
    ordered[order] = received
    # float64 up to here: the squares of large float32 numbers would overflow.
    largest = np.abs(ordered).max(axis=1, keepdims=True)
    np.divide(ordered, largest, out=ordered, where=largest > 0)
    lengths = np.linalg.norm(ordered, axis=1, keepdims=True)
    np.divide(ordered, lengths, out=ordered, where=lengths > 0)
    return ordered.astype(np.float32)
