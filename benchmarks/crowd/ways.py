"""Both ways to read: an app's process for each, with the database and the wrapper over a link."""

from __future__ import annotations

import math
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg2

from crowd.users import Read, Reads, let_read
from feeding.app import config_of
from feeding.shop import PASSWORD, ROLE, TABLE
from feeding.waiting import wait_for_rows
from prism.ffi import PrismDriverSync

if TYPE_CHECKING:
    from collections.abc import Callable

DATABASE, REPLICA = "SELECT at the database", "driver.get"


@dataclass(frozen=True)
class Crowd:
    """Who reads, and how.

    Attributes:
        users: How many threads read.
        rows: Rows there are.
        seconds: How long they read.
        think_s: Mean time from an answer to the next question.
        seed: Draws rows and pauses.
    """

    users: int
    rows: int
    seconds: float
    think_s: float
    seed: int


@dataclass(frozen=True)
class Times:
    """A user's time for a read, in microseconds.

    Attributes:
        reads: How many.
        p50_us: Median.
        p95_us: 95th percentile.
        p99_us: 99th percentile.
        mean_us: Mean.
    """

    reads: int
    p50_us: float
    p95_us: float
    p99_us: float
    mean_us: float

    @classmethod
    def of(cls, reads: Reads) -> Times:
        """Sum up reads."""
        taken = (reads.ended_ns - reads.begun_ns) / 1e3
        p50, p95, p99 = (float(np.percentile(taken, share)) for share in (50, 95, 99))
        return cls(len(taken), p50, p95, p99, float(taken.mean()) if len(taken) else math.nan)


def read_at_database(port: int, crowd: Crowd, *, ready: Callable[[], None]) -> Reads:
    """Let users read with SELECT, each over a connection of its own; for a process of its own."""
    with ExitStack() as stack:
        readers: list[Read] = []
        for _ in range(crowd.users):
            connection = stack.enter_context(
                closing(
                    psycopg2.connect(
                        host="127.0.0.1", port=port, dbname="postgres", user=ROLE, password=PASSWORD
                    )
                )
            )
            connection.autocommit = True
            cursor = connection.cursor()
            cursor.execute(f"PREPARE point (bigint) AS SELECT * FROM {TABLE} WHERE id = $1")
            readers.append(_select(cursor))
        ready()
        return _read(readers, crowd)


def read_from_replica(
    port: int, tenant_id: str, crowd: Crowd, *, ready: Callable[[], None]
) -> Reads:
    """Let users read from one driver; for a process of its own."""
    with PrismDriverSync(config_of(port, tenant_id)) as driver:
        wait_for_rows(driver, crowd.rows, lambda _: None)
        ready()
        return _read([_get(driver)] * crowd.users, crowd)


def _read(readers: list[Read], crowd: Crowd) -> Reads:
    return let_read(
        readers, rows=crowd.rows, seconds=crowd.seconds, think_s=crowd.think_s, seed=crowd.seed
    )


def _select(cursor: Any) -> Read:
    def read(row: int) -> int:
        cursor.execute("EXECUTE point (%s)", (row,))
        return int(cursor.fetchone()[4])

    return read


def _get(driver: PrismDriverSync) -> Read:
    def read(row: int) -> int:
        found = driver.get(str(row))
        if found is None:
            raise LookupError(f"row {row} is not in the replica")
        return int(str(found["stock"]))  # decoded here, as psycopg2 does in its own time

    return read
