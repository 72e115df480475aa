"""The push endpoint and its spool, and a wrapper process between doubles of TiDB and TiCDC."""

from __future__ import annotations

import http.client
import json
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest
from tidb_double import TicdcDouble, TidbDouble
from tidb_store import Store
from wrapper_runs import TENANT, Replica, Wrapper, eventually, free_port

from prism.wrapper.sources import SourceConfigurationError
from prism.wrapper.sources.conformance import Follower
from prism.wrapper.sources.conformance import Replica as Rows
from prism.wrapper.sources.tidb import TidbSettings, TidbSource
from prism.wrapper.sources.tidb._endpoint import Endpoint, check_endpoint
from prism.wrapper.sources.tidb._forward import Forwarder
from prism.wrapper.sources.tidb._intake import Intake
from prism.wrapper.sources.tidb._spool import PushSpool, Record, SpoolDamagedError
from prism.wrapper.sources.tidb._storage import StorageFolder
from prism.wrapper.v1 import push_pb2, push_pb2_grpc

_TOKEN = "a-token-of-the-tests"  # noqa: S105
_RIGHT = {"Authorization": f"Bearer {_TOKEN}"}


def _row(ts: int, key: int = 1, size: int = 1) -> bytes:
    return json.dumps(
        {
            "database": "shop",
            "table": "t",
            "pkNames": ["id"],
            "isDdl": False,
            "type": "INSERT",
            "sql": "",
            "mysqlType": {"id": "int", "v": "varchar"},
            "data": [{"id": str(key), "v": "x" * size}],
            "old": None,
            "_tidb": {"commitTs": ts},
        }
    ).encode()


def _mark(ts: int) -> bytes:
    return json.dumps({"type": "TIDB_WATERMARK", "_tidb": {"watermarkTs": ts}}).encode()


class Push:
    """An endpoint with an intake behind it."""

    def __init__(self, folder: Path, **others: Any) -> None:
        self.settings = TidbSettings(
            dsn="mysql://u:p@127.0.0.1/shop",
            spool=folder,
            token=_TOKEN,
            listen_port=0,
            grpc_port=0,
            **{"batch_bytes": 1 << 16, "memory_bytes": 1 << 16, **others},
        )
        self.intake = Intake(
            folder,
            segment_bytes=self.settings.segment_bytes,
            partitions=self.settings.partitions,
            memory_bytes=self.settings.memory_bytes,
            window_bytes=self.settings.window_bytes,
        )
        self.endpoint = Endpoint(self.intake, self.settings)

    def send(
        self,
        body: bytes,
        path: str = "/v1/push/canal-json",
        method: str = "POST",
        **headers: str,
    ) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.endpoint.port, timeout=20)
        try:
            connection.request(method, path, body, {**_RIGHT, **headers})
            answer = connection.getresponse()
            answer.content = answer.read()  # type: ignore[attr-defined]
            return answer
        finally:
            connection.close()

    def close(self) -> None:
        self.endpoint.stop()
        self.intake.close()


@pytest.fixture
def push(tmp_path: Path) -> Iterator[Push]:
    made = Push(tmp_path / "spool", partitions=2)
    yield made
    made.close()


def test_every_answer_means_what_it_says(push: Push) -> None:
    early = push.send(_row(5))
    assert (early.status, early.headers["Retry-After"]) == (429, "1")
    push.intake.begin_anew()
    taken = push.send(_row(5) + b"\r\n" + _mark(9))
    assert (taken.status, json.loads(taken.content)) == (200, {"events": 2})  # type: ignore[attr-defined]
    assert push.send(_row(6), **{"Prism-Partition": "1"}).status == 200
    assert push.send(b"", "/v1/health", "GET").status == 200
    for refused, status in (
        (push.send(b"{}"), 400),
        (push.send(_row(5), "/v1/push/open-protocol"), 400),
        (push.send(_row(5), **{"Prism-Partition": "2"}), 400),
        (push.send(_row(5), **{"Prism-Partition": "x"}), 400),
        (push.send(_row(5), Authorization="Bearer another-token-of-tests"), 401),
        (push.send(_row(5), Authorization=_TOKEN), 401),
        (push.send(_row(5), "/v2"), 404),
        (push.send(_row(5), method="PUT"), 405),
        (push.send(_row(5, size=1 << 17)), 413),
    ):
        assert refused.status == status
        told = json.loads(refused.content)["error"]  # type: ignore[attr-defined]
        assert told
        assert _TOKEN not in told
        assert "xxx" not in told
    assert push.intake.mark == 0  # of partition 1 there was none


