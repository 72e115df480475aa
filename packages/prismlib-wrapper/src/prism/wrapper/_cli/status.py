"""`prism-wrapper status`."""

from __future__ import annotations

import json
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from prism.wrapper._config import WrapperConfig
from prism.wrapper._status import read_status

__all__ = ["run_status"]


def run_status(config: WrapperConfig, *, as_json: bool) -> int:
    """Print how the running wrapper is.

    Raises:
        DaemonError: None runs.
    """
    told = read_status(config.log_path)
    console = Console(highlight=False, soft_wrap=True)
    if as_json:
        console.print_json(json.dumps(told))
        return 0
    source, log = _part(told, "source"), _part(told, "log")
    table = Table(show_header=False, box=None)
    table.add_row("state", str(told["state"]))
    for name in ("problem", "warning"):
        if told.get(name):
            table.add_row(name, str(told[name]))
    table.add_row("drivers", f"{told['subscribers']} connected, port {told['port']}")
    table.add_row("model", str(told["model_id"]))
    # Only PostgreSQL has slots.
    slot = f", slot {source['slot']} ({source['wal_status'] or 'no state known'})"
    table.add_row(
        "database",
        f"{source['phase']}, {'connected' if source['connected'] else 'not connected'}"
        f"{slot if source['slot'] else ''}",
    )
    if source["phase"] == "snapshot":
        table.add_row(
            "snapshot", f"{source['snapshot_rows']} of {source['snapshot_total_estimate']} rows"
        )
    if source["last_error"]:
        table.add_row("last error", str(source["last_error"]))
    table.add_row("behind", _seconds(log["source_age_s"]))
    table.add_row("kept by the database", _bytes(source["retained_bytes"]))
    table.add_row("change log", f"{_bytes(log['size_bytes'])}, position {log['head']}")
    table.add_row("tables", ", ".join(map(str, _list(told, "tables"))) or "none yet")
    table.add_row("rows without a vector", str(told["quarantined"]))
    console.print(table)
    for row in _list(told, "quarantine"):
        if isinstance(row, Mapping):
            console.print(f"  {row['table']} {row['row_id']}: {row['error']}")
    return 0


def _part(told: Mapping[str, object], name: str) -> Mapping[str, object]:
    part = told.get(name)
    return part if isinstance(part, Mapping) else {}


def _list(told: Mapping[str, object], name: str) -> list[object]:
    items = told.get(name)
    return items if isinstance(items, list) else []


def _seconds(age: object) -> str:
    return "not known" if not isinstance(age, (int, float)) else f"{age:.1f} s"


def _bytes(size: object) -> str:
    if not isinstance(size, int):
        return "not known"
    return f"{size / 2**20:.1f} MB"
