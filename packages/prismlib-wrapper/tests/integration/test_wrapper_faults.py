"""Whatever dies, whenever: in the end the replica is the table, row for row."""

from __future__ import annotations

import random
from contextlib import ExitStack
from typing import Any

import pytest
from postgres_databases import Database
from wrapper_runs import (
    Replica,
    Wrapper,
    Writers,
    assert_equal,
    eventually,
    file_size_limit,
    products,
    size_of,
)

from prism.wrapper._local_postgres import LocalPostgres

ROWS = 12_000


def fill(shop: Database, rows: int = ROWS) -> None:
    shop.execute(
        "INSERT INTO products SELECT n, 'name ' || n, n, n, CASE WHEN n % 50 = 0 "
        f"THEN repeat('b', 3000) END FROM generate_series(1, {rows}) AS n"
    )


def is_streaming(told: dict[str, Any]) -> bool:
    return bool(told["state"] == "streaming" and told["log"]["complete"])


def test_the_replica_is_the_table(shop: Database, wrapper: Wrapper) -> None:
    fill(shop, 300)
    with wrapper, Writers(shop.admin_dsn, seed=1) as writers, ExitStack() as closing:
        wrapper.wait(is_streaming)  # one that came before the first snapshot would be reset by it
        replica = closing.enter_context(Replica(wrapper.port))
        eventually(lambda: writers.transactions > 300)
        writers.__exit__()
        assert_equal(replica, shop.admin_dsn)
        assert replica.resets == 1, wrapper.said
        assert all(has_vector for _, _, has_vector in replica.rows.values())
        # A stop that drains, and a start that goes on: no second snapshot.
        assert wrapper.stop() == 0
        shop.execute("UPDATE products SET name = 'while it was down' WHERE id % 3 = 0")
        wrapper.start()
        assert_equal(replica, shop.admin_dsn)
        assert replica.resets == 1, wrapper.said
    assert wrapper.said.count("a snapshot begins") == 1
    assert "Traceback" not in wrapper.said


@pytest.mark.parametrize("phase", ["snapshot", "stream"])
def test_the_wrapper_is_killed(shop: Database, wrapper: Wrapper, phase: str) -> None:
    fill(shop)
    chance = random.Random(7)
    with (
        wrapper,
        Writers(shop.admin_dsn, seed=2, truncating=phase == "stream") as writers,
        Replica(wrapper.port) as replica,
    ):
        for _ in range(3):
            if phase == "snapshot":
                some = chance.randint(1, ROWS // 2)
                eventually(lambda some=some: wrapper.snapshot_head() > some)
            else:
                goal = wrapper.wait(is_streaming)["log"]["head"] + chance.randint(20, 200)
                wrapper.wait(lambda told, goal=goal: told["log"]["head"] > goal)
            wrapper.kill()
            wrapper.start()
        wrapper.wait(is_streaming)
        writers.__exit__()
        assert_equal(replica, shop.admin_dsn)
        # One that begins now gets the same from the log alone.
        with Replica(wrapper.port) as fresh:
            assert_equal(fresh, shop.admin_dsn)


def test_the_database_is_restarted(
    shop: Database, wrapper: Wrapper, postgres18: LocalPostgres
) -> None:
    fill(shop, 300)
    with wrapper, ExitStack() as closing:
        # Writers truncate, which may make the first snapshot begin anew, and the replica with it.
        wrapper.wait(is_streaming)
        writers = closing.enter_context(Writers(shop.admin_dsn, seed=3))
        replica = closing.enter_context(Replica(wrapper.port))
        for end in (postgres18.kill, postgres18.stop):
            end()
            wrapper.wait(lambda told: not told["source"]["connected"])
            age = eventually(lambda: replica.source_age_s)
            assert age > 0
            postgres18.start()
            wrapper.wait(is_streaming)
        writers.__exit__()
        assert_equal(replica, shop.admin_dsn)
        assert replica.resets == 1, wrapper.said
        assert wrapper.said.count("a snapshot begins") == 1


def test_the_slot_is_dropped(shop: Database, wrapper: Wrapper) -> None:
    fill(shop, 300)
    with wrapper, Replica(wrapper.port) as replica:
        wrapper.wait(is_streaming)  # stopped in its first snapshot, it would begin that again
        assert_equal(replica, shop.admin_dsn)
        resets = replica.resets
        assert wrapper.stop() == 0
        dropped = wrapper.command("slots", "--drop", shop.slot, "--yes")
        assert dropped.returncode == 0, dropped.stderr
        shop.execute("DELETE FROM products WHERE id % 2 = 0", "UPDATE products SET stock = 7")
        wrapper.start()
        assert_equal(replica, shop.admin_dsn)
        assert replica.resets == resets + 1
    assert "the replication slot is gone" in wrapper.said


def test_the_disk_is_full(shop: Database, wrapper: Wrapper) -> None:
    fill(shop, 300)
    with wrapper, Replica(wrapper.port) as replica:
        told = wrapper.wait(is_streaming)
        assert_equal(replica, shop.admin_dsn)
        assert wrapper.process is not None
        wal = size_of(wrapper.log_path.with_name(wrapper.log_path.name + "-wal"))
        with file_size_limit(wrapper.process.pid, wal + 100_000):
            for step in range(10):
                shop.execute(f"UPDATE products SET name = name || ' {step}'")
            # The status file is small enough to be written.
            told = wrapper.wait(lambda told: told["state"] == "disk-full")
            confirmed = told["source"]["confirmed"]
            assert "no space left" in told["problem"]
            shop.execute("UPDATE products SET name = name || ' more'")
            assert wrapper.status()["source"]["confirmed"] == confirmed
            # Those who are connected keep what they have.
            assert len(replica.columns("products")) == 300
            assert replica.columns("products") != products(shop.admin_dsn)
        wrapper.wait(is_streaming)
        assert_equal(replica, shop.admin_dsn)
    assert "the change log takes rows again" in wrapper.said
    assert wrapper.said.count("no space left") == 1


def test_a_large_transaction(shop: Database, wrapper: Wrapper) -> None:
    with wrapper, Replica(wrapper.port) as replica:
        wrapper.wait(is_streaming)
        fill(shop, 30_000)
        assert_equal(replica, shop.admin_dsn)
        shop.execute("TRUNCATE products")
        assert_equal(replica, shop.admin_dsn)
