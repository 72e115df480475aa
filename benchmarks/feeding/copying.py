"""A table's rows, whole, beside psql's copy."""

from __future__ import annotations

import time
from contextlib import closing

from feeding.rate import Run, timed_program
from feeding.shop import COLUMNS, TABLE, Shop
from prism.wrapper.sources import RowBatch, SnapshotDone, SnapshotRows
from prism.wrapper.sources.postgres import PostgresSettings, PostgresSource, drop_slot

FORMATS = ("binary", "text")


def psql_copy(shop: Shop, *, rows: int, form: str) -> Run:
    """Let psql copy the table to nowhere."""
    copy = f"\\copy {TABLE} to /dev/null with (format {form})"
    return timed_program(shop.command("psql", "-X", "-q", "-c", copy), rows)


def snapshot(dsn: str, *, rows: int, with_texts: bool) -> Run:
    """Let our source make a snapshot; its slot is dropped afterwards.

    Args:
        dsn: Which server.
        rows: How many rows there are.
        with_texts: Whether to make the texts of all values, instead of none.
    """
    settings = PostgresSettings(dsn=dsn, tables=(TABLE,), slot="benchmark_copy")
    done = 0
    start, cpu = time.perf_counter(), time.process_time()
    with closing(PostgresSource(settings)) as source:
        for event in source.events(None):
            if isinstance(event, SnapshotRows):
                batch = event.changes
                if not isinstance(batch, RowBatch):
                    raise TypeError("the snapshot's rows are not in columns")
                done += len(batch)
                if with_texts:
                    for position in range(len(COLUMNS)):
                        batch.column(position).to_list()
            elif isinstance(event, SnapshotDone):
                break
        wall_s, cpu_s = time.perf_counter() - start, time.process_time() - cpu
    drop_slot(dsn, settings.slot)
    if done != rows:
        raise RuntimeError(f"{done:,} rows were copied, not {rows:,}")
    return Run(rows, wall_s, cpu_s)
