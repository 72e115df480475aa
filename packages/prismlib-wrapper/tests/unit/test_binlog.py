"""The binary log reader on bytes: recorded from MariaDB, and made by hand as MySQL 8 does."""

from __future__ import annotations

import datetime
import json
import struct
import uuid
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import binlog_bytes as made
import fuzz_binlog
from prism.wrapper.sources import Changes, Committed, Op, SchemaChanged
from prism.wrapper.sources.errors import SourceAccessError, SourceProtocolError
from prism.wrapper.sources.mysql import _locate
from prism.wrapper.sources.mysql._assembler import StaleError
from prism.wrapper.sources.mysql._binlog import Gtid, parse_event
from prism.wrapper.sources.mysql._ddl import Statement, effect_of
from prism.wrapper.sources.mysql._decimal import decimal_size, decimal_text
from prism.wrapper.sources.mysql._gtid import MariaDBState, MySQLSet
from prism.wrapper.sources.mysql._json import apply_diffs, json_text, parse_diffs
from prism.wrapper.sources.mysql._position import LogFacts, Position, obstacle
from prism.wrapper.sources.mysql._temporal import datetime2_text, time2_text, timestamp2_text

HERE = Path(__file__).parent
UUID = uuid.UUID("3e11fa47-71ca-11e1-9e33-c80aa9429562")


def told(events: list[bytes], *, is_mariadb: bool) -> list[object]:
    reader = fuzz_binlog.reader(is_mariadb=is_mariadb)
    return [event for packet in events for event in reader.feed(packet)]


# -- recorded


def test_recorded_rows_of_mariadb() -> None:
    recording = json.loads((HERE / "recorded" / "binlog1011.json").read_text())
    events = told([bytes.fromhex(one) for one in recording["events"]], is_mariadb=True)
    changes = [c for event in events if isinstance(event, Changes) for c in event.changes]
    assert [change.op for change in changes] == [
        Op.UPSERT, Op.UPSERT, Op.DELETE, Op.UPSERT, Op.DELETE,
    ]  # fmt: skip
    expected = (
        "1", "-2", "18446744073709551615", "-12345.6789", "1.5", "0.1", "1025", "2024-02-29",
        "2024-01-02 03:04:05.678901", "2024-01-02 03:04:05.678", "-12:34:56.78", "2024", "ab",
        "ä😀", "x" * 300, "\\x00ff", "\\x01000000", "it's ok", "a,c",
        "\\x000000000101000000000000000000f03f0000000000000040", '{"a": 1}',
    )  # fmt: skip
    assert changes[0].values == expected
    assert changes[1].values == ("2", *[None] * 20)
    assert (changes[2].key, changes[3].key) == (("1",), ("11",))
    assert changes[3].values == ("11", *expected[1:13], "other", *expected[14:])
    assert changes[4].key == ("2",)
    assert [type(event) for event in events].count(SchemaChanged) == 1
    assert isinstance(events[-1], Committed)


# -- MySQL 8


def test_a_transaction_of_mysql() -> None:
    events = told(fuzz_binlog.mysql_events(), is_mariadb=False)
    changes = [c for event in events if isinstance(event, Changes) for c in event.changes]
    assert [(c.op, c.values) for c in changes] == [
        (Op.UPSERT, ("1", "ab", '{"a": 1}')),
        (Op.UPSERT, ("1", "ab", '{"a": 7}')),
        (Op.DELETE, ()),
    ]
    commit = events[-1]
    assert isinstance(commit, Committed)
    assert commit.position.startswith(f"{UUID}:5/")


@pytest.mark.parametrize("kind", [34, 42])
def test_transactions_that_cannot_be_resumed_are_refused(kind: int) -> None:
    with pytest.raises(StaleError):
        told([made.format_description(), made.event(kind, b"\0" * 30)], is_mariadb=False)


def test_compressed_transactions_are_refused_with_the_remedy() -> None:
    with pytest.raises(SourceAccessError, match="binlog_transaction_compression = OFF"):
        told([made.format_description(), made.event(40, b"\0" * 30)], is_mariadb=False)


def test_a_rollback_after_rows_makes_them_void() -> None:
    *begun, _ = fuzz_binlog.mysql_events()
    with pytest.raises(StaleError, match="rolled back"):
        told([*begun, made.query("ROLLBACK")], is_mariadb=False)


