"""The nodes at work: a page of its own on a terminal, plain lines elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from rich import box
from rich.console import Group
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from _nodes_report import nodes_head, nodes_rows, nodes_tick

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from _nodes_board import NodesBoard

__all__ = ["LiveNodesView", "NodesView", "PlainNodesView", "SilentNodesView", "nodes_page"]

LINES = 4
"""How many plain lines the traffic gets."""

_STYLES = {"GREEN": "bold green", "BLUE": "bold blue", "ORANGE": "yellow", "killed": "bold red"}


class NodesView(Protocol):
    """Shows the board while it fills."""

    def update(self, board: NodesBoard, what: str) -> None:
        """Show how it stands now, and what is going on."""

    def close(self) -> None:
        """Stop showing."""


class LiveNodesView:
    """A full screen that redraws itself; may be shown again after it was closed."""

    def __init__(self, console: Console, total: int) -> None:
        self._total = total
        self._live = Live(console=console, screen=True, auto_refresh=False)

    def update(self, board: NodesBoard, what: str) -> None:
        """Redraw."""
        self._live.start()  # only the first time
        self._live.update(nodes_page(board, self._total, what), refresh=True)

    def close(self) -> None:
        """Leave the screen; what it showed is told again below."""
        self._live.stop()


class PlainNodesView:
    """A few lines, for logs and pipes."""

    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._total = total
        self._step = max(1, total // LINES)
        self._told = 0

    def update(self, board: NodesBoard, what: str) -> None:  # noqa: ARG002  told by headings
        """Print a line if enough questions have passed."""
        if board.questions // self._step > self._told and board.questions <= self._total:
            self._told = board.questions // self._step
            self._console.print(nodes_tick(board, self._total))

    def close(self) -> None:
        """Do nothing: every line is out."""


class SilentNodesView:
    """Shows nothing: the result follows as JSON."""

    def update(self, board: NodesBoard, what: str) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Do nothing."""


def nodes_page(board: NodesBoard, total: int, what: str) -> RenderableType:
    """Return the page."""
    title = Text("three processes, one cache", style="bold cyan")
    bar = ProgressBar(total=total, completed=min(board.questions, total))
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for n, head in enumerate(nodes_head(board)):
        role = next((style for word, style in _STYLES.items() if word in head), "")
        drawn.add_column(Text(head, style=role), justify="right" if n else "left")
    for row in nodes_rows(board):
        style = None
        if row[0].startswith("TOKENS"):
            style = "bold green"
        elif row[0].startswith("WRONG") and board.cluster.wrong:
            style = "bold red"
        drawn.add_row(*row, style=style)
    return Padding(Group(title, Text(what), bar, drawn), (1, 2))
