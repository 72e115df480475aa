"""The chain of custody: a frame's watermark is made over the frame and the watermark before it."""

from __future__ import annotations

import hmac
from collections.abc import Iterable

__all__ = ["Watermarker"]


class Watermarker:
    """Make and check watermarks: HMAC-SHA256 over header, body and the watermark before.

    In an ordered stream that is the previous frame's, so each watermark vouches for all frames
    before it. In an unordered one it is always the same root, and frames stand for themselves.

    Source: RFC 2104.
    """

    __slots__ = ("_keyed",)

    def __init__(self, key: bytes) -> None:
        self._keyed = hmac.new(key, digestmod="sha256")

    def mark(
        self, header: bytes | memoryview, parts: Iterable[bytes | bytearray | memoryview],
        before: bytes,
    ) -> bytes:  # fmt: skip
        """Give the watermark of a frame, 32 bytes.

        Args:
            header: Its header. It declares every length, so parts cannot be taken for each other.
            parts: Its body, in order.
            before: The watermark before it, 32 bytes.
        """
        state = self._keyed.copy()
        state.update(header)
        for part in parts:
            state.update(part)
        state.update(before)
        return state.digest()

    def holds(
        self, watermark: bytes | memoryview, header: bytes | memoryview,
        parts: Iterable[bytes | bytearray | memoryview], before: bytes,
    ) -> bool:  # fmt: skip
        """Whether a frame has the watermark that it should; takes the same time either way."""
        return hmac.compare_digest(self.mark(header, parts, before), watermark)
