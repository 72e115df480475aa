"""Dates and times as MySQL packs them. Pure.

Since MySQL 5.6 (and MariaDB's mysql56_temporal_format) they are big-endian with as many bytes of
fraction as the column's digits need. The text is that of a connection whose time zone is UTC.

Source: MySQL internals manual, "Date and Time Data Type Representation".
"""

from __future__ import annotations

import datetime
from typing import Final

from prism.wrapper.sources.errors import SourceProtocolError

__all__ = [
    "date_text",
    "datetime2_text",
    "datetime_text",
    "packed_text",
    "time2_text",
    "time_text",
    "timestamp2_text",
    "timestamp_text",
]

_EPOCH: Final = datetime.datetime(1970, 1, 1)  # noqa: DTZ001  # UTC by what it counts
_ZERO: Final = "0000-00-00 00:00:00"
_DATE, _TIME = 10, 11


def _damaged(what: str) -> SourceProtocolError:
    return SourceProtocolError(f"a {what} of the binary log is damaged")


def _fraction(value: int, digits: int) -> str:
    """Digits after the point; `value` counts hundredths, ten-thousandths or millionths."""
    if not digits:
        return ""
    width = (digits + 1) // 2 * 2
    if value >= 10**width:
        raise _damaged("fraction of a second")
    return "." + f"{value:0{width}d}"[:digits]


def date_text(raw: bytes) -> str:
    """DATE, three bytes."""
    value = int.from_bytes(raw, "little")
    month = value >> 5 & 15
    if month > 12:
        raise _damaged("DATE")
    return f"{value >> 9:04d}-{month:02d}-{value & 31:02d}"


def datetime2_text(raw: bytes, digits: int) -> str:
    """DATETIME(n)."""
    value = int.from_bytes(raw[:5], "big") - 0x8000000000
    if value < 0:
        raise _damaged("DATETIME")
    year_month, day = value >> 22, value >> 17 & 31
    hour, minute, second = value >> 12 & 31, value >> 6 & 63, value & 63
    if hour > 23 or minute > 59 or second > 59 or year_month > 9999 * 13 + 12:
        raise _damaged("DATETIME")
    fraction = _fraction(int.from_bytes(raw[5:], "big"), digits)
    return (
        f"{year_month // 13:04d}-{year_month % 13:02d}-{day:02d} "
        f"{hour:02d}:{minute:02d}:{second:02d}{fraction}"
    )


def timestamp2_text(raw: bytes, digits: int) -> str:
    """TIMESTAMP(n), in UTC."""
    seconds = int.from_bytes(raw[:4], "big")
    fraction = _fraction(int.from_bytes(raw[4:], "big"), digits)
    if not seconds:
        return _ZERO + fraction
    return f"{_EPOCH + datetime.timedelta(seconds=seconds)}{fraction}"


def time2_text(raw: bytes, digits: int) -> str:
    """TIME(n), from -838:59:59 to 838:59:59."""
    # Whole and fraction are one number, below zero in two's complement.
    extra = 8 * (len(raw) - 3)
    value = int.from_bytes(raw, "big") - (0x800000 << extra)
    sign = "-" if value < 0 else ""
    value = abs(value)
    seconds, fraction = value >> extra, value & ((1 << extra) - 1)
    hour, minute, second = seconds >> 12 & 1023, seconds >> 6 & 63, seconds & 63
    if hour > 838 or minute > 59 or second > 59:
        raise _damaged("TIME")
    return f"{sign}{hour:02d}:{minute:02d}:{second:02d}{_fraction(fraction, digits)}"


def timestamp_text(raw: bytes) -> str:
    """TIMESTAMP of the format before 5.6: four bytes, little-endian."""
    return timestamp2_text(raw[::-1], 0)


def datetime_text(raw: bytes) -> str:
    """DATETIME of the format before 5.6: a number of fourteen decimal digits."""
    digits = f"{int.from_bytes(raw, 'little'):014d}"
    if len(digits) != 14 or digits[8:10] > "23" or digits[10:12] > "59" or digits[12:] > "59":
        raise _damaged("DATETIME")
    date = f"{digits[:4]}-{digits[4:6]}-{digits[6:8]}"
    return f"{date} {digits[8:10]}:{digits[10:12]}:{digits[12:]}"


def time_text(raw: bytes) -> str:
    """TIME of the format before 5.6: decimal digits of three bytes."""
    value = int.from_bytes(raw, "little", signed=True)
    sign = "-" if value < 0 else ""
    hour, rest = divmod(abs(value), 10000)
    if hour > 838 or rest // 100 > 59 or rest % 100 > 59:
        raise _damaged("TIME")
    return f"{sign}{hour:02d}:{rest // 100:02d}:{rest % 100:02d}"


def packed_text(kind: int, packed: int) -> str:
    """A date or time inside a JSON document: whole part above 24 bits of microseconds.

    Raises:
        ValueError: It is none.
    """
    if kind == _TIME:
        sign = "-" if packed < 0 else ""
        packed = abs(packed)
        seconds, micros = packed >> 24, packed & 0xFFFFFF
        hour, minute, second = seconds >> 12 & 1023, seconds >> 6 & 63, seconds & 63
        return f"{sign}{hour:02d}:{minute:02d}:{second:02d}.{micros:06d}"
    if packed < 0:
        raise ValueError("it has a date before the year 0")
    whole, micros = packed >> 24, packed & 0xFFFFFF
    year_month, day = whole >> 22, whole >> 17 & 31
    date = f"{year_month // 13:04d}-{year_month % 13:02d}-{day:02d}"
    if kind == _DATE:
        return date
    clock = f"{whole >> 12 & 31:02d}:{whole >> 6 & 63:02d}:{whole & 63:02d}"
    return f"{date} {clock}.{micros:06d}"
