"""From a folder to an index: what is looked at, and what is only mapped."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from prismresonance._arena import Arena
from prismresonance._chunk_arrays import ARRANGEMENT, ARRAYS, new_arrays, unlike
from prismresonance._chunks import Chunk
from prismresonance._columns import IdColumn, PayloadColumn
from prismresonance._files.content import dead_rows
from prismresonance._files.manifest import ForeignError, Manifest, TornError, decode
from prismresonance._files.save import MANIFEST, SavedSegment, SavedState
from prismresonance._files.segment import MalformedError, read_index, read_section
from prismresonance._vectors import TOPS
from prismresonance.errors import IndexDamagedError, IndexFileError

if TYPE_CHECKING:
    from prismresonance._files.folder import Folder
    from prismresonance._files.manifest import FileEntry
    from prismresonance._files.segment import Array, Part, Section

__all__ = ["Loaded", "load"]


class Loaded(NamedTuple):
    """A saved index.

    Attributes:
        state: What the folder holds.
        chunks: The rows, in order, mapped.
    """

    state: SavedState
    chunks: tuple[Chunk, ...]


def load(folder: Folder, *, path: str, verify: bool) -> Loaded:
    """Map a saved index. O(files), and 8 bytes a row are written.

    Args:
        folder: The folder; it may be saved to meanwhile.
        path: Its path, for errors.
        verify: Whether to read everything and compare checksums.

    Raises:
        IndexFileError: It holds no index, or none that can be read here.
        IndexDamagedError: A file is missing, cut off or changed.
    """
    while True:
        content = folder.read(MANIFEST)
        if content is None:
            raise IndexFileError("holds no saved index; `WaveIndex.save` makes one", path=path)
        manifest = _manifest(content, path)
        files = _Files(folder, path, verify=verify)
        try:
            return _mapped(manifest, content, files)
        except _MissingError as missing:
            # A save removes files only after it has replaced the manifest.
            if folder.read(MANIFEST) == content:
                raise IndexDamagedError(
                    f"the file {missing} is not there; restore the folder from a copy", path=path
                ) from None


def _manifest(content: bytes, path: str) -> Manifest:
    try:
        manifest = decode(content)
    except ForeignError as error:
        raise IndexFileError(f"its {MANIFEST!r} {error}", path=path) from None
    except TornError as error:
        raise IndexDamagedError(
            f"its {MANIFEST!r} {error}; restore the folder from a copy", path=path
        ) from None
    if manifest.byteorder != sys.byteorder:
        raise IndexFileError(
            f"was saved on a {manifest.byteorder}-endian machine, this one is {sys.byteorder}-"
            "endian; add its rows to an index here",
            path=path,
        )
    if manifest.precision not in TOPS:
        raise IndexFileError(
            f"its vectors are stored as {manifest.precision!r}, which this version does not read; "
            "open it with the version that saved it",
            path=path,
        )
    return manifest


def _mapped(manifest: Manifest, content: bytes, files: _Files) -> Loaded:
    deaths: Part | None = None
    if manifest.deaths is not None:
        (deaths,) = files.parts(manifest.deaths)
    chunks: list[Chunk] = []
    segments: list[SavedSegment] = []
    seq = 0
    for entry in manifest.segments:
        dead = np.empty(0, np.int64)
        if entry.living < entry.rows and deaths is not None and manifest.deaths is not None:
            bits = files.array(manifest.deaths, deaths.sections[entry.file.name])
            dead = dead_rows(cast("npt.NDArray[np.uint8]", bits), entry.rows)
        segments.append(SavedSegment(entry, seq, seq + entry.rows, None))
        start = 0
        for part in files.parts(entry.file):
            first, stop = np.searchsorted(dead, (start, start + part.rows))
            own = dead[first:stop] - start
            chunks.append(_chunk(manifest, entry.file, part, files, seq + start, own))
            start += part.rows
        seq += entry.rows
    return Loaded(SavedState(content, manifest, tuple(segments)), tuple(chunks))


def _chunk(
    manifest: Manifest,
    file: FileEntry,
    part: Part,
    files: _Files,
    first_seq: int,
    dead: npt.NDArray[np.int64],
) -> Chunk:
    arrays = {name: files.array(file, section) for name, section in part.sections.items()}
    vectors = {name: arrays[name] for name in ARRAYS if name in arrays}
    arrangement = {name: arrays[name] for name in ARRANGEMENT if name in arrays}
    dim = manifest.dim if manifest.projected else None
    model = new_arrays(part.rows, manifest.width or 1, precision=manifest.precision, dim=dim)
    wrong = unlike(vectors, model)
    if wrong is None and arrangement and set(arrangement) != set(ARRANGEMENT):
        wrong = "cells"
    if wrong is not None or len(arrays["ids"]) != part.rows:
        raise IndexFileError(
            f"{file.name} holds {wrong or 'ids'!r} in another form than this version reads; open "
            "it with the version that saved it",
            path=files.path,
        )
    return Chunk.saved(
        {**vectors, **arrangement},
        IdColumn(cast("npt.NDArray[np.int64]", arrays["ids"]), _arena(arrays, "strays")),
        PayloadColumn(part.rows, _arena(arrays, "payloads")),
        manifest.indexed_fields,
        first_seq=first_seq,
        dead=dead,
    )


def _arena(arrays: dict[str, Array], name: str) -> Arena | None:
    if f"{name}_offsets" not in arrays:
        return None
    return Arena(
        cast("npt.NDArray[np.int64]", arrays[f"{name}_offsets"]),
        cast("npt.NDArray[np.uint8]", arrays[f"{name}_content"]),
    )


class _MissingError(Exception):
    """A file that the manifest names is not there."""


class _Files:
    """The files of a manifest, each mapped once."""

    def __init__(self, folder: Folder, path: str, *, verify: bool) -> None:
        self.path = path
        self._folder = folder
        self._verify = verify
        self._mapped: dict[str, memoryview] = {}

    def parts(self, file: FileEntry) -> list[Part]:
        """Map a file and read its index."""
        mapped = self._folder.map(file.name)
        if mapped is None:
            raise _MissingError(file.name)
        self._mapped[file.name] = mapped
        if len(mapped) != file.size:
            raise self._damaged(file, f"has {len(mapped)} bytes instead of {file.size}")
        try:
            return read_index(mapped, file.crc)
        except MalformedError as error:
            raise self._damaged(file, str(error)) from None

    def array(self, file: FileEntry, section: Section) -> Array:
        """Give an array that lies in the mapped file."""
        try:
            return read_section(self._mapped[file.name], section, verify=self._verify)
        except MalformedError as error:
            raise self._damaged(file, str(error)) from None

    def _damaged(self, file: FileEntry, what: str) -> IndexDamagedError:
        return IndexDamagedError(
            f"the file {file.name} {what}; restore the folder from a copy", path=self.path
        )
