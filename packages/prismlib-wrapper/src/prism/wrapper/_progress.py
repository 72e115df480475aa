"""A bar for the snapshot, where somebody looks."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from prism.wrapper.sources import Phase, Source

__all__ = ["SnapshotProgress"]


class SnapshotProgress:
    """Draws on standard error while the source reads a snapshot.

    Args:
        enabled: Whether to draw at all.
    """

    def __init__(self, *, enabled: bool) -> None:
        self._enabled = enabled
        self._progress: Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def show(self, source: Source) -> None:
        """Draw how far it is."""
        if not self._enabled:
            return
        status = source.status()
        if status.phase is not Phase.SNAPSHOT:
            self._end()
            return
        if self._progress is None:
            self._progress = Progress(
                TextColumn("snapshot"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("rows"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._progress.start()
            self._progress.add_task("snapshot")
        self._progress.update(
            self._progress.task_ids[0],
            completed=status.snapshot_rows,
            total=max(status.snapshot_total_estimate or 0, status.snapshot_rows) or None,
        )

    def _end(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
