"""The database's log to typed changes, beside pg_recvlogical, which writes it to nowhere.

Both read the same transactions through slots that stand at the same place, with the plugin
pgoutput, from the same server, in turns.
"""

from __future__ import annotations

import time
from contextlib import closing

from feeding.rate import Run, timed_program
from feeding.shop import TABLE, Shop
from prism.wrapper.sources import UNCHANGED, Changes, Committed, SnapshotDone, cast
from prism.wrapper.sources.postgres import PostgresSettings, PostgresSource

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


def begin(dsn: str) -> str:
    """Let our source make its slot and its snapshot, and give where its stream goes on."""
    with closing(PostgresSource(_settings(dsn))) as source:
        for event in source.events(None):
            if isinstance(event, SnapshotDone):
                return event.position
    raise RuntimeError("the source ended without a snapshot")


def decode(dsn: str, resume: str, *, rows: int, with_cast: bool) -> Run:
    """Let our source read that many changes from a place of its slot, which stays where it is.

    Args:
        dsn: Which server.
        resume: What `begin` gave.
        rows: How many changes to wait for.
        with_cast: Whether to make JSON of each value as well, as what sends rows to apps does.
    """
    done = 0
    start, cpu = time.perf_counter(), time.process_time()
    with closing(PostgresSource(_settings(dsn))) as source:
        for event in source.events(resume):
            if isinstance(event, Changes):
                done += len(event.changes)
                if with_cast:
                    for change in event.changes:
                        pairs = zip(change.schema.columns, change.values, strict=True)
                        _ = [cast(column, text) for column, text in pairs if text is not UNCHANGED]
            elif isinstance(event, Committed) and done >= rows:
                break
        wall_s, cpu_s = time.perf_counter() - start, time.process_time() - cpu
    if done != rows:
        raise RuntimeError(f"{done:,} changes were decoded, not {rows:,}")
    return Run(rows, wall_s, cpu_s)


def _settings(dsn: str) -> PostgresSettings:
    return PostgresSettings(dsn=dsn, tables=(TABLE,), slot="benchmark_ours")
