"""`prism-wrapper slots`."""

from __future__ import annotations

import json
import sys

from rich.console import Console
from rich.table import Table

from prism.wrapper._config import WrapperConfig
from prism.wrapper.errors import WrapperConfigurationError
from prism.wrapper.sources.postgres import drop_slot, list_slots

__all__ = ["run_slots"]


def run_slots(config: WrapperConfig, *, drop: str | None, ask: bool, as_json: bool) -> int:
    """List the slots, or drop one.

    Raises:
        SourceError: The database does not answer, or refuses; or the slot is in use.
        WrapperConfigurationError: There is nobody to ask.
    """
    if config.database.flavor != "postgresql":
        raise WrapperConfigurationError("only PostgreSQL has replication slots")
    dsn = config.database.dsn.reveal()
    console = Console(highlight=False, soft_wrap=True)
    if drop is not None:
        if ask and not _confirmed(drop):
            console.print("nothing was dropped")
            return 1
        drop_slot(dsn, drop)
        console.print(
            f"dropped {drop}; the wrapper that used it begins with a new snapshot when it starts"
        )
        return 0
    slots = list_slots(dsn)
    if as_json:
        console.print_json(
            json.dumps(
                [
                    {
                        "name": slot.name,
                        "database": slot.database,
                        "plugin": slot.facts.plugin,
                        "wal_status": slot.facts.wal_status,
                        "retained_bytes": slot.facts.retained_bytes,
                        "active_pid": slot.facts.active_pid,
                        "ours": slot.name == config.slot,
                    }
                    for slot in slots
                ]
            )
        )
        return 0
    table = Table("slot", "database", "plugin", "state", "kept", "read by")
    for slot in slots:
        kept = slot.facts.retained_bytes
        table.add_row(
            f"{slot.name} (this wrapper's)" if slot.name == config.slot else slot.name,
            slot.database,
            slot.facts.plugin,
            slot.facts.wal_status or "",
            "" if kept is None else f"{kept / 2**20:.1f} MB",
            "nobody" if slot.facts.active_pid is None else f"process {slot.facts.active_pid}",
        )
    console.print(table if slots else "the database has no logical replication slots")
    return 0


def _confirmed(name: str) -> bool:
    if not sys.stdin.isatty():
        raise WrapperConfigurationError(f"to drop {name} without being asked, add --yes")
    answer = input(f"Drop slot {name}? Its wrapper will need a new snapshot. [y/N] ")
    return answer.strip().lower() in ("y", "yes")
