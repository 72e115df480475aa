"""What TiCDC writes is read as it is meant: the vendor's own messages, and what is not one of them.

Messages come, word for word, from pingcap/docs (ticdc/ticdc-canal-json.md and
ticdc-open-protocol.md), and from the tests of pingcap/tiflow
(pkg/sink/codec/canal/canal_json_txn_event_decoder_test.go) and of pingcap/ticdc (codec of the open
protocol, TestBasicType).
"""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prism.wrapper.sources.tidb import (
    DdlEvent,
    DdlKind,
    MessageError,
    ResolvedMark,
    RowEvent,
    decode_canal,
    decode_open,
    frame_open,
)
from prism.wrapper.sources.tidb._catalogue import ColumnFacts, TableFacts
from prism.wrapper.sources.tidb._messages import committed_ns
from prism.wrapper.sources.tidb._open_protocol import unquote
from prism.wrapper.sources.tidb._values import Texts

_TS = 429918007904436226

# The documentation's examples, with its comments taken out.
_CANAL_DDL = """{"id":0,"database":"test","table":"","pkNames":null,"isDdl":true,"type":"QUERY",
"es":1639633094670,"ts":1639633095489,"sql":"drop database if exists test","sqlType":null,
"mysqlType":null,"data":null,"old":null,"_tidb":{"commitTs":429918007904436226}}"""
_CANAL_INSERT = """{"id":0,"database":"test","table":"tp_int","pkNames":["id"],"isDdl":false,
"type":"INSERT","es":1639633141221,"ts":1639633142960,"sql":"","sqlType":{"c_bigint":-5,"c_int":4,
"c_mediumint":4,"c_smallint":5,"c_tinyint":-6,"id":4},"mysqlType":{"c_bigint":"bigint",
"c_int":"int","c_mediumint":"mediumint","c_smallint":"smallint","c_tinyint":"tinyint","id":"int"},
"data":[{"c_bigint":"9223372036854775807","c_int":"2147483647","c_mediumint":"8388607",
"c_smallint":"32767","c_tinyint":"127","id":"2"}],"old":null,
"_tidb":{"commitTs":429918007904436226}}"""
_CANAL_WATERMARK = """{"id":0,"database":"","table":"","pkNames":null,"isDdl":false,
"type":"TIDB_WATERMARK","es":1640007049196,"ts":1640007050284,"sql":"","sqlType":null,
"mysqlType":null,"data":null,"old":null,"_tidb":{"watermarkTs":429918007904436226}}"""
# tiflow's test has no extension, as its decoder can do without; the commit is added here.
_EMPLOYEE = (
    '{"id":0,"database":"test","table":"employee","pkNames":["id"],"isDdl":false,"type":"%s",'
    '"es":1668067229137,"ts":1668067230720,"sql":"","sqlType":{"FirstName":12,"HireDate":91,'
    '"LastName":12,"OfficeLocation":12,"id":4},"mysqlType":{"FirstName":"varchar",'
    '"HireDate":"date","LastName":"varchar","OfficeLocation":"varchar","id":"int"},"data":['
    '{"FirstName":"Bob","HireDate":"2015-10-08","LastName":"Smith","OfficeLocation":"Los Angeles",'
    '"id":"101"}],"old":%s,"_tidb":{"commitTs":%d}}'
)
_EMPLOYEE_OLD = (
    '[{"FirstName":"Bob","HireDate":"2014-06-04","LastName":"Smith","OfficeLocation":"New York",'
    '"id":"101"}]'
)
_BASIC_TYPES = r"""{"u":{"a":{"t":1,"h":true,"f":11,"v":1},"b":{"t":1,"f":65,"v":null},
"e":{"t":2,"f":65,"v":-1},"g":{"t":3,"f":65,"v":123},"i":{"t":4,"f":65,"v":153.123},
"k":{"t":5,"f":65,"v":153.123},"m":{"t":7,"f":65,"v":"1973-12-30 15:30:00"},
"o":{"t":8,"f":65,"v":123},"q":{"t":9,"f":65,"v":123},"s":{"t":10,"f":65,"v":"2000-01-01"},
"u":{"t":11,"f":65,"v":"23:59:59"},"w":{"t":12,"f":65,"v":"2015-12-20 23:58:58"},
"y":{"t":13,"f":193,"v":1970},"aa":{"t":15,"f":64,"v":"测试"},
"ac":{"t":15,"f":65,"v":"\\x01\\x02\\x03\\x04\\x05\\x06\\a\\b\\t\\n"},
"ae":{"t":16,"f":193,"v":81},"ag":{"t":245,"f":65,"v":"{\"key1\": \"value1\"}"},
"ai":{"t":246,"f":65,"v":"129012.12"},"ak":{"t":247,"f":64,"v":1},"am":{"t":248,"f":64,"v":2},
"ao":{"t":249,"f":64,"v":"NXJXTDZLK1ZkR1Y0ZEE9PQ=="},"aq":{"t":249,"f":65,"v":"iVBORw0KGgo="},
"bg":{"t":254,"f":65,"v":"\\x01\\x02\\x03\\x04\\x05\\x06\\a\\b\\t\\n"},
"bh":{"t":254,"f":65,"v":null},"be":{"t":254,"f":64,"v":"Alice"}}}"""
_BASIC_COLUMNS = {
    "a": "tinyint(4)", "b": "tinyint(4)", "e": "smallint(6)", "g": "int(11)", "i": "float",
    "k": "double", "m": "timestamp", "o": "bigint(20)", "q": "mediumint(9)", "s": "date",
    "u": "time", "w": "datetime", "y": "year(4)", "aa": "varchar(10)", "ac": "varbinary(10)",
    "ae": "bit(10)", "ag": "json", "ai": "decimal(10,2)", "ak": "enum('a','b','c')",
    "am": "set('a','b','c')", "ao": "tinytext", "aq": "tinyblob", "bg": "binary(10)",
    "bh": "binary(10)", "be": "char(10)",
}  # fmt: skip


