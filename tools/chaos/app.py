"""An app in a process of its own: a driver, and a second subscriber that looks for ghosts."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from chaos.shop import GHOST
from chorus_fabric import ClientConfig, Reached, Subscriber, Upserted
from prism.ffi import ChangeNotice, DriverConfig, DriverStatus, PrismDriverSync
from prism.ffi.errors import WrapperUnavailableError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

__all__ = ["App", "Seen", "digest"]

_REPLY_S = 120.0
_END_S = 10.0
_GHOST = GHOST.encode()


@dataclass(frozen=True, slots=True)
class Seen:
    """What an app saw since it began.

    Attributes:
        ghosts: Ids of rows that hold what was rolled back.
        backwards: Marks that stood before an earlier one of their epoch.
        rows: Rows that were looked at.
        failure: Why the second subscriber ended, if it did.
    """

    ghosts: tuple[str, ...]
    backwards: int
    rows: int
    failure: str


def digest(columns: Mapping[str, tuple[str, Mapping[str, Any]]]) -> str:
    """One value for texts and columns of a table, whatever the order."""
    told = hashlib.sha256()
    for row_id in sorted(columns):
        text, values = columns[row_id]
        told.update(json.dumps([row_id, text, values], sort_keys=True).encode())
    return told.hexdigest()


class App:
    """A process with a driver. It can be killed, and made again with the same snapshot file.

    Args:
        port: Where the wrapper is, for it.
        tenant_id: Whose rows.
        snapshot: The driver's file; `None` for none.
    """

    def __init__(self, port: int, tenant_id: str, snapshot: Path | None) -> None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_obey, args=(theirs, port, tenant_id, snapshot), daemon=True
        )
        self._process.start()
        theirs.close()
        self.pid = self._process.pid or 0

    def status(self) -> DriverStatus | None:
        """The driver's status; `None` while its first connection is not made."""
        status: DriverStatus | None = self._ask("status")
        return status

    def digests(self) -> dict[str, str]:
        """By table: what `digest` says of its rows."""
        digests: dict[str, str] = self._ask("digests")
        return digests

    def rows(self, table: str) -> dict[str, tuple[str, dict[str, Any]]]:
        """Text and columns of each row of a table."""
        rows: dict[str, tuple[str, dict[str, Any]]] = self._ask("rows", table)
        return rows

    def vectors(self, table: str) -> tuple[list[str], npt.NDArray[np.float32]]:
        """Texts and vectors of a table, in the same order."""
        vectors: tuple[list[str], npt.NDArray[np.float32]] = self._ask("vectors", table)
        return vectors

    def seen(self) -> Seen:
        """What it saw so far."""
        seen: Seen = self._ask("seen")
        return seen

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.join()
        self._pipe.close()

    def close(self) -> None:
        """End it in order."""
        with suppress(OSError):
            self._pipe.close()
        self._process.join(_END_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _ask(self, what: str, *arguments: object) -> Any:
        try:
            self._pipe.send((what, arguments))
            if not self._pipe.poll(_REPLY_S):
                raise RuntimeError(f"the app did not answer {what!r} in {_REPLY_S:g} s")
            return self._pipe.recv()
        except (EOFError, BrokenPipeError):
            raise RuntimeError("the app's process died; its traceback is above") from None


class _Inside:
    """What the app's process does."""

    def __init__(self, port: int, tenant_id: str, snapshot: Path | None) -> None:
        self._config = DriverConfig(
            wrapper_host="127.0.0.1",
            wrapper_port=port,
            tenant_id=tenant_id,
            node_id="app",
            snapshot_path=snapshot,
            snapshot_every_s=0.5,
        )
        self._driver: PrismDriverSync | None = None
        self._ghosts: list[str] = []
        self._backwards = self._looked = 0
        self._failure = ""
        self._subscriber = Subscriber(
            ClientConfig(host="127.0.0.1", port=port, tenant_id=tenant_id, node_id="watcher")
        )
        for work in (self._connect, self._watch):
            threading.Thread(target=work, daemon=True).start()

    def status(self) -> DriverStatus | None:
        return None if self._driver is None else self._driver.status()

    def digests(self) -> dict[str, str]:
        if self._driver is None:
            return {}
        return {
            name.rpartition(".")[2]: digest(self.rows(name))
            for name in self._driver.status().tables
        }

    def rows(self, table: str) -> dict[str, tuple[str, dict[str, Any]]]:
        return {
            row_id: (row.text_repr, dict(row.columns))
            for row_id, row in list(self._replica(table).rows.items())
        }

    def vectors(self, table: str) -> tuple[list[str], npt.NDArray[np.float32]]:
        replica = self._replica(table)
        rows = list(replica.rows.values())
        return [row.text_repr for row in rows], replica.vectors(rows)

    def seen(self) -> Seen:
        return Seen(tuple(self._ghosts[:10]), self._backwards, self._looked, self._failure)

    def close(self) -> None:
        self._subscriber.close()
        if self._driver is not None:
            self._driver.close()

    def _replica(self, table: str) -> Any:
        # An app asks for rows one by one or by meaning; to compare we need all of them.
        if self._driver is None:
            raise RuntimeError("the driver is not connected")
        return self._driver._engine.feed.shown.table(table)

    def _connect(self) -> None:
        while self._driver is None:
            driver = PrismDriverSync(self._config)
            try:
                driver.connect()
            except WrapperUnavailableError:
                continue  # the wrapper is what is broken just now
            driver.on_change(self._changed)
            self._driver = driver

    def _changed(self, notice: ChangeNotice) -> None:
        if self._driver is None:
            return
        for row_id in notice.upserted:
            row = self._driver.get(row_id, notice.table)
            if row is not None and _GHOST in row.encoded:
                self._ghosts.append(f"{notice.table} {row_id}")

    def _watch(self) -> None:
        reached: dict[int, int] = {}
        try:
            for event in self._subscriber:
                if isinstance(event, Upserted):
                    self._looked += len(event.frame.ids)
                    self._ghosts += [
                        f"{event.schema.full_name} {row_id}"
                        for row_id, columns in zip(
                            event.frame.ids, event.frame.metadata, strict=True
                        )
                        if _GHOST in bytes(columns)
                    ]
                elif isinstance(event, Reached):
                    epoch, seq = event.position.epoch, event.position.seq
                    self._backwards += seq < reached.get(epoch, 0)
                    reached[epoch] = seq
        except Exception as error:  # noqa: BLE001 - the top of a thread: told with `seen`
            self._failure = repr(error)


def _obey(pipe: Connection, port: int, tenant_id: str, snapshot: Path | None) -> None:
    inside = _Inside(port, tenant_id, snapshot)
    while True:
        try:
            what, arguments = pipe.recv()
        except (EOFError, OSError, KeyboardInterrupt):
            inside.close()
            return
        pipe.send(getattr(inside, what)(*arguments))