def test_a_wrong_checksum_is_an_error() -> None:
    packet = bytearray(made.xid())
    packet[-1] ^= 1
    with pytest.raises(SourceProtocolError, match="checksum"):
        parse_event(bytes(packet), has_checksum=True)


# -- JSON. Bytes by the format's description in json_binary.h


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("04 00", "null"),
        ("04 01", "true"),
        ("05 feff", "-2"),
        ("09 ffffffffffffff7f", "9223372036854775807"),
        ("0a ffffffffffffffff", "18446744073709551615"),
        ("0b 000000000000f83f", "1.5"),
        ("0b 0000000000000040", "2.0"),
        ("0c 03 616222", '"ab\\""'),
        ("0f f6 04 03 02 81", "?"),
        # [1, "a", []]: two values in their entries, one behind.
        ("02 0300 1300 050100 0c0d00 020f00 0161 0000 0400", '[1, "a", []]'),
        ("00 0100 0d00 0b00 0100 020000 61", "?"),
    ],
)
def test_json_of_known_bytes(data: str, text: str) -> None:
    if "?" in text:
        with pytest.raises(SourceProtocolError):
            json_text(bytes.fromhex(data))
    else:
        assert json_text(bytes.fromhex(data)) == text


def test_json_decimals_and_times_keep_their_digits() -> None:
    number = bytes.fromhex("0f f6 04 03 02 8119")
    assert json_text(number) == "1.25"
    moment = datetime.datetime(2024, 1, 2, 3, 4, 5, 678901)  # noqa: DTZ001 - the column has no zone
    whole = ((moment.year * 13 + moment.month) << 5 | moment.day) << 17
    whole |= moment.hour << 12 | moment.minute << 6 | moment.second
    packed = struct.pack("<Q", whole << 24 | moment.microsecond)
    assert json_text(b"\x0f\x0c\x08" + packed) == '"2024-01-02 03:04:05.678901"'


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=200)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=5)
    | st.dictionaries(st.text(max_size=5), inner, max_size=5),
    max_leaves=20,
)  # fmt: skip


def encode(value: object) -> bytes:
    """Binary JSON with small containers, written from the format's description."""
    kind, data = _encoded(value)
    return bytes((kind,)) + data


def _encoded(value: object) -> tuple[int, bytes]:
    if value is None or isinstance(value, bool):
        return 4, bytes(({None: 0, True: 1, False: 2}[value],))
    if isinstance(value, int):
        return (9, struct.pack("<q", value)) if value < 2**63 else (10, struct.pack("<Q", value))
    if isinstance(value, float):
        return 11, struct.pack("<d", value)
    if isinstance(value, str):
        raw = value.encode(errors="surrogatepass")
        size, prefix = len(raw), b""
        while size > 127:
            prefix += bytes((size & 127 | 128,))
            size >>= 7
        return 12, prefix + bytes((size,)) + raw
    is_object = isinstance(value, dict)
    items = list(value.items()) if isinstance(value, dict) else [("", v) for v in value]  # type: ignore[union-attr, attr-defined]
    # With offsets of four bytes, so that any size fits.
    head, entries, keys, bodies = 8, b"", b"", b""
    first = head + len(items) * (5 + (6 if is_object else 0))
    key_entries = b""
    for key, _ in items if is_object else ():
        raw = key.encode()
        key_entries += struct.pack("<IH", first + len(keys), len(raw))
        keys += raw
    for _, one in items:
        kind, data = _encoded(one)
        if kind == 4:
            entries += bytes((kind,)) + data.ljust(4, b"\0")
        else:
            entries += bytes((kind,)) + struct.pack("<I", first + len(keys) + len(bodies))
            bodies += data
    whole = key_entries + entries + keys + bodies
    return (1 if is_object else 3), struct.pack("<II", len(items), head + len(whole)) + whole


@settings(max_examples=40)
@given(values)
def test_json_comes_back(value: object) -> None:
    assert json.loads(json_text(encode(value))) == value