def _line(text: str) -> bytes:
    return text.replace("\n", "").encode()


def _open(key: dict[str, object] | str, value: str) -> tuple[bytes, bytes]:
    text = (key if isinstance(key, str) else json.dumps(key)).encode()
    body = value.encode()
    return (
        struct.pack(">QQ", 1, len(text)) + text,
        struct.pack(">Q", len(body)) + body,
    )


def _facts(columns: dict[str, str], key: tuple[str, ...]) -> TableFacts:
    return TableFacts(
        schema="test",
        name="t",
        columns=tuple(
            ColumnFacts(name=name, type_name=kind, nullable=True, has_default=False)
            for name, kind in columns.items()
        ),
        key=key,
    )


def test_canal_json_of_the_documentation() -> None:
    body = b"\r\n".join(map(_line, (_CANAL_DDL, _CANAL_INSERT, _CANAL_WATERMARK)))
    ddl, insert, mark = decode_canal(body)
    assert ddl == DdlEvent(_TS, "test", "", "drop database if exists test", DdlKind.OTHER)
    assert isinstance(insert, RowEvent)
    assert insert.before is None
    assert insert.after is not None
    assert insert.after["c_bigint"] == "9223372036854775807"
    assert mark == ResolvedMark(_TS)
    assert committed_ns(_TS) == 1640007049196 * 1_000_000


def test_canal_json_of_the_vendors_tests() -> None:
    body = "\n".join(
        _EMPLOYEE % (what, old, ts)
        for what, old, ts in (
            ("INSERT", "null", 1),
            ("UPDATE", _EMPLOYEE_OLD, 2),
            ("DELETE", "null", 3),
        )
    )
    insert, update, delete = decode_canal(body.encode())
    assert isinstance(insert, RowEvent)
    assert isinstance(update, RowEvent)
    assert isinstance(delete, RowEvent)
    assert (insert.ts, update.ts, delete.ts) == (1, 2, 3)
    assert update.before is not None
    assert update.before["OfficeLocation"] == "New York"
    assert update.after is not None
    assert update.after["OfficeLocation"] == "Los Angeles"
    assert delete.after is None
    assert delete.before == insert.after


