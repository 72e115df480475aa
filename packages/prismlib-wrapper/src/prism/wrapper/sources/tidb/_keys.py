"""Rows by key, read with a query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from prism.wrapper.sources._types import ColumnKind, TableSchema
from prism.wrapper.sources.tidb._catalogue import TableFacts
from prism.wrapper.sources.tidb._session import Session
from prism.wrapper.sources.tidb._values import Texts

__all__ = ["fetch_rows"]

_AT_ONCE: Final = 200


def fetch_rows(
    session: Session, facts: TableFacts, schema: TableSchema, keys: Sequence[tuple[str, ...]]
) -> dict[tuple[str, ...], tuple[str | None, ...]]:
    """Read rows as they are now, values in the schema's order; a key without a row is left out."""
    texts = Texts(facts)
    wanted = set(keys)
    ordered = [facts.columns[i].name for i in facts.told().key]
    condition = " AND ".join(f"`{name.replace('`', '``')}` = %s" for name in ordered)
    places = {column.name: number for number, column in enumerate(facts.columns)}
    found: dict[tuple[str, ...], tuple[str | None, ...]] = {}
    for first in range(0, len(keys), _AT_ONCE):
        asked = [
            values
            for key in keys[first : first + _AT_ONCE]
            if (values := _values(facts, ordered, key)) is not None
        ]
        if not asked:
            continue
        sql = f"SELECT {facts.column_list} FROM {facts.quoted} WHERE " + " OR ".join(  # noqa: S608 - names are quoted, values are not in it
            [f"({condition})"] * len(asked)
        )
        for row in session.rows(sql, [value for values in asked for value in values]):
            told = texts.of_answer(row)
            key = tuple(text for name in ordered if (text := told[places[name]]) is not None)
            # A collation may find more than was asked for, as may a text that looks like a number.
            if key in wanted:
                found[key] = tuple(
                    told[places[column.name]] if column.name in places else None
                    for column in schema.columns
                )
    return found


def _values(facts: TableFacts, ordered: Sequence[str], key: Sequence[str]) -> list[object] | None:
    """What to compare with, or None if no row can have this key."""
    if len(key) != len(ordered):
        return None
    kinds = {column.name: column.kind for column in facts.told().columns}
    bases: Mapping[str, str] = {column.name: column.base for column in facts.columns}
    values: list[object] = []
    for name, text in zip(ordered, key, strict=True):
        try:
            if kinds[name] is ColumnKind.BYTES:
                values.append(bytes.fromhex(text.removeprefix("\\x")))
            elif kinds[name] is ColumnKind.INTEGER or bases[name] == "bit":
                values.append(int(text))
            else:
                values.append(text)
        except ValueError:
            return None
    return values
