"""The traffic as it is served: a live page on a terminal, plain lines elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from rich import box
from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from _report import head, outcome_cells, rows, status_line

if TYPE_CHECKING:
    from rich.console import Console

    from _scoreboard import Scoreboard

__all__ = ["LiveView", "PlainView", "SilentView", "View", "table"]

LINE_EVERY = 50
"""Questions between two plain lines."""

REFRESHES_PER_S = 10

_STYLES = {"exact": "green", "similar": "bold green", "miss": "yellow", "WRONG": "bold red"}


class View(Protocol):
    """Shows the scoreboard while it fills."""

    def update(self, board: Scoreboard) -> None:
        """Show the board after one more question."""

    def close(self) -> None:
        """Stop showing."""


class LiveView:
    """A full screen that redraws itself: progress, both columns, the latest questions."""

    def __init__(self, console: Console, total: int) -> None:
        self._progress = Progress(
            TextColumn("questions"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            expand=True,
        )
        self._task = self._progress.add_task("questions", total=total)
        self._live = Live(
            self._progress,
            console=console,
            refresh_per_second=REFRESHES_PER_S,
            screen=True,
        )

    def update(self, board: Scoreboard) -> None:
        """Show the board after one more question; drawn at the next refresh."""
        self._live.start()  # only the first time
        self._progress.update(self._task, completed=board.questions)
        self._live.update(Group(self._progress, table(board), _latest(board)))

    def close(self) -> None:
        """Leave the screen; what it showed is told again below."""
        if self._live.is_started:
            self._live.refresh()  # the last state, also of a stream that was over at once
        self._live.stop()


class PlainView:
    """A line each `LINE_EVERY` questions, for logs and pipes."""

    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._total = total

    def update(self, board: Scoreboard) -> None:
        """Print a line if enough questions have passed."""
        if board.questions % LINE_EVERY == 0 or board.questions == self._total:
            self._console.print(status_line(board, self._total))

    def close(self) -> None:
        """Do nothing: every line is out."""


class SilentView:
    """Shows nothing: the result follows as JSON."""

    def update(self, board: Scoreboard) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Do nothing."""


def table(board: Scoreboard) -> Table:
    """Return both columns side by side."""
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    title, *columns = head()
    drawn.add_column(title)
    for column in columns:
        drawn.add_column(column, justify="right")
    for row in rows(board):
        wrong = row[0].startswith("WRONG") and board.cache.wrong_hits
        drawn.add_row(*row, style="bold red" if wrong else None)
    return drawn


def _latest(board: Scoreboard) -> Table:
    drawn = Table(box=None, pad_edge=False, show_header=False, expand=True)
    drawn.add_column(width=7)
    drawn.add_column(width=4)
    drawn.add_column(ratio=1, no_wrap=True)
    drawn.add_column(ratio=1, no_wrap=True)
    for outcome in board.latest:
        kind, cosine, question, matched = outcome_cells(outcome)
        drawn.add_row(Text(kind, style=_STYLES[kind]), cosine, question, Text(matched, style="dim"))
    return drawn
