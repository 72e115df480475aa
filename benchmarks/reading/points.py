"""Reads of one row by its key, drawn at random: at the database, and from the replica."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg2

from feeding.shop import TABLE
from timing import Timing

if TYPE_CHECKING:
    from feeding.shop import Shop
    from prism.ffi import PrismDriverSync

OURS = "driver.get"
GETS = 1000
_BLOCK = 10


@dataclass(frozen=True)
class PointRead:
    """One way to read a row.

    Attributes:
        who: Which way.
        rows: Rows in the table.
        timing: Of single reads; of `driver.get` in thousands, since a clock costs as much as it.
    """

    who: str
    rows: int
    timing: Timing


def point_reads(
    shop: Shop,
    driver: PrismDriverSync,
    *,
    rows: int,
    reads: int,
    seed: int,
    track: Callable[[Iterable[int]], Iterable[int]],
) -> list[PointRead]:
    """Time all ways in turns, ten reads each.

    Args:
        shop: The database.
        driver: Has the replica.
        rows: How many rows there are, with ids from 1.
        reads: Reads of each way.
        seed: Draws the rows.
        track: Shows how far it is.
    """
    rng = random.Random(seed)
    walls: dict[str, list[float]] = {}
    cpus: dict[str, list[float]] = {}
    with (
        closing(psycopg2.connect(shop.dsn)) as unix,
        closing(psycopg2.connect(shop.tcp_dsn)) as tcp,
    ):
        asked: dict[str, Callable[[int], Any]] = {}
        for where, connection in (("unix socket", unix), ("TCP", tcp)):
            connection.autocommit = True
            cursor = connection.cursor()
            cursor.execute(f"PREPARE point (bigint) AS SELECT * FROM {TABLE} WHERE id = $1")
            asked[f"SELECT 1, {where}"] = _one(cursor)
            asked[f"SELECT by key, {where}"] = _plain(cursor)
            asked[f"SELECT by key, prepared, {where}"] = _prepared(cursor)
        ids = [str(row) for row in range(1, rows + 1)]
        for _ in track(range(-(-reads // _BLOCK))):
            for who, ask in asked.items():
                ask(1)
                for _ in range(_BLOCK):
                    _note(who, partial(ask, rng.randint(1, rows)), walls, cpus, 1)
            some = rng.choices(ids, k=GETS)
            _note(OURS, partial(_get, driver, some), walls, cpus, GETS)
    return [PointRead(who, rows, Timing.of(walls[who], cpus[who])) for who in walls]


def _note(
    who: str,
    read: Callable[[], Any],
    walls: dict[str, list[float]],
    cpus: dict[str, list[float]],
    count: int,
) -> None:
    cpu, start = time.thread_time(), time.perf_counter()
    found = read()
    stop, cpu_stop = time.perf_counter(), time.thread_time()
    if not found:
        raise RuntimeError(f"{who} found nothing")
    walls.setdefault(who, []).append((stop - start) / count)
    cpus.setdefault(who, []).append((cpu_stop - cpu) / count)


def _get(driver: PrismDriverSync, ids: list[str]) -> bool:
    get = driver.get
    found = True
    for row_id in ids:
        found = found and get(row_id) is not None
    return found


def _one(cursor: Any) -> Callable[[int], Any]:
    def read(_: int) -> Any:
        cursor.execute("SELECT 1")
        return cursor.fetchone()

    return read


def _plain(cursor: Any) -> Callable[[int], Any]:
    def read(row: int) -> Any:
        cursor.execute(f"SELECT * FROM {TABLE} WHERE id = %s", (row,))
        return cursor.fetchone()

    return read


def _prepared(cursor: Any) -> Callable[[int], Any]:
    def read(row: int) -> Any:
        cursor.execute("EXECUTE point (%s)", (row,))
        return cursor.fetchone()

    return read
