"""Find the values of many rows: a loop that numba compiles, and that runs without it as well. Pure.

The loop is written for both: on `bytes` and lists it is Python, on arrays it is what numba makes of
it. It reads no byte beyond the end, whatever the bytes are.

Compiling takes a second or two, in each process. It happens in a thread of its own;
until it is done the same loop runs in Python.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from prism.wrapper.sources.errors import SourceProtocolError

if TYPE_CHECKING:
    import numpy.typing as npt

    Places = npt.NDArray[np.int64]

__all__ = ["locate", "want_compiled"]


def _walk(
    data: Any,
    at: int,
    end: int,
    prefixes: Any,
    sizes: Any,
    present: Any,
    starts: Any,
    ends: Any,
    room: int,
) -> int:
    """Fill `starts` and `ends`, row by row; a NULL starts at -1.

    Returns:
        How many values were found, -1 if the bytes end inside a row, -2 if `room` is not enough.
    """
    columns = len(prefixes)
    here = 0
    for i in range(columns):
        here += present[i]
    null_bytes = (here + 7) // 8
    found = 0
    while at < end:
        if at + null_bytes > end:
            return -1
        if found + columns > room:
            return -2
        nulls = at
        at += null_bytes
        place = 0
        for i in range(columns):
            if present[i] == 0:
                starts[found] = -2
                ends[found] = -2
                found += 1
                continue
            if data[nulls + (place >> 3)] >> (place & 7) & 1:
                starts[found] = -1
                ends[found] = -1
            else:
                width = prefixes[i]
                size = sizes[i]
                if width:
                    if at + width > end:
                        return -1
                    for k in range(width):
                        size += int(data[at + k]) << (8 * k)
                    at += width
                if size > end - at:
                    return -1
                starts[found] = at
                at += size
                ends[found] = at
            found += 1
            place += 1
    return found


class _Compiled:
    """The compiled loop, once it is there."""

    def __init__(self) -> None:
        self.walk: Callable[..., int] | None = None
        self._lock = threading.Lock()
        self._begun = os.environ.get("PRISM_NO_JIT", "0") not in ("", "0")

    def want(self, *, wait: bool = False) -> None:
        with self._lock:
            if self._begun:
                return
            self._begun = True
        thread = threading.Thread(target=self._compile, name="prism-binlog-kernel", daemon=True)
        thread.start()
        if wait:
            thread.join()

    def _compile(self) -> None:
        import numba

        walk = numba.njit(nogil=True)(_walk)
        byte, place = np.zeros(2, np.uint8), np.zeros(1, np.int64)
        walk(byte, 0, 2, place, place + 1, place + 1, place.copy(), place.copy(), 1)
        self.walk = walk


_COMPILED: Final = _Compiled()


def want_compiled(*, wait: bool = False) -> None:
    """Begin to compile, unless that was done; returns at once but for `wait`."""
    _COMPILED.want(wait=wait)


def locate(
    data: bytes, *, prefixes: Places, sizes: Places, present: Places
) -> tuple[Places, Places]:
    """Find the values of whole rows.

    Args:
        data: The rows and nothing else.
        prefixes: Bytes of each column's length, 0 where its size is fixed.
        sizes: Each column's fixed size, 0 where it has a length.
        present: 1 for columns that are in the rows.

    Returns:
        Starts and ends, shape (rows, columns). -1 is NULL, -2 is not in the row.

    Raises:
        SourceProtocolError: The bytes do not end with a row.
    """
    columns = len(prefixes)
    usual = max(1, int(((prefixes + sizes) * present).sum()))
    room = columns * (len(data) // usual + 8)
    # A row of NULLs is shorter than usual, and then there may be more.
    most = columns * (len(data) // max(1, (int(present.sum()) + 7) // 8) + 1)
    while True:
        starts, ends, found = _located(data, prefixes, sizes, present, min(room, most))
        if found == -2 and room < most:
            room *= 8
            continue
        if found < 0:
            raise SourceProtocolError("rows of the binary log end inside a row")
        return starts[:found].reshape(-1, columns), ends[:found].reshape(-1, columns)


def _located(
    data: bytes, prefixes: Places, sizes: Places, present: Places, room: int
) -> tuple[Places, Places, int]:
    walk = _COMPILED.walk
    if walk is not None:
        starts, ends = np.empty(room, np.int64), np.empty(room, np.int64)
        codes = np.frombuffer(data, np.uint8)
        found = walk(codes, 0, len(data), prefixes, sizes, present, starts, ends, room)
        return starts, ends, found
    listed, ended = [0] * room, [0] * room
    columns = prefixes.tolist(), sizes.tolist(), present.tolist()
    found = _walk(data, 0, len(data), *columns, listed, ended, room)
    return np.array(listed, np.int64), np.array(ended, np.int64), found
