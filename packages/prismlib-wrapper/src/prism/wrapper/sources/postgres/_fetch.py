"""Rows by key, in the same text form as the stream."""

from __future__ import annotations

from collections.abc import Sequence

from prism.wrapper.sources._batch import RowBatch
from prism.wrapper.sources._types import TableSchema
from prism.wrapper.sources.postgres._session import Session
from prism.wrapper.sources.postgres._sql import identifier, literal, qualified

__all__ = ["fetch_rows"]

_AT_ONCE = 500


def fetch_rows(
    session: Session, schema: TableSchema, keys: Sequence[tuple[str, ...]]
) -> dict[tuple[str, ...], tuple[str | None, ...]]:
    """Read rows by key; a column that is gone by now is None, a row that is gone is left out.

    COPY takes no parameters, so keys are written as literals without a type: the server reads them
    as the key's own types, and can use its index.

    Raises:
        SourceError: The database does not answer, or refuses.
    """
    table = qualified(schema.table.schema, schema.table.name)
    oid = session.rows("SELECT to_regclass(%s)::oid::bigint", (table,))[0][0]
    described = session.describe([oid]) if oid is not None else []
    if not described:
        return {}
    present = {column.name for column in described[0].columns}
    columns = ", ".join(
        identifier(column.name) if column.name in present else "NULL" for column in schema.columns
    )
    only = "" if described[0].form == "p" else "ONLY "
    key = ", ".join(identifier(schema.columns[position].name) for position in schema.key)
    rows: dict[tuple[str, ...], tuple[str | None, ...]] = {}
    for first in range(0, len(keys), _AT_ONCE):
        wanted = ", ".join(
            "(" + ", ".join(map(literal, parts)) + ")" for parts in keys[first : first + _AT_ONCE]
        )
        blob = session.copy(
            f"COPY (SELECT {columns} FROM {only}{table} WHERE ({key}) IN ({wanted})) TO STDOUT"  # noqa: S608  # quoted names and literals
        )
        for change in RowBatch.from_copy_text(schema, blob):
            rows[change.key] = tuple(
                value if isinstance(value, str) else None for value in change.values
            )
    return rows
