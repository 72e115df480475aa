"""What was broken and survived: a table for people, JSON for machines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from rich.table import Table

from chaos.faults import FAULTS
from chaos.memory import Memory
from chaos.rounds import PHASES, Outcome

__all__ = ["as_json", "as_table", "memory_lines", "summary"]


def as_table(outcomes: Sequence[Outcome]) -> Table:
    """One line for each fault: how often it was survived, and how long the way back took."""
    table = Table(title="survived", title_justify="left")
    table.add_column("fault")
    for phase in PHASES:
        table.add_column(f"in {phase}", justify="right")
    table.add_column("told after (most)", justify="right")
    table.add_column("equal after (most)", justify="right")
    for fault in FAULTS:
        own = [outcome for outcome in outcomes if outcome.fault == fault.name]
        if not own:
            continue
        counts = [str(sum(o.phase == phase and o.in_time for o in own)) for phase in PHASES]
        told = [outcome.shown_s for outcome in own if outcome.shown]
        table.add_row(
            fault.name,
            *counts,
            f"{max(told):.1f} s" if told else "",
            f"{max(outcome.recovered_s for outcome in own):.1f} s",
        )
    return table


def summary(outcomes: Sequence[Outcome], seconds: float) -> str:
    """One sentence."""
    late = sum(not outcome.in_time for outcome in outcomes)
    more = f" ({late} of them struck after the snapshot had ended)" if late else ""
    return (
        f"survived {len(outcomes)} faults{more} in {seconds:.0f} s: "
        f"{sum(o.committed for o in outcomes):,} transactions committed, "
        f"{sum(o.rolled_back for o in outcomes):,} rolled back, "
        f"{sum(o.rows for o in outcomes):,} rows compared, none differed"
    )


def as_json(
    outcomes: Sequence[Outcome], *, seconds: float, seed: int, failure: str, repeat: str
) -> str:
    """All of it."""
    return json.dumps(
        {
            "seed": seed,
            "seconds": round(seconds, 1),
            "survived": len(outcomes),
            "failure": failure,
            "repeat": repeat,
            "rounds": [asdict(outcome) for outcome in outcomes],
        },
        indent=1,
    )


def memory_lines(found: Sequence[Memory]) -> list[str]:
    """One line for each transaction."""
    return [
        f"{memory.rows:>9,} rows in one transaction: the wrapper took "
        f"{memory.wrapper_growth / 2**20:.0f} MB more at its most, the app that read "
        f"{memory.app_growth / 2**20:.0f} MB; equal after {memory.seconds:.1f} s"
        for memory in found
    ]