def test_canal_json_with_changed_columns_alone() -> None:
    (update,) = decode_canal((_EMPLOYEE % ("UPDATE", '[{"id":"7"}]', 5)).encode())
    assert isinstance(update, RowEvent)
    assert update.before == {**(update.after or {}), "id": "7"}


def test_canal_json_bytes_of_the_documentation() -> None:
    # 5 7 10 15 36 50 43 99 120 60 38 255 254 45 55 70, as the documentation writes them.
    written = r"\u0005\u0007\n\u000f$2+cx\u003c\u0026ÿþ-7F"
    message = (
        '{"database":"d","table":"t","isDdl":false,"type":"INSERT","sql":"",'
        f'"mysqlType":{{"c_varbinary":"varbinary"}},"data":[{{"c_varbinary":"{written}"}}],'
        '"old":null,"_tidb":{"commitTs":9}}'
    )
    (event,) = decode_canal(message.encode())
    assert isinstance(event, RowEvent)
    assert event.after == {
        "c_varbinary": bytes([5, 7, 10, 15, 36, 50, 43, 99, 120, 60, 38, 255, 254, 45, 55, 70])
    }


def test_open_protocol_of_the_documentation() -> None:
    partition = [
        (
            '{"ts":415508856908021766,"scm":"test","tbl":"t1","t":2}',
            '{"q":"CREATE TABLE test.t1(id int primary key, val varchar(16))","t":3}',
        ),
        ('{"ts":415508856908021766,"t":3}', ""),
        (
            '{"ts":415508878783938562,"scm":"test","tbl":"t1","t":1}',
            # The page's logs show VARCHAR in base64; its table of types and the tests as text.
            '{"u":{"id":{"t":3,"h":true,"v":1},"val":{"t":15,"v":"aa"}}}',
        ),
        (
            '{"ts":415508881418485761,"scm":"test","tbl":"t1","t":1}',
            '{"d":{"id":{"t":3,"h":true,"v":1}}}',
        ),
    ]
    events = decode_open(frame_open([_open(key, value) for key, value in partition]))
    assert events == [
        DdlEvent(
            415508856908021766,
            "test",
            "t1",
            "CREATE TABLE test.t1(id int primary key, val varchar(16))",
            DdlKind.OTHER,
        ),
        ResolvedMark(415508856908021766),
        RowEvent(415508878783938562, "test", "t1", None, {"id": "1", "val": "aa"}),
        RowEvent(415508881418485761, "test", "t1", {"id": "1"}, None),
    ]


def test_open_protocol_of_every_type() -> None:
    body = frame_open([_open('{"ts":1,"scm":"test","tbl":"t","t":1}', _BASIC_TYPES)])
    (event,) = decode_open(body)
    assert isinstance(event, RowEvent)
    texts = Texts(_facts(_BASIC_COLUMNS, ("a",)))
    assert event.after is not None
    assert texts.fits(event.after)
    told = dict(zip(_BASIC_COLUMNS, texts.values(event.after), strict=True))
    assert told == {
        "a": "1", "b": None, "e": "-1", "g": "123", "i": "153.123", "k": "153.123",
        "m": "1973-12-30 15:30:00", "o": "123", "q": "123", "s": "2000-01-01", "u": "23:59:59",
        "w": "2015-12-20 23:58:58", "y": "1970", "aa": "测试", "ac": "\\x0102030405060708090a",
        "ae": "81", "ag": '{"key1": "value1"}', "ai": "129012.12", "ak": "a", "am": "b",
        "ao": "5rWL6K+VdGV4dA==", "aq": "\\x89504e470d0a1a0a", "bg": "\\x0102030405060708090a",
        "bh": None, "be": "Alice",
    }  # fmt: skip


