"""Many short byte strings in two arrays, which can lie in a mapped file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Arena"]


class Arena:
    """Byte strings by number.

    Attributes:
        offsets: Shape `(n + 1,)`, ascending: where each begins, and where the last ends.
        content: Shape `(m,)`: all bytes, one string after the other.
    """

    __slots__ = ("_memory", "content", "offsets")

    def __init__(self, offsets: npt.NDArray[np.int64], content: npt.NDArray[np.uint8]) -> None:
        self.offsets = offsets
        self.content = content
        self._memory = content.data

    @classmethod
    def of(cls, strings: Sequence[bytes]) -> Arena:
        """Copy strings."""
        offsets = np.zeros(len(strings) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, strings), np.int64, len(strings)), out=offsets[1:])
        return cls(offsets, np.frombuffer(b"".join(strings), np.uint8))

    @classmethod
    def joined(cls, arenas: Sequence[Arena | int]) -> Arena:
        """Join arenas, in order; a number is so many empty strings."""
        offsets, contents = [np.zeros(1, np.int64)], [np.empty(0, np.uint8)]
        end = 0
        for arena in arenas:
            if isinstance(arena, int):
                offsets.append(np.full(arena, end))
            else:
                first, last = arena.offsets[[0, -1]].tolist()
                offsets.append(arena.offsets[1:] + (end - first))
                contents.append(arena.content[first:last])
                end += last - first
        return cls(np.concatenate(offsets), np.concatenate(contents))

    def spread(self, present: npt.NDArray[np.bool_]) -> Arena:
        """Put empty strings where `present` is false; it is true as often as there are strings."""
        lengths = np.zeros(len(present), np.int64)
        lengths[present] = np.diff(self.offsets)
        offsets = np.zeros(len(present) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        first, last = self.offsets[[0, -1]].tolist()
        return Arena(offsets, self.content[first:last])

    def take(self, numbers: npt.NDArray[np.int64]) -> Arena:
        """Choose strings, in any order; a view if they follow each other."""
        if not len(numbers):
            return Arena.of([])
        if (numbers[1:] - numbers[:-1] == 1).all():
            first, last = numbers[[0, -1]].tolist()
            return Arena(self.offsets[first : last + 2], self.content)
        return Arena.of([self[number] for number in numbers.tolist()])

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, number: int) -> bytes:
        return bytes(self._memory[self.offsets.item(number) : self.offsets.item(number + 1)])

    @property
    def size_bytes(self) -> int:
        """Bytes of both arrays."""
        return self.offsets.nbytes + self.content.nbytes
