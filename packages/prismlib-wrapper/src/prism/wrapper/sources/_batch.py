"""Many rows at once: read them as `Change` objects or as columns.

A batch keeps the bytes that the database sent and where each value lies in them. A text is made
when it is asked for, so whoever needs two of twenty columns pays for two. The bytes of a snapshot
are those of PostgreSQL's COPY in text form: rows end with a line feed, values are parted by tabs,
and both are escaped inside values. So every tab and line feed in the bytes is a border.

Source: PostgreSQL manual, COPY, "Text Format".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, overload

import numpy as np

from prism.wrapper.sources._types import Change, Op, TableSchema
from prism.wrapper.sources.errors import SourceProtocolError

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["RowBatch", "TextValues"]

_TAB, _LINE_FEED, _BACKSLASH, _CAPITAL_N = 9, 10, 92, 78
_ESCAPE = re.compile(rb"\\([bfnrtv\\])")
_PLAIN = {
    b"b": b"\b",
    b"f": b"\f",
    b"n": b"\n",
    b"r": b"\r",
    b"t": b"\t",
    b"v": b"\v",
    b"\\": b"\\",
}


class TextValues(Sequence["str | None"]):
    """One column of a batch: texts made when asked for, `None` for NULL. Immutable.

    Attributes:
        blob: The bytes of the whole batch.
        starts: int64, shape (rows,): where each value begins in `blob`.
        ends: int64, shape (rows,): where each value ends.
        nulls: bool, shape (rows,): which values are NULL.
        escaped: Whether values may hold COPY's escapes, so that `blob` is not yet their text.
    """

    __slots__ = ("blob", "ends", "escaped", "nulls", "starts")

    def __init__(
        self,
        blob: bytes,
        starts: npt.NDArray[np.int64],
        ends: npt.NDArray[np.int64],
        nulls: npt.NDArray[np.bool_],
        *,
        escaped: bool,
    ) -> None:
        self.blob = blob
        self.starts = starts
        self.ends = ends
        self.nulls = nulls
        self.escaped = escaped

    def __len__(self) -> int:
        return len(self.starts)

    @overload
    def __getitem__(self, index: int) -> str | None: ...
    @overload
    def __getitem__(self, index: slice) -> TextValues: ...
    def __getitem__(self, index: int | slice) -> str | TextValues | None:
        if isinstance(index, slice):
            return TextValues(
                self.blob,
                self.starts[index],
                self.ends[index],
                self.nulls[index],
                escaped=self.escaped,
            )
        if self.nulls[index]:
            return None
        return _text(self.blob[self.starts[index] : self.ends[index]], escaped=self.escaped)

    def __iter__(self) -> Iterator[str | None]:
        return iter(self.to_list())

    def to_list(self) -> list[str | None]:
        """Make all texts: several times quicker than one by one."""
        blob, escaped = self.blob, self.escaped
        starts, ends = self.starts.tolist(), self.ends.tolist()
        texts: list[str | None]
        if escaped:
            texts = [
                _text(blob[start:end], escaped=True)
                for start, end in zip(starts, ends, strict=True)
            ]
        else:
            try:
                texts = [blob[start:end].decode() for start, end in zip(starts, ends, strict=True)]
            except UnicodeDecodeError:
                texts = [
                    _text(blob[start:end], escaped=False)
                    for start, end in zip(starts, ends, strict=True)
                ]
        for row in np.flatnonzero(self.nulls).tolist():
            texts[row] = None
        return texts


class RowBatch(Sequence[Change]):
    """Rows of one table, all UPSERT: a sequence of `Change`, and columns. Immutable.

    Iterating makes the texts of all columns at once. `column` makes none.
    """

    __slots__ = ("_columns", "schema")

    def __init__(self, schema: TableSchema, columns: tuple[TextValues, ...]) -> None:
        self.schema = schema
        self._columns = columns

    @classmethod
    def from_copy_text(cls, schema: TableSchema, blob: bytes) -> RowBatch:
        """Take whole rows as `COPY ... TO STDOUT` writes them, columns in the schema's order.

        Costs a few passes of numpy over `blob`, which is kept and not copied.

        Raises:
            SourceProtocolError: `blob` is not made of whole rows of this many columns.
        """
        width = len(schema.columns)
        codes = np.frombuffer(blob, np.uint8)
        # One comparison finds both: codes below 9 wrap round to large ones.
        ends = np.flatnonzero((codes - np.uint8(_TAB)) < 2)
        if len(ends) % width or (len(blob) and blob[-1] != _LINE_FEED):
            raise SourceProtocolError(
                f"COPY of {schema.table} did not end at the end of a row of {width} columns"
            )
        starts = np.empty_like(ends)
        starts[:1] = 0
        starts[1:] = ends[:-1] + 1
        ends_of, starts_of = ends.reshape(-1, width), starts.reshape(-1, width)
        line_feeds = blob.count(b"\n")
        if line_feeds != len(ends_of) or not (codes[ends_of[:, -1]] == _LINE_FEED).all():
            raise SourceProtocolError(f"COPY of {schema.table} has rows of unequal width")
        backslashes = blob.count(b"\\")
        nulls = np.zeros(starts_of.shape, np.bool_)
        if backslashes:
            # `\N` as a whole value is NULL; a backslash of the value itself is written twice.
            short = np.nonzero(ends_of - starts_of == 2)
            first = starts_of[short]
            nulls[short] = (codes[first] == _BACKSLASH) & (codes[first + 1] == _CAPITAL_N)
        escaped = backslashes != np.count_nonzero(nulls)
        return cls(
            schema,
            tuple(
                TextValues(blob, starts_of[:, i], ends_of[:, i], nulls[:, i], escaped=escaped)
                for i in range(width)
            ),
        )

    @property
    def size_bytes(self) -> int:
        """Bytes that are kept, of those that the database sent; a slice keeps all of them."""
        return len(self._columns[0].blob) if self._columns else 0

    @property
    def text_bytes(self) -> int:
        """Bytes of the values of these rows, which for a slice are fewer than are kept."""
        return sum(int(column.ends.sum() - column.starts.sum()) for column in self._columns)

    def column(self, position: int) -> TextValues:
        """The values of one column, in the rows' order."""
        return self._columns[position]

    def __len__(self) -> int:
        return len(self._columns[0])

    @overload
    def __getitem__(self, index: int) -> Change: ...
    @overload
    def __getitem__(self, index: slice) -> RowBatch: ...
    def __getitem__(self, index: int | slice) -> Change | RowBatch:
        if isinstance(index, slice):
            return RowBatch(self.schema, tuple(column[index] for column in self._columns))
        values = tuple(column[index] for column in self._columns)
        return Change(Op.UPSERT, self.schema, self._key(values), values)

    def __iter__(self) -> Iterator[Change]:
        upsert, schema, key = Op.UPSERT, self.schema, self.schema.key
        texts = [column.to_list() for column in self._columns]
        for values in zip(*texts, strict=True):
            yield Change(upsert, schema, tuple([values[i] for i in key]), values)

    def _key(self, values: tuple[str | None, ...]) -> tuple[str, ...]:
        return tuple(text for i in self.schema.key if (text := values[i]) is not None)


def _text(raw: bytes, *, escaped: bool) -> str:
    if escaped and b"\\" in raw:
        raw = _ESCAPE.sub(lambda match: _PLAIN[match[1]], raw)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        # Only a database without an encoding (SQL_ASCII) sends this. Distinct bytes stay distinct.
        return raw.decode(errors="backslashreplace")
