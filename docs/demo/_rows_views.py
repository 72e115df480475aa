"""The rows while they change: a page of its own on a terminal, plain lines elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from rich import box
from rich.console import Group
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from _rows_report import rows_table, seen_line, tick_line

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from _rows_board import RowsBoard

__all__ = ["LiveRowsView", "PlainRowsView", "RowsView", "SilentRowsView", "rows_page"]

REFRESHES_PER_S = 8

_STYLES = {"insert": "green", "update": "yellow", "delete": "red"}


class RowsView(Protocol):
    """Shows the board while it fills."""

    def update(self, board: RowsBoard) -> None:
        """Show how it stands now."""

    def close(self) -> None:
        """Stop showing."""


class LiveRowsView:
    """A full screen that redraws itself: figures, the latest changes, what a search finds."""

    def __init__(self, console: Console, seconds: float) -> None:
        self._seconds = seconds
        self._live = Live(
            console=console, screen=True, auto_refresh=False, refresh_per_second=REFRESHES_PER_S
        )

    def update(self, board: RowsBoard) -> None:
        """Redraw."""
        self._live.start()  # only the first time
        self._live.update(rows_page(board, self._seconds), refresh=True)

    def close(self) -> None:
        """Leave the screen; what it showed is told again below."""
        self._live.stop()


class PlainRowsView:
    """A line each second, for logs and pipes."""

    def __init__(self, console: Console, seconds: float) -> None:
        self._console = console
        self._seconds = seconds
        self._next = 1.0

    def update(self, board: RowsBoard) -> None:
        """Print a line if a second has passed."""
        if board.seconds >= min(self._next, self._seconds):
            self._next = board.seconds // 1 + 1
            self._console.print(tick_line(board))

    def close(self) -> None:
        """Do nothing: every line is out."""


class SilentRowsView:
    """Shows nothing: the result follows as JSON."""

    def update(self, board: RowsBoard) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Do nothing."""


def rows_page(board: RowsBoard, seconds: float) -> RenderableType:
    """Return the page: the most important first, since a low terminal cuts off the end."""
    title = Text("PostgreSQL -> prism-wrapper -> replica in this process", style="bold cyan")
    figures = Table(box=box.SIMPLE, pad_edge=False, show_header=False)
    figures.add_column()
    figures.add_column(justify="right")
    for name, figure in rows_table(board):
        style = None
        if name.startswith("EQUAL") and board.checks:
            style = "bold green" if board.equal else "bold red"
        figures.add_row(name, figure, style=style)
    bar = ProgressBar(total=seconds, completed=min(board.seconds, seconds))
    return Padding(Group(title, bar, figures, _changes(board), _found(board)), (1, 2))


def _changes(board: RowsBoard) -> Table:
    drawn = Table(box=None, pad_edge=False, expand=True, title_justify="left")
    drawn.add_column("change", width=7)
    drawn.add_column("row", width=14, no_wrap=True)
    drawn.add_column("as committed", ratio=1, no_wrap=True)
    drawn.add_column("visible after", justify="right", width=13)
    for seen in list(board.arrivals.latest):
        kind, product_id, told, lag = seen_line(seen)
        drawn.add_row(Text(kind, style=_STYLES.get(kind, "")), product_id, Text(told), lag)
    return drawn


def _found(board: RowsBoard) -> Text:
    text = Text(f"\nnearest to {board.question!r}:\n" if board.question else "")
    for score, row in board.found:
        text.append(f"  {score:.2f}  {row}\n", style="dim")
    return text
