"""Rows by key, in the same text form as the stream."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from prism.wrapper.sources._types import Column, ColumnKind, TableSchema
from prism.wrapper.sources.mysql._catalogue import describe
from prism.wrapper.sources.mysql._session import Session, identifier
from prism.wrapper.sources.mysql._snapshot import read_table
from prism.wrapper.sources.mysql._types import ColumnFacts

__all__ = ["fetch_rows"]

_AT_ONCE: Final = 500
_NUMBER: Final = re.compile(r"-?\d+(\.\d+)?(e-?\d+)?")
_BYTES: Final = re.compile(r"\\x((?:[0-9a-f]{2})*)")


def fetch_rows(
    session: Session, schema: TableSchema, keys: Sequence[tuple[str, ...]], *, batch_bytes: int
) -> Mapping[tuple[str, ...], tuple[str | None, ...]]:
    """Read rows by key; a column that is gone by now is None, a row that is gone is left out.

    Raises:
        SourceError: The database does not answer, or refuses.
    """
    facts = next(
        (f for f in describe(session, schema.table.schema) if f.name == schema.table.name), None
    )
    known: dict[str, ColumnFacts] = {} if facts is None else {c.name: c for c in facts.columns}
    names = [schema.columns[i].name for i in schema.key]
    if not all(name in known for name in names):
        return {}
    present = [(i, column) for i, column in enumerate(schema.columns) if column.name in known]
    part = TableSchema(
        schema.table,
        tuple(column for _, column in present),
        tuple([i for i, _ in present].index(position) for position in schema.key),
    )
    wanted = {key for key in keys if len(key) == len(names)}
    rows: dict[tuple[str, ...], tuple[str | None, ...]] = {}
    literals = []
    for key in wanted:
        texts = [
            _literal(session, schema.columns[i], text)
            for i, text in zip(schema.key, key, strict=True)
        ]
        if None not in texts:
            literals.append(f"({', '.join(filter(None, texts))})")
    columns = [known[column.name] for _, column in present]
    quoted = ", ".join(identifier(name) for name in names)
    for first in range(0, len(literals), _AT_ONCE):
        some = ", ".join(literals[first : first + _AT_ONCE])
        for batch in read_table(
            session, part, columns, batch_bytes=batch_bytes, where=f"({quoted}) IN ({some})"
        ):
            for change in batch:
                # A collation may find more than was asked for.
                if change.key in wanted:
                    values: list[str | None] = [None] * len(schema.columns)
                    for (i, _), value in zip(present, change.values, strict=True):
                        values[i] = value if isinstance(value, str) else None
                    rows[change.key] = tuple(values)
    return rows


def _literal(session: Session, column: Column, text: str) -> str | None:
    """A value of the key as SQL, or None if no row can have it.

    A number in quotes would be compared as a float, and large ones would be mixed up.
    """
    if column.kind in (ColumnKind.INTEGER, ColumnKind.NUMERIC, ColumnKind.FLOAT):
        return text if _NUMBER.fullmatch(text) else None
    if column.kind is ColumnKind.BYTES:
        match = _BYTES.fullmatch(text)
        return f"x'{match[1]}'" if match else None
    return session.literal(text)
