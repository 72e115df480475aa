"""The statements of an append, of compaction and of epochs: inside the caller's transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence

from prism.wrapper._changelog.entries import LogBatch, RowKey, RowState
from prism.wrapper._changelog.layout import PACK_HEAD, create_rows, rows_table

__all__ = [
    "append_batch",
    "compact",
    "copy_rows",
    "create_epoch",
    "drop_some",
    "set_description",
    "stream_numbers",
]

_NO_DIGEST = b"\0" * 16


def append_batch(
    connection: sqlite3.Connection, epoch: int, batch: LogBatch, *, head: int, now_ns: int
) -> tuple[int, int]:
    """Write a batch under the numbers after `head`; return the new head and deletions written."""
    table = rows_table(epoch)
    for stream in batch.clears:
        head += 1
        connection.execute(f"DELETE FROM {table} WHERE stream = ?", (stream,))  # noqa: S608
        connection.execute(
            "UPDATE streams SET cleared = ? WHERE epoch = ? AND stream = ?", (head, epoch, stream)
        )
        connection.execute("DELETE FROM quarantine WHERE epoch = ? AND stream = ?", (epoch, stream))
    states = [row for row in batch.rows.values() if row is not None]
    connection.executemany(
        f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?, 0, ?, ?, ?, ?)",  # noqa: S608
        _rows(states, head),
    )
    head += len(states)
    gone = [key for key, row in batch.rows.items() if row is None]
    if gone:
        # A row that this epoch never held was sent to nobody: it needs no tombstone.
        connection.executemany(
            f"""INSERT OR REPLACE INTO {table}
            SELECT ?1, ?2, ?3, 1, ?4, x'', x'', x'' WHERE EXISTS (
                SELECT 1 FROM {table} WHERE stream = ?2 AND row_id = ?3 AND NOT gone)""",  # noqa: S608
            _tombstones(gone, head),
        )
        head += len(gone)
    _set_faults(connection, epoch, batch, now_ns=now_ns)
    connection.execute("UPDATE epochs SET head = ? WHERE epoch = ?", (head, epoch))
    return head, len(gone)


def _rows(states: Iterable[RowState], head: int) -> Iterator[tuple[object, ...]]:
    for seq, row in enumerate(states, head + 1):
        row_id, text = row.row_id, row.text.encode()
        lengths = (len(row_id.encode()), len(text), len(row.columns), len(row.vector))
        packed = PACK_HEAD(seq, row.stream, 0, *lengths, row.digest)
        yield seq, row.stream, row_id, packed, text, row.columns, row.vector


def _tombstones(gone: Iterable[RowKey], head: int) -> Iterator[tuple[object, ...]]:
    for seq, (stream, row_id) in enumerate(gone, head + 1):
        packed = PACK_HEAD(seq, stream, 1, len(row_id.encode()), 0, 0, 0, _NO_DIGEST)
        yield seq, stream, row_id, packed


def _set_faults(
    connection: sqlite3.Connection, epoch: int, batch: LogBatch, *, now_ns: int
) -> None:
    (has_faults,) = connection.execute("SELECT EXISTS (SELECT 1 FROM quarantine)").fetchone()
    if has_faults:
        connection.executemany(
            "DELETE FROM quarantine WHERE epoch = ? AND stream = ? AND row_id = ?",
            [(epoch, *key) for key in batch.rows if key not in batch.faults],
        )
    if batch.faults:
        connection.executemany(
            "INSERT INTO quarantine VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT DO UPDATE SET error = excluded.error",
            [(epoch, *key, error, now_ns) for key, error in batch.faults.items()],
        )


def copy_rows(
    connection: sqlite3.Connection,
    *,
    source: int,
    target: int,
    rows: Sequence[tuple[RowState, int]],
    faults: Mapping[RowKey, str],
    head: int,
    cursor: int,
    now_ns: int,
) -> int:
    """Take rows over from one epoch into another, as they are under the numbers they were read at.

    A row that has changed since, is gone or was cleared is left out: whoever changed it wrote it to
    both epochs.
    """
    table, origin = rows_table(target), rows_table(source)
    current = [
        row
        for row, seq in rows
        if connection.execute(
            f"SELECT 1 FROM {origin} WHERE seq = ? AND stream = ? AND row_id = ? AND NOT gone",  # noqa: S608
            (seq, row.stream, row.row_id),
        ).fetchone()
    ]
    connection.executemany(
        f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?, 0, ?, ?, ?, ?)",  # noqa: S608
        _rows(current, head),
    )
    head += len(current)
    copied = {(row.stream, row.row_id) for row in current}
    connection.executemany(
        "INSERT OR REPLACE INTO quarantine VALUES (?, ?, ?, ?, ?)",
        [(target, *key, error, now_ns) for key, error in faults.items() if key in copied],
    )
    connection.execute(
        "UPDATE epochs SET head = ?, cursor = ? WHERE epoch = ?", (head, cursor, target)
    )
    return head


def compact(connection: sqlite3.Connection, epoch: int, *, kept: int) -> int | None:
    """Drop the oldest tombstones beyond `kept`; return the new floor, or `None` if none went."""
    table = rows_table(epoch)
    found = connection.execute(
        f"SELECT seq FROM {table} WHERE gone ORDER BY seq DESC LIMIT 1 OFFSET ?",  # noqa: S608
        (kept,),
    ).fetchone()
    if found is None:
        return None
    floor: int = found[0]
    connection.execute(f"DELETE FROM {table} WHERE gone AND seq <= ?", (floor,))  # noqa: S608
    connection.execute("UPDATE epochs SET floor = ? WHERE epoch = ?", (floor, epoch))
    return floor


def create_epoch(connection: sqlite3.Connection, epoch: int, *, kind: str, spec: str) -> None:
    """Begin an empty epoch."""
    for statement in create_rows(epoch):
        connection.execute(statement)
    connection.execute(
        "INSERT INTO epochs VALUES (?, ?, 0, 0, 0, ?, 0)",
        (epoch, kind, spec),
    )


def drop_some(connection: sqlite3.Connection, epoch: int, *, rows: int) -> bool:
    """Drop that many rows of an epoch that nobody reads, or the epoch once it is small.

    In steps, because dropping a gigabyte at once would hold up whoever wants to append.
    """
    table = rows_table(epoch)
    cut = connection.execute(
        f"SELECT seq FROM {table} ORDER BY seq LIMIT 1 OFFSET ?",  # noqa: S608
        (rows,),
    ).fetchone()
    if cut is not None:
        connection.execute(f"DELETE FROM {table} WHERE seq < ?", cut)  # noqa: S608
        return False
    connection.execute(f"DROP TABLE {table}")
    for name in ("epochs", "streams", "quarantine"):
        connection.execute(f"DELETE FROM {name} WHERE epoch = ?", (epoch,))  # noqa: S608
    return True


def stream_numbers(connection: sqlite3.Connection, database: str, schema: str, name: str) -> int:
    """Give the number of a table; it keeps it in all epochs."""
    names = (database, schema, name)
    connection.execute(
        "INSERT INTO tables (database, schema, name) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        names,
    )
    (stream,) = connection.execute(
        "SELECT stream FROM tables WHERE database = ? AND schema = ? AND name = ?", names
    ).fetchone()
    return int(stream)


def set_description(
    connection: sqlite3.Connection, epoch: int, stream: int, description: bytes, *, refresh: int
) -> None:
    """Describe a table in an epoch, or describe it anew.

    `refresh` above 0 says that its rows up to that number have columns of an earlier description.
    """
    connection.execute(
        "INSERT INTO streams VALUES (?, ?, ?, 0, 0) ON CONFLICT DO UPDATE SET "
        "description = excluded.description, refresh = max(refresh, ?)",
        (epoch, stream, description, refresh),
    )
