"""However large a transaction is and however slow its readers are, the wrapper's memory is not."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from postgres_databases import Database
from wrapper_runs import TENANT, Wrapper

from chorus_fabric import ClientConfig, FeedPosition, ServiceClient

# On the wire; PostgreSQL keeps and logs it compressed.
ROW_BYTES = 2000


def most_memory(pid: int) -> int:
    """The most memory that a process ever had, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")


@pytest.mark.slow
def test_a_transaction_three_times_as_large_takes_no_more(shop: Database, wrapper: Wrapper) -> None:
    """Rows of 35,000 and 100,000 x 2 KB, that is 70 MB and 200 MB, with a reader that is stuck.

    The smaller one fills everything that holds changes on their way. Whatever grew with the
    transaction would be nearly three times as large after the other.
    """
    wrapper.configure('[[tables]]\nname = "products"\ncolumns = ["id", "name"]\nembed = false\n')
    with (
        wrapper,
        contextlib.closing(
            ServiceClient(ClientConfig(host="127.0.0.1", port=wrapper.port, tenant_id=TENANT))
        ) as client,
    ):
        wrapper.wait(lambda told: told["log"]["complete"])
        client.hello()
        feed = client.subscribe(FeedPosition(), ())
        assert wrapper.process is not None
        pid = wrapper.process.pid
        before = most_memory(pid)
        grown = []
        total = 0
        for rows in (35_000, 100_000):
            shop.execute(
                "INSERT INTO products SELECT n, 'the product ' || n, n, n, "
                f"repeat('x', {ROW_BYTES}) "
                f"FROM generate_series({total + 1}, {total + rows}) AS n"
            )
            total += rows
            wrapper.wait(lambda told, total=total: told["log"]["head"] >= total)
            grown.append(most_memory(pid) - before)
        assert wrapper.status()["subscribers"] == 1
        del feed
    smaller, larger = grown
    assert larger < 1.5 * smaller, f"{before >> 20} MB and {[size >> 20 for size in grown]} MB more"
    # What is on the way is bounded: see the explanation of the change feed.
    assert larger < 300 << 20
