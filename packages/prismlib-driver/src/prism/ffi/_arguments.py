"""What users pass in, checked, and as it goes over the wire."""

from __future__ import annotations

import json
from datetime import date, datetime
from datetime import time as time_of_day
from decimal import Decimal
from typing import TYPE_CHECKING
from uuid import UUID

import numpy as np

from prism.ffi.errors import DriverConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

__all__ = ["as_json", "check_query", "checked_embedding", "plain_where"]


def check_query(embedding: object, text: object) -> None:
    """Refuse a query by neither or both.

    Raises:
        DriverConfigurationError: It is one.
    """
    if (embedding is None) == (text is None):
        raise DriverConfigurationError("pass embedding= or text=, and not both")


def checked_embedding(embedding: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Accept one vector of finite numbers.

    Raises:
        DriverConfigurationError: It is none.
    """
    try:
        vector = np.asarray(embedding, np.float32)
    except (TypeError, ValueError):
        raise DriverConfigurationError("embedding is a vector of numbers") from None
    if vector.ndim != 1 or vector.size == 0 or not np.isfinite(vector).all():
        raise DriverConfigurationError(
            f"embedding is one vector of finite numbers, got shape {vector.shape}"
        )
    return vector


def plain_where(where: Mapping[str, object]) -> dict[str, object]:
    """Give conditions as the wrapper takes them.

    Raises:
        DriverConfigurationError: It cannot compare so.
    """
    plain: dict[str, object] = {}
    for column, wanted in where.items():
        if isinstance(wanted, (set, frozenset)):
            wanted = list(wanted)
        if not isinstance(wanted, (str, int, float, bool, list, type(None))):
            raise DriverConfigurationError(
                f"where[{column!r}]: the wrapper compares values and lists of values alone, and "
                "it is asked because the replica is stale"
            )
        plain[column] = wanted
    return plain


def as_json(values: Mapping[str, object]) -> bytes:
    """Give columns as JSON.

    Raises:
        DriverConfigurationError: JSON cannot hold a value.
    """
    try:
        return json.dumps(dict(values), default=_plain, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise DriverConfigurationError(f"data holds what JSON can: {error}") from None


def _plain(value: object) -> object:
    if isinstance(value, (datetime, date, time_of_day)):
        return value.isoformat()
    if isinstance(value, (Decimal, UUID)):
        return str(value)
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a column is given a {type(value).__name__}")
