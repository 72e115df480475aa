"""Changes that wait for the moment up to which all is told.

Messages come in any order across keys. They are taken out by moment, then table and key, so that a
transaction is one run and a message that came twice stands beside itself. Keys stay in memory;
values beyond the memory allowed lie in a file until they are taken.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from prism.wrapper.sources.cockroach._position import Moment

__all__ = ["Backlog", "Message"]


class Message(NamedTuple):
    """One row of a changefeed.

    Attributes:
        moment: When it was committed.
        table: As the changefeed names it.
        key: A JSON array.
        value: The whole envelope.
    """

    moment: Moment
    table: str
    key: bytes
    value: bytes


class _Entry(NamedTuple):
    moment: Moment
    table: str
    key: bytes
    order: int
    value: bytes | None
    start: int
    length: int


class Backlog:
    """The changes that wait. Not thread-safe.

    Args:
        memory_bytes: For values in memory, all together.
        folder: Where the file goes; None for the system's temporary folder.
    """

    def __init__(self, *, memory_bytes: int, folder: Path | None = None) -> None:
        self._memory_bytes = memory_bytes
        self._folder = folder
        self._entries: list[_Entry] = []
        self._held = 0
        self._order = 0
        self._file: IO[bytes] | None = None
        self._end = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size_bytes(self) -> int:
        """Bytes of values that wait or are kept, in memory and in the file."""
        return self._held + self._end

    def add(self, message: Message) -> None:
        """Take a message in."""
        moment, table, key, value = message
        length = len(value)
        self._order += 1
        if self._held + length <= self._memory_bytes:
            self._held += length
            self._entries.append(_Entry(moment, table, key, self._order, value, 0, length))
            return
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115  # closed by `close`
        self._file.seek(self._end)
        self._file.write(value)
        self._entries.append(_Entry(moment, table, key, self._order, None, self._end, length))
        self._end += length

    def take(self, until: Moment) -> Iterator[Message]:
        """Take out what was committed up to a moment, in order, each key once for each moment."""
        ready = [entry for entry in self._entries if entry.moment <= until]
        self._entries = [entry for entry in self._entries if entry.moment > until]
        ready.sort()
        for place, entry in enumerate(ready):
            if place + 1 == len(ready) or entry[:3] != ready[place + 1][:3]:
                yield Message(entry.moment, entry.table, entry.key, self._value(entry))
        self._held = sum(e.length for e in self._entries if e.value is not None)
        if self._end and all(e.value is not None for e in self._entries):
            self.close()

    def close(self) -> None:
        """Give the file back. What is in it is gone."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._end = 0

    def _value(self, entry: _Entry) -> bytes:
        if entry.value is not None:
            return entry.value
        if self._file is None:
            raise AssertionError
        self._file.seek(entry.start)
        return self._file.read(entry.length)
