"""Arranges the chunks of large indexes in cells, in the background."""

from __future__ import annotations

import atexit
import logging
import os
import threading
from typing import TYPE_CHECKING

import numpy as np

from prismresonance._cells import arrange
from prismresonance._chunks import Chunk
from prismresonance._fork_gate import FORK_GATE

if TYPE_CHECKING:
    import numpy.typing as npt

    from prismresonance._projector import PrismProjector
    from prismresonance._snapshot import Snapshot
    from prismresonance._table import RowTable

__all__ = ["Arranger"]

_log = logging.getLogger("prismresonance")

ARRANGED_ROWS = 1 << 17
"""Rows of a chunk with cells, or a chunk's worth more."""

ARRANGE_FROM = 300_000
"""Rows of an index from which passing over cells saves more than looking at them costs."""

_EXIT_WAIT_S = 5.0
_stopping = threading.Event()


class Arranger:
    """Turns neighbouring full chunks of an index into one that is arranged in cells.

    One thread, started when there is something to do and ended when there is not. Rows are found
    all the while, by reading their chunks whole. A process forked off starts a thread of its own.

    Args:
        table: The rows.
        projector: Projects them.
    """

    def __init__(self, table: RowTable, projector: PrismProjector) -> None:
        self._table = table
        self._projector = projector
        self._thread: threading.Thread | None = None
        self._process = 0

    @property
    def busy(self) -> bool:
        """Whether chunks are being arranged."""
        thread = self._thread
        return thread is not None and self._process == os.getpid() and thread.is_alive()

    def want(self) -> None:
        """Start arranging if there is enough to arrange; returns at once, O(chunks)."""
        if self.busy or _stopping.is_set() or not _arrangeable(self._table.snapshot):
            return
        self._process = os.getpid()
        self._thread = threading.Thread(target=self._run, name="prism-cells", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:  # no more threads, or the interpreter is ending
            _log.info("rows stay without cells: %s", error)

    def _run(self) -> None:
        FORK_GATE.enter()
        try:
            while parts := _arrangeable(self._table.snapshot):
                snapshot = self._table.snapshot
                flat = Chunk.merged(parts, epoch=snapshot.epoch)
                arranged = arrange(self._directions(flat), go_on=_step)
                if arranged is None:
                    return
                new = flat.arrange(*arranged)
                if not self._table.exchange([chunk for chunk, _ in parts], new, snapshot.epoch):
                    return  # a compaction came between: the next write asks again
        except Exception as error:  # noqa: BLE001  the thread's top: rows are found without cells
            _log.warning("rows stay without cells: %s: %s", type(error).__name__, error)
        finally:
            FORK_GATE.leave()

    def _directions(self, chunk: Chunk) -> npt.NDArray[np.float32]:
        directions = self._projector.products(chunk.rows[: chunk.length])
        lengths = np.sqrt(np.vecdot(directions, directions))
        lengths[lengths == 0.0] = 1.0
        directions /= lengths[:, np.newaxis]
        return directions


def _arrangeable(snapshot: Snapshot) -> list[tuple[Chunk, int]]:
    """Give neighbouring full chunks without cells that are enough for one with; or none."""
    if snapshot.live_rows < ARRANGE_FROM:
        return []
    run: list[tuple[Chunk, int]] = []
    for chunk, length in list(snapshot.parts())[:-1]:
        if chunk.codes is None or chunk.arranged:
            run = []
            continue
        run.append((chunk, length))
        if sum(rows - part.dead for part, rows in run) >= ARRANGED_ROWS:
            return run
    return []


def _step() -> bool:
    """Let a fork come between two steps; says whether to go on."""
    FORK_GATE.leave()
    FORK_GATE.enter()
    return not _stopping.is_set()


def _stop() -> None:
    _stopping.set()
    for thread in threading.enumerate():
        if thread.name == "prism-cells":
            thread.join(_EXIT_WAIT_S)


atexit.register(_stop)
