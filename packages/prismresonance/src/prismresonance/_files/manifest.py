"""The manifest: the one file of a saved index that is replaced, and that says what the index is.

One line with magic, format version, CRC-32 and length of the rest; then JSON. Bytes in, values
out; values in, bytes out.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

__all__ = ["FORMAT", "FileEntry", "ForeignError", "Manifest", "SegmentEntry", "TornError",
    "decode", "encode"]  # fmt: skip

FORMAT = 1

_MAGIC = b"PRISM INDEX"


class ForeignError(Exception):
    """Bytes are no manifest that this version can read; says why."""


class TornError(Exception):
    """Bytes were a manifest once, but not all of them are there or as they were."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file and how to know it again.

    Attributes:
        name: Its name in the folder.
        size: Its length in bytes.
        crc: CRC-32 of its index.
    """

    name: str
    size: int
    crc: int


@dataclass(frozen=True, slots=True)
class SegmentEntry:
    """A file of rows.

    Attributes:
        file: The file.
        rows: Rows in it, dead ones included.
        living: How many of them are alive, by the deaths file of the same manifest.
        arranged: How many lie in parts that are arranged in cells.
    """

    file: FileEntry
    rows: int
    living: int
    arranged: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What an index was when it was saved.

    Attributes:
        generation: Counts the saves to the folder.
        token: Differs between any two saves.
        byteorder: Of all arrays: `"little"` or `"big"`.
        tenant_id: Of the projector.
        dim: Of the projector.
        width: Of the vectors; `None` before the first.
        precision: How the vectors are stored.
        indexed_fields: The indexed fields.
        next_id: The next integer that no row had for an id.
        projected: Whether the segments hold projected rows.
        segments: The rows, in order of insertion.
        deaths: The file that says which of them are dead; `None` if none is.
    """

    generation: int
    token: str
    byteorder: str
    tenant_id: str
    dim: int
    width: int | None
    precision: str
    indexed_fields: tuple[str, ...]
    next_id: int
    projected: bool
    segments: tuple[SegmentEntry, ...]
    deaths: FileEntry | None

    @property
    def files(self) -> set[str]:
        """Names of the files it needs."""
        names = {segment.file.name for segment in self.segments}
        return names if self.deaths is None else names | {self.deaths.name}


def encode(manifest: Manifest) -> bytes:
    """Give a manifest's bytes."""
    values = asdict(manifest)
    values["next_id"] = hex(manifest.next_id)  # decimal digits are limited, and slow when many
    body = json.dumps(values, indent=1).encode()
    return b"%s %d %08x %d\n%s" % (_MAGIC, FORMAT, zlib.crc32(body), len(body), body)


def decode(content: bytes) -> Manifest:
    """Read a manifest's bytes.

    Raises:
        ForeignError: They are something else, or of a version that is not known here.
        TornError: Bytes are missing or changed.
    """
    head, _, body = content.partition(b"\n")
    if not head.startswith(_MAGIC + b" "):
        if not content or (_MAGIC + b" ").startswith(head):
            raise TornError("is cut off")
        raise ForeignError("is not a manifest of a saved index")
    try:
        version, crc, length = head[len(_MAGIC) + 1 :].decode("ascii").split(" ")
        known = int(version) == FORMAT
    except ValueError:
        raise TornError("has a damaged first line") from None
    if not known:
        raise ForeignError(
            f"has the format {version}, this version of prismresonance reads {FORMAT}; "
            "open it with the version that saved it"
        )
    if crc != f"{zlib.crc32(body):08x}" or length != str(len(body)):
        raise TornError("is cut off or changed: its checksum is another")
    try:
        return _manifest(json.loads(body))
    except (KeyError, TypeError, ValueError) as error:
        raise ForeignError(f"does not say what it must: {error!r}") from None


def _manifest(values: dict[str, Any]) -> Manifest:
    segments = tuple(
        SegmentEntry(FileEntry(**entry["file"]), entry["rows"], entry["living"], entry["arranged"])
        for entry in values.pop("segments")
    )
    deaths = values.pop("deaths")
    return Manifest(
        **{
            **values,
            "indexed_fields": tuple(values["indexed_fields"]),
            "next_id": int(values["next_id"], 16),
        },
        segments=segments,
        deaths=None if deaths is None else FileEntry(**deaths),
    )
