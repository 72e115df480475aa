"""The wrapper's process on a double of CockroachDB, and the driver that users have."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cockroach_double import CockroachDouble
from wrapper_runs import TENANT, Wrapper, eventually

from prism.ffi import DriverConfig, PrismDriverSync
from prism.wrapper._cli.check import findings
from prism.wrapper._cli.status import run_status
from prism.wrapper._config import load_config
from prism.wrapper._origin import Origin
from prism.wrapper.errors import WrapperConfigurationError


@pytest.fixture
def double() -> Iterator[CockroachDouble]:
    with CockroachDouble() as double:
        run(
            double,
            "CREATE TABLE products (id INT8 PRIMARY KEY, name STRING, price DECIMAL(12,2), "
            "tags STRING[])",
            "INSERT INTO products VALUES (1, 'a jacket nobody else sells', 10.5, '{warm,blue}'), "
            "(2, 'a fast laptop computer', 900, NULL), (3, 'a novel about the sea', 8, '{}')",
        )
        yield double


def run(double: CockroachDouble, *statements: str) -> None:
    with psycopg.connect(double.dsn()) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def configured(folder: Path, double: CockroachDouble, more: str = "") -> Wrapper:
    wrapper = Wrapper(folder, double.dsn(), slot="unused", more=more)
    text = wrapper.config.read_text()
    wrapper.config.write_text(text.replace('"postgresql"', '"cockroachdb"'))
    return wrapper


def rows(double: CockroachDouble) -> dict[str, dict[str, Any]]:
    """The table as a driver should have it."""
    return {
        key[0]: {
            "id": int(row["id"] or ""),
            "name": row["name"],
            "price": row["price"],
            "tags": None if row["tags"] is None else _items(row["tags"]),
        }
        for key, row in double.store.rows("products").items()
    }


def _items(text: str) -> list[str]:
    return text.strip("{}").split(",") if text != "{}" else []


def follows(driver: PrismDriverSync, double: CockroachDouble) -> None:
    expected = rows(double)

    def is_equal() -> bool:
        told = {row_id: driver.get(row_id, table="products") for row_id in expected}
        return driver.status().rows == len(expected) and all(
            row is not None and row.columns == expected[row_id] for row_id, row in told.items()
        )

    eventually(is_equal)


def test_rows_reach_the_driver(tmp_path: Path, double: CockroachDouble) -> None:
    with configured(tmp_path, double) as wrapper:
        config = DriverConfig(wrapper_host="127.0.0.1", wrapper_port=wrapper.port, tenant_id=TENANT)
        wrapper.wait(lambda told: told["source"]["phase"] == "stream", "the stream")
        with PrismDriverSync(config) as driver:
            follows(driver, double)
            assert driver.query(text="laptop", top_k=1)[0].row_id == "2"
            run(
                double,
                "UPDATE products SET name = 'a quick notebook' WHERE id = 2",
                "DELETE FROM products WHERE id = 3",
                "UPDATE products SET id = 30 WHERE id = 1",
            )
            follows(driver, double)
            # The wrapper dies, rows change, and it goes on from its log.
            wrapper.kill()
            run(double, "INSERT INTO products VALUES (4, 'a red kite', 3, NULL)")
            wrapper.start()
            follows(driver, double)
            double.disconnect()
            run(double, "INSERT INTO products VALUES (5, 'a blue kite', 3, NULL)")
            follows(driver, double)
        assert wrapper.stop() == 0, wrapper.said
    assert sum("initial_scan" in sql for sql in double.statements) == 1


def test_check_says_as_sql_what_is_missing(tmp_path: Path, double: CockroachDouble) -> None:
    run(double, "CREATE TABLE bare (n INT8)")
    config = load_config(configured(tmp_path, double).config)
    found = {finding.about: finding for finding in findings(config)}
    assert "missing" not in {finding.verdict for finding in found.values()}
    assert found['"public"."products"'].verdict == "ok"
    assert found['"public"."bare"'].verdict == "note"
    double.rangefeed = False
    double.blind.add(("root", "products"))
    found = {finding.about: finding for finding in findings(config)}
    assert "GRANT SELECT" in found['"public"."products"'].statements
    assert found["tables"].verdict == "missing"
    double.blind.clear()
    found = {finding.about: finding for finding in findings(config)}
    setting = found["kv.rangefeed.enabled"]
    assert setting.statements == "SET CLUSTER SETTING kv.rangefeed.enabled = true;"


def test_status_speaks_of_no_slot(
    tmp_path: Path, double: CockroachDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    with configured(tmp_path, double) as wrapper:
        wrapper.wait(lambda told: told["source"]["phase"] == "stream", "the stream")
        assert run_status(load_config(wrapper.config), as_json=False) == 0
    shown = capsys.readouterr().out
    assert "stream, connected" in shown
    assert "slot" not in shown


def test_writes_are_refused_before_the_start(tmp_path: Path, double: CockroachDouble) -> None:
    wrapper = configured(tmp_path, double, more='[write]\ntables = ["products"]\n')
    config = load_config(wrapper.config)
    told = [finding.text for finding in findings(config) if finding.verdict == "missing"]
    assert told == ["drivers cannot write to CockroachDB in this version"]
    with pytest.raises(WrapperConfigurationError, match="cannot write to CockroachDB"):
        next(Origin(config, patient=False).events(None))