def test_a_query_answers_with_the_same_texts() -> None:
    columns = {"a": "bit(10)", "b": "enum('2','1')", "c": "set('x','y')", "d": "binary(3)",
               "e": "float", "f": "int(5) unsigned zerofill", "g": "double"}  # fmt: skip
    texts = Texts(_facts(columns, ("a",)))
    answered = texts.of_answer((b"\0Q", "1", "x,y", b"\1", "1e20", "00042", "-0"))
    pushed = texts.values(
        {
            "a": "81",
            "b": "2",
            "c": "3",
            "d": b"\1",
            "e": "100000000000000000000",
            "f": "42",
            "g": "-0",
        }
    )
    assert answered == pushed == ("81", "1", "x,y", "\\x010000", "1e20", "42", "-0")


def test_a_key_is_in_the_order_of_the_columns() -> None:
    texts = Texts(_facts({"a": "int(11)", "b": "varchar(9)"}, ("b", "a")))
    assert texts.key({"b": "x", "a": "1"}) == ("1", "x")
    with pytest.raises(MessageError, match="without b"):
        texts.key({"a": "1"})


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"{", "line 1 is not JSON"),
        (b"[]", "has no type"),
        (_line(_CANAL_INSERT).replace(b"_tidb", b"_other"), "enable-tidb-extension"),
        (_line(_CANAL_INSERT).replace(b"commitTs", b"x"), "enable-tidb-extension"),
        (_line(_CANAL_INSERT).replace(b'"INSERT"', b'"UPSERT"'), "UPSERT"),
        (_line(_CANAL_INSERT).replace(b'"_tidb":{', b'"_tidb":{"onlyHandleKey":true,'), "whole"),
        (_line(_CANAL_INSERT).replace(b'"127"', b"127.5e0"), None),
        (_line(_CANAL_INSERT).replace(b'"127"', b"[]"), "c_tinyint"),
    ],
)
def test_what_is_no_canal_json_is_refused(body: bytes, problem: str | None) -> None:
    if problem is None:
        decode_canal(body)
        return
    with pytest.raises(MessageError, match=problem) as caught:
        decode_canal(body)
    assert "9223372036854775807" not in str(caught.value)


@pytest.mark.parametrize(
    "damage",
    [
        lambda key, value: (key[:-1], value),
        lambda key, value: (key, value[:-1]),
        lambda key, value: (b"\0" * 7 + b"\2" + key[8:], value),
        lambda key, value: (key, value + value),
        lambda key, value: (key, value.replace(b'"u"', b'"x"')),
        lambda key, value: (key.replace(b'"t":1', b'"t":9'), value),
        lambda key, value: (key.replace(b'"t":1', b'"t":"'), value),
    ],
)
def test_what_is_no_open_protocol_is_refused(damage: object) -> None:
    message = _open('{"ts":1,"scm":"test","tbl":"t","t":1}', '{"u":{"a":{"t":1,"v":1}}}')
    assert decode_open(frame_open([message]))
    with pytest.raises(MessageError):
        decode_open(frame_open([damage(*message)]))  # type: ignore[operator]


@given(st.binary(max_size=300))
def test_bytes_from_anywhere_are_events_or_refused(body: bytes) -> None:
    for decode in (decode_canal, decode_open):
        try:
            decode(body)
        except MessageError:
            continue


@given(st.binary(max_size=60))
def test_what_go_quotes_is_read_back(raw: bytes) -> None:
    quoted = "".join(
        {7: "\\a", 34: '\\"', 92: "\\\\", 10: "\\n"}.get(b)
        or (chr(b) if 32 <= b < 127 else f"\\x{b:02x}")
        for b in raw
    )
    assert unquote(quoted) == raw
    assert unquote("\\u00e4€") == "ä€".encode()
