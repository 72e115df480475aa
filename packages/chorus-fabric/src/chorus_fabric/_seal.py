"""The seal: AES-256-GCM with the header as associated data and the frame's counter as nonce."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from chorus_fabric._codec import HEADER_BYTES

__all__ = ["Seal"]

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

    __slots__ = ("_cipher", "_prefix")

    def __init__(self, key: bytes, prefix: bytes) -> None:
        self._cipher = AESGCM(key)
        self._prefix = prefix

    def close(
        self, header: bytes, parts: Iterable[bytes | bytearray | memoryview], counter: int
    ) -> bytes:
        """Give the message: the header as it is, the parts encrypted, and a tag."""
        return header + self._cipher.encrypt(self._nonce(counter), b"".join(parts), header)

    def open(self, message: memoryview, counter: int) -> memoryview | None:
        """Give what was encrypted, or nothing if key, header, content, tag or counter differ."""
        header = message[:HEADER_BYTES]
        try:
            return memoryview(
                self._cipher.decrypt(self._nonce(counter), message[HEADER_BYTES:], header)
            )
        except InvalidTag:
            return None

    def _nonce(self, counter: int) -> bytes:
        return _NONCE.pack(self._prefix, counter)
