"""Memory while one subscriber reads nothing and a transaction of very many rows comes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from chaos.app import App
from chaos.world import BrokenPromiseError, World

__all__ = ["Memory", "measure"]

_REACH_S = 900.0
_STEP_S = 0.1
_ROW_SQL = (
    "INSERT INTO products SELECT n, 'big ' || n %% 5000, n, 0, NULL, now(), NULL "
    "FROM generate_series(%s, %s) AS n"
)
_FIRST = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What one transaction cost.

    Attributes:
        rows: How many it inserted.
        wrapper_growth: Bytes that the wrapper had more at its most than before.
        app_growth: The same of the app that reads; it holds the rows.
        seconds: From the commit until that app had them.
    """

    rows: int
    wrapper_growth: int
    app_growth: int
    seconds: float


def measure(
    world: World, sizes: Sequence[int], *, note: Callable[[Memory], None] = lambda _memory: None
) -> list[Memory]:
    """Let transactions of these sizes come, each into emptied tables.

    Beside the app that reads there is one that reads nothing (SIGSTOP). At the end it goes on, and
    has to become equal too.

    Raises:
        BrokenPromiseError: It does not.
    """
    world.kill_app()
    world.start_app(keeps=False)
    if world.app is None:
        raise AssertionError
    world.check_equal()
    found = []
    silent = App(world.driver_link.port, world.tenant_id, None)
    try:
        _reach(silent, _rows(world.app))
        os.kill(silent.pid, signal.SIGSTOP)
        try:
            for size in sizes:
                found.append(_one(world, world.app, size))
                note(found[-1])
        finally:
            os.kill(silent.pid, signal.SIGCONT)
        world.check_equal()
        _reach(silent, _rows(world.app))
        if silent.digests() != world.app.digests():
            raise BrokenPromiseError("the app that read nothing did not become equal")
    finally:
        silent.close()
    return found


def _one(world: World, app: App, size: int) -> Memory:
    world.execute("TRUNCATE products, lines")
    _reach(app, 0)
    pids = (world.wrapper.pid, app.pid)
    for pid in pids:
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # sets the high-water mark to what it is
    before = [_bytes(pid, "VmRSS") for pid in pids]
    world.execute(_ROW_SQL, _FIRST, _FIRST + size - 1)
    start = time.monotonic()
    _reach(app, size)
    seconds = time.monotonic() - start
    wrapper, reader = (_bytes(pid, "VmHWM") - was for pid, was in zip(pids, before, strict=True))
    return Memory(rows=size, wrapper_growth=wrapper, app_growth=reader, seconds=seconds)


def _rows(app: App) -> int:
    status = app.status()
    return -1 if status is None else status.rows


def _reach(app: App, rows: int) -> None:
    deadline = time.monotonic() + _REACH_S
    while _rows(app) != rows:
        if time.monotonic() > deadline:
            raise BrokenPromiseError(f"{rows:,} rows were expected: {app.status()}")
        time.sleep(_STEP_S)


def _bytes(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/{pid}/status does not tell {name}")
