"""From a position in the log to columns, and from keys to rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chorus_fabric import BytesColumn, FeedPart, FrameKind, TextColumn
from prism.wrapper._changelog.entries import RowKey
from prism.wrapper._changelog.layout import HEAD, rows_table

__all__ = ["FeedReader", "StoredRow", "clears_between", "stored_after", "stored_rows", "stored_seq"]

_FEWEST_ROWS, _MOST_ROWS = 16, 8192
# Keys asked for in one statement: SQLite before 3.32 takes 999 parameters, each key needs three.
_KEYS_AT_ONCE = 300

_NO_VECTORS = np.zeros((0, 0), np.float32)
Heads = npt.NDArray[np.void]


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A row as the log holds it; see `RowState`."""

    stream: int
    row_id: str
    seq: int
    text: bytes
    columns: bytes
    digest: bytes
    vector: bytes


class FeedReader:
    """Reads parts of about the size that is asked for, and learns how large rows are.

    The estimate is the only state; a race on it between threads costs a smaller or larger read.
    """

    def __init__(self) -> None:
        self._row_bytes = 1024.0

    def parts(
        self,
        connection: sqlite3.Connection,
        epoch: int,
        *,
        after: int,
        limit_bytes: int,
        streams: frozenset[int] | None,
    ) -> tuple[list[FeedPart], int | None]:
        """Read rows after a position; `connection` is in a transaction.

        Returns:
            The parts and the position after them; `None` for it when nothing is left to read.
        """
        wanted = int(limit_bytes / self._row_bytes) + 1
        count = min(max(wanted, _FEWEST_ROWS), _MOST_ROWS)
        heads = _heads(connection, epoch, after=after, count=count)
        if len(heads) == 0:
            return [], None
        sizes = _sizes(heads)
        self._row_bytes = max(64.0, float(sizes.mean()))
        fitting = int(np.searchsorted(sizes.cumsum(), limit_bytes, side="right"))
        heads = heads[: max(1, fitting)]
        upto = int(heads["seq"][-1])
        groups = {
            (int(stream), bool(gone))
            for stream, gone in np.unique(heads[["stream", "gone"]])
            if streams is None or int(stream) in streams
        }
        parts = [
            _part(connection, epoch, after=after, upto=upto, stream=stream, gone=gone)
            for stream, gone in sorted(groups)
        ]
        return parts, upto


def _sizes(heads: Heads) -> npt.NDArray[np.int64]:
    sizes = np.full(len(heads), HEAD.itemsize, np.int64)
    for field in ("row_id", "text", "columns", "vector"):
        sizes += heads[field]
    return sizes


def _heads(connection: sqlite3.Connection, epoch: int, *, after: int, count: int) -> Heads:
    (joined,) = connection.execute(
        f"""SELECT CAST(group_concat(head, '') AS BLOB) FROM (
            SELECT head FROM {rows_table(epoch)} WHERE seq > ? ORDER BY seq LIMIT ?
        )""",  # noqa: S608 - our own name
        (after, count),
    ).fetchone()
    return np.frombuffer(joined or b"", HEAD)


def _part(
    connection: sqlite3.Connection, epoch: int, *, after: int, upto: int, stream: int, gone: bool
) -> FeedPart:
    # The plus signs keep SQLite on the walk along seq.
    head, row_id, text, columns, vector = connection.execute(
        f"""SELECT
            CAST(group_concat(head, '') AS BLOB),
            CAST(group_concat(row_id, '') AS BLOB),
            CAST(group_concat(text, '') AS BLOB),
            CAST(group_concat(columns, '') AS BLOB),
            CAST(group_concat(vector, '') AS BLOB)
        FROM (
            SELECT head, row_id, text, columns, vector FROM {rows_table(epoch)}
            WHERE seq > ? AND seq <= ? AND +stream = ? AND +gone = ? ORDER BY seq
        )""",  # noqa: S608 - our own name
        (after, upto, stream, int(gone)),
    ).fetchone()
    heads = np.frombuffer(head, HEAD)
    rows = len(heads)
    return FeedPart(
        kind=FrameKind.GONE if gone else FrameKind.ROWS,
        stream=stream,
        vectors=np.frombuffer(vector, "<f4").reshape(rows, -1)
        if vector
        else np.zeros((rows, 0), np.float32),
        ids=TextColumn.from_offsets(row_id, _offsets(heads["row_id"])),
        texts=TextColumn.from_offsets(*_blob(text, heads["text"], gone=gone)),
        metadata=BytesColumn.from_offsets(*_blob(columns, heads["columns"], gone=gone)),
        seqs=heads["seq"].astype(np.uint64),
    )


