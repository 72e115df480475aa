"""The files of a saved index that hold arrays: written once, from front to back, then only mapped.

    64 bytes    magic, padded with zeros
    sections    arrays as they are in memory, each at a multiple of 64 bytes
    index       JSON: for each part of the file the sections by name
    32 bytes    magic, version, length and CRC-32 of the index

Everything here is bytes in, bytes out.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Array", "Layout", "MalformedError", "Part", "Section", "read_index", "read_section"]

_HEAD = b"PRISM SEGMENT\n".ljust(64, b"\x00")
_TAIL = struct.Struct("<8sQQQ")
_TAIL_MAGIC = b"PRISMEND"
_VERSION = 1
_ALIGNMENT = 64

Array: TypeAlias = npt.NDArray[np.generic]


class MalformedError(Exception):
    """Bytes are not what this module writes; says what is wrong."""


class Section(NamedTuple):
    """Where an array lies in a file."""

    offset: int
    dtype: str
    shape: tuple[int, ...]
    crc: int


class Part(NamedTuple):
    """Arrays that belong together."""

    rows: int
    sections: Mapping[str, Section]


class Layout:
    """Says what to write next while a file grows.

    Attributes:
        size: Bytes given out so far.
        crc: CRC-32 of the index, once it was given out.
    """

    def __init__(self) -> None:
        self.size = 0
        self.crc = 0
        self._parts: list[dict[str, object]] = []

    def head(self) -> bytes:
        """Give the first bytes."""
        self.size = len(_HEAD)
        return _HEAD

    def part(self, rows: int, arrays: Mapping[str, Array]) -> Iterator[bytes | memoryview]:
        """Give the bytes of a part's arrays, one at a time so that none is held for long."""
        sections: dict[str, object] = {}
        for name, given in arrays.items():
            array = np.ascontiguousarray(given)
            content = array.reshape(-1).view(np.uint8).data
            padding = -self.size % _ALIGNMENT
            if padding:
                yield bytes(padding)
            sections[name] = (
                self.size + padding, array.dtype.str, array.shape, zlib.crc32(content)
            )  # fmt: skip
            self.size += padding + len(content)
            if len(content):
                yield content
        self._parts.append({"rows": rows, "sections": sections})

    def tail(self) -> bytes:
        """Give the last bytes."""
        index = json.dumps(self._parts, separators=(",", ":")).encode()
        self.crc = zlib.crc32(index)
        tail = index + _TAIL.pack(_TAIL_MAGIC, _VERSION, len(index), self.crc)
        self.size += len(tail)
        return tail


def read_index(content: memoryview, crc: int) -> list[Part]:
    """Read which arrays a file holds.

    Args:
        content: The whole file, mapped.
        crc: The CRC-32 that its index must have.

    Raises:
        MalformedError: It is not a whole file of this kind, or not the one with that index.
    """
    if len(content) < len(_HEAD) + _TAIL.size or bytes(content[: len(_HEAD)]) != _HEAD:
        raise MalformedError("it does not begin as a segment does")
    magic, version, length, own = _TAIL.unpack(content[-_TAIL.size :])
    if magic != _TAIL_MAGIC or version != _VERSION:
        raise MalformedError("it does not end as a segment does")
    if length > len(content) - len(_HEAD) - _TAIL.size:
        raise MalformedError("its index is longer than the file")
    end = len(content) - _TAIL.size
    index = bytes(content[end - length : end])
    if own != crc or zlib.crc32(index) != crc:
        raise MalformedError("its index has another checksum")
    parts = []
    for part in json.loads(index):
        sections = {
            name: Section(offset, dtype, tuple(shape), section_crc)
            for name, (offset, dtype, shape, section_crc) in part["sections"].items()
        }
        parts.append(Part(part["rows"], sections))
    return parts


def read_section(content: memoryview, section: Section, *, verify: bool) -> Array:
    """Give an array that lies in the file's own memory.

    Args:
        content: The whole file, mapped.
        section: Which one.
        verify: Whether to read all of it and compare its checksum.

    Raises:
        MalformedError: `verify` found other bytes than were written.
    """
    array: Array = np.ndarray(
        section.shape, np.dtype(section.dtype), buffer=content, offset=section.offset
    )
    if verify and zlib.crc32(array.reshape(-1).view(np.uint8).data) != section.crc:
        raise MalformedError("its content has another checksum")
    return array
