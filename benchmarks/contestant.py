"""What is measured: anything that stores rows and finds the nearest."""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

FULL, PROJECTED = "full", "projected"

Rows = npt.NDArray[np.float32]
Samples = tuple[list[float], list[float]]


class Contestant:
    """Stores unit rows under the numbers 0, 1, 2 and so on, and finds the nearest by cosine.

    Attributes:
        name: What the tables call it.
        efforts: Settings that trade time for recall: least first, but 0 for the default before
            them; `(0,)` when there is none.
        ingests: Whether the time of its `add` says something.

    Args:
        rows: How many rows will be added.
        width: Their width.
        threads: How many threads may add.
    """

    name = ""
    efforts: tuple[int, ...] = (0,)
    ingests = True

    def __init__(self, *, rows: int, width: int, threads: int) -> None:
        self.rows, self.width, self.threads = rows, width, threads

    @classmethod
    def missing(cls) -> str | None:
        """Name the package that is not installed; `None` when nothing is missing."""
        return None

    @staticmethod
    def row_bytes(width: int) -> int:
        """Say what a row takes in memory, roughly."""
        return 4 * width

    def add(self, rows: Rows) -> None:
        """Store rows."""
        raise NotImplementedError

    def ready(self) -> None:
        """Finish what goes on in the background."""

    def set_effort(self, effort: int) -> None:
        """Take one of the settings."""

    def prepared(self, queries: Rows) -> Sequence[Any]:
        """Give the queries the form that `search` takes; not part of a query's time."""
        return list(queries)

    def search(self, query: Any, top_k: int, threshold: float | None) -> Any:
        """Answer one query; this is what is timed."""
        raise NotImplementedError

    def numbers(self, answer: Any) -> list[int]:
        """Read the rows' numbers from an answer of `search`; not part of a query's time."""
        return [int(number) for number in answer]

    def found(self, query: Any, top_k: int, threshold: float | None) -> list[int]:
        """Answer one query with the rows' numbers."""
        return self.numbers(self.search(query, top_k, threshold))

    def timed(self, queries: Sequence[Any], top_k: int, threshold: float | None) -> Samples:
        """Answer queries one by one.

        Returns:
            Seconds on the clock and seconds of this thread's CPU, one of each a query.
        """
        walls, cpus = [], []
        clock, cpu_clock, search = time.perf_counter, time.thread_time, self.search
        for query in queries:
            cpu_start, start = cpu_clock(), clock()
            search(query, top_k, threshold)
            stop, cpu_stop = clock(), cpu_clock()
            walls.append(stop - start)
            cpus.append(cpu_stop - cpu_start)
        return walls, cpus

    def close(self) -> None:
        """Let go of what the garbage collector does not know."""


def optional(module: str) -> Any | None:
    """Import a module that may not be installed; `None` when it is not."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise
        return None