def _blob(
    joined: bytes, lengths: npt.NDArray[np.void], *, gone: bool
) -> tuple[bytes, npt.NDArray[np.int64]]:
    return (b"", np.zeros(1, np.int64)) if gone else (joined, _offsets(lengths))


def _offsets(lengths: npt.NDArray[np.void]) -> npt.NDArray[np.int64]:
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def clears_between(
    connection: sqlite3.Connection,
    epoch: int,
    *,
    after: int,
    upto: int,
    streams: frozenset[int] | None,
) -> list[FeedPart]:
    """Give a CLEAR for each table that was cleared in `(after, upto]`."""
    rows = connection.execute(
        "SELECT stream, cleared FROM streams WHERE epoch = ? AND cleared > ? AND cleared <= ? "
        "ORDER BY cleared",
        (epoch, after, upto),
    ).fetchall()
    return [
        FeedPart(
            kind=FrameKind.CLEAR,
            stream=stream,
            vectors=_NO_VECTORS,
            ids=TextColumn.from_strings(()),
            texts=TextColumn.from_strings(()),
            metadata=BytesColumn.from_items(()),
            seqs=np.array([cleared], np.uint64),
        )
        for stream, cleared in rows
        if streams is None or stream in streams
    ]


def stored_rows(
    connection: sqlite3.Connection, epoch: int, keys: Sequence[RowKey]
) -> dict[RowKey, StoredRow]:
    """Read rows by key; those that do not exist or are gone are left out."""
    found: dict[RowKey, StoredRow] = {}
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        some = keys[start : start + _KEYS_AT_ONCE]
        rows = connection.execute(
            f"""WITH wanted (stream, row_id) AS (VALUES {", ".join(["(?, ?)"] * len(some))})
            SELECT kept.stream, kept.row_id, kept.seq, text, columns, head, vector
            FROM wanted CROSS JOIN {rows_table(epoch)} AS kept
            ON kept.stream = wanted.stream AND kept.row_id = wanted.row_id AND NOT gone""",  # noqa: S608
            [part for key in some for part in key],
        )
        found.update(((row.stream, row.row_id), row) for row in _stored(rows))
    return found


def stored_after(
    connection: sqlite3.Connection, epoch: int, *, after: int, count: int, stream: int | None = None
) -> list[StoredRow]:
    """Read rows after a position in order, without those that are gone."""
    return list(
        _stored(
            connection.execute(
                f"""SELECT stream, row_id, seq, text, columns, head, vector
                FROM {rows_table(epoch)} WHERE seq > ?1 AND NOT +gone
                AND (?2 IS NULL OR +stream = ?2) ORDER BY seq LIMIT ?3""",  # noqa: S608
                (after, stream, count),
            )
        )
    )


def stored_seq(connection: sqlite3.Connection, epoch: int, key: RowKey) -> int:
    """Give the number of a row, gone or not; 0 if there is none."""
    found = connection.execute(
        f"SELECT seq FROM {rows_table(epoch)} WHERE stream = ? AND row_id = ?",  # noqa: S608
        key,
    ).fetchone()
    return int(found[0]) if found else 0


def _stored(rows: sqlite3.Cursor) -> Iterator[StoredRow]:
    for stream, row_id, seq, text, columns, head, vector in rows:
        yield StoredRow(stream, row_id, seq, text, columns, head[-16:], vector)
