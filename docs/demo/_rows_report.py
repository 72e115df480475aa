"""The words and figures of the rows' part, apart from where they are shown."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from _report import milliseconds

if TYPE_CHECKING:
    from _rows_board import Check, Crash, RowsBoard, Seen, Write

__all__ = [
    "as_dict",
    "check_line",
    "duration",
    "plain_rows",
    "rows_table",
    "seen_line",
    "tick_line",
]

_SHOWN_DIFFERENT = 5


def duration(seconds: float | None) -> str:
    """Return a latency in the unit that suits it."""
    if seconds is None or seconds >= 0.0005:
        return milliseconds(seconds)
    return f"{seconds * 1e6:.1f} us"


def rows_table(board: RowsBoard) -> list[tuple[str, str]]:
    """Return what happened, one figure a row."""
    return [
        ("transactions committed", f"{board.committed:,}"),
        (
            "  inserts, updates, deletes",
            f"{board.inserted:,}, {board.updated:,}, {board.deleted:,}",
        ),
        ("transactions rolled back", f"{board.rolled_back:,}"),
        ("  of their rows, seen in the replica", str(board.taken_back)),
        ("rows in the replica", f"{board.replica_rows:,}"),
        ("EQUAL to the table, row for row", _equal(board)),
        ("COMMIT sent to visible, p50 / p99", _pair(board.lag_s(0.5), board.lag_s(0.99))),
        ("read a row by key, replica", duration(board.gets.at(0.5))),
        ("  SELECT by key, unix socket", duration(board.selects.at(0.5))),
        (
            "search by text, replica, p50 / p99",
            _pair(board.queries.at(0.5), board.queries.at(0.99)),
        ),
        ("reads answered", f"{board.reads:,}"),
    ]


def plain_rows(board: RowsBoard) -> str:
    """Return `rows_table` as lines of even width."""
    lines = rows_table(board)
    first, second = (max(len(line[n]) for line in lines) for n in range(2))
    return "\n".join(f"  {a:<{first}}  {b:>{second}}" for a, b in lines)


def tick_line(board: RowsBoard) -> str:
    """Return how it stands, on one line."""
    return (
        f"  {board.seconds:>4.1f} s: {board.committed:,} committed,"
        f" {board.rolled_back} rolled back,"
        f" {board.lag_rows} behind, COMMIT to visible {duration(board.lag_s(0.5))},"
        f" get {duration(board.gets.at(0.5))}, search {duration(board.queries.at(0.5))},"
        f" equal {sum(check.equal for check in board.checks)} of {len(board.checks)} times"
    )


def check_line(check: Check) -> str:
    """Say whether the replica was the table."""
    if check.equal:
        return (
            f"  EQUAL: all {check.rows:,} rows of the table are in the replica, and no other,"
            f" {milliseconds(check.waited_s)} after the database was asked"
        )
    shown = ", ".join(check.different[:_SHOWN_DIFFERENT])
    return f"  NOT EQUAL: {len(check.different)} of {check.rows:,} rows differ: {shown}"


def seen_line(seen: Seen) -> tuple[str, str, str, str]:
    """Return kind, row, what it says and the lag of one change that arrived."""
    change = seen.change
    return change.kind, change.product_id, change.told, milliseconds(seen.lag_s)


def as_dict(
    board: RowsBoard, write: Write, crash: Crash, *, starting_s: dict[str, float]
) -> dict[str, object]:
    """Return everything for machines; times in seconds."""
    return {
        "equal": board.equal and crash.check.equal and write.in_database and write.in_replica,
        "rows": board.replica_rows,
        "starting_s": {name: round(seconds, 3) for name, seconds in starting_s.items()},
        "transactions": {
            "committed": board.committed,
            "inserted": board.inserted,
            "updated": board.updated,
            "deleted": board.deleted,
            "rolled_back": board.rolled_back,
            "rolled_back_rows_seen": board.taken_back,
        },
        "commit_to_visible_s": {
            "measured": len(board.arrivals.lags_s),
            "p50": board.lag_s(0.5),
            "p99": board.lag_s(0.99),
        },
        "reads": {
            "count": board.reads,
            "get_p50_s": board.gets.at(0.5),
            "select_p50_s": board.selects.at(0.5),
            "search_p50_s": board.queries.at(0.5),
            "search_p99_s": board.queries.at(0.99),
        },
        "checks": [_check(check) for check in board.checks],
        "write": asdict(write),
        "crash": {
            "away_s": crash.away_s,
            "changes": crash.changes,
            "reads": crash.reads,
            "check": _check(crash.check),
        },
    }


def _check(check: Check) -> dict[str, object]:
    return {
        "rows": check.rows,
        "equal": check.equal,
        "different": list(check.different[:_SHOWN_DIFFERENT]),
        "waited_s": check.waited_s,
    }


def _equal(board: RowsBoard) -> str:
    if not board.checks:
        return "not asked yet"
    equal = sum(check.equal for check in board.checks)
    return f"{'yes' if board.equal else 'NO'}, {equal} of {len(board.checks)} times"


def _pair(first: float | None, second: float | None) -> str:
    return f"{duration(first)} / {duration(second)}"
