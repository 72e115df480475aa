"""Many inserted rows at once, as columns. Pure.

A run of Insert messages of one relation has the same shape, column after column, only each value's
length differs. So one pass of numpy over all rows for each column finds where its values lie, and
no text is made before somebody asks for it. Messages that are not of that shape (values in binary
form, a key that is NULL, anything malformed) are left to `RowReader`, which knows what to say.

Source: PostgreSQL manual, "Logical Replication Message Formats", Insert and TupleData.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from prism.wrapper.sources._batch import RowBatch, TextValues

if TYPE_CHECKING:
    from prism.wrapper.sources._types import TableSchema

__all__ = ["FEWEST_TOGETHER", "end_of_run", "read_inserts"]

FEWEST_TOGETHER: Final = 24
"""Rows from which on this is quicker than one after the other."""

_PREFIX: Final = 5  # kind and relation
_NEW: Final = ord("N")
_TEXT, _NULL = b"tn"
_PADDING: Final = b"\0" * 5


def end_of_run(payloads: Sequence[bytes], start: int, most: int) -> int:
    """Give where the run of Insert messages of one relation that begins at `start` ends.

    Args:
        payloads: Messages; that at `start` is an Insert.
        start: Where it begins.
        most: How many messages it may have.
    """
    prefix = payloads[start][:_PREFIX]
    last = min(start + most, len(payloads))
    place = start + 1
    while place < last and payloads[place].startswith(prefix):
        place += 1
    return place


def read_inserts(payloads: Sequence[bytes], schema: TableSchema) -> RowBatch | None:
    """Read Insert messages of one relation, outside a stream; `None` if one needs a closer look.

    Args:
        payloads: One or more messages of kind I with the same relation.
        schema: The relation's table.
    """
    rows, width = len(payloads), len(schema.columns)
    blob = b"".join((*payloads, _PADDING))
    codes = np.frombuffer(blob, np.uint8)
    # A length may begin at any byte: every four bytes as a number, overlapping.
    lengths = np.ndarray((len(blob) - 3,), ">u4", blob, strides=(1,))
    ends = np.cumsum(np.fromiter(map(len, payloads), np.int64, rows))
    starts = np.empty_like(ends)
    starts[0] = 0
    starts[1:] = ends[:-1]
    at = starts + _PREFIX + 3
    if (at > ends).any() or (codes[starts + _PREFIX] != _NEW).any():
        return None
    counts = codes[at - 2].astype(np.int64) << 8 | codes[at - 1]
    if (counts != width).any():
        return None
    columns = []
    for position in range(width):
        # What is read past the end of a message is there: the next one, or the padding.
        kinds = codes[at]
        is_null = kinds == _NULL
        if is_null.any():
            if position in schema.key or not (is_null | (kinds == _TEXT)).all():
                return None
            first = np.where(is_null, at + 1, at + 5)
            last = np.where(is_null, first, first + lengths[at + 1])
        else:
            if (kinds != _TEXT).any():
                return None
            first = at + 5
            last = first + lengths[at + 1]
        if (last > ends).any():
            return None
        columns.append(TextValues(blob, first, last, is_null, escaped=False))
        at = last
    if (at != ends).any():
        return None
    return RowBatch(schema, tuple(columns))