@settings(max_examples=40)
@given(st.dictionaries(st.sampled_from("abc"), st.integers(0, 9), min_size=1), st.data())
def test_partial_updates_do_what_they_say(document: dict[str, int], data: st.DataObject) -> None:
    key = data.draw(st.sampled_from("abcd"))
    new = data.draw(st.integers(10, 99))
    if key in document:
        op = data.draw(st.sampled_from((0, 2)))
        after = (
            {**document, key: new} if op == 0 else {k: v for k, v in document.items() if k != key}
        )
    else:
        op, after = 1, {**document, key: new}
    diff = made.json_diff(op, f"$.{key}", encode(new) if op != 2 else None)
    assert json.loads(apply_diffs(encode(document), parse_diffs(diff))) == after


def test_a_partial_update_of_an_array() -> None:
    diffs = made.json_diff(1, "$.list[0]", encode("new")) + made.json_diff(2, "$.list[2]")
    document = encode({"list": ["a", "b", "c"]})
    assert apply_diffs(document, parse_diffs(diffs)) == '{"list": ["new", "a", "c"]}'
    with pytest.raises(SourceProtocolError, match="nowhere"):
        apply_diffs(document, parse_diffs(made.json_diff(2, "$.other[1]")))


# -- numbers and times


@given(st.integers(1, 65), st.data())
def test_decimals_come_back(precision: int, data: st.DataObject) -> None:
    scale = data.draw(st.integers(0, min(precision, 30)))
    digits = data.draw(st.integers(0, 10**precision - 1))
    is_negative = data.draw(st.booleans()) and digits > 0
    text = f"{digits:0{precision}d}"
    packed = _packed(text[: precision - scale], rest_first=True)
    packed += _packed(text[precision - scale :], rest_first=False)
    raw = bytearray(packed)
    raw[0] ^= 0x80
    if is_negative:
        raw = bytearray(byte ^ 0xFF for byte in raw)
    assert len(raw) == decimal_size(precision, scale)
    found = decimal_text(bytes(raw), precision, scale)
    whole = digits // 10**scale
    fraction = f".{digits % 10**scale:0{scale}d}" if scale else ""
    assert found == ("-" if is_negative else "") + f"{whole}{fraction}"


def _packed(digits: str, *, rest_first: bool) -> bytes:
    groups = []
    rest = len(digits) % 9
    if rest_first:
        groups = [digits[:rest], *(digits[i : i + 9] for i in range(rest, len(digits), 9))]
    else:
        groups = [digits[i : i + 9] for i in range(0, len(digits), 9)]
    widths = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)
    return b"".join(int(g).to_bytes(widths[len(g)], "big") for g in groups if g)


@given(st.datetimes(min_value=datetime.datetime(1000, 1, 1)))  # noqa: DTZ001 - without a zone
def test_datetimes_come_back(moment: datetime.datetime) -> None:
    value = (moment.year * 13 + moment.month) << 22 | moment.day << 17
    value |= moment.hour << 12 | moment.minute << 6 | moment.second
    raw = (value + 0x8000000000).to_bytes(5, "big") + moment.microsecond.to_bytes(3, "big")
    assert datetime2_text(raw, 6) == moment.strftime("%Y-%m-%d %H:%M:%S.%f").zfill(26)


@given(st.integers(1, 2**31 - 1))
def test_timestamps_are_of_utc(seconds: int) -> None:
    shown = datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")
    assert timestamp2_text(seconds.to_bytes(4, "big"), 0) == shown


