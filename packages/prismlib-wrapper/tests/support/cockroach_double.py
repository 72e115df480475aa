"""A double of CockroachDB on the wire: a TCP server that speaks PostgreSQL's protocol, version 3.

It is not CockroachDB. It answers the statements that the source sends, runs simple SQL on tables
with a history (`cockroach_store`), and tells changes as the vendor's manual says changefeeds do:

- an initial scan at `cursor`, rows in any order, some of them twice;
- then each change with its `updated` time, in order for one key and in no order across keys, and
  earlier messages again whenever it likes, also from before the last resolved mark;
- resolved marks, some of them for a moment in the middle of what was sent;
- a copy of all rows when a column comes with a default or is dropped;
- ends when a table is truncated or dropped;
- refusals: wrong password, no right, rangefeeds off, a cursor that garbage collection went past.

`play` has a changefeed send recorded messages instead of the tables' own.

Source: CockroachDB manual, v25.2: "Changefeed Messages" (ordering and delivery guarantees,
duplicate messages, schema changes with column backfill, delete messages, resolved messages),
"EXPERIMENTAL CHANGEFEED FOR" (result columns, privileges), "CREATE CHANGEFEED" (cursor,
initial_scan, updated). The texts of refusals: the vendor's tests and issues. PostgreSQL manual,
"Frontend/Backend Protocol".
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import itertools
import os
import re
import secrets
import select
import socket
import struct
import threading
from collections.abc import Sequence
from typing import Any, Self

from cockroach_messages import Message, RefusedError, messages
from cockroach_store import Store, StoreError, written

CLUSTER = "5ea83db2-0f6e-4d8b-9a39-4fb2d8d1c0de"
Result = tuple[list[tuple[str, int]], list[tuple[Any, ...]], str]
_INT8, _BOOL, _STRING, _BYTES = 20, 16, 25, 17
_FEED_COLUMNS = [("table", _STRING), ("key", _BYTES), ("value", _BYTES)]
_NUMBERS = re.compile(r"IN \(([\d, ]+)\)")


class CockroachDouble:
    """The server. Use it as a context manager; it listens on a free port of the loopback.

    Attributes:
        store: The tables.
        version: Such as `v25.2.1`.
        rangefeed: The cluster setting.
        passwords: By user; a user that is not named needs none.
        blind: Pairs (user, table) that may not be read.
        scram: Whether passwords are asked for by SCRAM-SHA-256, else in clear text.
        seed: Of the disorder in changefeeds.
        repeats: How likely an earlier message comes again after one.
        cut_after: Messages after which a changefeed's connection is reset; None for never.
        untold: Columns that messages leave out though the catalogue has them.
        recorded: Sent by the next changefeeds instead of the tables' own messages.
    """

    def __init__(self, *, version: str = "v25.2.1", seed: int = 1) -> None:
        self.store = Store()
        self.version = version
        self.rangefeed = True
        self.passwords: dict[str, str] = {}
        self.blind: set[tuple[str, str]] = set()
        self.scram = True
        self.seed = seed
        self.repeats = 0.1
        self.cut_after: int | None = None
        self.untold: set[str] = set()
        self.recorded: list[Message] | None = None
        self.statements: list[str] = []
        self.feeds: dict[int, _Client] = {}
        self.keys: dict[int, int] = {}
        self.closing = threading.Event()
        self._clients: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._numbers = itertools.count(1)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def dsn(self, *, user: str = "root", password: str = "") -> str:
        secret = f":{password}" if password else ""
        return f"postgresql://{user}{secret}@127.0.0.1:{self.port}/defaultdb?sslmode=disable"

    def play(self, messages: Sequence[Message]) -> None:
        """Have the next changefeeds send these, then wait."""
        self.recorded = list(messages)

    def collect_garbage(self) -> None:
        """Forget all history: cursors from before are refused."""
        self.store.gc_threshold = self.store.now()

    def disconnect(self) -> None:
        """Reset the connections of all changefeeds."""
        for client in list(self.feeds.values()):
            client.reset()

    def stop_listening(self) -> None:
        """Refuse new connections and reset the present ones."""
        self._listener.close()
        for connection in list(self._clients):
            _reset(connection)

    def close(self) -> None:
        self.closing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self.store.changed:
            self.store.changed.notify_all()
        for connection in list(self._clients):
            _reset(connection)
        self._acceptor.join(10)
        for thread in self._threads:
            thread.join(10)
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        while not self.closing.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._clients.add(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        client = _Client(self, connection, next(self._numbers))
        try:
            client.run()
        except (OSError, EOFError):
            pass
        finally:
            client.end()
            self._clients.discard(connection)
            connection.close()


class _Client:
    """One connection."""

    def __init__(self, double: CockroachDouble, connection: socket.socket, number: int) -> None:
        self._double = double
        self._store = double.store
        self._socket = connection
        self._out = bytearray()
        self._number = number
        self._secret = secrets.randbits(31)
        self._in_transaction = False
        self._failed = False
        self._prepared: dict[bytes, str] = {}
        self._portal: tuple[str, list[int]] = ("", [])
        self._described: Result | None = None
        self.cancelled = threading.Event()
        self.user = ""

    # -- bytes

    def _read(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            part = self._socket.recv(size - len(parts))
            if not part:
                raise EOFError
            parts += part
        return bytes(parts)

    def _message(self, kind: bytes, body: bytes = b"") -> None:
        self._out += kind + struct.pack(">i", len(body) + 4) + body
        if len(self._out) > 1 << 16:
            self._flush()

    def _flush(self) -> None:
        out, self._out = self._out, bytearray()
        self._socket.sendall(out)

    def reset(self) -> None:
        _reset(self._socket)

    def end(self) -> None:
        self._double.feeds.pop(self._number, None)
        self._double.keys.pop(self._number, None)
        if self._in_transaction:
            self._store.rollback()
            self._store.turn.release()
            self._in_transaction = False

    # -- startup

    def run(self) -> None:
        while True:
            (length,) = struct.unpack(">i", self._read(4))
            body = self._read(length - 4)
            (code,) = struct.unpack(">i", body[:4])
            if code in (80877103, 80877104):  # TLS and GSS: neither
                self._socket.sendall(b"N")
                continue
            if code == 80877102:
                number, secret = struct.unpack(">ii", body[4:12])
                if self._double.keys.get(number) == secret and number in self._double.feeds:
                    self._double.feeds[number].cancelled.set()
                return
            break
        words = body[4:].split(b"\0")
        given = dict(zip(words[::2], words[1::2], strict=False))
        self.user = given.get(b"user", b"").decode()
        try:
            self._authenticate()
        except RefusedError as refused:
            self._refuse(refused)
            self._flush()
            return
        self._message(b"R", struct.pack(">i", 0))
        for name, value in (
            ("server_version", "13.0.0"),
            ("client_encoding", "UTF8"),
            ("standard_conforming_strings", "on"),
            ("integer_datetimes", "on"),
            ("DateStyle", "ISO, MDY"),
            ("crdb_version", f"CockroachDB CCL {self._double.version}"),
        ):
            self._message(b"S", f"{name}\0{value}\0".encode())
        self._double.keys[self._number] = self._secret
        self._message(b"K", struct.pack(">ii", self._number, self._secret))
        self._ready()
        self._statements()

    def _authenticate(self) -> None:
        wanted = self._double.passwords.get(self.user)
        if wanted is None:
            return
        wrong = RefusedError(f"password authentication failed for user {self.user}", "28P01")
        if not self._double.scram:
            self._message(b"R", struct.pack(">i", 3))
            self._flush()
            if self._answer() != wanted.encode() + b"\0":
                raise wrong
            return
        # Source: RFC 5802 and PostgreSQL manual, "SASL Authentication".
        self._message(b"R", struct.pack(">i", 10) + b"SCRAM-SHA-256\0\0")
        self._flush()
        first = self._answer()
        bare = first[first.index(b"n,,") + 3 :]
        nonce = (
            dict(p.split(b"=", 1) for p in bare.split(b","))[b"r"] + secrets.token_hex(9).encode()
        )
        salt, rounds = os.urandom(16), 4096
        said = b"r=%s,s=%s,i=%d" % (nonce, base64.b64encode(salt), rounds)
        self._message(b"R", struct.pack(">i", 11) + said)
        self._flush()
        final = self._answer()
        without, _, proof = final.rpartition(b",p=")
        salted = hashlib.pbkdf2_hmac("sha256", wanted.encode(), salt, rounds)
        key = hmac.digest(salted, b"Client Key", "sha256")
        stored = hashlib.sha256(key).digest()
        text = b",".join((bare, said, without))
        signature = hmac.digest(stored, text, "sha256")
        shown = bytes(a ^ b for a, b in zip(base64.b64decode(proof), signature, strict=True))
        if hashlib.sha256(shown).digest() != stored:
            raise wrong
        mine = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), text, "sha256")
        self._message(b"R", struct.pack(">i", 12) + b"v=" + base64.b64encode(mine))

    def _answer(self) -> bytes:
        kind = self._read(1)
        (length,) = struct.unpack(">i", self._read(4))
        body = self._read(length - 4)
        if kind != b"p":
            raise EOFError
        return body

    # -- statements

    def _ready(self) -> None:
        state = b"E" if self._failed else b"T" if self._in_transaction else b"I"
        self._message(b"Z", state)
        self._flush()

    def _refuse(self, refused: RefusedError) -> None:
        fields = f"SERROR\0VERROR\0C{refused.sqlstate}\0M{refused}\0\0"
        self._message(b"E", fields.encode())

    def _statements(self) -> None:
        skipping = False
        while True:
            kind = self._read(1)
            (length,) = struct.unpack(">i", self._read(4))
            body = self._read(length - 4)
            if kind == b"X":
                return
            if kind == b"S":
                skipping = False
                self._ready()
                continue
            if skipping:
                continue
            try:
                if kind == b"Q":
                    self._simple(body[:-1].decode())
                else:
                    self._extended(kind, body)
            except RefusedError as refused:
                self._failed = self._in_transaction
                self._refuse(refused)
                if kind == b"Q":
                    self._ready()
                else:
                    self._flush()
                    skipping = True

    def _extended(self, kind: bytes, body: bytes) -> None:
        if kind == b"P":
            name, _, rest = body.partition(b"\0")
            self._prepared[name] = rest.partition(b"\0")[0].decode()
            self._message(b"1")
        elif kind == b"B":
            _, name, rest = body.split(b"\0", 2)
            (count,) = struct.unpack(">h", rest[:2])
            at = 2 + 2 * count
            (parameters,) = struct.unpack(">h", rest[at : at + 2])
            if parameters:
                raise RefusedError("the double takes no parameters", "0A000")
            (results,) = struct.unpack(">h", rest[at + 2 : at + 4])
            formats = struct.unpack(f">{results}h", rest[at + 4 : at + 4 + 2 * results])
            self._portal, self._described = (self._prepared[name], list(formats)), None
            self._message(b"2")
        elif kind == b"D" and _is_feed(self._portal[0]):
            self._describe(_FEED_COLUMNS, self._portal[1])
        elif kind == b"D":
            self._described = self._run(self._portal[0])
            if self._described[0]:
                self._describe(self._described[0], self._portal[1])
            else:
                self._message(b"n")
        elif kind == b"E" and _is_feed(self._portal[0]):
            self._feed(*self._portal)
        elif kind == b"E":
            self._rows(self._described or self._run(self._portal[0]), self._portal[1])
        elif kind == b"H":
            self._flush()
        elif kind == b"C":
            self._message(b"3")
        else:
            raise RefusedError(f"unexpected message {kind!r}", "08P01")

    def _simple(self, sql: str) -> None:
        if _is_feed(sql):
            self._describe(_FEED_COLUMNS, [])
            self._feed(sql, [])
        else:
            result = self._run(sql)
            if result[0]:
                self._describe(result[0], [])
            self._rows(result, [])
        self._ready()

    def _describe(self, columns: Sequence[tuple[str, int]], formats: Sequence[int]) -> None:
        body = struct.pack(">h", len(columns))
        for place, (name, oid) in enumerate(columns):
            form = _format(formats, place)
            body += name.encode() + b"\0" + struct.pack(">ihihih", 0, 0, oid, -1, -1, form)
        self._message(b"T", body)

    def _rows(self, result: Result, formats: Sequence[int]) -> None:
        columns, rows, tag = result
        for row in rows:
            self._row(
                [
                    _encoded(v, o, _format(formats, i))
                    for i, (v, (_, o)) in enumerate(zip(row, columns, strict=True))
                ]
            )
        self._message(b"C", tag.encode() + b"\0")

    def _row(self, values: Sequence[bytes | None]) -> None:
        body = struct.pack(">h", len(values))
        for value in values:
            body += (
                struct.pack(">i", -1) if value is None else struct.pack(">i", len(value)) + value
            )
        self._message(b"D", body)

    def _run(self, sql: str) -> Result:
        self._double.statements.append(sql)
        word = sql.split(None, 1)[0].upper().rstrip(";") if sql.strip() else ""
        if self._failed and word not in ("ROLLBACK", "COMMIT"):
            raise RefusedError("current transaction is aborted", "25P02")
        if word == "BEGIN":
            self._begin()
            return [], [], "BEGIN"
        if word in ("COMMIT", "ROLLBACK") and sql.strip().upper().rstrip(";") == word:
            self._finish(commit=word == "COMMIT" and not self._failed)
            return [], [], word
        if word == "SET":
            return [], [], "SET"
        answer = _answered(self._double, self.user, sql)
        if answer is not None:
            return answer[0], answer[1], f"SELECT {len(answer[1])}"
        alone = not self._in_transaction
        if alone:
            self._begin()
        try:
            columns, rows = self._execute(sql)
        except (RefusedError, StoreError) as error:
            if alone:
                self._finish(commit=False)
            if isinstance(error, StoreError):
                raise RefusedError(str(error), error.sqlstate) from None
            raise
        if alone:
            self._finish(commit=True)
        return columns, rows, f"{word} {len(rows)}"

    def _execute(self, sql: str) -> tuple[list[tuple[str, int]], list[tuple[Any, ...]]]:
        if "to_jsonb(" not in sql:
            rows = self._store.execute(sql)
            return [(f"c{i}", _STRING) for i in range(len(rows[0]) if rows else 0)], rows
        match = re.match(r'SELECT (.*?) FROM "public"\."(\w+)" WHERE (.*)$', sql, re.S)
        assert match is not None, sql
        table = self._store.tables.get(match[2])
        if table is None:
            raise RefusedError(f'relation "{match[2]}" does not exist', "42P01")
        wanted = [
            re.sub(r'to_jsonb\((".*?")\)::STRING', r"\1", part) for part in match[1].split(", ")
        ]
        found = self._store.execute(
            f'SELECT {", ".join(wanted)} FROM "{table.name}" WHERE {match[3]}'
        )
        by_name = {f'"{column.name}"': column for column in table.columns}
        rows = [
            tuple(
                None if value is None else by_name[name].json(value, json_null=False)
                for name, value in zip(wanted, row, strict=True)
            )
            for row in found
        ]
        return [(name, _STRING) for name in wanted], rows

    def _begin(self) -> None:
        if not self._in_transaction:
            self._store.turn.acquire()
            self._store.begin()
            self._in_transaction = True

    def _finish(self, *, commit: bool) -> None:
        self._failed = False
        if self._in_transaction:
            self._in_transaction = False
            try:
                if commit:
                    self._store.commit()
                else:
                    self._store.rollback()
            finally:
                self._store.turn.release()

    # -- changefeeds

    def _feed(self, sql: str, formats: Sequence[int]) -> None:
        double = self._double
        double.statements.append(sql)
        double.feeds[self._number] = self
        sent = 0
        try:
            for message in messages(double, self.user, sql):
                if self.cancelled.is_set():
                    raise RefusedError("query execution canceled", "57014")
                if message is None:
                    self._flush()
                    if double.closing.is_set() or self._is_gone():
                        raise EOFError
                    continue
                table, key, value = message
                self._row(
                    [
                        None if table is None else table.encode(),
                        _encoded(key, _BYTES, _format(formats, 1)),
                        _encoded(value, _BYTES, _format(formats, 2)),
                    ]
                )
                sent += 1
                if double.cut_after is not None and sent >= double.cut_after:
                    self._flush()
                    _reset(self._socket)
                    raise EOFError
        finally:
            double.feeds.pop(self._number, None)

    def _is_gone(self) -> bool:
        ready, _, _ = select.select([self._socket], [], [], 0)
        return bool(ready) and not self._socket.recv(1, socket.MSG_PEEK)


def _reset(connection: socket.socket) -> None:
    """Break a connection, whoever waits on it."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _is_feed(sql: str) -> bool:
    return "CHANGEFEED FOR" in sql


