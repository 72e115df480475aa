"""WaveIndex as a contestant: in this process, and in one where it may not compile."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any, Literal

from contestant import Contestant, Rows, Samples
from prismresonance import PrismProjector, WaveIndex

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

TENANT = "benchmark"
_READY_WAIT_S = 600.0


class Wave(Contestant):
    """The whole of `query`: its checks, the projection, the search, the matches with payloads.

    Attributes:
        index: The index.
    """

    name = "WaveIndex"
    efforts: tuple[int, ...] = (0, 90, 80, 70)  # `recall=` in percent, its default first
    precision: Literal["int16", "int8"] = "int16"

    def __init__(self, *, rows: int, width: int, threads: int) -> None:
        super().__init__(rows=rows, width=width, threads=threads)
        self.index = WaveIndex(PrismProjector(tenant_id=TENANT), precision=self.precision)
        self._recall: float | None = None

    @staticmethod
    def row_bytes(width: int) -> int:
        """Integers, projected row, id, map."""
        return 2 * width + 64 + 8 + 60

    def add(self, rows: Rows) -> None:
        """Add one batch; the ids are counted up from 0."""
        self.index.add_many(rows)

    def ready(self) -> None:
        """Wait for what the index makes at its first need, or in the background.

        That is the map of ids, compiled kernels and cells.
        """
        self.index.get(0)
        self.index.query([1.0] * self.width, 1)
        deadline = time.monotonic() + _READY_WAIT_S
        while self._is_busy() and time.monotonic() < deadline:
            time.sleep(0.01)

    def _is_busy(self) -> bool:
        stats = self.index.stats()
        return stats.kernel == "compiling" or stats.arranging

    def set_effort(self, effort: int) -> None:
        """Take one of `efforts`."""
        self._recall = effort / 100 if effort else None

    def search(self, query: Rows, top_k: int, threshold: float | None) -> Any:
        """Query."""
        return self.index.query(query, top_k, threshold, recall=self._recall)

    def numbers(self, answer: Any) -> list[int]:
        """Read the ids."""
        return [match.id for match in answer]


class WaveBytes(Wave):
    """The same with a byte a component."""

    name = "WaveIndex int8"
    efforts = (0,)
    precision = "int8"

    @staticmethod
    def row_bytes(width: int) -> int:
        """Bytes, projected row, id, map."""
        return width + 64 + 8 + 60


class WaveNumpyOnly(Contestant):
    """The same with `PRISM_NO_JIT=1`, which holds for a whole process: so it has one of its own."""

    name = "WaveIndex, numpy only"
    ingests = False

    def __init__(self, *, rows: int, width: int, threads: int) -> None:
        super().__init__(rows=rows, width=width, threads=threads)
        context = get_context("spawn")
        self._pipe, there = context.Pipe()
        self._process = context.Process(target=_serve, args=(there, rows, width), daemon=True)
        before = os.environ.get("PRISM_NO_JIT")
        os.environ["PRISM_NO_JIT"] = "1"
        try:
            self._process.start()
        finally:
            del os.environ["PRISM_NO_JIT"]
            if before is not None:
                os.environ["PRISM_NO_JIT"] = before
        there.close()

    @staticmethod
    def row_bytes(width: int) -> int:
        """As in this process."""
        return Wave.row_bytes(width)

    def _ask(self, method: str, *arguments: Any) -> Any:
        self._pipe.send((method, arguments))
        return self._pipe.recv()

    def add(self, rows: Rows) -> None:
        """Add there."""
        self._ask("add", rows)

    def found(self, query: Rows, top_k: int, threshold: float | None) -> list[int]:
        """Ask there."""
        answer: list[int] = self._ask("found", query, top_k, threshold)
        return answer

    def timed(self, queries: Sequence[Any], top_k: int, threshold: float | None) -> Samples:
        """Measure there: the way between the processes does not count."""
        samples: Samples = self._ask("timed", queries, top_k, threshold)
        return samples

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join(10.0)


def _serve(pipe: Connection, rows: int, width: int) -> None:
    wave = Wave(rows=rows, width=width, threads=1)
    while True:
        try:
            method, arguments = pipe.recv()
        except EOFError:
            return
        pipe.send(getattr(wave, method)(*arguments))
