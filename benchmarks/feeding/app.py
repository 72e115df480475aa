"""An app in a process of its own, with a driver in it that follows a wrapper."""

from __future__ import annotations

import os
import time
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from prism.ffi import ChangeNotice, DriverConfig, PrismDriverSync

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection
    from types import TracebackType
    from typing import Self

_STEP_S = 0.01


class App:
    """A process with a driver: what `Inside` can do, asked from here.

    Args:
        port: The wrapper's, on loopback.
        tenant_id: Whose rows.

    Attributes:
        pid: Its process.
        connected_s: How long the driver took from its first contact until its replica was whole.
    """

    def __init__(self, port: int, tenant_id: str) -> None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_obey, args=(theirs, port, tenant_id), daemon=True)
        self._process.start()
        theirs.close()
        self.pid = self._process.pid or 0
        self.connected_s: float = self._reply()

    def ask(self, what: str, *arguments: object) -> Any:
        """Call a method of `Inside` there, and wait for its answer."""
        self.send(what, *arguments)
        return self._reply()

    def send(self, what: str, *arguments: object) -> None:
        """Call a method of `Inside` there; `wait` gives its answer."""
        self._pipe.send((what, arguments))

    def wait(self) -> Any:
        """Wait for the answer to `send`."""
        return self._reply()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pipe.close()
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _reply(self) -> Any:
        try:
            return self._pipe.recv()
        except EOFError:
            raise RuntimeError("the app's process died; its traceback is above") from None


class Inside:
    """What the app's process does. Times are of the monotonic clock that all processes share."""

    def __init__(self, driver: PrismDriverSync) -> None:
        self._driver = driver
        self._seen: list[tuple[int, tuple[str, ...]]] = []
        self._end: Callable[[], None] | None = None

    def rows(self) -> int:
        """Give how many rows the replica has."""
        return self._driver.status().rows

    def reach(self, rows: int, timeout_s: float) -> tuple[int, float]:
        """Wait until the replica has that many rows; give the moment and the CPU used so far.

        Raises:
            TimeoutError: It does not come to it.
        """
        deadline = time.monotonic() + timeout_s
        while self.rows() != rows:
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"{rows:,} rows were expected, the replica has {self._driver.status()}"
                )
            time.sleep(_STEP_S)
        times = os.times()
        return time.monotonic_ns(), times.user + times.system

    def texts(self, ids: list[str]) -> list[str]:
        """Give the texts of rows."""
        rows = (self._driver.get(row_id) for row_id in ids)
        return [row.text_repr for row in rows if row is not None]

    def checksum(self) -> int:
        """Add up the stock of all rows: whether two replicas are equal."""
        total = 0
        for table in self._driver.status().tables:
            count = 0
            place = 1
            while count < self.rows():
                row = self._driver.get(str(place), table)
                place += 1
                if row is not None:
                    count += 1
                    total += int(str(row["stock"]))
        return total

    def watch(self) -> None:
        """Note from now on when each row's change can be read."""
        self._seen = []
        self._end = self._driver.on_change(self._note)

    def watched(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """End that; give ids and the moments in nanoseconds, both int64 of shape (changes,)."""
        if self._end is not None:
            self._end()
        ids = [int(row_id) for _, some in self._seen for row_id in some]
        moments = [moment for moment, some in self._seen for _ in some]
        return np.asarray(ids, np.int64), np.asarray(moments, np.int64)

    def _note(self, notice: ChangeNotice) -> None:
        self._seen.append((time.monotonic_ns(), tuple(notice.upserted)))


def config_of(port: int, tenant_id: str) -> DriverConfig:
    """Give the settings of a driver on this machine."""
    return DriverConfig(wrapper_host="127.0.0.1", wrapper_port=port, tenant_id=tenant_id)


def _obey(pipe: Connection, port: int, tenant_id: str) -> None:
    start = time.perf_counter()
    with PrismDriverSync(config_of(port, tenant_id)) as driver:
        pipe.send(time.perf_counter() - start)
        inside = Inside(driver)
        while True:
            try:
                what, arguments = pipe.recv()
            except EOFError:
                return
            pipe.send(getattr(inside, what)(*arguments))
