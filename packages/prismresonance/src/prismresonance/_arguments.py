"""Checks of arguments at the edge of the index; inside, all is as annotated."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from prismresonance._row_ids import OTHER, RowIds
from prismresonance.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prismresonance._records import Payload, RowId

__all__ = [
    "checked_id", "checked_ids", "checked_payloads", "checked_threshold", "sigmas_of",
    "whole_number",
]  # fmt: skip

_MOST = int(np.iinfo(np.int64).max)
_BOTH_BARS = 1.3


def whole_number(name: str, value: int) -> int:
    """Accept an integer of at least 1; the name goes into the error."""
    if type(value) is int and value > 0:  # the usual case, at a fifth of the time
        return value
    try:
        number = operator.index(value)
    except TypeError:
        raise InvalidArgumentError(f"{name} is a whole number, got {value!r}") from None
    if isinstance(value, bool) or number < 1:
        raise InvalidArgumentError(f"{name} is 1 or more, got {value!r}")
    return number


def checked_threshold(threshold: float | None) -> float:
    """Accept a number from -1 to 1; `None` becomes -2, below any score."""
    if type(threshold) is float and -1.0 <= threshold <= 1.0:  # the usual case
        return threshold
    if threshold is None:
        return -2.0
    try:
        number = float(threshold)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(threshold, bool | str) or not -1.0 <= number <= 1.0:
        raise InvalidArgumentError(f"threshold is a number from -1 to 1, got {threshold!r}")
    return number


def sigmas_of(recall: float) -> float:
    """Accept a probability from .6 to .9999, and give the standard deviations to allow for it.

    A row has to reach two bars. Of rows exactly at both, the two together miss up to 1.3 times as
    many as the normal tail says of one, simulated for widths of 256 and 384 and cosines of .6 and
    .85.
    """
    try:
        number = float(recall)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(recall, bool | str) or not 0.6 <= number <= 0.9999:
        raise InvalidArgumentError(
            f"recall is a number from .6 to .9999, got {recall!r}; exact=True misses nothing"
        )
    return _quantile(1.0 - (1.0 - number) / _BOTH_BARS)


@functools.lru_cache(maxsize=64)
def _quantile(probability: float) -> float:
    """Give the number, 0 to 4, below which a standard normal one lies with that probability."""
    low, high = 0.0, 4.0  # the module `statistics` has this too, and takes 10 ms to import
    while high - low > 1e-12:
        middle = 0.5 * (low + high)
        below = 0.5 * math.erfc(-middle / math.sqrt(2.0)) < probability
        low, high = (middle, high) if below else (low, middle)
    return high


def checked_id(row_id: RowId) -> RowId:
    """Accept a text, or an integer of any integer type but the truth values."""
    if isinstance(row_id, str):
        return row_id
    if isinstance(row_id, bool | np.bool_):
        raise InvalidArgumentError("an id is an integer or a text, got a truth value")
    try:
        return operator.index(row_id)
    except TypeError:
        raise InvalidArgumentError(
            f"an id is an integer or a text, got {type(row_id).__name__}"
        ) from None


def checked_ids(ids: Iterable[RowId]) -> RowIds:
    """Accept ids; an array of integers is checked and copied as a whole."""
    if isinstance(ids, str):
        raise InvalidArgumentError("ids are several ids, got one text")
    if isinstance(ids, np.ndarray) and ids.ndim == 1 and ids.dtype.kind in "iu":
        if not len(ids) or (int(ids.min()) > OTHER and int(ids.max()) <= _MOST):
            return RowIds(np.array(ids, np.int64, order="C"))
        return RowIds.of(ids.tolist())
    given = list(ids)
    if set(map(type, given)) <= {int, str}:
        return RowIds.of(given)
    return RowIds.of([checked_id(row_id) for row_id in given])


def checked_payloads(payloads: Sequence[Payload], count: int) -> list[Payload]:
    """Accept that many mappings; copies the list, not the mappings."""
    if isinstance(payloads, str | Mapping) or len(payloads) != count:
        raise InvalidArgumentError(f"{count} vectors need {count} payloads")
    given = list(payloads)
    # Thousands of payloads are of one type or two, and asking whether it is a mapping is slow.
    refused = {kind for kind in set(map(type, given)) if not issubclass(kind, Mapping)}
    if refused:
        number = next(place for place, payload in enumerate(given) if type(payload) in refused)
        raise InvalidArgumentError(
            f"payload {number} is a mapping, got {type(given[number]).__name__}"
        )
    return given
