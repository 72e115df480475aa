"""Wait until a replica has its rows."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prism.ffi import PrismDriverSync

_STEP_S = 0.05


def wait_for_rows(
    driver: PrismDriverSync,
    rows: int,
    note: Callable[[int], None],
    *,
    timeout_s: float = 600.0,
) -> None:
    """Wait, telling how many there are.

    Raises:
        TimeoutError: It does not come to that many.
    """
    deadline = time.monotonic() + timeout_s
    while (count := driver.status().rows) != rows:
        note(count)
        if time.monotonic() > deadline:
            raise TimeoutError(f"{rows:,} rows were expected, the replica has {driver.status()}")
        time.sleep(_STEP_S)
    note(rows)
