"""The push spool: what was acknowledged to a pusher and is not yet in the change log, on disk.

A folder with `spool.json`, which names it, and segments `000000000001.push`, ... A segment is
records: length and CRC-32 of what follows, a byte for the encoding, two for the partition, the body
as it was pushed.

- `append` returns when the record is on disk. Callers that come together share one `fsync`.
- A record that was cut short by a crash was not acknowledged: it is cut away at the next opening.
  Any other damage makes the spool void (`SpoolDamagedError`).
- A segment is deleted when all that it says is older than what was confirmed.

One process at a time: the folder is locked.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import struct
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from prism.wrapper.sources.errors import SourceConfigurationError, SourceError

__all__ = ["PushSpool", "Record", "SpoolDamagedError"]

_HEAD: Final = struct.Struct("<II")
_ABOUT: Final = struct.Struct("<BH")
_FORMAT: Final = 1
_ENCODINGS: Final = ("canal-json", "open-protocol")


class SpoolDamagedError(SourceError):
    """Something that was acknowledged cannot be read back."""


@dataclass(frozen=True, slots=True)
class Record:
    """A body as it was pushed."""

    encoding: str
    partition: int
    body: bytes


@dataclass(slots=True)
class _Segment:
    path: Path
    size: int = 0
    highest_ts: int = 0


class PushSpool:
    """See the module. `append` and `trim` may be called from any thread.

    Args:
        folder: Made if it is missing.
        segment_bytes: When a new segment is begun.

    Raises:
        SourceConfigurationError: Another process uses the folder, or it cannot be written.
    """

    def __init__(self, folder: Path, *, segment_bytes: int) -> None:
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._lock = threading.Lock()
        self._syncing = threading.Lock()
        self._written = 0
        self._synced = 0
        self._broken: str | None = None
        self._segments: list[_Segment] = []
        self._file: IO[bytes] | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock_file = (folder / "lock").open("w")
        except OSError as error:
            raise SourceConfigurationError(
                f"spool: {folder} cannot be written: {error.strerror}"
            ) from None
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock_file.close()
            raise SourceConfigurationError(
                f"spool: {folder} is in use by another process; give each wrapper its own"
            ) from None
        self.id = self._read_id()

    @property
    def size_bytes(self) -> int:
        """Bytes on disk."""
        return sum(segment.size for segment in self._segments)

    def reset(self) -> None:
        """Forget everything and take another name."""
        with self._lock:
            self._close_file()
            for path in self._folder.glob("*.push"):
                path.unlink()
            self._segments = []
            self.id = self._write_id()

    def replay(self) -> Iterator[tuple[Record, _Segment]]:
        """Read all records in order; to be called once, before the first `append`.

        Raises:
            SpoolDamagedError: A record is neither whole nor the last one.
        """
        paths = sorted(self._folder.glob("*.push"))
        for number, path in enumerate(paths):
            segment = _Segment(path)
            self._segments.append(segment)
            for record, end in self._records(path, is_last=number == len(paths) - 1):
                segment.size = end
                yield record, segment

    def note(self, segment: _Segment, highest_ts: int) -> None:
        """Say how new what a replayed segment says is."""
        segment.highest_ts = max(segment.highest_ts, highest_ts)

    def append(self, record: Record, *, highest_ts: int) -> None:
        """Write a record; returns when it is on disk.

        Raises:
            OSError: It is not, and will not be found by a replay.
        """
        about = _ABOUT.pack(_ENCODINGS.index(record.encoding), record.partition)
        crc = zlib.crc32(record.body, zlib.crc32(about))
        head = _HEAD.pack(len(about) + len(record.body), crc)
        with self._lock:
            if self._broken:
                raise OSError(self._broken)
            file, segment = self._open_segment()
            try:
                rest = memoryview(head + about + record.body)
                while rest:
                    rest = rest[file.write(rest) :]
            except OSError:
                self._cut(file, segment)
                raise
            segment.size += len(head) + len(about) + len(record.body)
            segment.highest_ts = max(segment.highest_ts, highest_ts)
            self._written += 1
            ticket = self._written
        with self._syncing:
            # Whoever waited may find that the one before wrote for both.
            if self._synced < ticket:
                self._sync()

    def trim(self, ts: int) -> None:
        """Delete segments that say nothing at or above a timestamp."""
        with self._lock:
            while len(self._segments) > 1 and self._segments[0].highest_ts < ts:
                self._segments.pop(0).path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let another process have it. May be called more than once."""
        with self._syncing, self._lock:
            self._close_file()
            self._lock_file.close()
            self._broken = "the spool was closed"

    def _sync(self) -> None:
        with self._lock:
            file, ticket = self._file, self._written
            if self._broken or file is None:
                raise OSError(self._broken or "the spool was closed")
            # The segment may be closed by a writer that fills it meanwhile.
            descriptor = os.dup(file.fileno())
        try:
            os.fsync(descriptor)
        except OSError as error:
            # What the system kept of it cannot be known any more: only a new opening finds out.
            with self._lock:
                self._broken = f"the spool cannot be written: {error.strerror}"
            raise
        finally:
            os.close(descriptor)
        self._synced = max(self._synced, ticket)

    def _open_segment(self) -> tuple[IO[bytes], _Segment]:
        if self._file is not None and self._segments[-1].size < self._segment_bytes:
            return self._file, self._segments[-1]
        if self._file is not None:
            os.fsync(self._file.fileno())
            self._synced = self._written
            self._file.close()
        number = int(self._segments[-1].path.stem) + 1 if self._segments else 1
        path = self._folder / f"{number:012d}.push"
        file = path.open("xb", buffering=0)
        self._file = file
        self._sync_folder()
        self._segments.append(_Segment(path))
        return file, self._segments[-1]

    def _cut(self, file: IO[bytes], segment: _Segment) -> None:
        try:
            file.truncate(segment.size)
            file.seek(segment.size)
        except OSError as error:
            self._broken = f"the spool cannot be written: {error.strerror}"

    def _records(self, path: Path, *, is_last: bool) -> Iterator[tuple[Record, int]]:
        with path.open("rb") as file:
            size = path.stat().st_size
            at = 0
            while at < size:
                head = file.read(_HEAD.size)
                length, crc = _HEAD.unpack(head) if len(head) == _HEAD.size else (0, 0)
                content = file.read(length)
                end = at + len(head) + length
                is_whole = length >= _ABOUT.size and len(content) == length
                if not is_whole or zlib.crc32(content) != crc:
                    # A system that stopped may have made room for what it did not write.
                    is_empty = not (head + content + file.read()).strip(b"\0")
                    if is_last and (end >= size or is_empty):
                        self._cut_file(path, at)
                        return
                    raise SpoolDamagedError(f"{path}: damaged at byte {at}")
                encoding, partition = _ABOUT.unpack_from(content)
                if encoding >= len(_ENCODINGS):
                    raise SpoolDamagedError(f"{path}: written by a later version")
                at = end
                yield Record(_ENCODINGS[encoding], partition, content[_ABOUT.size :]), at

    @staticmethod
    def _cut_file(path: Path, size: int) -> None:
        with path.open("r+b") as file:
            file.truncate(size)
            os.fsync(file.fileno())

    def _read_id(self) -> str:
        path = self._folder / "spool.json"
        try:
            content = json.loads(path.read_text())
        except FileNotFoundError:
            return self._write_id()
        except (OSError, ValueError):
            content = None
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise SourceConfigurationError(
                f"spool: {path} is not of this version; name another folder, or delete this one "
                "for a new snapshot"
            )
        return str(content["id"])

    def _write_id(self) -> str:
        name = secrets.token_hex(8)
        path = self._folder / "spool.json"
        fresh = path.with_suffix(".new")
        with fresh.open("w") as file:
            json.dump({"format": _FORMAT, "id": name}, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        self._sync_folder()
        return name

    def _sync_folder(self) -> None:
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _close_file(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None
