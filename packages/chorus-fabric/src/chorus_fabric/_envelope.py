"""Frames inside protobuf's `Envelope { bytes frame = 1; }`, without protobuf's copies.

A field of bytes is a tag, a length and the bytes as they are. protobuf copies them four times on
their way, which for frames of 400 kB takes as long as all that makes them safe. Peers of any
language read and write the same bytes with their own protobuf.

Source: https://protobuf.dev/programming-guides/encoding, length-delimited records.
"""

from __future__ import annotations

from typing import Final

__all__ = ["envelope_of", "frame_in"]

# Field 1, type 2: length-delimited.
_TAG: Final = 0x0A
_MORE, _SEVEN_BITS = 0x80, 0x7F
_LONGEST_LENGTH = 5


def envelope_of(message: bytes) -> bytes:
    """Give the serialised `Envelope` of a sealed frame."""
    head = bytearray((_TAG,))
    length = len(message)
    while length > _SEVEN_BITS:
        head.append(length & _SEVEN_BITS | _MORE)
        length >>= 7
    head.append(length)
    return b"".join((head, message))


def frame_in(envelope: bytes) -> memoryview | None:
    """Give the sealed frame in a serialised `Envelope`, in the memory of that.

    Returns:
        The frame's message; `None` if the envelope is not this field alone: let protobuf read it.
    """
    if not envelope or envelope[0] != _TAG:
        return None
    length, place = 0, 1
    while place < len(envelope) and place <= _LONGEST_LENGTH:
        byte = envelope[place]
        length |= (byte & _SEVEN_BITS) << 7 * (place - 1)
        place += 1
        if not byte & _MORE:
            return memoryview(envelope)[place:] if length == len(envelope) - place else None
    return None
