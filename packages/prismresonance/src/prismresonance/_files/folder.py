"""The few things a save asks of a file system, and the one on disk.

What is relied on, and no more: `replace` is atomic; a file's content is there after a crash once
`sync` of the file returned; names that were made, replaced or removed are there, or gone, once
`sync_names` returned. Until then a crash may leave any of them as it was.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import sys
from typing import TYPE_CHECKING, Protocol

from prismresonance.errors import IndexBusyError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedWriter
    from pathlib import Path

__all__ = ["LOCK", "DiskFolder", "Folder", "NewFile"]

LOCK = "lock"
"""The file that a saver holds locked; it stays, empty."""


class NewFile(Protocol):
    """A file that is being written."""

    def write(self, content: bytes | memoryview) -> None:
        """Append bytes."""

    def sync(self) -> None:
        """Return when a crash can no longer take what was written."""


class Folder(Protocol):
    """A folder of files."""

    def create(self, name: str) -> contextlib.AbstractContextManager[NewFile]:
        """Begin a file, in place of any of that name; it is closed at the end of the block."""

    def replace(self, name: str, by: str) -> None:
        """Let a file take another's name, in one step."""

    def remove(self, name: str) -> None:
        """Remove a file; one that cannot be removed now stays."""

    def sync_names(self) -> None:
        """Return when a crash can no longer undo what was made, replaced or removed."""

    def names(self) -> list[str]:
        """List the files."""

    def read(self, name: str) -> bytes | None:
        """Read a small file; `None` if there is none."""

    def map(self, name: str) -> memoryview | None:
        """Map a file so that writing to the memory does not change it; `None` if there is none."""


class DiskFolder:
    """A folder on disk.

    Args:
        path: Where; made by `prepare` if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def prepare(self) -> None:
        """Make the folder if it is not there."""
        missing = []
        place = self.path
        while not place.exists():
            missing.append(place)
            place = place.parent
        self.path.mkdir(parents=True, exist_ok=True)
        for made in missing:
            _sync_names(made.parent)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other savers out, of this process and of others, or find that one is there.

        Raises:
            IndexBusyError: Another is saving.
        """
        with (self.path / LOCK).open("ab") as file:
            if not _lock(file.fileno()):
                raise IndexBusyError("is being saved to by another", path=str(self.path))
            # Closing releases it, and so does the end of the process, however it ends.
            yield

    @contextlib.contextmanager
    def create(self, name: str) -> Iterator[NewFile]:
        """Begin a file."""
        with (self.path / name).open("wb") as file:
            yield _DiskFile(file)

    def replace(self, name: str, by: str) -> None:
        """Let a file take another's name."""
        (self.path / by).replace(self.path / name)

    def remove(self, name: str) -> None:
        """Remove a file; Windows keeps one that is mapped, until a later save."""
        with contextlib.suppress(OSError):
            (self.path / name).unlink()

    def sync_names(self) -> None:
        """Make changes of names durable."""
        _sync_names(self.path)

    def names(self) -> list[str]:
        """List the files."""
        return [entry.name for entry in self.path.iterdir()]

    def read(self, name: str) -> bytes | None:
        """Read a small file."""
        try:
            return (self.path / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def map(self, name: str) -> memoryview | None:
        """Map a file, copy on write."""
        try:
            with (self.path / name).open("rb") as file:
                if not os.fstat(file.fileno()).st_size:
                    return memoryview(b"")
                return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
        except FileNotFoundError:
            return None


class _DiskFile:
    def __init__(self, file: BufferedWriter) -> None:
        self._file = file

    def write(self, content: bytes | memoryview) -> None:
        self._file.write(content)

    def sync(self) -> None:
        self._file.flush()
        _sync(self._file.fileno())


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _sync(descriptor: int) -> None:
        os.fsync(descriptor)

    def _sync_names(path: Path) -> None:
        """Windows offers no such thing for folders."""

else:
    import fcntl

    def _lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _sync(descriptor: int) -> None:
        # macOS: fsync leaves the data in the drive's own memory.
        full = getattr(fcntl, "F_FULLFSYNC", None)
        if full is None:
            os.fsync(descriptor)
        else:
            fcntl.fcntl(descriptor, full)

    def _sync_names(path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
