"""Inserted rows read together are those read one by one."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prism.wrapper.sources import (
    Change,
    Changes,
    Column,
    ColumnKind,
    Committed,
    RowBatch,
    SchemaChanged,
    SourceProtocolError,
    TableId,
    TableSchema,
)
from prism.wrapper.sources.postgres import _pgoutput as wire
from prism.wrapper.sources.postgres._assembler import Assembler, Resolved
from prism.wrapper.sources.postgres._inserts import FEWEST_TOGETHER, end_of_run, read_inserts
from prism.wrapper.sources.postgres._spool import SpoolRoom

_OID = 16384
_SCHEMA = TableSchema(
    TableId("db", "shop", "items"),
    tuple(Column(name, "text", ColumnKind.TEXT) for name in ("id", "name", "note")),
    (0,),
)
_VALUES = st.one_of(st.none(), st.text(max_size=6).map(str.encode), st.binary(max_size=3))
_ROWS = st.tuples(st.binary(max_size=3), _VALUES, _VALUES)


def _insert(values: Sequence[bytes | None], *, oid: int = _OID, kind: bytes = b"I") -> bytes:
    parts = [kind, struct.pack(">IcH", oid, b"N", len(values))]
    for value in values:
        parts += [b"n"] if value is None else [b"t", struct.pack(">I", len(value)), value]
    return b"".join(parts)


def _alone(payloads: Sequence[bytes]) -> list[Change]:
    reader = wire.RowReader(_SCHEMA, (25, 25, 25), [])
    changes: list[Change] = []
    for payload in payloads:
        reader.read(payload, 1, changes)
    return changes


@given(st.lists(_ROWS, min_size=1, max_size=40))
def test_rows_read_together_are_those_read_one_by_one(rows: list[tuple[bytes | None, ...]]) -> None:
    payloads = [_insert(row) for row in rows]
    batch = read_inserts(payloads, _SCHEMA)
    assert batch is not None
    assert list(batch) == _alone(payloads)
    assert [batch[place] for place in range(len(batch))] == _alone(payloads)


@given(
    st.lists(_ROWS, min_size=1, max_size=12),
    st.integers(min_value=0),
    st.integers(min_value=5),
    st.integers(0, 255),
    st.sampled_from(("change", "cut", "grow")),
)
@example([(b"1", None, b"\0\0\0\0")], 0, 8, ord("n"), "change")
def test_no_message_is_read_as_another_than_it_is(
    rows: list[tuple[bytes | None, ...]], which: int, where: int, byte: int, how: str
) -> None:
    """A damaged message is left to the reader of single ones, or read as that one reads it."""
    payloads = [_insert(row) for row in rows]
    which %= len(payloads)
    victim = bytearray(payloads[which])
    where = 5 + where % (len(victim) - 5)
    if how == "change":
        victim[where] = byte
    elif how == "cut":
        del victim[where:]
    else:
        victim.insert(where, byte)
    payloads[which] = bytes(victim)
    batch = read_inserts(payloads, _SCHEMA)
    if batch is None:
        return
    assert list(batch) == _alone(payloads)


def test_a_row_without_its_key_is_left_to_the_reader_of_single_rows() -> None:
    payloads = [_insert((b"1", None, None)), _insert((None, b"a", b"b"))]
    assert read_inserts(payloads, _SCHEMA) is None
    with pytest.raises(SourceProtocolError):
        _alone(payloads)


def test_a_run_ends_at_another_relation_another_kind_and_the_limit() -> None:
    row = _insert((b"1", None, None))
    assert end_of_run([row] * 5, 1, 100) == 5
    assert end_of_run([row] * 5, 1, 3) == 4
    assert end_of_run([row, row, _insert((b"1", None, None), oid=7), row], 0, 100) == 2
    assert end_of_run([row, row, row, _insert((b"1",), kind=b"D")], 0, 100) == 3


@given(st.data())
def test_an_assembler_tells_the_same_however_messages_arrive(data: st.DataObject) -> None:
    """In one delivery runs are read together; in deliveries of one message nothing is."""
    runs = data.draw(
        st.lists(st.tuples(st.sampled_from("IDO"), st.integers(1, 60)), min_size=1, max_size=6)
    )
    other = _OID + 1
    payloads = [struct.pack(">cQqI", b"B", 9, 0, 1), _relation(_OID), _relation(other)]
    for kind, count in runs:
        for place in range(count):
            key = str(place).encode()
            if kind == "D":
                payloads.append(
                    b"D" + struct.pack(">IcH", _OID, b"K", 3)
                    + b"t" + struct.pack(">I", len(key)) + key + b"nn"
                )  # fmt: skip
            else:
                row = (key, b"x" * (place % 5), None if place % 3 else b"y")
                payloads.append(_insert(row, oid=_OID if kind == "I" else other))
    payloads.append(struct.pack(">cBQQq", b"C", 0, 9, 10, 0))
    part_rows = data.draw(st.integers(1, 100))
    whole, together = _told([payloads], part_rows)
    single, apart = _told([[payload] for payload in payloads], part_rows)
    assert whole == single
    assert not apart
    # Whoever reads a run of that many one by one has lost the reason why this module exists.
    assert together or all(
        kind == "D" or min(count, part_rows) < FEWEST_TOGETHER for kind, count in runs
    )


def _relation(oid: int) -> bytes:
    columns = b"".join(
        struct.pack(">B", place == 0) + name + b"\0" + struct.pack(">Ii", 25, -1)
        for place, name in enumerate((b"id", b"name", b"note"))
    )
    name = f"items{oid}".encode()
    return b"R" + struct.pack(">I", oid) + b"shop\0" + name + b"\0d\0\3" + columns


def _told(deliveries: Sequence[Sequence[bytes]], part_rows: int) -> tuple[list[object], int]:
    """All changes and commits in order, and how many parts were batches; checks their size."""

    def resolve(relation: wire.Relation) -> Resolved:
        table = TableId("db", relation.schema, relation.name)
        return Resolved(TableSchema(table, _SCHEMA.columns, (0,)), (25, 25, 25))

    assembler = Assembler(
        resolve=resolve,
        told={},
        position=str,
        reread=lambda schema, keys: {},
        open_spool=SpoolRoom(memory_bytes=1 << 20).open,
        part_rows=part_rows,
    )
    told: list[object] = []
    together = 0
    for delivery in deliveries:
        for event in assembler.feed(delivery):
            if isinstance(event, Changes):
                assert 0 < len(event.changes) <= part_rows
                together += isinstance(event.changes, RowBatch)
                told += event.changes
            else:
                assert isinstance(event, (Committed, SchemaChanged))
                told.append(event)
    return told, together
