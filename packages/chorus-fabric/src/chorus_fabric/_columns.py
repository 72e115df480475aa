"""Columns of texts and of byte strings: one blob and where each item of it ends.

A column made from a message lies in the message's own memory: opening a frame of a thousand rows
makes no thousand strings. Each is made when it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Generic, Self, TypeVar, overload

import numpy as np
import numpy.typing as npt

from chorus_fabric.errors import InvalidFrameError

__all__ = ["BytesColumn", "Column", "Ends", "TextColumn"]

Ends = npt.NDArray[np.uint32]
Blob = bytes | bytearray | memoryview
Item = TypeVar("Item", str, bytes)

_MOST_BYTES = 0xFFFF_FFFF
_CONTINUATION, _CONTINUATION_MASK = 0x80, 0xC0


class Column(Sequence[Item], Generic[Item]):
    """What both kinds of columns share; use `TextColumn` or `BytesColumn`.

    A column cannot be changed. It keeps the memory alive that it lies in, which for a column of a
    received frame is the whole message: copy the items that shall outlive it. Safe to share
    between threads.
    """

    __slots__ = ("_blob", "_bounds", "_ends")

    def __init__(self, blob: Blob, ends: Ends) -> None:
        self._blob = blob
        self._ends = ends
        self._bounds: list[int] | None = None

    @classmethod
    def from_offsets(cls, blob: Blob, offsets: npt.ArrayLike) -> Self:
        """Make a column of a blob and `n + 1` offsets into it; copies neither.

        Args:
            blob: All items, one after the other. Do not change it afterwards.
            offsets: Whole numbers that begin with 0, never fall and end with the blob's length.

        Raises:
            InvalidFrameError: The offsets are not like that, or cut a character in two.
        """
        given = np.asarray(offsets)
        if given.ndim != 1 or given.size == 0 or given.dtype.kind not in "iu" or given[0] != 0:
            raise InvalidFrameError("offsets are whole numbers in one dimension that begin with 0")
        if len(blob) > _MOST_BYTES or int(given.min()) < 0 or int(given.max()) > len(blob):
            raise InvalidFrameError(f"an offset lies outside of the blob of {len(blob)} bytes")
        ends = given[1:].astype(np.uint32)
        fault = fault_of(blob, ends) or cls._content_fault(blob, ends)
        if fault:
            raise InvalidFrameError(fault)
        return cls(blob, ends)

    @property
    def blob(self) -> Blob:
        """All items, one after the other."""
        return self._blob

    @property
    def ends(self) -> Ends:
        """Where in the blob each item ends, shape `(n,)`; it begins where the one before ends."""
        return self._ends

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, place: int) -> Item: ...
    @overload
    def __getitem__(self, place: slice) -> Self: ...
    def __getitem__(self, place: int | slice) -> Item | Self:
        if isinstance(place, slice):
            return self._slice(place)
        bounds = self._offsets()
        count = len(self._ends)
        if not -count <= place < count:
            raise IndexError(f"item {place} of a column of {count}")
        place %= count
        return self._item(bounds[place], bounds[place + 1])

    def __iter__(self) -> Iterator[Item]:
        bounds = self._offsets()
        for start, end in pairwise(bounds):
            yield self._item(start, end)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, (str, bytes)):
            return NotImplemented
        return len(self) == len(other) and all(
            mine == theirs for mine, theirs in zip(self, other, strict=True)
        )

    __hash__ = None  # type: ignore[assignment]  # as for lists: equal to any equal sequence

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)}, {len(self._blob)} bytes>"

    def _offsets(self) -> list[int]:
        if self._bounds is None:
            self._bounds = [0, *self._ends.tolist()]
        return self._bounds

    def _slice(self, place: slice) -> Self:
        start, stop, step = place.indices(len(self))
        if step != 1:
            raise ValueError("a column is sliced without gaps: step 1")
        bounds = self._offsets()
        stop = max(start, stop)
        first, last = bounds[start], bounds[stop]
        ends = self._ends[start:stop] - np.uint32(first)
        return type(self)(memoryview(self._blob)[first:last], ends)

    def _item(self, start: int, end: int) -> Item:
        raise NotImplementedError

    @staticmethod
    def _content_fault(blob: Blob, ends: Ends) -> str:
        raise NotImplementedError


class TextColumn(Column[str]):
    """A sequence of texts in one blob of UTF-8; a text is made when it is asked for."""

    __slots__ = ()

    @classmethod
    def from_strings(cls, strings: Iterable[str]) -> Self:
        """Make a column of these texts.

        Raises:
            InvalidFrameError: One is not a `str`, holds a lone surrogate, or all are over 4 GB.
        """
        items = strings if isinstance(strings, (list, tuple)) else list(strings)
        try:
            blob = "".join(items).encode()
            if blob.isascii():
                return cls(blob, _ends_of(map(len, items), len(items), len(blob)))
            lengths = (len(item.encode()) for item in items)
            return cls(blob, _ends_of(lengths, len(items), len(blob)))
        except UnicodeEncodeError:
            raise InvalidFrameError("a text holds a lone surrogate, not a character") from None
        except TypeError:
            raise InvalidFrameError("every item of a text column is a `str`") from None

    def __iter__(self) -> Iterator[str]:
        text = str(self._blob, "utf-8")
        if len(text) != len(self._blob):
            yield from super().__iter__()
            return
        for start, end in pairwise(self._offsets()):  # ASCII: characters are bytes
            yield text[start:end]

    def _item(self, start: int, end: int) -> str:
        return str(self._blob[start:end], "utf-8")

    @staticmethod
    def _content_fault(blob: Blob, ends: Ends) -> str:
        return utf8_fault(blob, ends)


class BytesColumn(Column[bytes]):
    """A sequence of byte strings in one blob."""

    __slots__ = ()

    @classmethod
    def from_items(cls, items: Iterable[bytes]) -> Self:
        """Make a column of these byte strings.

        Raises:
            InvalidFrameError: One is not bytes, or all are over 4 GB together.
        """
        items = items if isinstance(items, (list, tuple)) else list(items)
        try:
            blob = b"".join(items)
        except TypeError:
            raise InvalidFrameError("every item of a bytes column is `bytes`") from None
        return cls(blob, _ends_of(map(len, items), len(items), len(blob)))

    def _item(self, start: int, end: int) -> bytes:
        return bytes(self._blob[start:end])

    @staticmethod
    def _content_fault(blob: Blob, ends: Ends) -> str:  # noqa: ARG004  any bytes will do
        return ""


def _ends_of(lengths: Iterable[int], count: int, total: int) -> Ends:
    if total > _MOST_BYTES:
        raise InvalidFrameError(f"a column of {total} bytes; a frame holds far less, so divide it")
    return np.fromiter(lengths, np.uint32, count).cumsum(dtype=np.uint32)


def fault_of(blob: Blob, ends: Ends) -> str:
    """Say in which way `ends` does not divide `blob`; nothing if it does."""
    if len(ends) == 0:
        return "a blob without items" if len(blob) else ""
    if int(ends[-1]) != len(blob):
        return f"the last item ends at {ends[-1]} of {len(blob)} bytes"
    if not (ends[1:] >= ends[:-1]).all():
        return "an item ends before it begins"
    return ""


def utf8_fault(blob: Blob, ends: Ends) -> str:
    """Say in which way a blob, divided at `ends`, is not a row of texts; nothing if it is."""
    try:
        text = str(blob, "utf-8")
    except UnicodeDecodeError:
        return "a text is not UTF-8"
    if len(text) == len(blob):
        return ""
    # The whole is valid, so its parts are if none begins in the middle of a character.
    starts = ends[ends < len(blob)]
    first_bytes = np.frombuffer(blob, np.uint8)[starts]
    if ((first_bytes & _CONTINUATION_MASK) == _CONTINUATION).any():
        return "a text begins in the middle of a character"
    return ""
