"""Where the messages of unfinished transactions wait: in memory, beyond a bound in files."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from prism.wrapper.sources.errors import SourceError

__all__ = ["Spool", "SpoolRoom"]

_LENGTH: Final = struct.Struct("<I")
_OVERHEAD: Final = 64  # of a bytes object and its place in a list
_READ: Final = 1 << 20


class SpoolRoom:
    """Memory that all spools share.

    When it is full, the largest spool moves what it holds to a file of its own, which has no name
    and so cannot outlive the process.

    Args:
        memory_bytes: Raising it keeps larger transactions out of files.
        folder: Where the files go; None for the system's temporary folder.
    """

    def __init__(self, *, memory_bytes: int, folder: Path | None = None) -> None:
        self._memory_bytes = memory_bytes
        self._folder = folder
        self._spools: set[Spool] = set()
        self._in_memory = 0

    @property
    def size_bytes(self) -> int:
        """Bytes held, in memory and in files."""
        return sum(spool.size_bytes for spool in tuple(self._spools))

    @property
    def memory_bytes(self) -> int:
        """Bytes held in memory."""
        return self._in_memory

    def open(self) -> Spool:
        """Make an empty spool."""
        spool = Spool(self)
        self._spools.add(spool)
        return spool

    def close(self) -> None:
        """Drop all spools."""
        for spool in tuple(self._spools):
            spool.close()

    def taken(self, size: int) -> None:
        """Count memory that a spool took, and free some if it is too much."""
        self._in_memory += size
        if self._in_memory > self._memory_bytes:
            largest = max(self._spools, key=lambda spool: spool.memory_bytes)
            self._in_memory -= largest.memory_bytes
            largest.spill(self._folder)

    def left(self, spool: Spool) -> None:
        """Forget a spool that was closed."""
        if spool in self._spools:
            self._spools.remove(spool)
            self._in_memory -= spool.memory_bytes


class Spool:
    """The messages of one transaction, in order. Made by `SpoolRoom.open`."""

    def __init__(self, room: SpoolRoom) -> None:
        self._room = room
        self._held: list[bytes] = []
        self._file: IO[bytes] | None = None
        self._file_bytes = 0
        self.memory_bytes = 0

    @property
    def size_bytes(self) -> int:
        """Bytes held, in memory and in the file."""
        return self.memory_bytes + self._file_bytes

    def append(self, payload: bytes) -> None:
        """Add a message.

        Raises:
            SourceError: The file cannot be written.
        """
        size = len(payload) + _OVERHEAD
        self._held.append(payload)
        self.memory_bytes += size
        self._room.taken(size)

    def payloads(self) -> Iterator[bytes]:
        """Read all messages, from the first."""
        if self._file is not None:
            self._file.seek(0)
            yield from _read(self._file, self._file_bytes)
        yield from self._held

    def spill(self, folder: Path | None) -> None:
        """Move what is in memory to the file."""
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=folder, prefix="prism-spool-")  # noqa: SIM115  # closed by close()
            blob = b"".join(
                piece for payload in self._held for piece in (_LENGTH.pack(len(payload)), payload)
            )
            self._file.write(blob)
            self._file.flush()
        except OSError as error:
            raise SourceError(
                f"a transaction larger than the memory allowed cannot be kept in "
                f"{folder or tempfile.gettempdir()}: {error.strerror}; "
                "make room there, or set spool_folder to a larger disk"
            ) from error
        self._file_bytes += len(blob)
        self._held.clear()
        self.memory_bytes = 0

    def close(self) -> None:
        """Drop all messages."""
        self._room.left(self)
        self._held.clear()
        self.memory_bytes = 0
        if self._file is not None:
            self._file.close()
            self._file = None


def _read(file: IO[bytes], size: int) -> Iterator[bytes]:
    blob, at = b"", 0
    while size or at < len(blob):
        if len(blob) - at < _LENGTH.size:
            blob, at, size = _more(file, blob, at, size, _LENGTH.size)
        (length,) = _LENGTH.unpack_from(blob, at)
        at += _LENGTH.size
        if len(blob) - at < length:
            blob, at, size = _more(file, blob, at, size, length)
        yield blob[at : at + length]
        at += length


def _more(file: IO[bytes], blob: bytes, at: int, size: int, need: int) -> tuple[bytes, int, int]:
    """Read on so that at least `need` bytes lie beyond `at`."""
    piece = file.read(min(size, max(_READ, need)))
    if len(blob) - at + len(piece) < need:
        raise SourceError("a file that held an unfinished transaction was cut short")
    return blob[at:] + piece, 0, size - len(piece)
