"""What drivers may ask of a running wrapper, and what a change of its configuration does."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
from collections.abc import Iterator
from typing import Any

import psycopg2
import pytest
from postgres_databases import Database
from wrapper_runs import TENANT, Replica, Wrapper, assert_equal, eventually

from chorus_fabric import (
    ClientConfig,
    InvalidCallError,
    NotAllowedError,
    NotReadyError,
    ServiceClient,
    WrongStateError,
)
from chorus_fabric.v1 import wrapper_pb2

WRITES = '[write]\ntables = ["products"]\n'


def is_streaming(told: dict[str, Any]) -> bool:
    return bool(told["state"] == "streaming" and told["log"]["complete"])


@contextlib.contextmanager
def client_of(wrapper: Wrapper) -> Iterator[ServiceClient]:
    client = ServiceClient(ClientConfig(host="127.0.0.1", port=wrapper.port, tenant_id=TENANT))
    try:
        client.hello()
        yield client
    finally:
        client.close()


def write(
    wrapper: Wrapper, row_id: str, *, wait_ms: int = 20_000, table: str = "", **values: Any
) -> Any:
    body = wrapper_pb2.WriteBody(
        table=table, row_id=row_id, values=json.dumps(values).encode(), wait_ms=wait_ms
    )
    with client_of(wrapper) as client:
        return client.write(body, timeout_s=30)


def search(wrapper: Wrapper, *, where: Any = None, **asked: Any) -> Any:
    body = wrapper_pb2.QueryBody(where=json.dumps(where or {}).encode(), **asked)
    with client_of(wrapper) as client:
        return client.query(body, timeout_s=30)


def test_writes(shop: Database, wrapper: Wrapper) -> None:
    wrapper.configure(WRITES)
    shop.execute("CREATE TABLE others (id int PRIMARY KEY)")
    with wrapper, Replica(wrapper.port) as replica:
        wrapper.wait(is_streaming)
        done = write(wrapper, "42", name="Widget Pro", price=29.99, stock=150)
        assert done.row_id == "42"
        assert done.event_id == f"{done.position.epoch}-{done.position.seq}"
        # Whoever has applied everything up to there has seen it.
        eventually(lambda: replica.position.seq >= done.position.seq)
        assert replica.columns("products")["42"]["name"] == "Widget Pro"
        # Some columns of a row that is there, and what SQL would make of a bad name.
        again = write(wrapper, "42", stock=7)
        assert again.position.epoch == done.position.epoch
        assert again.position.seq > done.position.seq
        hostile = "'); DROP TABLE products; --"
        write(wrapper, "43", name=hostile)
        assert_equal(replica, shop.admin_dsn)
        assert replica.columns("products")["42"]["stock"] == 7
        assert replica.columns("products")["43"]["name"] == hostile
        assert write(wrapper, "44", wait_ms=0, name="x").position.seq == 0

        for error, row_id, values, said in (
            (InvalidCallError, "1", {"nmae": "x"}, "did you mean name?"),
            (InvalidCallError, "1", {"name": "x", "stock": "many"}, "takes a whole number"),
            (InvalidCallError, "1", {"name": "x", "stock": 2**40}, "2147483647"),
            (InvalidCallError, "1", {"name": None}, "takes a value"),
            (InvalidCallError, "1", {"name": 5}, "takes a text"),
            (InvalidCallError, "x", {"name": "x"}, "takes a whole number"),
            (InvalidCallError, "1", {"id": 2, "name": "x"}, "different rows"),
            (InvalidCallError, "1", {"name": "x", "price": 10**20}, "not of its column's type"),
            (WrongStateError, "1", {"stock": 1}, "null value in column"),
        ):
            with pytest.raises(error, match=said) as refused:
                write(wrapper, row_id, **values)
            assert "many" not in str(refused.value)
        with pytest.raises(NotAllowedError, match=r"add it to \[write\] tables"):
            write(wrapper, "1", table="others", id=1)
        with pytest.raises(InvalidCallError, match="no replicated table"):
            write(wrapper, "1", table="none", id=1)
        assert "1" not in replica.columns("products")


def test_a_locked_row_is_not_waited_for_for_ever(shop: Database, wrapper: Wrapper) -> None:
    wrapper.configure(WRITES + "timeout_s = 0.3\n")
    shop.execute("INSERT INTO products VALUES (1, 'a', 1, 1, NULL)")
    with wrapper:
        wrapper.wait(is_streaming)
        holder = psycopg2.connect(shop.admin_dsn)
        with holder.cursor() as cursor:
            cursor.execute("SELECT 1 FROM products WHERE id = 1 FOR UPDATE")
            with pytest.raises(NotReadyError, match="locked too long"):
                write(wrapper, "1", name="b")
        holder.close()
        assert write(wrapper, "1", name="b").position.seq > 0


def test_writers_of_one_row_each_see_their_own(shop: Database, wrapper: Wrapper) -> None:
    wrapper.configure(WRITES)
    shop.execute("INSERT INTO products VALUES (1, 'a', 1, 0, NULL)")
    results: list[tuple[int, str]] = []
    with wrapper, Replica(wrapper.port) as replica:
        wrapper.wait(is_streaming)

        def write_some(who: int) -> None:
            for n in range(8):
                done = write(wrapper, "1", name=f"{who}-{n}")
                results.append((done.position.seq, f"{who}-{n}"))

        threads = [threading.Thread(target=write_some, args=(who,)) for who in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(results) == 24
        assert all(seq > 0 for seq, _ in results)
        assert_equal(replica, shop.admin_dsn)
        last = replica.columns("products")["1"]["name"]
        assert last in {name for seq, name in results if seq == max(results)[0]}


def test_queries(shop: Database, wrapper: Wrapper) -> None:
    shop.execute(
        "INSERT INTO products VALUES (1, 'a warm winter jacket', 10, 1, NULL), "
        "(2, 'a fast laptop computer', 900, 2, NULL), (3, 'a novel about the sea', 8, 1, NULL)"
    )

    with wrapper:
        wrapper.wait(is_streaming)
        found = search(wrapper, text="clothes against the cold", top_k=2)
        assert found.matches[0].row_id == "1"
        assert json.loads(found.matches[0].columns)["price"] == "10.00"
        assert found.matches[0].table.endswith("public.products")
        assert [
            row.row_id for row in search(wrapper, text="jacket", where={"stock": 2}).matches
        ] == ["2"]
        shop.execute("DELETE FROM products WHERE id = 1")
        eventually(
            lambda: "1" not in {row.row_id for row in search(wrapper, text="jacket").matches}
        )
        with pytest.raises(InvalidCallError, match="tables: "):
            search(wrapper, text="x", table="nothing")
        with pytest.raises(InvalidCallError, match="the rows are of wordllama"):
            search(wrapper, text="x", model_id="other")


def test_another_text_is_made_beside_the_old(shop: Database, wrapper: Wrapper) -> None:
    shop.execute("INSERT INTO products SELECT n, 'name ' || n, n FROM generate_series(1, 3000) n")
    with wrapper, Replica(wrapper.port) as replica:
        wrapper.wait(is_streaming)
        assert_equal(replica, shop.admin_dsn)
        epoch = replica.position.epoch
        assert wrapper.stop() == 0
        fewest: list[int] = []
        stopped = threading.Event()

        def watch() -> None:
            while not stopped.wait(0.005):
                fewest.append(len(replica.columns("products")))

        watcher = threading.Thread(target=watch)
        watcher.start()
        wrapper.configure('[[tables]]\nname = "products"\ntext = "product {name}"\n')
        # Naming the table alone is another choice of rows; so first only that.
        wrapper.start()
        wrapper.wait(is_streaming)
        eventually(lambda: replica.position.epoch > epoch)
        snapshots = wrapper.said.count("a snapshot begins")
        epoch = replica.position.epoch
        assert wrapper.stop() == 0
        wrapper.configure('[[tables]]\nname = "products"\ntext = "{name}, a product"\n')
        wrapper.start()
        shop.execute("UPDATE products SET name = 'meanwhile' WHERE id % 7 = 0")
        eventually(lambda: replica.position.epoch > epoch)
        stopped.set()
        watcher.join()
        assert_equal(replica, shop.admin_dsn)
        assert wrapper.said.count("a snapshot begins") == snapshots
        assert min(fewest) == 3000
        texts = {text for _, text, _ in replica.rows.values()}
        assert "meanwhile, a product" in texts
        assert all(text.endswith(", a product") for text in texts)
        assert all(has_vector for _, _, has_vector in replica.rows.values())


def test_a_rebuild_goes_on_after_a_kill(shop: Database, wrapper: Wrapper) -> None:
    shop.execute("INSERT INTO products SELECT n, 'name ' || n, n FROM generate_series(1, 20000) n")
    wrapper.configure('[[tables]]\nname = "products"\ntext = "{name}"\n')
    with wrapper:
        wrapper.wait(is_streaming)
    wrapper.configure('[[tables]]\nname = "products"\ntext = "again {name}"\n')
    with wrapper, Replica(wrapper.port) as replica:
        wrapper.wait(lambda told: told["rebuild"] is not None or "again" in wrapper.said)
        wrapper.kill()
        shop.execute("DELETE FROM products WHERE id % 2 = 0")
        wrapper.start()
        eventually(
            lambda: (
                replica.rows
                and all(text.startswith("again ") for _, text, _ in replica.rows.copy().values())
            )
        )
        assert_equal(replica, shop.admin_dsn)
    assert wrapper.said.count("a snapshot begins") == 1


@pytest.mark.parametrize(
    ("default", "snapshots"),
    [
        # The rows that are there get a value that is not in the stream.
        pytest.param("DEFAULT 'red'", 2, id="values-nobody-told"),
        # They get NULL, which is known; so the log's rows are read anew, some at a time.
        pytest.param("", 1, id="refreshed"),
    ],
)
def test_altered_tables(shop: Database, wrapper: Wrapper, default: str, snapshots: int) -> None:
    shop.execute("INSERT INTO products SELECT n, 'name ' || n, n FROM generate_series(1, 500) n")
    with wrapper, Replica(wrapper.port) as replica:
        wrapper.wait(is_streaming)
        assert_equal(replica, shop.admin_dsn)
        resets = replica.resets
        shop.execute(
            f"ALTER TABLE products ADD COLUMN colour text {default}",
            "ALTER TABLE products DROP COLUMN stock",
            "UPDATE products SET name = 'changed' WHERE id = 1",
        )
        # Changes that come while rows are read anew are not undone by it.
        shop.execute("UPDATE products SET name = 'late' WHERE id > 490")
        colour = "red" if default else None

        def is_new() -> bool:
            rows = replica.columns("products").values()
            return len(rows) == 500 and all(
                set(row) == {"id", "name", "price", "big", "colour"} and row["colour"] == colour
                for row in rows
            )

        eventually(is_new)
        names = {row_id: row["name"] for row_id, row in replica.columns("products").items()}
        assert names == {
            str(n): "changed" if n == 1 else "late" if n > 490 else f"name {n}"
            for n in range(1, 501)
        }
        assert wrapper.said.count("a snapshot begins") == snapshots
        assert replica.resets - resets == snapshots - 1
        assert ("its rows are read anew" in wrapper.said) == (snapshots == 1)


def test_hangup_and_stop(shop: Database, wrapper: Wrapper) -> None:
    with wrapper:
        wrapper.wait(is_streaming)
        assert wrapper.process is not None
        wrapper.process.send_signal(signal.SIGHUP)
        eventually(lambda: "certificates are read anew" in wrapper.said)
        assert wrapper.stop() == 0
    assert wrapper.said.rstrip().endswith("stopped")
    assert wrapper.command("status").returncode == 1
