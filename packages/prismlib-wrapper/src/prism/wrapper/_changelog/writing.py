"""The statements of an append, of compaction and of epochs: inside the caller's transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, repeat

import numpy as np
import numpy.typing as npt

from prism.wrapper._changelog.entries import LogBatch, RowKey, RowState
from prism.wrapper._changelog.layout import HEAD, create_rows, rows_table

__all__ = [
    "append_batch",
    "compact",
    "copy_rows",
    "create_epoch",
    "drop_some",
    "set_description",
    "stream_numbers",
]

# Rows of one statement. SQLite lets other threads run during each statement, and one that computes
# gives the interpreter back after milliseconds. Row by row, that wait would be most of the time.
_TOGETHER = (512, 64, 8, 1)


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
    _put(connection, table, states, head)
    head += len(states)
    gone = [key for key, row in batch.rows.items() if row is None]
    if gone:
        # A row that this epoch never held was sent to nobody: it needs no tombstone.
        _bury(connection, table, gone, head)
        head += len(gone)
    _set_faults(connection, epoch, batch, now_ns=now_ns)
    connection.execute("UPDATE epochs SET head = ? WHERE epoch = ?", (head, epoch))
    return head, len(gone)


def _put(connection: sqlite3.Connection, table: str, states: Sequence[RowState], head: int) -> None:
    """Write rows under the numbers after `head`."""
    if not states:
        return
    texts = [row.text.encode() for row in states]
    heads = _heads([(row.stream, row.row_id) for row in states], head)
    heads["text"] = _lengths(texts)
    heads["columns"] = _lengths([row.columns for row in states])
    heads["vector"] = _lengths([row.vector for row in states])
    heads["digest"] = np.frombuffer(b"".join([row.digest for row in states]), "V16")
    rows = zip(
        range(head + 1, head + 1 + len(states)),
        [row.stream for row in states],
        [row.row_id for row in states],
        _each(heads),
        texts,
        [row.columns for row in states],
        [row.vector for row in states],
        strict=True,
    )

    def statement(count: int) -> str:
        values = ", ".join(repeat("(?, ?, ?, 0, ?, ?, ?, ?)", count))
        return f"INSERT OR REPLACE INTO {table} VALUES {values}"  # noqa: S608 - our own name

    _execute(connection, statement, rows, width=7)


def _bury(connection: sqlite3.Connection, table: str, gone: Sequence[RowKey], head: int) -> None:
    """Write tombstones of rows that are there under the numbers after `head`."""
    heads = _heads(gone, head)
    heads["gone"] = 1
    rows = zip(
        range(head + 1, head + 1 + len(gone)),
        [stream for stream, _ in gone],
        [row_id for _, row_id in gone],
        _each(heads),
        strict=True,
    )

    def statement(count: int) -> str:
        values = ", ".join(repeat("(?, ?, ?, ?)", count))
        return f"""WITH buried (seq, stream, row_id, head) AS (VALUES {values})
            INSERT OR REPLACE INTO {table}
            SELECT seq, stream, row_id, 1, head, x'', x'', x'' FROM buried WHERE EXISTS (
                SELECT 1 FROM {table} AS kept WHERE kept.stream = buried.stream
                AND kept.row_id = buried.row_id AND NOT kept.gone)"""  # noqa: S608 - our own name

    _execute(connection, statement, rows, width=4)


def _execute(
    connection: sqlite3.Connection,
    statement: Callable[[int], str],
    rows: Iterable[tuple[object, ...]],
    *,
    width: int,
) -> None:
    """Execute a statement that takes many rows until all are taken.

    Args:
        connection: Where.
        statement: Gives the statement for a number of rows.
        rows: Their values.
        width: How many values a row has.
    """
    values = list(chain.from_iterable(rows))
    most = connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER)
    start = 0
    for count in _TOGETHER:
        step = count * width
        if step > most:
            continue
        while start + step <= len(values):
            connection.execute(statement(count), values[start : start + step])
            start += step


def _heads(keys: Sequence[RowKey], head: int) -> npt.NDArray[np.void]:
    """Begin the heads of rows: shape (rows,), dtype `HEAD`."""
    heads = np.zeros(len(keys), HEAD)
    heads["seq"] = np.arange(head + 1, head + 1 + len(keys))
    heads["stream"] = [stream for stream, _ in keys]
    heads["row_id"] = _lengths([row_id.encode() for _, row_id in keys])
    return heads


def _lengths(values: Sequence[bytes]) -> npt.NDArray[np.int64]:
    return np.fromiter(map(len, values), np.int64, len(values))


def _each(heads: npt.NDArray[np.void]) -> list[bytes]:
    """Cut heads apart."""
    joined, size = heads.tobytes(), HEAD.itemsize
    return [joined[start : start + size] for start in range(0, len(joined), size)]


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
    _put(connection, table, current, head)
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
