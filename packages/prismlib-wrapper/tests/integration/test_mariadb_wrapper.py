"""A wrapper's process on MariaDB: check, run, a driver that reads, and a wrapper that is killed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from mariadb_databases import MariaDatabase, maria_database
from wrapper_runs import TENANT, Wrapper, eventually

from local_mariadb import LocalMariaDB
from prism.ffi import DriverConfig, PrismDriverSync

PASSWORD = "secret-word"  # noqa: S105 - of a user of the test
PRODUCTS = (
    "CREATE TABLE products (id int PRIMARY KEY, name varchar(100) NOT NULL, price decimal(12,2), "
    "stock int, big mediumtext)"
)


@pytest.fixture
def shop(mariadb: LocalMariaDB) -> Iterator[MariaDatabase]:
    with maria_database(mariadb) as made:
        made.execute(PRODUCTS)
        made.execute(
            "INSERT INTO products SELECT seq, CONCAT('product ', seq), seq / 7, seq, NULL "
            "FROM seq_1_to_300"
        )
        yield made


@pytest.fixture
def wrapper(shop: MariaDatabase, tmp_path: Path) -> Iterator[Wrapper]:
    made = Wrapper(tmp_path, shop.dsn, slot=shop.name, flavor="mysql")
    yield made
    made.kill()


def expected(shop: MariaDatabase) -> dict[str, dict[str, object]]:
    rows = shop.rows("SELECT id, name, price, stock, big FROM products")
    return {
        str(row[0]): {
            "id": row[0],
            "name": row[1],
            "price": None if row[2] is None else str(row[2]),
            "stock": row[3],
            "big": row[4],
        }
        for row in rows
    }


def test_a_driver_has_the_rows_whatever_dies(shop: MariaDatabase, wrapper: Wrapper) -> None:
    wrapper.start()
    config = DriverConfig(
        wrapper_host="127.0.0.1", wrapper_port=wrapper.port, tenant_id=TENANT, node_id="app"
    )
    eventually(wrapper.status, why="the wrapper runs")
    with PrismDriverSync(config) as driver:

        def is_equal() -> bool:
            wanted = expected(shop)
            rows = {row_id: driver.get(row_id, table="products") for row_id in wanted}
            return driver.status().rows == len(wanted) and all(
                row is not None and row.columns == wanted[row_id] for row_id, row in rows.items()
            )

        eventually(is_equal, why="the snapshot")
        shop.execute(
            "UPDATE products SET stock = stock + 1",
            "DELETE FROM products WHERE id % 5 = 0",
            "INSERT INTO products VALUES (1000, 'a jacket nobody else sells', NULL, 1, 'x')",
        )
        eventually(is_equal, why="the stream")
        assert driver.query(text="jacket nobody sells", top_k=1)[0].row_id == "1000"
        wrapper.kill()
        shop.execute(
            "UPDATE products SET id = 2000 WHERE id = 1000", "DELETE FROM products LIMIT 9"
        )
        wrapper.start()
        eventually(is_equal, why="after the wrapper was killed")
        shop.execute("TRUNCATE TABLE products", "INSERT INTO products VALUES (1, 'one', 1, 1, '')")
        eventually(is_equal, why="after the table was emptied")
    assert wrapper.stop() == 0


def test_check_tells_what_is_missing(shop: MariaDatabase, tmp_path: Path) -> None:
    shop.execute("CREATE TABLE no_key (a int)")
    good = Wrapper(tmp_path, shop.dsn, slot=shop.name, flavor="mysql").command("check", "--json")
    told = json.loads(good.stdout)
    assert good.returncode == 0, good.stdout
    assert told["ok"]
    notes = [
        one for one in told["findings"] if one["verdict"] == "note" and "no key" in one["text"]
    ]
    assert "ADD COLUMN id" in notes[0]["sql"]
    user = f"poor_{shop.name}"
    shop.server.execute(
        f"CREATE USER {user}@'%' IDENTIFIED BY '{PASSWORD}'",
        f"GRANT SELECT ON {shop.name}.* TO {user}@'%'",
    )
    dsn = shop.server.dsn(database=shop.name, user=user, password=PASSWORD)
    poor = Wrapper(tmp_path, dsn, slot=shop.name, flavor="mysql")
    found = poor.command("check")
    assert found.returncode == 1
    assert f"GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO `{user}`@`%`" in found.stdout
    assert PASSWORD not in found.stdout + found.stderr
    refused = poor.command()
    assert refused.returncode == 2
    assert "GRANT REPLICATION SLAVE" in refused.stderr
    assert PASSWORD not in refused.stderr
