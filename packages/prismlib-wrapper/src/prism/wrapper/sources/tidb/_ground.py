"""The tables as they were at a place in the stream, kept beside the spool.

A row is read with the columns that its table had when it was committed. The catalogue of that
moment may be collected as garbage when the wrapper comes back, so what was in use is on disk: for
each change of the tables, its timestamp and all tables after it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from prism.wrapper.sources.tidb._catalogue import TableFacts

__all__ = ["Grounds"]


class Grounds:
    """A short history of tables. Used by one thread.

    Args:
        folder: The spool's.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "tables.json"
        self._history: list[tuple[int, dict[str, TableFacts]]] = []

    def load(self) -> None:
        """Read what was kept; what cannot be read counts as nothing."""
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
            self._history = [
                (
                    int(entry["ts"]),
                    {
                        facts.full_name: facts
                        for facts in map(TableFacts.from_json, entry["tables"])
                    },
                )
                for entry in content
            ]
        except (OSError, ValueError, TypeError, KeyError):
            self._history = []

    def before(self, ts: int) -> dict[str, TableFacts] | None:
        """The tables after all that was committed before a timestamp; None if that is not known."""
        known = [tables for since, tables in self._history if since < ts]
        return known[-1] if known else None

    def keep(self, ts: int, tables: Mapping[str, TableFacts], *, confirmed: int | None) -> None:
        """Write down the tables as they are from a timestamp on.

        Args:
            ts: Of the statement or snapshot that made them so.
            tables: By full name.
            confirmed: Nobody will ask for what was before; None to forget all that was.
        """
        entries = [] if confirmed is None else [e for e in self._history if e[0] < ts]
        while len(entries) > 1 and confirmed is not None and entries[1][0] < confirmed:
            entries.pop(0)
        self._history = [*entries, (ts, dict(tables))]
        fresh = self._path.with_suffix(".new")
        with fresh.open("w", encoding="utf-8") as file:
            json.dump(
                [
                    {"ts": since, "tables": [facts.to_json() for facts in known.values()]}
                    for since, known in self._history
                ],
                file,
            )
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)
