"""The database's log to typed changes, beside pg_recvlogical, which writes it to nowhere.

Both read the same transactions through slots that stand at the same place, with the plugin
pgoutput, from the same server, in turns.
"""

from __future__ import annotations

from feeding.rate import Run, timed_program
from feeding.shop import TABLE, Shop

PUBLICATION = "benchmark"
_BASE, _COPY = "benchmark_base", "benchmark_copy"


def mark(shop: Shop) -> None:
    """Make a publication, and a slot that keeps the log from here on and is never read."""
    with shop.connected() as cursor:
        cursor.execute(f"CREATE PUBLICATION {PUBLICATION} FOR TABLE {TABLE}")
        cursor.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (_BASE,))


def unmark(shop: Shop) -> None:
    """Let the log go."""
    with shop.connected() as cursor:
        cursor.execute("SELECT pg_drop_replication_slot(%s)", (_BASE,))
        cursor.execute(f"DROP PUBLICATION {PUBLICATION}")


def receive(shop: Shop, *, rows: int, until: int) -> Run:
    """Let pg_recvlogical read from the mark to a place of the log."""
    with shop.connected() as cursor:
        cursor.execute("SELECT pg_copy_logical_replication_slot(%s, %s)", (_BASE, _COPY))
    try:
        return timed_program(
            shop.command(
                "pg_recvlogical", "--slot", _COPY, "--start", "--no-loop", "--file", "/dev/null",
                "--endpos", f"{until >> 32:X}/{until & 0xFFFFFFFF:X}",
                "--option", "proto_version=1", "--option", f"publication_names={PUBLICATION}",
                "--fsync-interval", "0",
            ),
            rows,
        )  # fmt: skip
    finally:
        with shop.connected() as cursor:
            cursor.execute("SELECT pg_drop_replication_slot(%s)", (_COPY,))
