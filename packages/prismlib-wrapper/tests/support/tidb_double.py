"""Doubles of TiDB and TiCDC around a `Store`: no TiDB can be had where the tests run.

`TidbDouble` answers the MySQL protocol (handshake v10, mysql_native_password, text results) to the
statements that a source asks. `TicdcDouble` pushes the store's commits as TiCDC would write them,
and misbehaves as TiCDC may: it repeats what it sent, mixes the order of tables, and after a refusal
goes back to its last checkpoint.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import json
import random
import re
import secrets
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal

import grpc
from tidb_store import ColumnSpec, Commit, RowChange, Store, TableVersion

from prism.wrapper.sources.tidb import frame_open
from prism.wrapper.v1 import push_pb2, push_pb2_grpc

__all__ = ["TicdcDouble", "TidbDouble", "canal_messages", "open_messages"]

_TYPES = {
    "tinyint": 1, "smallint": 2, "int": 3, "integer": 3, "float": 4, "double": 5, "timestamp": 7,
    "bigint": 8, "mediumint": 9, "date": 10, "time": 11, "datetime": 12, "year": 13, "varchar": 15,
    "varbinary": 15, "bit": 16, "json": 245, "decimal": 246, "enum": 247, "set": 248,
    "tinytext": 249, "tinyblob": 249, "mediumtext": 250, "mediumblob": 250, "longtext": 251,
    "longblob": 251, "text": 252, "blob": 252, "char": 254, "binary": 254,
}  # fmt: skip
_RAW = ("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob")
_NUMBERS = ("tinyint", "smallint", "mediumint", "int", "integer", "bigint", "year", "bit", "float",
            "double")  # fmt: skip


# -- what TiCDC writes


def _raw(column: ColumnSpec, value: object) -> bytes:
    raw = bytes(value)
    width = re.search(r"\((\d+)\)", column.type_name)
    return raw.ljust(int(width[1]), b"\0") if column.base == "binary" else raw


def _number(column: ColumnSpec, value: object) -> object:
    """Members and bits as the numbers that TiCDC has for them."""
    if column.base == "enum":
        return column.members().index(value) + 1
    if column.base == "set":
        members = column.members()
        return sum(1 << members.index(one) for one in str(value).split(",") if one)
    return value


def _canal_value(column: ColumnSpec, value: object) -> str | None:
    if value is None:
        return None
    if column.base in _RAW:
        return _raw(column, value).decode("latin-1")
    if column.base in ("float", "double"):
        return format(Decimal(repr(value)), "f").removesuffix(".0")
    if column.base in ("enum", "set"):
        return str(_number(column, value))
    return column.text(value)


def _canal_row(change: RowChange, row: Sequence[object]) -> dict[str, str | None]:
    return {c.name: _canal_value(c, v) for c, v in zip(change.columns, row, strict=True)}


def canal_messages(commit: Commit, database: str) -> Iterator[tuple[str, bytes]]:
    """Messages of a commit, each with its table."""
    millis = commit.ts >> 18
    shared = {"id": 0, "database": database, "es": millis, "ts": millis + 3}
    extension = {"_tidb": {"commitTs": commit.ts}}
    if commit.statement is not None:
        said = commit.statement
        message = {
            **shared, "table": said.table, "pkNames": None, "isDdl": True, "type": said.kind,
            "sql": said.query, "sqlType": None, "mysqlType": None, "data": None, "old": None,
            **extension,
        }  # fmt: skip
        yield "", json.dumps(message, ensure_ascii=False).encode()
    for change in commit.changes:
        unsigned = {c.name: " unsigned" * ("unsigned" in c.type_name) for c in change.columns}
        what = "DELETE" if change.after is None else "UPDATE" if change.before else "INSERT"
        message = {
            **shared, "table": change.table, "pkNames": list(change.key), "isDdl": False,
            "type": what, "sql": "",
            "sqlType": {c.name: 12 for c in change.columns},
            "mysqlType": {c.name: c.base + unsigned[c.name] for c in change.columns},
            "data": [_canal_row(change, change.after or change.before or ())],
            "old": [_canal_row(change, change.before or ())] if what == "UPDATE" else None,
            **extension,
        }  # fmt: skip
        yield change.table, json.dumps(message, ensure_ascii=False).encode()


def _canal_mark(ts: int) -> bytes:
    return json.dumps(
        {
            "id": 0,
            "database": "",
            "table": "",
            "pkNames": None,
            "isDdl": False,
            "type": "TIDB_WATERMARK",
            "es": ts >> 18,
            "ts": ts >> 18,
            "sql": "",
            "sqlType": None,
            "mysqlType": None,
            "data": None,
            "old": None,
            "_tidb": {"watermarkTs": ts},
        }
    ).encode()


def _go_quoted(raw: bytes) -> str:
    letters = {7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r",
               34: '\\"', 92: "\\\\"}  # fmt: skip
    return "".join(
        letters.get(byte) or (chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}") for byte in raw
    )


def _open_value(column: ColumnSpec, value: object) -> object:
    if value is None:
        return None
    if column.base in ("varbinary", "binary"):
        return _go_quoted(_raw(column, value))
    if column.base in _RAW or column.base.endswith("text"):
        raw = bytes(value) if column.base in _RAW else str(value).encode()
        return base64.b64encode(raw).decode()
    if column.base in (*_NUMBERS, "enum", "set"):
        number = _number(column, value)
        return int(number) if isinstance(number, str) else number
    return column.text(value)


def _open_row(change: RowChange, row: Sequence[object]) -> dict[str, object]:
    columns: dict[str, object] = {}
    for column, value in zip(change.columns, row, strict=True):
        is_binary = column.base in (*_RAW, *_NUMBERS) or _TYPES[column.base] in (245, 246)
        flags = int(is_binary) | 0x40 * column.nullable | 0x80 * ("unsigned" in column.type_name)
        flags |= 0x0A if column.name in change.key else 0
        written: dict[str, object] = {"t": _TYPES[column.base]}
        if column.name in change.key:
            written["h"] = True
        columns[column.name] = {**written, "f": flags, "v": _open_value(column, value)}
    return columns


def open_messages(commit: Commit, database: str) -> Iterator[tuple[str, dict, object]]:
    """Keys and values of a commit's events, each with its table."""
    if commit.statement is not None:
        said = commit.statement
        key = {"ts": commit.ts, "scm": database, "tbl": said.table, "t": 2}
        yield "", key, {"q": said.query, "t": said.number}
    for change in commit.changes:
        key = {"ts": commit.ts, "scm": database, "tbl": change.table, "t": 1}
        if change.after is None:
            yield change.table, key, {"d": _open_row(change, change.before or ())}
        else:
            value = {"u": _open_row(change, change.after)}
            if change.before is not None:
                value["p"] = _open_row(change, change.before)
            yield change.table, key, value


