"""Find out which stored answers a fresh one says the same as, and have them form groups.

Done beside the questions, and by `put` in its caller's time. An answer is compared with a few
members of each group near its question: about a tenth of a millisecond for all of them together.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager

import numpy as np
import numpy.typing as npt

from prism.cache._answers import AnswerSketch, compare
from prism.cache._entry import GROUP_BYTES, Entry
from prism.cache._shelf import Shelf
from prism.cache.store._notes import ENTRY_NOTE

__all__ = ["Grouping", "packed_note", "unpacked_note"]

Vector = npt.NDArray[np.float32]

# Entries whose notes wait to be written together: a transaction for each would take longer than all
# that is learned from an answer.
_NOTES_AT_ONCE = 64


class Grouping:
    """Keeps groups and meanings of entries up to date. Safe for threads.

    Args:
        shelf: Where the entries are.
        survive: Wraps a piece of work: counts and logs what fails in it.
    """

    def __init__(
        self, shelf: Shelf, survive: Callable[[str], AbstractContextManager[None]]
    ) -> None:
        self._shelf = shelf
        self._survive = survive
        # No lock: a fork could leave it held in the child.
        self._unwritten: deque[Entry] = deque()

    def place(
        self,
        entry: Entry,
        meaning: Vector | None,
        near: Iterable[tuple[Entry, float]],
        *,
        known: Entry | None = None,
        verdict: bool | None = None,
    ) -> None:
        """Let an entry join the groups of its neighbours that say the same.

        Args:
            entry: What was stored.
            meaning: Vector of its answer.
            near: Its neighbours, with cosines of no interest here.
            known: A neighbour whose answer was compared before.
            verdict: With what result; `None` if it told nothing.
        """
        self._shelf.understand(entry, entry.group, meaning)
        seen: set[bytes] = {entry.group}
        same = [entry]
        for other, _ in near:
            if other.group in seen or other is entry:
                continue
            seen.add(other.group)
            if other is known and verdict is not None:
                joins = verdict
            else:
                joins = self._agrees(entry.sketch, meaning, other)
            if joins:
                same.append(other)
        self.join(same)

    def join(self, same: Sequence[Entry]) -> None:
        """Make one group of these entries' groups; the first of them is to be noted anyway."""
        moved = self._shelf.join(same) if len(same) > 1 else []
        self._unwritten.extend((same[0], *moved))
        if len(self._unwritten) >= _NOTES_AT_ONCE:
            self.write()

    def is_right(
        self, fresh: AnswerSketch, meaning: Vector | None, candidate: Entry
    ) -> bool | None:
        """Tell whether the candidate's answer would have been right; `None` if that is unknown."""
        verdict = _compared(fresh, meaning, candidate)
        if verdict is not False:
            return verdict
        return self._agrees(fresh, meaning, candidate)

    def write(self) -> None:
        """Write down what changed, if the store keeps notes."""
        unwritten: dict[bytes, Entry] = {}
        with contextlib.suppress(IndexError):
            while True:
                entry = self._unwritten.popleft()
                unwritten[entry.key] = entry
        if unwritten and self._shelf.link.keeps_notes:
            notes = {ENTRY_NOTE + key: packed_note(entry) for key, entry in unwritten.items()}
            with self._survive("store"):
                self._shelf.link.note(notes)

    def _agrees(self, fresh: AnswerSketch, meaning: Vector | None, other: Entry) -> bool:
        return self._shelf.agrees(other, lambda member: _compared(fresh, meaning, member) is True)


def packed_note(entry: Entry) -> bytes:
    """Give group and meaning of an entry as they are stored."""
    meaning = entry.meaning
    return entry.group + (b"" if meaning is None else meaning.astype("<f2").tobytes())


def unpacked_note(note: bytes, *, is_width: Callable[[int], bool]) -> tuple[bytes, Vector | None]:
    """Read what `packed_note` gave.

    Args:
        note: The stored bytes.
        is_width: Whether a vector may have this width.

    Raises:
        ValueError: They are something else.
    """
    group, packed = note[:GROUP_BYTES], note[GROUP_BYTES:]
    if len(packed) % 2 or (packed and not is_width(len(packed) // 2)):
        raise ValueError("a note on an entry has another width than any vector here")
    meaning = np.frombuffer(packed, dtype="<f2").astype(np.float32)
    return group, meaning if meaning.any() and np.isfinite(meaning).all() else None


def _compared(fresh: AnswerSketch, meaning: Vector | None, other: Entry) -> bool | None:
    theirs = other.meaning
    cosine = None
    if meaning is not None and theirs is not None and meaning.shape == theirs.shape:
        cosine = float(meaning @ theirs)
    return compare(fresh, other.sketch, cosine)