def _format(formats: Sequence[int], place: int) -> int:
    return 0 if not formats else formats[0] if len(formats) == 1 else formats[place]


def _encoded(value: Any, oid: int, form: int) -> bytes | None:
    if value is None:
        return None
    if oid == _BYTES:
        raw: bytes = value.encode()
        return raw if form else b"\\x" + raw.hex().encode()
    if form and oid == _INT8:
        return struct.pack(">q", value)
    if form and oid == _BOOL:
        return b"\1" if value else b"\0"
    if oid == _BOOL:
        return b"t" if value else b"f"
    return str(value).encode()


def _answered(
    double: CockroachDouble, user: str, sql: str
) -> tuple[list[tuple[str, int]], list[tuple[Any, ...]]] | None:
    """What the source asks of the cluster and of its catalogue."""
    store = double.store
    text = [("v", _STRING)]
    if sql == "SELECT version()":
        shown = f"CockroachDB CCL {double.version} (x86_64-pc-linux-gnu, built 2025/06/01)"
        return text, [(shown if double.version else "PostgreSQL 15.2 on x86_64",)]
    if "cluster_id()" in sql:
        return text, [(CLUSTER,)]
    if "cluster_logical_timestamp()" in sql:
        return text, [(written(store.now()),)]
    if sql == "SHOW CLUSTER SETTING kv.rangefeed.enabled":
        if user != "root":
            raise RefusedError(
                "only users with the VIEWCLUSTERSETTING privilege may see it", "42501"
            )
        return [("kv.rangefeed.enabled", _BOOL)], [(double.rangefeed,)]
    with store.changed:
        tables = sorted(store.tables.values(), key=lambda table: table.oid)
        wanted = _NUMBERS.search(sql)
        oids = {int(n) for n in wanted[1].split(",")} if wanted else set()
        if "information_schema" in sql:
            # It shows a table to those who may do something with it.
            tables = [t for t in tables if (user, t.name) not in double.blind]
        if "table_row_statistics" in sql:
            now = store.now()
            counts = [(sum(1 for _ in t.at(now)),) for t in tables if t.oid in oids]
            return [("n", _INT8)], counts
        if "FROM pg_catalog.pg_class c" in sql:
            rows = [
                (t.oid, "public", t.name, "r", (user, t.name) not in double.blind) for t in tables
            ]
            return [("o", _INT8), *[("s", _STRING)] * 3, ("b", _BOOL)], (
                rows if "'public'" in sql else []
            )
        if "information_schema.columns" in sql:
            return [("o", _INT8), ("n", _INT8), *[("s", _STRING)] * 4], [
                (t.oid, c.number, c.name, c.type_name, "YES" if c.hidden else "NO", "")
                for t in tables
                if t.oid in oids
                for c in t.columns
            ]
        if "information_schema.statistics" in sql:
            return [("o", _INT8), ("s", _STRING)], [
                (t.oid, name) for t in tables if t.oid in oids for name in t.key
            ]
    match = re.match(r'SHOW CREATE TABLE "public"\."(\w+)"', sql)
    if match:
        lines = "".join(f"\n  FAMILY f{i} (id)," for i in range(store.tables[match[1]].families))
        return [("t", _STRING), ("c", _STRING)], [(match[1], f"CREATE TABLE ({lines}\n)")]
    return None
