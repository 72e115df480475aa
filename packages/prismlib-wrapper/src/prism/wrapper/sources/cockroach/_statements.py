"""The statements of a changefeed and of reading rows by key, and refusals in words. Pure.

Source: CockroachDB manual, "CREATE CHANGEFEED" and "EXPERIMENTAL CHANGEFEED FOR".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from prism.wrapper.sources._types import TableSchema
from prism.wrapper.sources.cockroach._catalogue import TableFacts, grant
from prism.wrapper.sources.cockroach._position import Moment
from prism.wrapper.sources.errors import (
    SourceAccessError,
    SourceError,
    SourceUnavailableError,
    TableRefusedError,
)
from prism.wrapper.sources.postgres._sql import identifier, literal, qualified

__all__ = [
    "OLDEST_VERSION",
    "RANGEFEED_REMEDY",
    "advise",
    "changefeed_sql",
    "fetch_sql",
    "loss",
    "tells_json_null",
]

OLDEST_VERSION: Final = (22, 1)
RANGEFEED_REMEDY: Final = "SET CLUSTER SETTING kv.rangefeed.enabled = true;"
# From here on `EXPERIMENTAL CHANGEFEED FOR` is deprecated, and JSON's null can be told from NULL.
_NEW_WORDS: Final = (25, 2)
_NO_RIGHT: Final = "42501"
# A statement or an option that the server does not know: it will not know it later either.
_FOR_EVER: Final = ("42601", "42602", "22023", "22P02", "0A000", "42704")


def tells_json_null(version: tuple[int, int]) -> bool:
    """Whether a changefeed of this version can tell JSON's null from NULL."""
    return version >= _NEW_WORDS


def changefeed_sql(
    tables: Sequence[str],
    *,
    cursor: Moment,
    initial_scan: bool,
    full_names: bool,
    resolved_interval_s: float,
    version: tuple[int, int],
) -> str:
    """The statement that starts a changefeed.

    Args:
        tables: Names, quoted.
        cursor: Changes after this moment are told.
        initial_scan: Whether the rows as they were at `cursor` come first.
        full_names: Whether messages name tables with database and schema.
        resolved_interval_s: How often a mark is wanted.
        version: The server's.
    """
    is_new = version >= _NEW_WORDS
    every = f"'{max(1, round(resolved_interval_s * 1000))}ms'"
    options = [
        "updated",
        f"resolved = {every}",
        f"min_checkpoint_frequency = {every}",
        f"cursor = '{cursor}'",
    ]
    if initial_scan:
        options.append("initial_scan")
    if full_names:
        options.append("full_table_name")
    if is_new:
        options.append("encode_json_value_null_as_object")
    verb = "CREATE CHANGEFEED FOR TABLE" if is_new else "EXPERIMENTAL CHANGEFEED FOR"
    return f"{verb} {', '.join(tables)} WITH {', '.join(options)}"


def fetch_sql(
    schema: TableSchema, keys: Sequence[tuple[str, ...]], *, present: frozenset[str]
) -> str:
    """The statement that reads rows by key as a changefeed would write their values.

    Keys are literals without a type: the server reads them as the key's own types.

    Args:
        schema: What is wanted.
        keys: At least one.
        present: The table's columns now; one that is gone is read as NULL.
    """
    columns = ", ".join(
        f"to_jsonb({identifier(column.name)})::STRING" if column.name in present else "NULL"
        for column in schema.columns
    )
    names = [identifier(schema.columns[place].name) for place in schema.key]
    wanted = " OR ".join(
        "("
        + " AND ".join(f"{name} = {literal(part)}" for name, part in zip(names, key, strict=True))
        + ")"
        for key in keys
    )
    table = qualified(schema.table.schema, schema.table.name)
    return f"SELECT {columns} FROM {table} WHERE {wanted}"  # noqa: S608  # quoted names and literals


def loss(text: str) -> str | None:
    """Why a changefeed's refusal means a new snapshot; None if it does not."""
    if "must be after replica GC threshold" in text:
        return (
            "the cluster has forgotten the changes since our position: garbage collection "
            "(gc.ttlseconds) went past it"
        )
    if "was truncated" in text:
        return "a table was truncated"
    if "offline" in text and "table" in text:
        return "a table was taken offline, as by IMPORT INTO"
    return None


def advise(text: str, *, sqlstate: str, tables: Sequence[TableFacts], role: str) -> SourceError:
    """Turn a changefeed's refusal into what to do about it."""
    if "kv.rangefeed.enabled" in text:
        return SourceAccessError(
            "the cluster's setting kv.rangefeed.enabled is off, without which there is no "
            "changefeed",
            remedy=RANGEFEED_REMEDY,
        )
    if sqlstate == _NO_RIGHT:
        remedy = "\n".join(grant(table, role) for table in tables)
        return SourceAccessError(f"the changefeed was refused: {text}", remedy=remedy)
    if "column famil" in text.lower():
        return TableRefusedError(
            f"the changefeed was refused: {text}. A table with several column families is not "
            "followed, since its rows come in pieces",
            table=", ".join(table.quoted for table in tables),
        )
    if sqlstate in _FOR_EVER:
        return SourceError(f"the changefeed was refused: {text} (SQLSTATE {sqlstate})")
    # What may be repeated, a table that is gone (the next look at the catalogue says so), a node
    # that ends: CockroachDB gives most of them no state of their own.
    return SourceUnavailableError(f"the changefeed was ended: {text}")
