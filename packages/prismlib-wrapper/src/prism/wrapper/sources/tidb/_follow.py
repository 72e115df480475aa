"""Which tables are followed, and which statements concern them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from prism.wrapper.sources.errors import SourceConfigurationError, TableRefusedError
from prism.wrapper.sources.tidb._catalogue import TableFacts
from prism.wrapper.sources.tidb._messages import DdlEvent

__all__ = ["chosen", "concerns", "follow"]

# They move or remove rows, and no message tells of the rows.
_ROWLESS: Final = re.compile(
    r"\b(?:truncate|drop|exchange|remove)\s+partition|\b(?:flashback|recover)\s", re.IGNORECASE
)


def follow(tables: Iterable[str], database: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Make full names of names.

    Returns:
        The databases that are asked about, and the tables; no tables means all of them.
    """
    wanted = tuple(name if "." in name else f"{database}.{name}" for name in tables)
    schemas = dict.fromkeys([*(name.partition(".")[0] for name in wanted)] or [database])
    return tuple(schemas), wanted


def chosen(
    found: Mapping[str, TableFacts], wanted: Sequence[str], database: str
) -> dict[str, TableFacts]:
    """Pick the tables to follow: those wanted, or all that have a key.

    Raises:
        SourceConfigurationError: There is none.
        TableRefusedError: One that is wanted is not there, or has no key.
    """
    picked: dict[str, TableFacts] = {}
    for name in wanted:
        facts = found.get(name)
        if facts is None:
            raise TableRefusedError(f"there is no table {name}, or it may not be read", table=name)
        if not facts.key:
            raise TableRefusedError(
                f"table {name} has neither a primary key nor a unique index of columns that are "
                "NOT NULL, so its rows cannot be told apart",
                table=name,
                remedy=f"ALTER TABLE {facts.quoted} ADD PRIMARY KEY (...);",
            )
        picked[name] = facts
    if not wanted:
        picked = {name: facts for name, facts in found.items() if facts.key}
    if not picked:
        raise SourceConfigurationError(f"tables: no table of {database} has a key and may be read")
    return dict(sorted(picked.items()))


def concerns(ddl: DdlEvent, tables: Mapping[str, TableFacts]) -> str | None:
    """Say what a statement means for the tables followed.

    Returns:
        None if nothing; "" if the catalogue must be looked at; else why a snapshot is needed.
    """
    schemas = {facts.schema for facts in tables.values()}
    if ddl.schema and ddl.schema not in schemas:
        return None
    is_ours = not ddl.table or f"{ddl.schema}.{ddl.table}" in tables
    # A rename is told with one name of two, and of several tables at once.
    if not is_ours and not re.search(r"\brename\b", ddl.query, re.IGNORECASE):
        return None
    if is_ours and _ROWLESS.search(ddl.query):
        return f"a statement at {ddl.ts} moved rows of {ddl.table or ddl.schema} as a whole"
    return ""
