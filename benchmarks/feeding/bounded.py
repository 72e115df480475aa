"""Memory of wrapper and driver while a subscriber reads nothing and very many rows come at once.

The subscriber is an app like any other, stopped by SIGSTOP once its replica is whole. At the end it
goes on, and has to become equal to the others.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from feeding.app import App
from feeding.wrapper import held

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from feeding.shop import Shop
    from feeding.wrapper import Wrapper

_TIMEOUT_S = 600.0
_SAMPLE_S = 0.05


@dataclass(frozen=True)
class Memory:
    """Resident memory around one transaction, in bytes.

    Attributes:
        rows: Rows of the transaction.
        seconds: From its COMMIT until the app that reads had all of it.
        wrapper_before: The wrapper before it.
        wrapper_most: The wrapper's most while it came.
        driver_before: The app that reads, before.
        driver_most: Its most.
        driver_after: Its memory with the rows in it.
    """

    rows: int
    seconds: float
    wrapper_before: int
    wrapper_most: int
    driver_before: int
    driver_most: int
    driver_after: int

    @property
    def wrapper_growth(self) -> int:
        """What the wrapper took for it, at most."""
        return self.wrapper_most - self.wrapper_before


@dataclass(frozen=True)
class Bounded:
    """What was found.

    Attributes:
        transactions: In the order they came; the table keeps the rows.
        silent_s: How long one subscriber read nothing.
        silent_caught_up_s: How long it took afterwards until it was equal to the table.
    """

    transactions: list[Memory]
    silent_s: float
    silent_caught_up_s: float


def bounded(shop: Shop, wrapper: Wrapper, *, sizes: tuple[int, ...],
            note: Callable[[], None]) -> Bounded:  # fmt: skip
    """Let transactions of these sizes come while one of two subscribers reads nothing.

    Args:
        shop: The database; its table is empty.
        wrapper: Feeds both.
        sizes: Rows of each transaction.
        note: Called after each.
    """
    found = []
    with (
        App(wrapper.port, wrapper.tenant_id) as app,
        App(wrapper.port, wrapper.tenant_id) as silent,
    ):
        start = time.monotonic()
        with held(silent.pid):
            rows = 0
            for size in sizes:
                found.append(_transaction(shop, wrapper, app, before=rows, rows=size))
                rows += size
                note()
            silent_s = time.monotonic() - start
        start = time.monotonic()
        silent.ask("reach", rows, _TIMEOUT_S)
        caught_up_s = time.monotonic() - start
        if silent.ask("checksum") != app.ask("checksum"):
            raise RuntimeError("the subscriber that was silent is not equal to the other")
    return Bounded(found, silent_s, caught_up_s)


def _transaction(shop: Shop, wrapper: Wrapper, app: App, *, before: int, rows: int) -> Memory:
    app.ask("reach", before, _TIMEOUT_S)
    wrapper_before, driver_before = _resident(wrapper.pid), _resident(app.pid)
    with _watched(wrapper.pid, app.pid) as most:
        shop.make(rows, first=before + 1, a_commit=rows)
        start = time.monotonic()
        app.ask("reach", before + rows, _TIMEOUT_S)
        seconds = time.monotonic() - start
    return Memory(
        rows=rows,
        seconds=seconds,
        wrapper_before=wrapper_before,
        wrapper_most=most[wrapper.pid],
        driver_before=driver_before,
        driver_most=most[app.pid],
        driver_after=_resident(app.pid),
    )


@contextmanager
def _watched(*pids: int) -> Iterator[dict[int, int]]:
    """Give the most memory that each process has while inside."""
    most = dict.fromkeys(pids, 0)
    ended = threading.Event()

    def watch() -> None:
        while True:
            for pid in pids:
                most[pid] = max(most[pid], _resident(pid))
            if ended.wait(_SAMPLE_S):
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield most
    finally:
        ended.set()
        thread.join()


def _resident(pid: int) -> int:
    return int(psutil.Process(pid).memory_info().rss)
