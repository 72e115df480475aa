"""The one text of a floating-point number, which snapshot and stream share. Pure."""

from __future__ import annotations

import math
import struct
from typing import Final

import numpy as np

from prism.wrapper.sources.errors import SourceProtocolError

__all__ = ["double_text", "float_text", "number_text"]

_DOUBLE: Final = struct.Struct("<d")


def number_text(number: float, *, whole: str = "") -> str:
    """The fewest digits that read back as the same number: `0.1`, `2`, `1e20`, `1e-7`.

    Args:
        number: A finite number.
        whole: What a number without a fraction ends with; JSON of MySQL writes `2.0`.
    """
    return _tidy(repr(number), whole)


def _tidy(text: str, whole: str) -> str:
    mantissa, mark, exponent = text.partition("e")
    if not mark:
        return mantissa[:-2] + whole if mantissa.endswith(".0") else mantissa
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def double_text(raw: bytes) -> str:
    """DOUBLE, eight bytes.

    Raises:
        SourceProtocolError: It is not a finite number, which the database cannot hold.
    """
    (number,) = _DOUBLE.unpack(raw)
    return number_text(_finite(number))


def float_text(raw: bytes) -> str:
    """FLOAT, four bytes: the fewest digits that read back as the same 32 bits.

    Raises:
        SourceProtocolError: It is not a finite number, which the database cannot hold.
    """
    number = np.frombuffer(raw, "<f4")[0]
    _finite(float(number))
    return (
        _tidy(np.format_float_scientific(number, trim="0"), "")
        if _is_far(number)
        else _tidy(np.format_float_positional(number, trim="0"), "")
    )


def _is_far(number: np.floating) -> bool:
    # Where Python's own text of a double changes to an exponent.
    return number != 0 and not 1e-4 <= abs(float(number)) < 1e16


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise SourceProtocolError("a floating-point number of the binary log is damaged")
    return number