def test_a_chunked_body_is_bounded_too(push: Push) -> None:
    push.intake.begin_anew()
    connection = http.client.HTTPConnection("127.0.0.1", push.endpoint.port, timeout=20)
    parts = [_row(5) + b"\n" for _ in range(3)]
    for pieces, status in ((parts, 200), ([b" " * 4096] * 40, 413)):
        connection.request("POST", "/v1/push/canal-json", iter(pieces), _RIGHT, encode_chunked=True)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == status
    connection.close()


def test_nonsense_ends_the_connection(push: Push) -> None:
    import socket

    with socket.create_connection(("127.0.0.1", push.endpoint.port), timeout=20) as raw:
        raw.sendall(b"\x16\x03\x01 no HTTP\r\n\r\n")
        assert raw.recv(1 << 12).startswith(b"HTTP/1.1 400")


def test_grpc_answers_the_same(push: Push) -> None:
    push.intake.begin_anew()
    right = [("authorization", f"Bearer {_TOKEN}")]
    with grpc.insecure_channel(f"127.0.0.1:{push.endpoint.grpc_port}") as channel:
        stub = push_pb2_grpc.PushServiceStub(channel)

        def send(body: bytes, metadata: Any = right, **others: Any) -> Any:
            asked = {"encoding": push_pb2.ENCODING_CANAL_JSON, "body": body, **others}
            return stub.Push(push_pb2.PushRequest(**asked), metadata=metadata, timeout=20)

        assert send(_row(5)).events == 1
        for arguments, code in (
            ({"body": b"{}"}, grpc.StatusCode.INVALID_ARGUMENT),
            ({"body": _row(5), "partition": 7}, grpc.StatusCode.INVALID_ARGUMENT),
            ({"body": _row(5), "encoding": 0}, grpc.StatusCode.INVALID_ARGUMENT),
            ({"body": _row(5), "metadata": []}, grpc.StatusCode.UNAUTHENTICATED),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                send(**arguments)
            assert caught.value.code() is code
        for partition in (0, 1):
            assert send(_row(7, size=40_000) + b"\n" + _mark(9), partition=partition).events == 2
        with pytest.raises(grpc.RpcError) as caught:
            send(_row(10, size=40_000))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert dict(caught.value.trailing_metadata())["retry-after"] == "1"


def test_pushes_are_held_up_until_rows_are_taken(tmp_path: Path) -> None:
    push = Push(tmp_path / "spool", window_bytes=1 << 18)
    try:
        push.intake.begin_anew()
        # Without a mark nothing can be taken, so what comes is held, up to the window.
        assert push.send(_row(3, 1, 40_000)).status == 200
        assert push.send(_row(4, 2, 40_000)).status == 200
        assert push.send(_mark(5)).status == 200
        assert push.send(_row(6, 3, 40_000)).status == 429
        taken, floor = push.intake.take(limit_bytes=1 << 20, timeout_s=5)
        assert ([transaction.ts for transaction in taken], floor) == ([3, 4], 5)
        answers = [push.send(_row(7 + n, n, 40_000)).status for n in range(7)]
        assert answers == [200] * 6 + [429]
        assert push.intake.size_bytes <= 1 << 18
    finally:
        push.close()


def test_a_changefeed_that_began_later_is_noticed(push: Push) -> None:
    push.intake.begin_anew()
    for partition in ("0", "1"):
        assert push.send(_mark(50), **{"Prism-Partition": partition}).status == 200
    assert push.send(_row(60), **{"Prism-Start-Ts": "50"}).status == 200
    assert push.intake.gap is None
    assert push.send(_row(70), **{"Prism-Start-Ts": "65"}).status == 200
    assert "65" in (push.intake.gap or "")


def test_no_token_travels_in_the_clear(tmp_path: Path) -> None:
    settings = TidbSettings(
        dsn="mysql://u:p@h/d", spool=tmp_path, token=_TOKEN, listen_host="192.0.2.1"
    )
    with pytest.raises(SourceConfigurationError, match="certificate"):
        check_endpoint(settings)
    assert _TOKEN not in repr(settings)
    assert "u:p" not in repr(settings)


# -- the spool


def _spool(folder: Path, *bodies: bytes, segment_bytes: int = 1 << 20) -> PushSpool:
    spool = PushSpool(folder, segment_bytes=segment_bytes)
    assert list(spool.replay()) == []
    for number, body in enumerate(bodies, 1):
        spool.append(Record("canal-json", 0, body), highest_ts=number)
    return spool


def _bodies(folder: Path) -> list[bytes]:
    spool = PushSpool(folder, segment_bytes=1 << 20)
    try:
        return [record.body for record, _ in spool.replay()]
    finally:
        spool.close()


@pytest.mark.parametrize("cut", [1, 5, 8, 9, 12])
def test_a_record_cut_short_by_a_crash_is_cut_away(tmp_path: Path, cut: int) -> None:
    _spool(tmp_path, b"one", b"two").close()
    (segment,) = tmp_path.glob("*.push")
    segment.write_bytes(segment.read_bytes()[:-cut])
    assert _bodies(tmp_path) == [b"one"]
    # It is gone for good, and what comes later is not lost behind it.
    spool = PushSpool(tmp_path, segment_bytes=1 << 20)
    assert len(list(spool.replay())) == 1
    spool.append(Record("open-protocol", 3, b"three"), highest_ts=9)
    spool.close()
    assert _bodies(tmp_path) == [b"one", b"three"]


def test_damage_is_not_taken_for_an_end(tmp_path: Path) -> None:
    _spool(tmp_path, b"one", b"two", b"three").close()
    (segment,) = tmp_path.glob("*.push")
    content = bytearray(segment.read_bytes())
    content[content.index(b"two")] ^= 1
    segment.write_bytes(content)
    with pytest.raises(SpoolDamagedError):
        _bodies(tmp_path)


def test_a_spool_has_one_owner_and_keeps_its_name(tmp_path: Path) -> None:
    spool = _spool(tmp_path, b"one")
    with pytest.raises(SourceConfigurationError, match="another process"):
        PushSpool(tmp_path, segment_bytes=1)
    name = spool.id
    spool.close()
    again = PushSpool(tmp_path, segment_bytes=1)
    assert again.id == name
    again.reset()
    assert again.id != name
    assert list(again.replay()) == []
    again.close()


def test_segments_go_when_all_in_them_is_confirmed(tmp_path: Path) -> None:
    spool = _spool(tmp_path, *[b"x" * 100] * 10, segment_bytes=300)
    spool.trim(7)
    spool.close()
    # Seven is not confirmed by 7, which says what was before.
    assert 4 <= len(_bodies(tmp_path)) <= 6


def test_callers_share_their_way_to_the_disk(tmp_path: Path) -> None:
    spool = _spool(tmp_path, segment_bytes=2000)
    sent = [f"{thread}.{number}".encode() for thread in range(4) for number in range(25)]

    def write(own: list[bytes]) -> None:
        for body in own:
            spool.append(Record("canal-json", 0, body), highest_ts=1)

    threads = [threading.Thread(target=write, args=(sent[i::4],)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spool.close()
    assert sorted(_bodies(tmp_path)) == sorted(sent)


# -- a process


def _configured(wrapper: Wrapper, dsn: str, port: int, token: Path, folder: Path) -> None:
    wrapper.config.write_text(
        f"""
[database]
flavor = "tidb"
dsn = "{dsn}"
[chorus]
tenant_id = "{TENANT}"
listen_port = {wrapper.port}
heartbeat_s = 0.1
[log]
path = "{wrapper.log_path}"
[push]
grpc_port = {port}
listen_port = 0
token_file = "{token}"
"""
    )


def test_a_wrapper_that_is_killed_loses_nothing(tmp_path: Path) -> None:
    store = Store()
    database = TidbDouble(store)
    port = free_port()
    token = tmp_path / "token"
    token.write_text(_TOKEN + "\n")
    wrapper = Wrapper(tmp_path, "", slot="none")
    _configured(wrapper, database.dsn(), port, token, tmp_path)
    store.execute(["CREATE TABLE products (id INTEGER PRIMARY KEY, name VARCHAR(40), stock INT)"])
    store.execute([f"INSERT INTO products VALUES ({i}, 'name {i}', 1)" for i in range(300)])
    ticdc = TicdcDouble(store, lambda: port, token=_TOKEN, encoding="open-protocol", by="grpc")
    chance = random.Random(7)
    try:
        with wrapper, Replica(wrapper.port) as replica:
            for kill in range(4):
                for _ in range(30):
                    number = chance.randint(0, 400)
                    store.execute(
                        [
                            f"UPDATE products SET stock = stock + 1 WHERE id % 9 = {number % 9}",
                            f"DELETE FROM products WHERE id = {number}",
                            f"INSERT OR REPLACE INTO products VALUES ({number + 1}, 'n', {kill})",
                        ],
                        rollback=chance.random() < 0.2,
                    )
                if kill == 0:
                    wrapper.wait(lambda told: told["log"]["complete"], "the snapshot")
                elif kill < 3:
                    wrapper.kill()
                    wrapper.start()
            expected = {
                key[0]: {"id": int(row["id"]), "name": row["name"], "stock": int(row["stock"])}
                for key, row in store.read("products").items()
            }
            eventually(lambda: replica.columns("products") == expected, why=wrapper.said)
            checked = wrapper.command("check", "--json")
            assert checked.returncode == 0, checked.stdout
            assert "8.0.11-TiDB" in checked.stdout
            assert wrapper.stop() == 0
            # What was acknowledged was there after each kill.
            assert wrapper.said.count("a snapshot begins: ") == 1, wrapper.said
        assert _TOKEN not in wrapper.said
        assert database.password not in wrapper.said
    finally:
        ticdc.close()
        database.close()
        store.close()


# -- TLS, and a database that goes away


def test_both_ports_and_the_forwarder_speak_tls(tmp_path: Path) -> None:
    for command in (
        ["ca", "init", str(tmp_path / "ca")],
        ["issue", "--tenant", "t", "--node", "db-1", "--ca", str(tmp_path / "ca"), "--out",
         str(tmp_path), "--host", "localhost"],
    ):  # fmt: skip
        subprocess.run(
            [sys.executable, "-m", "chorus_fabric", *command], check=True, capture_output=True
        )
    authority = tmp_path / "ca.pem"
    push = Push(tmp_path / "spool", certificate=tmp_path / "node.pem", key=tmp_path / "node.key")
    cdc = tmp_path / "cdc"
    cdc.mkdir()
    (cdc / "metadata").write_text('{"checkpoint-ts": 70}')
    try:
        push.intake.begin_anew()
        folder = StorageFolder(cdc, tmp_path / "state", batch_bytes=1 << 16)
        url = f"https://localhost:{push.endpoint.port}"
        with closing(Forwarder(folder, url=url, token=_TOKEN, authority=authority)) as forwarder:
            forwarder.push_once()
        assert push.intake.mark == 70
        trusted = grpc.ssl_channel_credentials(authority.read_bytes())
        place = f"localhost:{push.endpoint.grpc_port}"
        with grpc.secure_channel(place, trusted) as channel:
            stub = push_pb2_grpc.PushServiceStub(channel)
            request = push_pb2.PushRequest(
                encoding=push_pb2.ENCODING_CANAL_JSON, body=_row(80) + b"\n" + _mark(90)
            )
            metadata = [("authorization", f"Bearer {_TOKEN}")]
            assert stub.Push(request, metadata=metadata, timeout=20).events == 2
        # Who speaks plain text to it gets nothing.
        with pytest.raises((OSError, http.client.HTTPException)):
            push.send(_mark(99))
        assert push.intake.mark == 90
    finally:
        push.close()


def test_a_database_that_goes_away_is_waited_for(tmp_path: Path) -> None:
    store = Store()
    database = TidbDouble(store)
    store.execute(["CREATE TABLE items (id INTEGER PRIMARY KEY, name VARCHAR(40))"])
    store.execute([f"INSERT INTO items VALUES ({i}, 'name {i}')" for i in range(500)])
    source = TidbSource(
        TidbSettings(
            dsn=database.dsn(), spool=tmp_path / "spool", token=_TOKEN, listen_port=0, part_rows=10
        )
    )
    replica = Rows()
    cuts = [3, 20]

    def cut_now(event: object) -> str | None:
        if cuts and replica.events >= cuts[0]:
            cuts.pop(0)
            database.cut()
        return Rows.apply(replica, event)  # type: ignore[arg-type]

    replica.apply = cut_now  # type: ignore[method-assign,assignment]
    follower = Follower(source, replica)
    ticdc = TicdcDouble(store, lambda: source.port, token=_TOKEN, encoding="canal-json")
    try:
        follower.wait_for(lambda: replica.position is not None, "the snapshot")
        database.cut()
        store.execute(["ALTER TABLE items ADD COLUMN stock INTEGER"])
        store.execute(["UPDATE items SET stock = 1"])
        follower.wait_for(
            lambda: replica.rows.get("items") == store.read("items"), "the replica is the table"
        )
        assert source.status().reconnects >= 1
        assert any("interrupted" in reason for reason in replica.snapshots)
    finally:
        ticdc.close()
        follower.close()
        database.close()
        store.close()
