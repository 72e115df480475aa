"""The words and figures of the nodes' part, apart from where they are shown."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from _report import milliseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from _nodes_board import Column, NodesBoard, Takeover

__all__ = ["as_dict", "nodes_head", "nodes_rows", "nodes_table", "nodes_tick", "takeover_lines"]

NONE = "-"


def nodes_head(board: NodesBoard) -> tuple[str, ...]:
    """Return the titles of the columns: each node with its role, and all together."""
    return ("", *(f"{name} {_role(board, name)}".strip() for name in board.columns), "cluster")


def nodes_rows(board: NodesBoard) -> list[tuple[str, ...]]:
    """Return what the nodes did, one figure a row."""
    columns = (*board.columns.values(), board.cluster)

    def row(title: str, figure: Callable[[Column], str]) -> tuple[str, ...]:
        return (title, *map(figure, columns))

    return [
        row("questions", lambda one: f"{one.questions:,}"),
        row("calls of the (mock) model", lambda one: f"{one.calls:,}"),
        row("  a dict on each node alone", lambda one: f"{one.dict_calls:,}"),
        row("tokens spent", lambda one: f"{one.tokens_spent:,}"),
        row("TOKENS SAVED", lambda one: _percent(one.saved)),
        row("  a dict on each node alone", lambda one: _percent(one.dict_saved)),
        row("WRONG answers", lambda one: str(one.wrong)),
    ]


def nodes_table(board: NodesBoard) -> str:
    """Return `nodes_rows` as lines of even width."""
    lines = [nodes_head(board), *nodes_rows(board)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(lines[0]))]
    return "\n".join(
        "  " + "  ".join(
            f"{cell:<{width}}" if n == 0 else f"{cell:>{width}}"
            for n, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )  # fmt: skip


def nodes_tick(board: NodesBoard, total: int) -> str:
    """Return how it stands, on one line."""
    cluster = board.cluster
    each = ", ".join(f"{name} {_percent(one.saved)}" for name, one in board.columns.items())
    return (
        f"  {board.questions:>4} of {total}: {cluster.calls} calls, tokens saved"
        f" {_percent(cluster.saved)} ({each}), {cluster.wrong} wrong,"
        f" answers in {milliseconds(board.latency_s(0.5))}"
    )


def takeover_lines(takeover: Takeover) -> list[str]:
    """Tell how GREEN was replaced."""
    refused = "refused" if takeover.old_token_refused else "NOT REFUSED"
    equal = "yes" if takeover.equal else "NO"
    after = milliseconds(takeover.seconds)
    return [
        f"  {takeover.killed} was GREEN with token {takeover.token_before}",
        f"  {takeover.green} is GREEN with token {takeover.token}, after {after}",
        f"  a late write with the old token: {refused}",
        f"  of {takeover.acknowledged} acknowledged answers that it held, lost: {takeover.lost}",
        f"  its replacement: in step after {milliseconds(takeover.replaced_s)}",
        f"  acknowledged answers that it lacks: {takeover.missing}; all hold the same: {equal}",
        f"  questions answered between the kill and that: {takeover.answered}",
    ]


def as_dict(
    board: NodesBoard,
    takeover: Takeover,
    *,
    at_once: Mapping[str, int],
    starting_s: float,
) -> dict[str, object]:
    """Return everything for machines; times in seconds."""
    return {
        "as_promised": takeover.is_as_promised,
        "starting_s": round(starting_s, 3),
        "questions": board.questions,
        "distinct_questions": board.distinct,
        "nodes": {name: _column(one) for name, one in board.columns.items()},
        "cluster": _column(board.cluster),
        "wrong": [{"question": asked, "answered": other} for asked, other in board.wrong],
        "latency_s": {"p50": board.latency_s(0.5), "p99": board.latency_s(0.99)},
        "at_once": dict(at_once),
        "takeover": asdict(takeover),
    }


def _column(column: Column) -> dict[str, object]:
    return asdict(column) | {"saved": column.saved, "dict_saved": column.dict_saved}


def _role(board: NodesBoard, name: str) -> str:
    role, token = board.roles.get(name, ("", None))
    return f"GREEN, token {token}" if role == "GREEN" else role


def _percent(value: float | None) -> str:
    return NONE if value is None else f"{value:.0%}"