@given(st.integers(-(838 * 3600 + 59 * 60 + 58) * 10**6, (838 * 3600 + 59 * 60 + 58) * 10**6))
def test_times_come_back(micros: int) -> None:
    seconds, fraction = divmod(abs(micros), 10**6)
    packed = (seconds // 3600 << 12 | seconds // 60 % 60 << 6 | seconds % 60) << 24 | fraction
    raw = ((0x800000 << 24) + (packed if micros >= 0 else -packed)).to_bytes(6, "big")
    sign = "-" if micros < 0 else ""
    clock = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{fraction:06d}"
    assert time2_text(raw, 6) == sign + clock


# -- GTIDs and positions


@given(st.sets(st.integers(1, 60), min_size=1))
def test_a_set_holds_what_was_added(numbers: set[int]) -> None:
    done = MySQLSet({})
    for number in numbers:
        done = done.added(Gtid(str(UUID), number, is_alone=False, is_xa=False))
    again = MySQLSet.parse(str(done))
    assert again == done
    for number in range(62):
        gtid = Gtid(str(UUID), number, is_alone=False, is_xa=False)
        assert done.holds(gtid) == (number in numbers)


def test_a_set_is_written_as_the_manual_says() -> None:
    done = MySQLSet.parse(f"{str(UUID).upper()}:1-3:5,\n{UUID}:4:11-18")
    assert str(done) == f"{UUID}:1-5:11-18"
    wanted = struct.pack("<Q", 1) + UUID.bytes + struct.pack("<QQQQQ", 2, 1, 6, 11, 19)
    assert done.encoded() == wanted


@pytest.mark.parametrize("text", ["0-1", "a-b-c", "0-1-2,0-2-3", "0-1-2-3"])
def test_what_is_no_state_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a GTID state"):
        MariaDBState.parse(text)


@given(st.dictionaries(st.integers(0, 9), st.tuples(st.integers(1, 9), st.integers(1, 2**63))))
def test_positions_come_back(last: dict[int, tuple[int, int]]) -> None:
    position = Position(
        done=MariaDBState(last), file="binlog.000007", offset=2**33, tables="0123456789ab"
    )
    assert Position.parse(str(position)) == position


def test_when_a_new_snapshot_is_needed() -> None:
    tables = "0" * 12
    here = Position(done=MariaDBState.parse("0-1-5"), file="b.1", offset=9, tables=tables)

    def why(done: str, there: str | None = None, digest: str = tables) -> str | None:
        held = None if there is None else MariaDBState.parse(there)
        return obstacle(here, LogFacts(done=MariaDBState.parse(done), there=held), digest)

    assert why("0-1-5") is None
    assert why("0-2-9", "0-1-5") is None
    assert why("0-1-4")
    assert why("0-1-9", "0-1-3")
    assert why("0-1-5", digest="1" * 12)
    assert obstacle(here, LogFacts(done=MySQLSet({})), tables)
    mine = Position(done=MySQLSet.parse(f"{UUID}:1-9"), file="", offset=0, tables=tables)
    done, gone = MySQLSet.parse(f"{UUID}:1-20"), MySQLSet.parse(f"{UUID}:1-9")
    assert obstacle(mine, LogFacts(done=done, purged=gone), tables) is None
    assert obstacle(mine, LogFacts(done=done, purged=MySQLSet.parse(f"{UUID}:1-10")), tables)
    assert obstacle(mine, LogFacts(done=MySQLSet.parse(f"{UUID}:1-8"), purged=gone), tables)


# -- statements


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("BEGIN", Statement.BEGIN),
        ("ROLLBACK TO `a`", Statement.ROLLBACK_TO),
        ("/* x */ TRUNCATE items", Statement.TRUNCATE),
        ("TRUNCATE TABLE `shop`.`items`", Statement.TRUNCATE),
        ("TRUNCATE other.items", Statement.HARMLESS),
        ("TRUNCATE more", Statement.HARMLESS),
        ("ALTER TABLE items ADD COLUMN a int", Statement.HARMLESS),
        ("ALTER TABLE items ADD a int DEFAULT NULL AFTER id, DROP COLUMN b", Statement.HARMLESS),
        ("ALTER TABLE items ADD INDEX (a), ALGORITHM=INPLACE", Statement.HARMLESS),
        ("ALTER TABLE items ADD a int DEFAULT 7", Statement.STALE),
        ("ALTER TABLE items ADD a int NOT NULL", Statement.STALE),
        ("ALTER TABLE items ADD a int, ADD b int DEFAULT (now())", Statement.STALE),
        ("ALTER TABLE items ADD (a int)", Statement.STALE),
        ("ALTER TABLE items MODIFY a bigint", Statement.STALE),
        ("ALTER TABLE items CHANGE a b int", Statement.STALE),
        ("ALTER TABLE items DROP PRIMARY KEY", Statement.STALE),
        ("ALTER TABLE items TRUNCATE PARTITION p0", Statement.STALE),
        ("ALTER TABLE items DROP PARTITION p0", Statement.STALE),
        ("ALTER IGNORE TABLE items ADD UNIQUE (a)", Statement.STALE),
        ("ALTER TABLE more EXCHANGE PARTITION p WITH TABLE items", Statement.STALE),
        ("ALTER TABLE more ADD FOREIGN KEY (i) REFERENCES items (id)", Statement.HARMLESS),
        ("/*!50100 ALTER TABLE items ENGINE=InnoDB*/", Statement.HARMLESS),
        ("RENAME TABLE more TO items", Statement.STALE),
        ("DROP TABLE IF EXISTS `ITEMS`", Statement.STALE),
        ("DROP DATABASE shop", Statement.STALE),
        ("DROP DATABASE other", Statement.HARMLESS),
        ("CREATE TABLE copy LIKE items", Statement.HARMLESS),
        ("CREATE OR REPLACE TABLE items (a int)", Statement.STALE),
        ("CREATE INDEX i ON items (a)", Statement.HARMLESS),
        ("CREATE VIEW v AS SELECT * FROM items", Statement.HARMLESS),
        ("GRANT SELECT ON items TO someone", Statement.HARMLESS),
        ("UPDATE items SET a = 1", Statement.STALE),
        ("INSERT INTO more SELECT 'items'", Statement.HARMLESS),
        ("-- items\nINSERT INTO more VALUES (1)", Statement.HARMLESS),
        ("XA COMMIT 'a'", Statement.XA),
    ],
)
def test_what_a_statement_is_to_us(sql: str, expected: Statement) -> None:
    assert effect_of(sql, "shop", [("shop", "items")]).statement is expected


