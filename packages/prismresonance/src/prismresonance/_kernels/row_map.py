"""The batch operations of the table of ids as numba compiles them; see `slots`.

Importing this module imports numba; only `compiled` does.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from prismresonance._kernels.parts import part
from prismresonance._kernels.slots import EMPTY, FIRST_FACTOR, SECOND_FACTOR

__all__ = ["locate_ids", "store_ids"]

_Numbers = npt.NDArray[np.int64]

_FIRST = np.uint64(FIRST_FACTOR)
_SECOND = np.uint64(SECOND_FACTOR)


@part
def _home(row_id: int, pairs: int) -> np.int64:
    mixed = np.uint64(row_id)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _FIRST
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _SECOND
    mixed ^= mixed >> np.uint64(31)
    return np.int64(((mixed >> np.uint64(32)) * np.uint64(pairs)) >> np.uint64(32))


@part
def locate_ids(slots: _Numbers, ids: _Numbers, places: _Numbers) -> None:
    """Find the places in the table of what ids stand for; as `slots.locate_ids`."""
    pairs = slots.shape[0] // 2
    for asked in range(ids.shape[0]):
        row_id = ids[asked]
        place = 2 * int(_home(row_id, pairs))
        while slots[place] != row_id and slots[place] != EMPTY:
            place += 2
            if place == slots.shape[0]:
                place = 0
        places[asked] = place + 1 if slots[place] == row_id else -1


@part
def store_ids(slots: _Numbers, ids: _Numbers, seqs: _Numbers) -> int:
    """Let ids stand for row numbers, in place of those they stood for; as `slots.store_ids`."""
    pairs = slots.shape[0] // 2
    taken = 0
    for asked in range(ids.shape[0]):
        row_id = ids[asked]
        place = 2 * int(_home(row_id, pairs))
        while slots[place] != row_id and slots[place] != EMPTY:
            place += 2
            if place == slots.shape[0]:
                place = 0
        slots[place + 1] = seqs[asked]
        if slots[place] == EMPTY:
            slots[place] = row_id
            taken += 1
    return taken
