"""Rows at the replica: database, wrapper and driver in processes of their own.

The database's sender is stopped while the rows are written, so that the clock begins with all of
them in the log and none on the way, as it does for pg_recvlogical. It ends when the replica has
them all; that they are the right ones is checked afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from feeding.rate import Run
from feeding.wrapper import held

if TYPE_CHECKING:
    from feeding.app import App
    from feeding.shop import Shop
    from feeding.wrapper import Wrapper

_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Arrival:
    """One run.

    Attributes:
        run: The rows and the time; its CPU is of wrapper and driver together.
        wrapper_us: CPU a row of the wrapper's process, in microseconds.
        driver_us: CPU a row of the app's process.
        sender_us: CPU a row of the database's sender.
    """

    run: Run
    wrapper_us: float
    driver_us: float
    sender_us: float


def arrive(
    shop: Shop, wrapper: Wrapper, app: App, *, before: int, rows: int, fill: Callable[[], int]
) -> tuple[Arrival, int]:
    """Write rows while nothing is sent, then time their way to the replica.

    Args:
        shop: The database.
        wrapper: Feeds the app.
        app: Has the replica.
        before: How many rows it has.
        rows: How many `fill` adds.
        fill: Adds them; gives where the log then ends.

    Returns:
        The run, and what `fill` gave.
    """
    app.ask("reach", before, _TIMEOUT_S)
    sender = psutil.Process(shop.walsender())
    with held(sender.pid):
        log_end = fill()
        _, driver_cpu = app.ask("reach", before, _TIMEOUT_S)
        wrapper_cpu, sender_cpu = wrapper.cpu_s(), _cpu_s(sender)
        app.send("reach", before + rows, _TIMEOUT_S)
        start = time.monotonic_ns()
    end, driver_cpu_end = app.wait()
    in_wrapper = wrapper.cpu_s() - wrapper_cpu
    in_driver = driver_cpu_end - driver_cpu
    in_sender = _cpu_s(sender) - sender_cpu
    _check(shop, app)
    per_row = 1e6 / rows
    run = Run(rows, (end - start) / 1e9, in_wrapper + in_driver)
    return Arrival(run, in_wrapper * per_row, in_driver * per_row, in_sender * per_row), log_end


def _check(shop: Shop, app: App) -> None:
    with shop.connected() as cursor:
        cursor.execute("SELECT sum(stock) FROM item")
        (expected,) = cursor.fetchone()
    if app.ask("checksum") != expected:
        raise RuntimeError("the replica has as many rows as the table, but not the same ones")


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
