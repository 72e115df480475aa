"""A figure beside what it should be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

_MET = {True: "[green]yes[/green]", False: "[red]no[/red]", None: ""}


@dataclass(frozen=True)
class Goal:
    """One line.

    Attributes:
        figure: What is measured.
        goal: What it should be.
        measured: What it is.
        met: Whether it is so; `None` where the goal is no more than something to compare with.
    """

    figure: str
    goal: str
    measured: str
    met: bool | None


def goal_table(goals: Sequence[Goal]) -> Table:
    """Show goals and figures beside each other."""
    table = plain_table("goals", ["figure", "goal", "measured"], ["met"])
    for goal in goals:
        table.add_row(goal.figure, goal.goal, goal.measured, _MET[goal.met])
    return table


def plain_table(title: str, names: Sequence[str], figures: Sequence[str]) -> Table:
    """Begin a table: names to the left, figures to the right."""
    table = Table(title=title, title_justify="left")
    for name in names:
        table.add_column(name, no_wrap=len(names) == 1)
    for figure in figures:
        table.add_column(figure, justify="right")
    return table
