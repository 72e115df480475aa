"""How fast this machine reads memory: no scan of the same bytes can be faster."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from contestant import Contestant, Rows, Samples

_MOST_BYTES = 512 << 20
_BLOCKS = (256 << 10, 2 << 20, 8 << 20, 32 << 20, 128 << 20, _MOST_BYTES)
_Words = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Speed:
    """Reading a block over and over.

    Attributes:
        size_bytes: The block's size.
        threads: Threads that read their share of it at once.
        best_gb_s: 10**9 bytes a second in the best of all passes.
        median_gb_s: The same in the median pass.
    """

    size_bytes: int
    threads: int
    best_gb_s: float
    median_gb_s: float


def _total(words: _Words) -> int:
    total = 0
    for place in range(words.shape[0]):
        total += words[place]
    return total


@cache
def reader() -> Callable[[_Words], int]:
    """Compile a loop that adds up words, in vector registers: memory is all that it awaits."""
    read: Callable[[_Words], int] = numba.njit(nogil=True)(_total)
    read(np.zeros(8, np.int64))
    return read


def speeds(*, threads: int, budget_s: float) -> list[Speed]:
    """Measure blocks from the size of a core's own cache to one that no cache holds.

    Args:
        threads: Measured with one and with this many.
        budget_s: Seconds for each figure.
    """
    found = []
    for size in _BLOCKS:
        words = np.ones(size // 8, np.int64)
        for count in sorted({1, threads}):
            passes = _passes(np.array_split(words, count), budget_s)
            best, median = min(passes), float(np.median(passes))
            found.append(Speed(size, count, size / best / 1e9, size / median / 1e9))
    return found


def _passes(parts: list[_Words], budget_s: float) -> list[float]:
    """Read all parts at once, again and again; give each pass's seconds, the slowest part's."""
    read = reader()
    stop = time.perf_counter() + budget_s
    barrier = threading.Barrier(len(parts))
    spans: list[list[float]] = [[] for _ in parts]
    # Small blocks are read several times a pass: meeting at the barrier would take longer.
    repeats = max(1, (8 << 20) // sum(part.nbytes for part in parts))

    def work(part: _Words, own: list[float]) -> None:
        # At least one pass, however late a busy machine lets it begin.
        while barrier.wait() >= 0 and (not own or time.perf_counter() < stop):
            start = time.perf_counter()
            for _ in range(repeats):
                read(part)
            own.append((time.perf_counter() - start) / repeats)
        barrier.abort()

    def guarded(part: _Words, own: list[float]) -> None:
        try:
            work(part, own)
        except threading.BrokenBarrierError:
            return

    others = [
        threading.Thread(target=guarded, args=pair)
        for pair in zip(parts[1:], spans[1:], strict=True)
    ]
    for other in others:
        other.start()
    guarded(parts[0], spans[0])
    for other in others:
        other.join()
    return [max(group) for group in zip(*spans, strict=False)]


class Floor(Contestant):
    """Reads as many bytes as a scan would, and finds nothing: what the memory alone takes.

    Blocks of more than 512 MB are not read whole: the time for 512 MB is scaled up.
    """

    ingests = False
    bytes_a_row = 0

    def __init__(self, *, rows: int, width: int, threads: int) -> None:
        super().__init__(rows=rows, width=width, threads=threads)
        size = rows * self.bytes_a_row
        self._words = np.ones(min(size, _MOST_BYTES) // 8, np.int64)
        self._scale = size / self._words.nbytes
        self._read = reader()

    def add(self, rows: Rows) -> None:
        """Do nothing: the block is there."""

    def search(self, query: Any, top_k: int, threshold: float | None) -> Any:  # noqa: ARG002
        """Read the block."""
        self._read(self._words)
        return ()

    def timed(self, queries: Sequence[Any], top_k: int, threshold: float | None) -> Samples:
        """Time it, and scale it to the size it stands for."""
        walls, cpus = super().timed(queries, top_k, threshold)
        return [wall * self._scale for wall in walls], [cpu * self._scale for cpu in cpus]


class FloatFloor(Floor):
    """64 float32 a row: the projected rows."""

    name = "floor, 256 B a row"
    bytes_a_row = 256

    @staticmethod
    def row_bytes(width: int) -> int:  # noqa: ARG004
        """Say 256."""
        return 256


class BitFloor(Floor):
    """64 bits a row: the signs of the projected rows."""

    name = "floor, 8 B a row"
    bytes_a_row = 8

    @staticmethod
    def row_bytes(width: int) -> int:  # noqa: ARG004
        """Say 8."""
        return 8
