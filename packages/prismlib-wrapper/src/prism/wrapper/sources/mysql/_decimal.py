"""DECIMAL as MySQL packs it: nine digits in four bytes, the rest in as few as hold them. Pure.

Big-endian; the first bit is turned over, and a negative number has all bits turned over.

Source: MySQL source documentation, `decimal2bin`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from prism.wrapper.sources.errors import SourceProtocolError

__all__ = ["decimal_size", "decimal_text"]

_BYTES: Final = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)


def decimal_size(precision: int, scale: int) -> int:
    """Bytes of a value."""
    whole = precision - scale
    return whole // 9 * 4 + _BYTES[whole % 9] + scale // 9 * 4 + _BYTES[scale % 9]


@lru_cache(maxsize=1024)
def _groups(digits: int, *, rest_first: bool) -> tuple[tuple[int, int], ...]:
    """Sizes in bytes and digits of the groups that make up that many digits."""
    full = ((4, 9),) * (digits // 9)
    rest = ((_BYTES[digits % 9], digits % 9),) if digits % 9 else ()
    return rest + full if rest_first else full + rest


def decimal_text(raw: bytes, precision: int, scale: int) -> str:
    """The number as MySQL writes it, with all digits of its scale.

    Raises:
        SourceProtocolError: A group holds more digits than it may.
    """
    is_negative = raw[0] < 0x80
    value = int.from_bytes(raw, "big") ^ (1 << (8 * len(raw) - 1))
    if is_negative:
        value ^= (1 << (8 * len(raw))) - 1
    plain = value.to_bytes(len(raw), "big")
    at = 0
    texts = ["", ""]
    for part, (digits, rest_first) in enumerate(((precision - scale, True), (scale, False))):
        for size, width in _groups(digits, rest_first=rest_first):
            group = int.from_bytes(plain[at : at + size], "big")
            if group >= 10**width:
                raise SourceProtocolError("a DECIMAL of the binary log is damaged")
            texts[part] += f"{group:0{width}d}"
            at += size
    whole = texts[0].lstrip("0") or "0"
    text = f"{whole}.{texts[1]}" if scale else whole
    return f"-{text}" if is_negative and text.strip("0.") else text
