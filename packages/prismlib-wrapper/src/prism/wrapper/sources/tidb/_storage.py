"""The folder that TiCDC's storage sink writes, as batches to push.

    <folder>/metadata                                                {"checkpoint-ts": C}
    <folder>/<schema>/<table>/meta/schema_<version>_<hash>.json      a statement on the table
    <folder>/<schema>/meta/schema_<version>_<hash>.json              a statement on the database
    <folder>/<schema>/<table>/<version>/.../CDC<number>.json         rows, canal-json

All that was committed before C is in the files. So C is read first, then everything that is new is
pushed, then a mark C. How far each folder was read is kept in a small file; what was pushed and not
noted there is pushed again.

Source: TiDB documentation, "Replicate Data to Storage Services" (pingcap/docs,
ticdc/ticdc-sink-to-cloud-storage.md).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from prism.wrapper.sources.errors import SourceConfigurationError

__all__ = ["StorageFolder"]

_DATA: Final = re.compile(r"(CDC(?:_.+_)?)(\d+)\.json")
_SCHEMA: Final = re.compile(r"schema_(\d+)_\d+\.json")
_TRUNCATE_TABLE: Final = 11


class StorageFolder:
    """Reads what is new. Used by one thread.

    Args:
        folder: What the changefeed's sink-uri names: `file:///mnt/cdc`.
        state: The file that remembers how far it was read.
        batch_bytes: Size of a batch, roughly; a single message may be longer.

    Raises:
        SourceConfigurationError: The folder is not there, or the state is of something else.
    """

    def __init__(self, folder: Path, state: Path, *, batch_bytes: int) -> None:
        if not folder.is_dir():
            raise SourceConfigurationError(f"{folder} is no folder: name that of the sink-uri")
        self._folder = folder
        self._state = state
        self._batch_bytes = batch_bytes
        # Of each place the number of the file that was read last, and how much of it.
        self._read: dict[str, tuple[int, int]] = {}
        # Of each place the version of the statement that was read last.
        self._stated: dict[str, int] = {}
        self._mark = 0
        self._load()

    def batches(self) -> Iterator[bytes]:
        """Give bodies to push, in order: what is new, and a mark if it rose.

        When the next one is asked for, the one before counts as pushed.
        """
        checkpoint = self._checkpoint()
        yield from self._statements()
        yield from self._rows()
        if checkpoint > self._mark:
            mark = {"type": "TIDB_WATERMARK", "isDdl": False, "_tidb": {"watermarkTs": checkpoint}}
            yield json.dumps(mark).encode()
            self._mark = checkpoint
        self._save()

    def _checkpoint(self) -> int:
        try:
            content = json.loads((self._folder / "metadata").read_text(encoding="utf-8"))
            return int(content["checkpoint-ts"])
        except FileNotFoundError:
            return 0
        except (ValueError, KeyError, TypeError):
            # It is being written just now; the next look finds it whole.
            return 0

    def _statements(self) -> Iterator[bytes]:
        found: list[tuple[int, Path]] = []
        for pattern in ("*/meta/schema_*.json", "*/*/meta/schema_*.json"):
            found += [
                (int(match[1]), path)
                for path in self._folder.glob(pattern)
                if (match := _SCHEMA.fullmatch(path.name))
            ]
        for version, path in sorted(found):
            place = str(path.parent.relative_to(self._folder))
            if self._stated.get(place, 0) >= version:
                continue
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
                # A version without a statement only says that another server writes the table.
                if content.get("Query"):
                    yield json.dumps(_statement(content, version)).encode()
            except (ValueError, KeyError, AttributeError):
                return  # it is being written just now
            self._stated[place] = version

    def _rows(self) -> Iterator[bytes]:
        found: list[tuple[str, int, Path]] = []
        for path in self._folder.glob("*/*/**/CDC*.json"):
            if match := _DATA.fullmatch(path.name):
                place = f"{path.parent.relative_to(self._folder)}/{match[1]}"
                found.append((place, int(match[2]), path))
        for place, number, path in sorted(found):
            last, offset = self._read.get(place, (0, 0))
            if number >= last:
                yield from self._lines(place, number, path, offset if number == last else 0)

    def _lines(self, place: str, number: int, path: Path, offset: int) -> Iterator[bytes]:
        batch: list[bytes] = []
        size = 0
        with path.open("rb") as file:
            file.seek(offset)
            for line in file:
                # The last line may be half written, or whole and without an end.
                if not line.endswith(b"\n") and not _is_whole(line):
                    break
                offset += len(line)
                # A mark in a file would be of its table alone.
                if line.strip() and b'"TIDB_WATERMARK"' not in line:
                    batch.append(line.rstrip(b"\r\n"))
                    size += len(line)
                if size >= self._batch_bytes:
                    yield b"\n".join(batch)
                    self._read[place] = (number, offset)
                    batch, size = [], 0
        if batch:
            yield b"\n".join(batch)
        self._read[place] = (number, offset)

    def _load(self) -> None:
        try:
            content = json.loads(self._state.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return
        except (OSError, ValueError):
            content = None
        match content:
            case {"read": dict(read), "stated": dict(stated), "mark": int(mark)}:
                self._read = {place: (int(n), int(at)) for place, (n, at) in read.items()}
                self._stated = {place: int(version) for place, version in stated.items()}
                self._mark = mark
            case _:
                raise SourceConfigurationError(
                    f"{self._state} is not what a forwarder wrote; name another state file, or "
                    "delete it to push everything again"
                )

    def _save(self) -> None:
        fresh = self._state.with_name(f"{self._state.name}.new")
        with fresh.open("w", encoding="utf-8") as file:
            json.dump({"read": self._read, "stated": self._stated, "mark": self._mark}, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._state)


def _statement(content: dict[str, object], version: int) -> dict[str, object]:
    return {
        "database": content["Schema"],
        "table": content["Table"],
        "isDdl": True,
        "type": "TRUNCATE" if content.get("Type") == _TRUNCATE_TABLE else "QUERY",
        "sql": content["Query"],
        "_tidb": {"commitTs": version},
    }


def _is_whole(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
