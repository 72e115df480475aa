"""Rows that the log does not tell wholly, completed by reading them again. Pure but for `Reread`.

A row read again is as new as the table, so ahead of the stream; what happened since is still to
come and ends with the same row. One that is not there any more is left out: its deletion, or its
move to another key, is still to come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from prism.wrapper.sources._types import Change, Column, TableSchema, Value

__all__ = ["Reread", "complete"]

_Key: TypeAlias = tuple[str, ...]
Reread: TypeAlias = Callable[[TableSchema, Sequence[_Key]], Mapping[_Key, Sequence[str | None]]]


def complete(
    part: Sequence[Change],
    places: Iterable[int],
    reread: Reread,
    is_doubtful: Callable[[Column, Value], bool],
) -> list[Change]:
    """Replace doubtful values of the changes at `places` by what the table holds now."""
    by_schema: dict[int, list[int]] = {}
    for place in places:
        by_schema.setdefault(id(part[place].schema), []).append(place)
    completed: dict[int, Change | None] = {}
    for group in by_schema.values():
        schema = part[group[0]].schema
        found = reread(schema, list(dict.fromkeys(part[place].key for place in group)))
        for place in group:
            change = part[place]
            row = found.get(change.key)
            completed[place] = None if row is None else _filled(change, row, is_doubtful)
    kept = (completed.get(place, change) for place, change in enumerate(part))
    return [change for change in kept if change is not None]


def _filled(
    change: Change, row: Sequence[str | None], is_doubtful: Callable[[Column, Value], bool]
) -> Change:
    values = tuple(
        now if is_doubtful(column, value) else value
        for column, value, now in zip(change.schema.columns, change.values, row, strict=True)
    )
    return change._replace(values=values)
