"""A replica in a file, for a warm start.

The file is a chain of records, each `length u64, CRC-32 u32, body`, little endian. The first tells
format, tenant, position and tables, then come blocks of rows in columns, and the last tells how
many rows there were. It is written under another name, flushed to the disk and renamed, so the file
is a whole one or the one before. What does not check to the last byte is refused as a whole: a
replica that lacks a row would never learn of it.

Loading stores the rows just as the feed does, so that there is one way into the replica.
"""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from chorus_fabric import BytesColumn, FeedPosition, StreamSchema, TextColumn
from prism.ffi.errors import SnapshotFileError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from prism.ffi._replica import Replica, ReplicaKeeper

__all__ = ["SnapshotHead", "load_snapshot", "save_snapshot", "snapshot_tenant"]

_FORMAT = "prismlib-driver snapshot 1"
_RECORD = Struct("<QI")
_BLOCK = Struct("<IIIQQQQ")
_BLOCK_ROWS = 2048
_MOST_BYTES = 1 << 32


@dataclass(frozen=True, slots=True)
class SnapshotHead:
    """What a snapshot is a snapshot of.

    Attributes:
        tenant_id: Whose rows they are.
        model_id: The model that made the vectors.
        tables: The names that were asked for.
        position: Everything up to here is in it.
        schemas: The tables.
    """

    tenant_id: str
    model_id: str
    tables: tuple[str, ...]
    position: FeedPosition
    schemas: tuple[StreamSchema, ...]


def save_snapshot(path: Path, head: SnapshotHead, replica: Replica) -> int:
    """Write a replica to a file; gives the number of rows.

    Nobody may write to the replica meanwhile.

    Raises:
        OSError: The file system refuses; the file is what it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    try:
        with fresh.open("wb") as file:
            count = _write(file, head, replica)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    return count


def load_snapshot(path: Path, keeper: ReplicaKeeper, *, expected: SnapshotHead) -> SnapshotHead:
    """Fill an empty replica from a file.

    Args:
        path: The file.
        keeper: Where the rows go; of no use after an error.
        expected: Its tenant and tables must be the file's.

    Raises:
        SnapshotFileError: The file is not a whole snapshot of that tenant and those tables.
        FileNotFoundError: There is none.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        records = _records(file, str(path))
        head = _head(next(records, b""), str(path))
        if (head.tenant_id, head.tables) != (expected.tenant_id, expected.tables):
            raise SnapshotFileError(
                f"holds tables {list(head.tables)} of tenant {head.tenant_id!r}, wanted are "
                f"{list(expected.tables)} of {expected.tenant_id!r}",
                path=str(path),
            )
        for schema in head.schemas:
            keeper.describe(schema)
        count = 0
        for body in records:
            if body.startswith(b"{"):
                if json.loads(body) != {"rows": count} or next(records, None) is not None:
                    break
                keeper.position = head.position
                return head
            count += _load_block(body, keeper)
    raise SnapshotFileError("is cut off", path=str(path))


def snapshot_tenant(path: Path) -> str | None:
    """Give the tenant of a snapshot file; `None` if it is none, or there is no file."""
    try:
        with path.open("rb") as file:
            return _head(next(_records(file, str(path)), b""), str(path)).tenant_id
    except (SnapshotFileError, OSError):
        return None


def _write(file: BinaryIO, head: SnapshotHead, replica: Replica) -> int:
    word = {
        "format": _FORMAT,
        "tenant_id": head.tenant_id,
        "model_id": head.model_id,
        "tables": list(head.tables),
        "position": [head.position.epoch, head.position.seq, head.position.base],
        "schemas": [schema.to_json().decode() for schema in head.schemas],
    }
    _put(file, json.dumps(word).encode())
    count = 0
    for stream, table in replica.tables.items():
        rows = list(table.rows.values())
        for start in range(0, len(rows), _BLOCK_ROWS):
            block = rows[start : start + _BLOCK_ROWS]
            vectors = table.vectors(block)
            ids = TextColumn.from_strings([row.row_id for row in block])
            texts = TextColumn.from_strings([row.text_repr for row in block])
            columns = BytesColumn.from_items([row.encoded for row in block])
            seqs = np.array([row.seq for row in block], "<u8")
            sizes = (len(ids.blob), len(texts.blob), len(columns.blob))
            _put(
                file,
                b"R" + _BLOCK.pack(stream, len(block), vectors.shape[1], *sizes, 0),
                vectors.astype("<f4").tobytes(),
                seqs.tobytes(),
                *(column.ends.astype("<u4").tobytes() for column in (ids, texts, columns)),
                *(bytes(column.blob) for column in (ids, texts, columns)),
            )
            count += len(block)
    _put(file, json.dumps({"rows": count}).encode())
    return count


def _put(file: BinaryIO, *pieces: bytes) -> None:
    checksum = 0
    for piece in pieces:
        checksum = zlib.crc32(piece, checksum)
    file.write(_RECORD.pack(sum(map(len, pieces)), checksum))
    for piece in pieces:
        file.write(piece)


def _records(file: BinaryIO, path: str) -> Iterator[bytes]:
    while prefix := file.read(_RECORD.size):
        if len(prefix) < _RECORD.size:
            raise SnapshotFileError("is cut off", path=path)
        length, checksum = _RECORD.unpack(prefix)
        if length > _MOST_BYTES:
            raise SnapshotFileError("is no snapshot of a replica, or a damaged one", path=path)
        body = file.read(length)
        if len(body) < length or zlib.crc32(body) != checksum:
            raise SnapshotFileError("is cut off or damaged", path=path)
        yield body


def _head(body: bytes, path: str) -> SnapshotHead:
    try:
        word = json.loads(body)
        is_known = word["format"] == _FORMAT
        head = SnapshotHead(
            tenant_id=word["tenant_id"],
            model_id=word["model_id"],
            tables=tuple(word["tables"]),
            position=FeedPosition(*word["position"]),
            schemas=tuple(StreamSchema.from_json(s.encode()) for s in word["schemas"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SnapshotFileError(
            "is no snapshot of a replica, or of another version", path=path
        ) from error
    if not is_known:
        raise SnapshotFileError(f"is of another version than {_FORMAT!r}", path=path)
    return head


def _load_block(body: bytes, keeper: ReplicaKeeper) -> int:
    stream: int
    rows: int
    width: int
    stream, rows, width, *sizes, _ = _BLOCK.unpack_from(body, 1)
    at = 1 + _BLOCK.size

    def take(dtype: str, count: int) -> npt.NDArray[np.generic]:
        nonlocal at
        array = np.frombuffer(body, dtype, count, at)
        at += array.nbytes
        return array

    vectors = take("<f4", rows * width).astype(np.float32).reshape(rows, width)
    seqs = take("<u8", rows).astype(np.uint64)
    ends = [take("<u4", rows).astype(np.uint32) for _ in sizes]
    blobs = []
    for size in sizes:
        blobs.append(memoryview(body)[at : at + size])
        at += size
    keeper.shown.tables[stream].upsert(
        TextColumn(blobs[0], ends[0]),
        TextColumn(blobs[1], ends[1]),
        BytesColumn(blobs[2], ends[2]),
        vectors,
        seqs,
    )
    return rows
