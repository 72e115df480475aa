"""A folder in memory that forgets in a crash what a disk may, and can end a save anywhere."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

import prismresonance._files.folder as folder_module


class KilledError(BaseException):
    """The process ends here."""


class File:
    def __init__(self, content: bytes = b"") -> None:
        self.content = bytearray(content)
        self.durable = len(content)  # so many bytes survive a crash


class CrashFolder:
    """Keeps files; `steps_left` counts down to the operation that fails, half done.

    Args:
        files: What it holds, durably.
    """

    path = Path("/crash-folder")

    def __init__(self, files: dict[str, bytes] | None = None) -> None:
        self._files = {name: File(content) for name, content in (files or {}).items()}
        self._durable_names = dict(self._files)
        self._name_changes: list[tuple[str, File | None]] = []
        self.steps = 0
        self.steps_left = -1
        self.failure: BaseException = KilledError()
        self.late = False

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Let indexes save to it and open it, whatever path they are given."""
        patch.setattr(folder_module, "DiskFolder", lambda path: self)

    def fail(self, *, at: int, by: BaseException, late: bool = False) -> None:
        """Let the operation `at` raise; `late`, after it was done."""
        self.steps_left, self.failure, self.late = at, by, late

    def after_crash(self, rng: random.Random) -> CrashFolder:
        """Give what could be there when the machine has started again."""
        names = dict(self._durable_names)
        luck = rng.choice([0.0, 0.5, 1.0])
        for name, file in self._name_changes:
            if rng.random() < luck:
                names.pop(name, None)
                if file is not None:
                    names[name] = file
        return CrashFolder({name: _survivor(file, rng) for name, file in names.items()})

    def copy(self) -> CrashFolder:
        """Give what is there when only the process has ended."""
        return CrashFolder({name: bytes(file.content) for name, file in self._files.items()})

    def prepare(self) -> None:
        pass

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        yield

    @contextlib.contextmanager
    def create(self, name: str) -> Iterator[NewFile]:
        with self._step():
            file = self._files[name] = File()
            self._name_changes.append((name, file))
        yield NewFile(self, file)

    def replace(self, name: str, by: str) -> None:
        with self._step():
            file = self._files.pop(by)
            self._files[name] = file
            self._name_changes += [(by, None), (name, file)]

    def remove(self, name: str) -> None:
        with self._step():
            del self._files[name]
            self._name_changes.append((name, None))

    def sync_names(self) -> None:
        with self._step():
            self._durable_names = dict(self._files)
            self._name_changes.clear()

    def names(self) -> list[str]:
        return list(self._files)

    def read(self, name: str) -> bytes | None:
        return bytes(self._files[name].content) if name in self._files else None

    def map(self, name: str) -> memoryview | None:
        return memoryview(bytearray(self._files[name].content)) if name in self._files else None

    def write(self, file: File, content: bytes | memoryview) -> None:
        done = len(content) // 2 if self.steps_left == 1 else 0
        file.content += content[:done]
        with self._step():
            file.content += content[done:]

    def sync(self, file: File) -> None:
        with self._step():
            file.durable = len(file.content)

    @contextlib.contextmanager
    def _step(self) -> Iterator[None]:
        self.steps += 1
        self.steps_left -= 1
        if self.steps_left == 0 and not self.late:
            raise self.failure
        yield
        if self.steps_left == 0:
            raise self.failure


class NewFile:
    def __init__(self, folder: CrashFolder, file: File) -> None:
        self._folder = folder
        self._file = file

    def write(self, content: bytes | memoryview) -> None:
        self._folder.write(self._file, content)

    def sync(self) -> None:
        self._folder.sync(self._file)


def _survivor(file: File, rng: random.Random) -> bytes:
    """Cut what was not synced anywhere, or leave its length but not its bytes."""
    content = bytearray(file.content[: rng.randint(file.durable, len(file.content))])
    if rng.random() < 0.5:
        content[file.durable :] = bytes(len(content) - file.durable)
    return bytes(content)
