"""The seal: AES-256-GCM with the header as associated data and the frame's counter as nonce."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from chorus_fabric._codec import HEADER_BYTES, TAG_BYTES

__all__ = ["Seal"]

_SPARE: Final = 64
_NONCE = struct.Struct(">4sQ")


class Seal:
    """Encrypt what follows a header, so that neither can be changed without the key.

    A key belongs to one direction of one key epoch, and a counter is used once under it: a nonce
    never comes twice. Keys come from a fresh exchange and are never kept on disk, so a restarted
    process cannot repeat one either.

    Source: NIST SP 800-38D; RFC 5116 for the nonce of a fixed field and a counter.

    Args:
        key: 32 bytes.
        prefix: The nonce's fixed field, 4 bytes.
    """

    __slots__ = ("_algorithm", "_cipher", "_prefix", "_room")

    def __init__(self, key: bytes, prefix: bytes) -> None:
        self._algorithm = algorithms.AES256(key)
        self._cipher = AESGCM(key)
        self._prefix = prefix
        self._room = bytearray()

    def close(
        self, header: bytes, parts: Sequence[bytes | bytearray | memoryview], counter: int
    ) -> bytes:
        """Give the message: the header as it is, the parts encrypted, and a tag.

        Parts are encrypted one by one into memory that is kept for the next message: large new
        blocks cost more than AES does, as the system clears each page of them.
        """
        size = len(header) + sum(map(len, parts))
        self._reserve(size + _SPARE)
        encryptor = Cipher(self._algorithm, modes.GCM(self._nonce(counter))).encryptor()
        encryptor.authenticate_additional_data(header)
        room = memoryview(self._room)
        place = len(header)
        room[:place] = header
        for part in parts:
            place += encryptor.update_into(part, room[place:])
        encryptor.finalize()
        room[place : place + TAG_BYTES] = encryptor.tag
        return bytes(room[: place + TAG_BYTES])

    def open(self, message: memoryview, counter: int) -> memoryview | None:
        """Give what was encrypted, or nothing if key, header, content, tag or counter differ.

        It lies in memory that is used again for the next message.
        """
        rest = message[HEADER_BYTES:]
        self._reserve(len(rest))
        plain = memoryview(self._room)[: len(rest) - TAG_BYTES]
        try:
            self._cipher.decrypt_into(self._nonce(counter), rest, message[:HEADER_BYTES], plain)
        except InvalidTag:
            return None
        return plain

    def _reserve(self, size: int) -> None:
        if len(self._room) < size:
            self._room = bytearray(size + size // 4)

    def _nonce(self, counter: int) -> bytes:
        return _NONCE.pack(self._prefix, counter)
