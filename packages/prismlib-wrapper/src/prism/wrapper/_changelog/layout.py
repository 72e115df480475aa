"""The tables of a change log's file, and the fixed head that each row carries.

Rows are kept in the order of their numbers (`seq` is SQLite's own row number), so that appending
writes to one end of the tree and reading on from a position walks along it. Each epoch has a table
of its own: to drop one is no work for those who read another.

The head repeats in fixed bytes what is needed to cut columns out of joined values: SQLite joins the
heads, texts and vectors of a thousand rows into a few blobs in one call, and numpy finds the
borders. That gives no Python object per row.
"""

from __future__ import annotations

import numpy as np

__all__ = [
    "APPLICATION_ID",
    "HEAD",
    "SCHEMA",
    "SCHEMA_VERSION",
    "create_rows",
    "rows_table",
]

# "PRWL". Also what file(1) shows as the application id.
APPLICATION_ID = 0x5052574C
SCHEMA_VERSION = 1

HEAD = np.dtype(
    [
        ("seq", "<u8"),
        ("stream", "<u4"),
        ("gone", "<u4"),
        ("row_id", "<u4"),  # these four: lengths in bytes
        ("text", "<u4"),
        ("columns", "<u4"),
        ("vector", "<u4"),
        ("digest", "V16"),
    ]
)

SCHEMA = (
    # One row. `position` is NULL while no snapshot is complete: there is nothing to resume from.
    """CREATE TABLE meta (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        current INTEGER,
        building INTEGER,
        position TEXT,
        committed_ns INTEGER,
        shape TEXT NOT NULL DEFAULT ''
    )""",
    "INSERT INTO meta (id) VALUES (1)",
    """CREATE TABLE epochs (
        epoch INTEGER PRIMARY KEY,
        kind TEXT NOT NULL,
        complete INTEGER NOT NULL,
        head INTEGER NOT NULL,
        floor INTEGER NOT NULL,
        spec TEXT NOT NULL,
        cursor INTEGER NOT NULL
    )""",
    """CREATE TABLE tables (
        stream INTEGER PRIMARY KEY,
        database TEXT NOT NULL,
        schema TEXT NOT NULL,
        name TEXT NOT NULL,
        UNIQUE (database, schema, name)
    )""",
    """CREATE TABLE streams (
        epoch INTEGER NOT NULL,
        stream INTEGER NOT NULL,
        description BLOB NOT NULL,
        cleared INTEGER NOT NULL,
        refresh INTEGER NOT NULL,
        PRIMARY KEY (epoch, stream)
    ) WITHOUT ROWID""",
    """CREATE TABLE quarantine (
        epoch INTEGER NOT NULL,
        stream INTEGER NOT NULL,
        row_id TEXT NOT NULL,
        error TEXT NOT NULL,
        since_ns INTEGER NOT NULL,
        PRIMARY KEY (epoch, stream, row_id)
    ) WITHOUT ROWID""",
)


def rows_table(epoch: int) -> str:
    """Name the table that holds an epoch's rows."""
    return f"rows_{epoch:d}"


def create_rows(epoch: int) -> tuple[str, ...]:
    """Give the statements that make an epoch's table."""
    name = rows_table(epoch)
    return (
        f"""CREATE TABLE {name} (
            seq INTEGER PRIMARY KEY,
            stream INTEGER NOT NULL,
            row_id TEXT NOT NULL,
            gone INTEGER NOT NULL,
            head BLOB NOT NULL,
            text BLOB NOT NULL,
            columns BLOB NOT NULL,
            vector BLOB NOT NULL
        )""",
        f"CREATE UNIQUE INDEX {name}_key ON {name} (stream, row_id)",
        f"CREATE INDEX {name}_gone ON {name} (seq) WHERE gone",
    )
