"""The table of integer ids: its layout, and its batch operations in numpy.

One int64 array of pairs: a key and what it stands for, or `ABSENT`. A key's search starts at its
home and goes on to the next pair until it is found or a pair is `EMPTY`. Keys are never taken out,
only marked as absent, so that a search never ends too early.

The home is the finalizer of splitmix64, scaled to the number of pairs: neighbouring and strided
ids spread like random ones. An opponent who chooses ids can still make them collide; ids from
outside are safer as texts.

Source: G. Steele, D. Lea, C. Flood, *Fast splittable pseudorandom number generators* (2014);
D. Lemire, *Fast random integer generation in an interval* (2019), for the scaling.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["ABSENT", "EMPTY", "MAX_PAIRS", "home", "homes", "locate_ids", "new_slots", "store_ids"]

EMPTY = int(np.iinfo(np.int64).min)
"""The key of a free pair; no id in the table equals it."""

ABSENT = -1
"""What a key stands for that was removed; row numbers are not negative."""

MAX_PAIRS = 1 << 32
"""More than this the scaling of 32 bits does not reach."""

FIRST_FACTOR = 0xBF58476D1CE4E5B9
SECOND_FACTOR = 0x94D049BB133111EB

_WORD = (1 << 64) - 1
_Numbers = npt.NDArray[np.int64]


def new_slots(pairs: int) -> _Numbers:
    """Make a table of free pairs: shape `(2 * pairs,)`."""
    slots = np.empty((pairs, 2), np.int64)
    slots[:, 0] = EMPTY
    slots[:, 1] = ABSENT
    return slots.reshape(-1)


def home(row_id: int, pairs: int) -> int:
    """Give the pair at which the search for an id starts."""
    mixed = row_id & _WORD
    mixed = ((mixed ^ (mixed >> 30)) * FIRST_FACTOR) & _WORD
    mixed = ((mixed ^ (mixed >> 27)) * SECOND_FACTOR) & _WORD
    mixed ^= mixed >> 31
    return ((mixed >> 32) * pairs) >> 32


def homes(ids: _Numbers, pairs: int) -> _Numbers:
    """Give the pairs at which the searches for ids start."""
    mixed = ids.astype(np.uint64)
    mixed ^= mixed >> np.uint64(30)
    mixed *= np.uint64(FIRST_FACTOR)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(SECOND_FACTOR)
    mixed ^= mixed >> np.uint64(31)
    mixed >>= np.uint64(32)
    mixed *= np.uint64(pairs)
    mixed >>= np.uint64(32)
    return mixed.view(np.int64)


def locate_ids(slots: _Numbers, ids: _Numbers, places: _Numbers) -> None:
    """Find the places in the table of what ids stand for.

    Args:
        slots: Shape `(2 * pairs,)`, with at least one free pair.
        ids: Shape `(n,)`.
        places: Shape `(n,)`, written: the place of the id's row number; -1 if the id has no pair.
    """
    keys = slots[0::2]
    pairs = len(keys)
    places[:] = -1
    asking = np.arange(len(ids))
    wanted, pair = ids, homes(ids, pairs)
    while len(asking):
        there = keys[pair]
        same = there == wanted
        places[asking[same]] = 2 * pair[same] + 1
        on = np.flatnonzero(~same & (there != EMPTY))
        asking, wanted, pair = asking[on], wanted[on], pair[on] + 1
        pair[pair == pairs] = 0


def store_ids(slots: _Numbers, ids: _Numbers, seqs: _Numbers) -> int:
    """Let ids stand for row numbers, in place of those they stood for.

    Args:
        slots: Shape `(2 * pairs,)`, with more than `n` free pairs.
        ids: Shape `(n,)`, none twice.
        seqs: Shape `(n,)`.

    Returns:
        How many free pairs it took.
    """
    keys, values = slots[0::2], slots[1::2]
    pairs = len(keys)
    taken = 0
    wanted, pair = ids, homes(ids, pairs)
    while len(wanted):
        there = keys[pair]
        free = np.flatnonzero(there == EMPTY)
        claimed = pair[free]
        # Several may claim one pair: numpy keeps the last of equal places, in both arrays.
        values[claimed] = seqs[free]
        keys[claimed] = wanted[free]
        there[free] = keys[claimed]
        same = there == wanted
        values[pair[same]] = seqs[same]
        taken += int(np.count_nonzero(same[free]))
        on = np.flatnonzero(~same)
        wanted, seqs, pair = wanted[on], seqs[on], pair[on] + 1
        pair[pair == pairs] = 0
    return taken
