"""One save: from a snapshot and what the folder holds to what the folder holds next.

Steps, and why a crash between any two leaves the old index or the new one:

1. Everything that can be refused is looked at: the folder, the payloads. Nothing is written yet.
2. New files are written under names that no manifest mentions, and synced.
3. The new manifest is written beside the old one, and synced; then the names are, so that no
   manifest can name a file whose own name a crash took.
4. The new manifest replaces the old one in one step; the names are synced.
5. Files that it does not name are removed: those that are superseded, and what earlier saves left
   that did not come this far.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from prismresonance._files.content import (
    ArrangedPart,
    arranged_count,
    dead_bits,
    living_count,
    living_seqs,
    row_parts,
)
from prismresonance._files.folder import LOCK
from prismresonance._files.manifest import (
    FileEntry,
    ForeignError,
    Manifest,
    SegmentEntry,
    TornError,
    decode,
    encode,
)
from prismresonance._files.plan import Group, Kept, planned
from prismresonance._files.segment import Layout
from prismresonance.errors import IndexFileError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import numpy.typing as npt

    from prismresonance._files.content import RowPart
    from prismresonance._files.folder import Folder
    from prismresonance._files.segment import Array
    from prismresonance._snapshot import Snapshot

__all__ = ["MANIFEST", "Content", "SavedSegment", "SavedState", "save"]

MANIFEST = "manifest"
_NEW_MANIFEST = "manifest.new"
_OURS = re.compile(r"\d+-[0-9a-f]{8}-(\d+\.rows|dead)")
_NO_END = int(np.iinfo(np.int64).max)


class Content(NamedTuple):
    """What is to be saved.

    Attributes:
        snapshot: The rows.
        next_id: The next free integer at that moment.
        tenant_id: Of the projector.
        dim: Of the projector.
        width: Of the vectors.
        precision: How they are stored.
        fields: The indexed fields.
    """

    snapshot: Snapshot
    next_id: int
    tenant_id: str
    dim: int
    width: int | None
    precision: str
    fields: tuple[str, ...]


class SavedSegment(NamedTuple):
    """A file of rows, and which of the index's rows they are.

    Attributes:
        entry: The file.
        first_seq: No row in it has a lower number.
        stop_seq: Nor this one or a higher one.
        seqs: The numbers of its rows; `None` if these are all from `first_seq` on.
    """

    entry: SegmentEntry
    first_seq: int
    stop_seq: int
    seqs: npt.NDArray[np.int64] | None


class SavedState(NamedTuple):
    """What an index knows of a folder that holds it.

    Attributes:
        content: The manifest's bytes.
        manifest: The manifest.
        segments: Its segments.
    """

    content: bytes
    manifest: Manifest
    segments: tuple[SavedSegment, ...]


def save(
    content: Content,
    folder: Folder,
    known: Sequence[SavedState],
    *,
    replace: bool,
    path: str,
    token: str,
    remember: Callable[[SavedState], None],
) -> None:
    """Save an index to a folder that nobody else saves to meanwhile.

    Args:
        content: The index.
        folder: The folder.
        known: States of the folder that this index made, or was opened from.
        replace: Whether a saved index that is in none of these states may be replaced.
        path: The folder's path, for errors.
        token: Eight hexadecimal digits that no other save has.
        remember: Called with the new state just before the folder may be in it.

    Raises:
        IndexFileError: The folder holds something else.
        UnsavablePayloadError: A payload holds what would not be read back as it is.
        OSError: The file system refuses.
    """
    found = folder.read(MANIFEST)
    state = next((state for state in known if state.content == found), None)
    generation = 1 + _generation(found, state, folder, replace=replace, path=path)
    segments = () if state is None else state.segments
    snapshot = content.snapshot
    living = [living_count(snapshot, kept.first_seq, kept.stop_seq) for kept in segments]
    next_seq = segments[-1].stop_seq if segments else 0
    groups = planned(
        [
            Kept(segment.entry.rows, alive, _fits(segment, alive, state, snapshot))
            for segment, alive in zip(segments, living, strict=True)
        ],
        living_count(snapshot, next_seq, _NO_END),
    )
    parts: dict[Group, list[RowPart | ArrangedPart]] = {}
    for group in groups:
        if group.write:
            first = segments[group.first].first_seq if group.first < len(segments) else next_seq
            stop = _NO_END if group.with_new else segments[group.stop - 1].stop_seq
            parts[group] = row_parts(snapshot, first, stop)

    writer = _Writer(folder, f"{generation}-{token}")
    saved = []
    for group in groups:
        if group.write:
            saved.append(writer.rows(parts.pop(group), projected=snapshot.projected))
        else:
            kept = segments[group.first]
            entry = kept.entry
            saved.append(
                kept._replace(entry=dataclasses.replace(entry, living=living[group.first]))
            )
    manifest = Manifest(
        generation=generation,
        token=token,
        byteorder=sys.byteorder,
        tenant_id=content.tenant_id,
        dim=content.dim,
        width=content.width,
        precision=content.precision,
        indexed_fields=content.fields,
        next_id=content.next_id,
        projected=snapshot.projected,
        segments=tuple(segment.entry for segment in saved),
        deaths=_deaths(writer, snapshot, saved, state),
    )
    if state is not None and _says_the_same(manifest, state.manifest):
        return
    new = SavedState(encode(manifest), manifest, tuple(saved))
    writer.file(_NEW_MANIFEST, [new.content])
    folder.sync_names()
    remember(new)
    folder.replace(MANIFEST, _NEW_MANIFEST)
    folder.sync_names()
    for name in folder.names():
        if _OURS.fullmatch(name) and name not in manifest.files:
            folder.remove(name)


def _fits(segment: SavedSegment, living: int, state: SavedState | None, snapshot: Snapshot) -> bool:
    """Say whether a segment has the arrays that the index has by now."""
    if state is not None and state.manifest.projected != snapshot.projected:
        return False
    arranged = arranged_count(snapshot, segment.first_seq, segment.stop_seq)
    return 2 * (arranged - segment.entry.arranged) <= living


def _generation(
    found: bytes | None, state: SavedState | None, folder: Folder, *, replace: bool, path: str
) -> int:
    """Give the generation of what is there, unless it is nothing to save over."""
    if state is not None:
        return state.manifest.generation
    if found is None:
        for name in folder.names():
            if name not in (LOCK, _NEW_MANIFEST) and not _OURS.fullmatch(name):
                raise IndexFileError(
                    f"holds no index but other files ({name!r} is one); save to a new folder",
                    path=path,
                )
        return 0
    try:
        generation = decode(found).generation
    except TornError:
        generation = 0
    except ForeignError as error:
        raise IndexFileError(f"its {MANIFEST!r} {error}", path=path) from None
    if not replace:
        raise IndexFileError(
            "holds another index, or was saved to by another since this one was opened or saved; "
            "open that one, save to another folder, or give replace=True to lose what is there",
            path=path,
        )
    return generation


def _deaths(
    writer: _Writer,
    snapshot: Snapshot,
    segments: Sequence[SavedSegment],
    state: SavedState | None,
) -> FileEntry | None:
    """Say which rows of the segments are dead, in the file that does so already if there is one."""
    touched = [s for s in segments if s.entry.living < s.entry.rows]
    if not touched:
        return None
    before = {} if state is None else {s.file.name: s.living for s in state.manifest.segments}
    if state is not None and all(before.get(s.entry.file.name) == s.entry.living for s in touched):
        return state.manifest.deaths
    bits = {}
    for segment in touched:
        seqs = living_seqs(snapshot, segment.first_seq, segment.stop_seq)
        if segment.seqs is None:
            living = seqs - segment.first_seq
        else:
            living = np.searchsorted(segment.seqs, seqs)
        bits[segment.entry.file.name] = dead_bits(living, segment.entry.rows)
    return writer.arrays("dead", [(0, bits)])


def _says_the_same(new: Manifest, old: Manifest) -> bool:
    return (new.segments, new.deaths, new.next_id, new.width, new.projected) == (
        old.segments,
        old.deaths,
        old.next_id,
        old.width,
        old.projected,
    )


class _Writer:
    """Writes the files of one save."""

    def __init__(self, folder: Folder, prefix: str) -> None:
        self._folder = folder
        self._prefix = prefix
        self._count = 0

    def rows(self, parts: Sequence[RowPart | ArrangedPart], *, projected: bool) -> SavedSegment:
        """Write a segment."""
        seqs = np.concatenate([part.seqs() for part in parts])
        self._count += 1
        file = self.arrays(
            f"{self._count}.rows",
            ((part.rows, part.arrays(projected=projected)) for part in parts),
        )
        first_seq, last_seq = seqs[[0, -1]].tolist()
        gapless = last_seq - first_seq + 1 == len(seqs)
        living = sum(part.living for part in parts)
        arranged = sum(part.rows for part in parts if isinstance(part, ArrangedPart))
        entry = SegmentEntry(file, len(seqs), living, arranged)
        return SavedSegment(entry, first_seq, last_seq + 1, None if gapless else seqs)

    def arrays(self, kind: str, parts: Iterable[tuple[int, Mapping[str, Array]]]) -> FileEntry:
        """Write a file of arrays."""
        name = f"{self._prefix}-{kind}"
        layout = Layout()

        def content() -> Iterable[bytes | memoryview]:
            yield layout.head()
            for rows, arrays in parts:
                yield from layout.part(rows, arrays)
            yield layout.tail()

        self.file(name, content())
        return FileEntry(name, layout.size, layout.crc)

    def file(self, name: str, content: Iterable[bytes | memoryview]) -> None:
        """Write a file."""
        with self._folder.create(name) as file:
            for some in content:
                file.write(some)
            file.sync()
