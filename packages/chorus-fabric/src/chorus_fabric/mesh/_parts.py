"""Messages in parts, for a broker that carries less at once than a frame may be.

Each part begins with the message's number, its own and how many there are. Parts of one sender
come in order or not at all: one that does not follow makes the message before it void.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from chorus_fabric._codec import MAX_FRAME_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PART_HEAD_BYTES", "Assembler", "parts_of"]

_HEAD: Final = struct.Struct("<IHH")
PART_HEAD_BYTES: Final = _HEAD.size


def parts_of(message: bytes, number: int, *, most_bytes: int) -> Iterator[bytes]:
    """Divide a message.

    Args:
        message: Any bytes.
        number: Differs from the one before; below 2**32.
        most_bytes: How long a part may be, over 1 KB.
    """
    room = most_bytes - _HEAD.size
    count = max(1, -(-len(message) // room))
    for part in range(count):
        yield _HEAD.pack(number, part, count) + message[part * room : (part + 1) * room]


class Assembler:
    """Join the parts of one sender. Holds one message at most, of the size of a frame."""

    def __init__(self) -> None:
        self._number = -1
        self._parts: list[bytes] = []
        self._size = 0

    def receive(self, part: bytes) -> bytes | None:
        """Take a part; gives the message if it was the last one."""
        if len(part) < _HEAD.size:
            return None
        number, place, count = _HEAD.unpack_from(part)
        if place == 0:
            self._number, self._parts, self._size = number, [], 0
        self._size += len(part)
        if number != self._number or place != len(self._parts) or self._size > 2 * MAX_FRAME_BYTES:
            self._number, self._parts = -1, []
            return None
        self._parts.append(part[_HEAD.size :])
        if place + 1 < count:
            return None
        message = b"".join(self._parts)
        self._number, self._parts = -1, []
        return message