# -- rows


COLUMNS = [("id", 3, b""), ("name", 15, b"\x40\x01"), ("ratio", 5, b"\x08")]

text_rows = st.lists(
    st.tuples(
        st.integers(-(2**31), 2**31 - 1),
        st.none() | st.text(st.characters(exclude_categories=("Cs",)), max_size=80),
        st.none() | st.floats(allow_nan=False, allow_infinity=False),
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=30)
@given(text_rows, st.booleans())
def test_rows_come_back(rows: list[tuple[int, str | None, float | None]], compiled: bool) -> None:
    images = []
    for number, name, ratio in rows:
        nulls = (name is None) << 1 | (ratio is None) << 2
        image = bytes((nulls,)) + struct.pack("<i", number)
        if name is not None:
            image += struct.pack("<H", len(name.encode())) + name.encode()
        images.append(image + (b"" if ratio is None else struct.pack("<d", ratio)))
    events = [
        made.format_description(),
        made.mysql_gtid(UUID, 1),
        made.query("BEGIN"),
        made.table_map(5, "things", COLUMNS),
        *(made.rows(30, 5, 3, images[i : i + 7]) for i in range(0, len(images), 7)),
        made.xid(),
    ]  # fmt: skip
    _locate.want_compiled(wait=True)
    walk = _locate._COMPILED.walk
    try:
        if not compiled:
            _locate._COMPILED.walk = None
        found = [
            change.values
            for event in told(events, is_mariadb=False)
            if isinstance(event, Changes)
            for change in event.changes
        ]
    finally:
        _locate._COMPILED.walk = walk
    assert [(int(a or ""), b, None if c is None else float(c)) for a, b, c in found] == [  # type: ignore[arg-type]
        (a, b, c) for a, b, c in rows
    ]


def test_rows_that_end_too_early_are_an_error() -> None:
    events = fuzz_binlog.mysql_events()[:4]
    with pytest.raises(SourceProtocolError, match="inside a row"):
        told([*events, made.rows(30, 90, 3, [b"\x00\x01\0\0"]), made.xid()], is_mariadb=False)


@pytest.mark.timeout(20)
def test_rows_without_columns_end() -> None:
    """Bitmaps that differ beyond the last column alone: found by a mutant that took all memory."""
    body = bytearray(made.rows_body(90, 3, [b"\x00" * 9], updates=True))
    place = body.index(b"\x03\xff\xff")
    body[place + 1 : place + 3] = b"\x80\x40"
    events = [*fuzz_binlog.mysql_events()[:4], made.event(31, bytes(body)), made.xid()]
    with pytest.raises(StaleError, match="without columns"):
        told(events, is_mariadb=False)


def test_mutants_crash_nothing() -> None:
    counts = fuzz_binlog.run(1500, seed=11)
    assert counts["refused by the reader"] > 100
    assert counts["read as rows"] > 50
