"""Row events to changes, by a plan that is made once for each table map. Pure.

A row event has whole rows, one after the other; those of an UPDATE come in pairs, before and after.
Each row is a bitmap of NULLs and the values of the columns that are in it.

Source: MySQL source documentation, "Rows_event", "Partial_update_rows_event"; MariaDB knowledge
base, "Rows Event V1/V2".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from prism.wrapper.sources._batch import RowBatch
from prism.wrapper.sources._types import Change, Column, Op, TableId, TableSchema
from prism.wrapper.sources.errors import SourceError, SourceProtocolError
from prism.wrapper.sources.mysql._binlog import EventType, checked, inflate
from prism.wrapper.sources.mysql._columns import BinaryValues
from prism.wrapper.sources.mysql._json import apply_diffs, parse_diffs
from prism.wrapper.sources.mysql._locate import locate
from prism.wrapper.sources.mysql._table_map import FieldType, TableMap, take_length
from prism.wrapper.sources.mysql._values import layout_of

__all__ = ["IncompleteRowError", "RowsEvent", "RowsPlan", "parse_rows"]

_E = EventType
_V2: Final = frozenset(
    (_E.WRITE_ROWS_V2, _E.UPDATE_ROWS_V2, _E.DELETE_ROWS_V2, _E.PARTIAL_UPDATE_ROWS)
)
_WRITES: Final = frozenset((_E.WRITE_ROWS_V1, _E.WRITE_ROWS_V2, _E.MARIADB_WRITE_ROWS_COMPRESSED))
_UPDATES: Final = frozenset(
    (
        _E.UPDATE_ROWS_V1,
        _E.UPDATE_ROWS_V2,
        _E.PARTIAL_UPDATE_ROWS,
        _E.MARIADB_UPDATE_ROWS_COMPRESSED,
    )
)
_COMPRESSED: Final = frozenset(
    (
        _E.MARIADB_WRITE_ROWS_COMPRESSED,
        _E.MARIADB_UPDATE_ROWS_COMPRESSED,
        _E.MARIADB_DELETE_ROWS_COMPRESSED,
    )
)
_NULL, _ABSENT = -1, -2
_PARTIAL_JSON: Final = 1


class IncompleteRowError(SourceError):
    """A change was logged without the whole row, or without the names of its columns."""


class RowsEvent(NamedTuple):
    """A row event without its header.

    Attributes:
        kind: `WRITE`, `UPDATE` or `DELETE` by `Op`: None is UPDATE, which is neither alone.
        number: Names the table map.
        width: How many columns the table has.
        present: Bitmap of the columns that are in the rows.
        after: The same for the second of each pair; equal to `present` but for UPDATE.
        is_partial: Whether rows are of PARTIAL_UPDATE_ROWS_EVENT.
        rows: The rows themselves.
    """

    kind: Op | None
    number: int
    width: int
    present: bytes
    after: bytes
    is_partial: bool
    rows: bytes

    def continues(self, other: RowsEvent) -> bool:
        """Whether the rows are of the same form, so that they can be joined."""
        return self[:6] == other[:6]


def parse_rows(kind: int, body: bytes, *, number_size: int = 6) -> RowsEvent:
    """Take a row event apart.

    Raises:
        SourceProtocolError: It is cut off.
    """
    at = number_size + 2
    checked(body, at + 2, "a row event")
    number = int.from_bytes(body[:number_size], "little")
    if kind in _V2:
        # Extra data of plugins; its length counts itself.
        extra = int.from_bytes(body[at : at + 2], "little")
        if extra < 2:
            raise SourceProtocolError("a row event has extra data of no length")
        at += extra
    width, at = take_length(body, at)
    size = (width + 7) // 8
    checked(body, at + size, "a row event")
    present = after = body[at : at + size]
    at += size
    is_update = kind in _UPDATES
    if is_update:
        checked(body, at + size, "a row event")
        after = body[at : at + size]
        at += size
    rows = inflate(body[at:]) if kind in _COMPRESSED else body[at:]
    what = None if is_update else Op.UPSERT if kind in _WRITES else Op.DELETE
    return RowsEvent(what, number, width, present, after, kind == _E.PARTIAL_UPDATE_ROWS, rows)


class RowsPlan:
    """What rows of one table map become.

    Args:
        table: The table map.
        place: The table that the rows are of.
        charsets: Names of character sets by collation.
        told_types: Types' names of the catalogue by column, for what the map does not tell.
        hidden: Columns that are not followed: virtual ones.
        key: Names of the columns that identify a row.

    Raises:
        IncompleteRowError: The server does not write the columns' names.
        SourceProtocolError: A type is not known.
        KeyError: The table has not all columns of the key.
    """

    def __init__(
        self,
        table: TableMap,
        *,
        place: TableId,
        charsets: Mapping[int, str],
        told_types: Mapping[str, str],
        hidden: frozenset[str],
        key: Sequence[str],
    ) -> None:
        if not table.is_complete:
            raise IncompleteRowError(
                f"changes of {place} are logged without the columns' names "
                "(binlog_row_metadata is not FULL)"
            )
        self.table = table
        layouts = [
            layout_of(column, charsets, told_types.get(column.name, "")) for column in table.columns
        ]
        self._layouts = layouts
        self._picked = [i for i, c in enumerate(table.columns) if c.name not in hidden]
        names = [table.columns[i].name for i in self._picked]
        missing = [name for name in key if name not in names]
        if missing:
            raise KeyError(missing[0])
        self.schema = TableSchema(
            place,
            tuple(
                Column(table.columns[i].name, layouts[i].type_name, layouts[i].kind)
                for i in self._picked
            ),
            tuple(sorted(names.index(name) for name in key)),
        )
        self._prefixes = np.array([layout.prefix for layout in layouts], np.int64)
        self._sizes = np.array([layout.size for layout in layouts], np.int64)
        self._key_columns = [self._picked[i] for i in self.schema.key]

    def read(self, event: RowsEvent) -> Sequence[Change]:
        """The changes, in order; a `RowBatch` where all are rows that are there now.

        Raises:
            IncompleteRowError: The rows lack columns that are followed.
            SourceProtocolError: The bytes are not rows of this table.
        """
        if event.width != len(self._layouts):
            raise SourceProtocolError(
                f"rows of {event.width} columns came for {self.schema.table}, which has "
                f"{len(self._layouts)}"
            )
        if event.is_partial:
            return list(self._partial(event))
        if event.kind is None:
            return self._updates(event)
        if event.kind is Op.DELETE:
            before = self._columns(event.rows, event.present, self._key_columns)
            return [Change(Op.DELETE, self.schema, key) for key in _keys(before)]
        return RowBatch(self.schema, tuple(self._columns(event.rows, event.present, self._picked)))

    def _updates(self, event: RowsEvent) -> Sequence[Change]:
        if event.present == event.after:
            data, starts, ends = event.rows, *self._located(event.rows, event.present)
            if len(starts) % 2:
                raise SourceProtocolError("an UPDATE of the binary log has half a pair")
            old = starts[0::2], ends[0::2]
            new = starts[1::2], ends[1::2]
        else:
            data, old, new = self._pairs(event)
        before = self._values(data, *old, self._key_columns, event.present)
        after = self._values(data, *new, self._picked, event.after)
        keys = list(_keys(before))
        batch = RowBatch(self.schema, tuple(after))
        new_keys = list(_keys([after[i] for i in self.schema.key]))
        if keys == new_keys:
            return batch
        changes: list[Change] = []
        for key, change in zip(keys, batch, strict=True):
            if key != change.key:
                changes.append(Change(Op.DELETE, self.schema, key))
            changes.append(change)
        return changes

    def _columns(self, data: bytes, present: bytes, which: Sequence[int]) -> list[BinaryValues]:
        starts, ends = self._located(data, present)
        return self._values(data, starts, ends, which, present)

    def _located(self, data: bytes, present: bytes) -> tuple[_Places, _Places]:
        here = self._bits(present)
        return locate(data, prefixes=self._prefixes, sizes=self._sizes, present=here)

    def _bits(self, present: bytes) -> _Places:
        bits = np.unpackbits(np.frombuffer(present, np.uint8), bitorder="little")
        here = bits[: len(self._layouts)].astype(np.int64)
        if not here.any():
            # Such rows have no bytes either: nobody could say how many there are.
            raise IncompleteRowError(
                f"changes of {self.schema.table} are logged without columns "
                "(binlog_row_image is not FULL)"
            )
        return here

    def _values(
        self,
        data: bytes,
        starts: _Places,
        ends: _Places,
        which: Sequence[int],
        present: bytes,
    ) -> list[BinaryValues]:
        here = self._bits(present)
        for i in which:
            if not here[i]:
                raise IncompleteRowError(
                    f"changes of {self.schema.table} are logged without all columns "
                    "(binlog_row_image is not FULL)"
                )
        return [
            BinaryValues(data, starts[:, i], ends[:, i], starts[:, i] == _NULL, self._layouts[i])
            for i in which
        ]

    def _pairs(
        self, event: RowsEvent
    ) -> tuple[bytes, tuple[_Places, _Places], tuple[_Places, _Places]]:
        """Rows of two forms in turns: found one by one."""
        columns = len(self._layouts)
        found: list[list[tuple[int, int]]] = [[], []]
        at = turn = 0
        bitmaps = [self._bits(event.present).tolist(), self._bits(event.after).tolist()]
        while at < len(event.rows):
            places, at = self._row(event.rows, at, bitmaps[turn])
            found[turn] += places
            turn ^= 1
        if turn:
            raise SourceProtocolError("an UPDATE of the binary log has half a pair")
        both = [np.array(part, np.int64).reshape(-1, columns, 2) for part in found]
        return (
            event.rows,
            (both[0][:, :, 0], both[0][:, :, 1]),
            (both[1][:, :, 0], both[1][:, :, 1]),
        )

    def _row(
        self, data: bytes, at: int, present: Sequence[int], partial: Sequence[int] = ()
    ) -> tuple[list[tuple[int, int]], int]:
        """Find the values of one row, and where the next begins."""
        size = (sum(present) + 7) // 8
        nulls = data[at : at + size]
        at += size
        places: list[tuple[int, int]] = []
        place = 0
        for i, layout in enumerate(self._layouts):
            if not present[i]:
                places.append((_ABSENT, _ABSENT))
                continue
            if place >> 3 >= len(nulls):
                raise SourceProtocolError("rows of the binary log end inside a row")
            if nulls[place >> 3] >> (place & 7) & 1:
                places.append((_NULL, _NULL))
            else:
                # Diffs of a JSON column have a length of four bytes, whatever the column's is.
                prefix = 4 if i in partial else layout.prefix
                length = layout.size + int.from_bytes(data[at : at + prefix], "little")
                at += prefix
                if at + length > len(data):
                    raise SourceProtocolError("rows of the binary log end inside a row")
                places.append((at, at + length))
                at += length
            place += 1
        return places, at

    def _partial(self, event: RowsEvent) -> Iterator[Change]:
        data = event.rows
        before_bits = self._bits(event.present).tolist()
        after_bits = self._bits(event.after).tolist()
        documents = [
            i
            for i, column in enumerate(self.table.columns)
            if column.type == FieldType.JSON and after_bits[i]
        ]
        at = 0
        while at < len(data):
            before, at = self._row(data, at, before_bits)
            options, at = take_length(data, at)
            if options & ~_PARTIAL_JSON:
                raise SourceProtocolError("a partial update has options that are not known")
            partial: list[int] = []
            if options & _PARTIAL_JSON:
                bits = data[at : at + (len(documents) + 7) // 8]
                at += len(bits)
                checked(bits, (len(documents) + 7) // 8, "a partial update")
                partial = [i for n, i in enumerate(documents) if bits[n >> 3] >> (n & 7) & 1]
            after, at = self._row(data, at, after_bits, partial)
            yield from self._paired(data, before, after, partial)

    def _paired(
        self,
        data: bytes,
        before: Sequence[tuple[int, int]],
        after: Sequence[tuple[int, int]],
        partial: Sequence[int],
    ) -> Iterator[Change]:
        values: list[str | None] = []
        for i in self._picked:
            start, end = after[i]
            old_start, old_end = before[i]
            # A JSON column that is not in the row after was left as it was.
            is_kept = start == _ABSENT and self.table.columns[i].type == FieldType.JSON
            if is_kept:
                start, end = old_start, old_end
            if start == _ABSENT or (i in partial and old_start == _ABSENT):
                raise IncompleteRowError(
                    f"changes of {self.schema.table} are logged without all columns "
                    "(binlog_row_image is not FULL)"
                )
            if start == _NULL:
                values.append(None)
            elif i in partial and not is_kept:
                if old_start == _NULL:
                    raise SourceProtocolError("a partial update changes a document that is NULL")
                diffs = parse_diffs(data[start:end])
                values.append(apply_diffs(data[old_start:old_end], diffs))
            else:
                values.append(self._layouts[i].read(data[start:end]))
        old = [
            self._layouts[i].read(data[before[i][0] : before[i][1]])
            for i in self._key_columns
            if before[i][0] >= 0
        ]
        row = tuple(values)
        key = tuple([text for i in self.schema.key if (text := row[i]) is not None])
        if len(old) != len(self._key_columns) or len(key) != len(old):
            raise SourceProtocolError(f"a row of {self.schema.table} has no key")
        if tuple(old) != key:
            yield Change(Op.DELETE, self.schema, tuple(old))
        yield Change(Op.UPSERT, self.schema, key, row)


_Places = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


def _keys(columns: Sequence[BinaryValues]) -> Iterator[tuple[str, ...]]:
    if any(bool(column.nulls.any()) for column in columns):
        raise SourceProtocolError("a row of the binary log has no key")
    # None of the texts is None.
    yield from zip(*[column.to_list() for column in columns], strict=True)