def _open_message(events: Sequence[tuple[dict, object]]) -> tuple[bytes, bytes]:
    key, value = struct.pack(">Q", 1), b""
    for event_key, event_value in events:
        text = json.dumps(event_key).encode()
        body = b"" if event_value is None else json.dumps(event_value).encode()
        key += struct.pack(">Q", len(text)) + text
        value += struct.pack(">Q", len(body)) + body
    return key, value


class TicdcDouble:
    """Pushes a store's commits, from the moment it is made, until `close`.

    Args:
        store: Whose commits.
        port: Tells where to push; None while nobody listens.
        token: Shown to the endpoint.
        encoding: `canal-json` or `open-protocol`.
        by: `http` or `grpc`.
        partitions: Tables are spread over so many.
        seed: Of its misbehaviour.
    """

    def __init__(
        self,
        store: Store,
        port: Callable[[], int | None],
        *,
        token: str,
        encoding: str,
        by: str = "http",
        partitions: int = 1,
        seed: int = 1,
    ) -> None:
        self._store = store
        self._port = port
        self._token = token
        self._encoding = encoding
        self._by = by
        self._partitions = partitions
        self._random = random.Random(seed)
        self._wake = threading.Event()
        self._over = threading.Event()
        self._checkpoint = 0
        self.statuses: dict[object, int] = {}
        self.failure: BaseException | None = None
        store.on_commit = self._wake.set
        self._thread = threading.Thread(target=self._run, name="ticdc-double", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._wake.set()
        self._thread.join(30)
        assert not self._thread.is_alive()
        if self.failure is not None:
            raise self.failure

    def _run(self) -> None:
        try:
            while not self._over.is_set():
                port = self._port()
                if port is None or not self._round(port):
                    self._over.wait(0.01)
                    continue
                self._wake.wait(0.03)
                self._wake.clear()
        except BaseException as error:  # noqa: BLE001  # handed to the test that closes
            self.failure = error

    def _round(self, port: int) -> bool:
        """Send all since the checkpoint, then marks; returns whether all was taken."""
        with self._store._lock:
            mark = self._store.now()
            commits = self._store.commits[self._checkpoint :]
        queues: dict[str, list[tuple[str, object]]] = {}
        for commit in commits:
            for table, message in self._messages(commit):
                queues.setdefault(table, []).append((table, message))
        sent: list[list[tuple[str, object]]] = []
        # Rows of one table keep their order; tables do not wait for each other.
        while queues:
            table = self._random.choice(sorted(queues))
            size = self._random.choice((1, 7, 400, 2000))
            batch, queues[table] = queues[table][:size], queues[table][size:]
            if not queues[table]:
                del queues[table]
            sent.append(batch)
            if self._random.random() < 0.1:
                sent.append(self._random.choice(sent))
        for batch in sent:
            if not self._push(port, self._partition(batch[0][0]), [m for _, m in batch]):
                return False
        for partition in range(self._partitions):
            if not self._push(port, partition, [self._mark(mark)]):
                return False
        if self._random.random() < 0.8:
            self._checkpoint += len(commits)
        return True

    def _partition(self, table: str) -> int:
        return sum(table.encode()) % self._partitions

    def _messages(self, commit: Commit) -> Iterator[tuple[str, object]]:
        if self._encoding == "canal-json":
            yield from canal_messages(commit, self._store.database)
        else:
            for table, key, value in open_messages(commit, self._store.database):
                yield table, (key, value)

    def _mark(self, ts: int) -> object:
        return _canal_mark(ts) if self._encoding == "canal-json" else ({"ts": ts, "t": 3}, None)

    def _push(self, port: int, partition: int, messages: Sequence[object]) -> bool:
        if self._encoding == "canal-json":
            body = b"\r\n".join(messages)
        else:
            pieces = [messages[i : i + 5] for i in range(0, len(messages), 5)]
            body = frame_open([_open_message(piece) for piece in pieces])
        send = self._by_http if self._by == "http" else self._by_grpc
        status = send(port, partition, body)
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if status in (400, 401, 413):
            raise AssertionError(f"the endpoint answered {status}")
        return status == 200

    def _by_http(self, port: int, partition: int, body: bytes) -> object:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request(
                "POST",
                f"/v1/push/{self._encoding}",
                body,
                {"Authorization": f"Bearer {self._token}", "Prism-Partition": str(partition)},
            )
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            return "lost"
        else:
            return answer.status
        finally:
            connection.close()

    def _by_grpc(self, port: int, partition: int, body: bytes) -> object:
        encodings = {
            "canal-json": push_pb2.ENCODING_CANAL_JSON,
            "open-protocol": push_pb2.ENCODING_OPEN_PROTOCOL,
        }
        request = push_pb2.PushRequest(
            encoding=encodings[self._encoding], partition=partition, body=body
        )
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            try:
                push_pb2_grpc.PushServiceStub(channel).Push(
                    request, timeout=30, metadata=[("authorization", f"Bearer {self._token}")]
                )
            except grpc.RpcError as error:
                known = {"INVALID_ARGUMENT": 400, "UNAUTHENTICATED": 401}
                return known.get(error.code().name, error.code().name)
            return 200


# -- the MySQL protocol


_TEXTUAL = {"char": 254, "enum": 254, "set": 254, "json": 245}
_CAPABILITIES = 0x0008_A20F  # long password, found rows, long flag, with db, 4.1, secure, plugin
_LITERAL = r"(?:_binary)?'(?:[^'\\]|\\.|'')*'|-?\d+"
_CONDITION = re.compile(rf"`(\w+)` = ({_LITERAL})", re.DOTALL)
_SELECT = re.compile(r"SELECT (.*?) FROM `(\w+)`\.`(\w+)`(?: WHERE (.*))?", re.DOTALL)


class TidbDouble:
    """Serves a store on a free port of loopback, to user `prism` with a password."""

    user, password = "prism", "right-password"

    def __init__(self, store: Store) -> None:
        self._store = store
        self.connections: set[socket.socket] = set()
        double = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                double.connections.add(self.request)
                with contextlib.suppress(OSError, EOFError):
                    _Conversation(self.request, double._store, double).run()
                double.connections.discard(self.request)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(
            target=lambda: self._server.serve_forever(poll_interval=0.02), daemon=True
        )
        self._thread.start()

    def dsn(self, password: str | None = None) -> str:
        secret = self.password if password is None else password
        return f"mysql://{self.user}:{secret}@127.0.0.1:{self.port}/{self._store.database}"

    def cut(self) -> None:
        """End all connections, as a failing server would."""
        for connection in tuple(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.cut()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


class _RefusedError(Exception):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class _Conversation:
    def __init__(self, connection: socket.socket, store: Store, double: TidbDouble) -> None:
        self._connection = connection
        self._file = connection.makefile("rb")
        self._store = store
        self._double = double
        self._sequence = 0
        self._transaction: int | None = None
        self._snapshot: int | None = None

    def run(self) -> None:
        nonce = bytes(byte % 126 + 1 for byte in secrets.token_bytes(20))
        self._send(
            b"\x0a8.0.11-TiDB-v8.5.1\0" + struct.pack("<I", 7) + nonce[:8] + b"\0"
            + struct.pack("<H", _CAPABILITIES & 0xFFFF) + bytes([45]) + struct.pack("<H", 2)
            + struct.pack("<H", _CAPABILITIES >> 16) + bytes([21]) + bytes(10)
            + nonce[8:] + b"\0" + b"mysql_native_password\0"
        )  # fmt: skip
        if not self._is_known(self._receive(), nonce):
            self._refuse(_RefusedError(1045, f"Access denied for user '{self._double.user}'"))
            return
        self._ok()
        while True:
            self._sequence = 0
            packet = self._receive()
            if packet[0] == 1:
                return
            if packet[0] != 3:
                self._ok()
                continue
            try:
                self._query(packet[1:])
            except _RefusedError as error:
                self._refuse(error)

    def _is_known(self, packet: bytes, nonce: bytes) -> bool:
        user, _, rest = packet[32:].partition(b"\0")
        given = rest[1 : 1 + rest[0]]
        once = hashlib.sha1(self._double.password.encode()).digest()  # noqa: S324 - of the protocol
        mask = hashlib.sha1(nonce + hashlib.sha1(once).digest()).digest()  # noqa: S324
        expected = bytes(a ^ b for a, b in zip(once, mask, strict=True))
        return user.decode() == self._double.user and given == expected

    def _query(self, statement: bytes) -> None:
        sql = statement.decode("utf-8", "surrogateescape")
        if found := re.match(r"SET tidb_snapshot = '(\d*)'", sql):
            self._snapshot = int(found[1]) if found[1] else None
            self._ok()
        elif sql == "START TRANSACTION WITH CONSISTENT SNAPSHOT":
            self._transaction = self._store.now()
            self._ok()
        elif sql == "SELECT @@tidb_current_ts":
            self._answer([("ts", 8, 63)], [(str(self._transaction or 0).encode(),)])
        elif sql.startswith(("SET ", "ROLLBACK", "COMMIT")):
            if not sql.startswith("SET"):
                self._transaction = None
            self._ok()
        elif "information_schema" in sql:
            self._catalogue(sql)
        elif found := _SELECT.fullmatch(sql):
            self._rows(*found.groups())
        else:
            raise _RefusedError(1064, f"the double does not know: {sql[:80]}")

    @property
    def _ts(self) -> int:
        return self._snapshot or self._transaction or self._store.now()

    def _versions(self) -> dict[str, TableVersion]:
        ts = self._ts
        return {name: self._store.as_of(name, ts) for name in self._store.names(ts)}

    def _catalogue(self, sql: str) -> None:
        shop = self._store.database
        rows: list[tuple[str | None, ...]] = []
        for name, version in self._versions().items():
            if "c.COLUMN_TYPE" in sql:
                rows += [
                    (shop, name, c.name, c.type_name, "YES" if c.nullable else "NO", c.default, "")
                    for c in version.columns
                ]
            elif "INDEX_NAME" in sql:
                rows += [(shop, name, "PRIMARY", column) for column in version.key]
            elif "TABLE_ROWS" in sql:
                rows.append((shop, name, str(len(version.rows))))
        width = len(rows[0]) if rows else 4
        self._answer(
            [(f"c{i}", 253, 45) for i in range(width)],
            [tuple(None if v is None else v.encode() for v in row) for row in rows],
        )

    def _rows(self, listed: str, _database: str, table: str, condition: str | None) -> None:
        if table not in self._store.names(self._ts):
            raise _RefusedError(1146, "no such table")
        try:
            version = self._store.as_of(table, self._ts)
        except LookupError as error:
            raise _RefusedError(9006, str(error)) from error
        names = re.findall(r"`(\w+)`", listed)
        places = [next(i for i, c in enumerate(version.columns) if c.name == n) for n in names]
        columns = [version.columns[i] for i in places]
        rows = list(version.rows.values())
        if condition is not None:
            rows = [row for row in rows if _holds(condition, version.columns, row)]
        self._answer(
            [(c.name, *_wire_type(c)) for c in columns],
            [tuple(_wire(version.columns[i], row[i]) for i in places) for row in rows],
        )

    # -- packets

    def _answer(
        self, columns: Sequence[tuple[str, int, int]], rows: Sequence[tuple[bytes | None, ...]]
    ) -> None:
        packets = [bytes([len(columns)])]
        for name, kind, charset in columns:
            text = _lengthened(name.encode())
            packets.append(
                _lengthened(b"def") + _lengthened(b"") * 3 + text + text + b"\x0c"
                + struct.pack("<HIBHB", charset, 1024, kind, 0, 0) + b"\0\0"
            )  # fmt: skip
        packets.append(b"\xfe\0\0\x02\0")
        packets += [
            b"".join(b"\xfb" if value is None else _lengthened(value) for value in row)
            for row in rows
        ]
        packets.append(b"\xfe\0\0\x02\0")
        self._send(*packets)

    def _ok(self) -> None:
        self._send(b"\0\0\0\x02\0\0\0")

    def _refuse(self, error: _RefusedError) -> None:
        self._send(b"\xff" + struct.pack("<H", error.code) + b"#HY000" + str(error).encode())

    def _send(self, *packets: bytes) -> None:
        out = bytearray()
        for packet in packets:
            out += struct.pack("<I", len(packet))[:3] + bytes([self._sequence & 0xFF]) + packet
            self._sequence += 1
        self._connection.sendall(out)

    def _receive(self) -> bytes:
        head = self._file.read(4)
        if len(head) < 4:
            raise EOFError
        self._sequence = head[3] + 1
        return self._file.read(int.from_bytes(head[:3], "little"))


def _lengthened(value: bytes) -> bytes:
    if len(value) < 251:
        return bytes([len(value)]) + value
    if len(value) < 1 << 16:
        return b"\xfc" + struct.pack("<H", len(value)) + value
    return b"\xfd" + struct.pack("<I", len(value))[:3] + value


def _wire_type(column: ColumnSpec) -> tuple[int, int]:
    if column.base in _RAW:
        return 252, 63
    if column.base == "bit":
        return 16, 63
    if column.base in _NUMBERS or column.base == "decimal":
        return _TYPES[column.base], 63
    return _TEXTUAL.get(column.base, 253), 45


def _wire(column: ColumnSpec, value: object) -> bytes | None:
    if value is None:
        return None
    if column.base in _RAW:
        return _raw(column, value)
    if column.base == "bit":
        width = int(re.search(r"\((\d+)\)", column.type_name)[1])
        return int(value).to_bytes((width + 7) // 8, "big")
    return column.text(value).encode()


def _holds(condition: str, columns: Sequence[ColumnSpec], row: Sequence[object]) -> bool:
    named = {c.name: _wire(c, v) for c, v in zip(columns, row, strict=True)}
    return any(
        all(named[name] == _literal(text) for name, text in _CONDITION.findall(group))
        for group in _groups(condition)
    )


def _groups(condition: str) -> list[str]:
    return re.findall(rf"\((?:`\w+` = (?:{_LITERAL})(?: AND )?)+\)", condition, re.DOTALL)


def _literal(text: str) -> bytes:
    raw = text.encode("utf-8", "surrogateescape").removeprefix(b"_binary")
    if not raw.startswith(b"'"):
        return raw
    letters = {b"0": b"\0", b"n": b"\n", b"r": b"\r", b"Z": b"\x1a", b"t": b"\t"}
    return re.sub(
        rb"\\(.)", lambda found: letters.get(found[1], found[1]), raw[1:-1], flags=re.DOTALL
    )
