"""The driver for code that does not await."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prism.ffi._arguments import check_query, checked_embedding
from prism.ffi._engine import Engine
from prism.ffi._status import WriteAck
from prism.ffi._waiters import is_done

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import Self

    import numpy.typing as npt

    from prism.ffi._config import DriverConfig
    from prism.ffi._notices import Callback
    from prism.ffi._row import Row, RowMatch
    from prism.ffi._status import DriverStatus

__all__ = ["PrismDriverSync"]


class PrismDriverSync:
    """`PrismDriver` with blocking calls; see there. All methods may be called from several threads.

    Args:
        config: Settings; `DriverConfig(wrapper_host="db-proxy-1")` is enough.
    """

    def __init__(self, config: DriverConfig) -> None:
        self._config = config
        self._engine = Engine(config)

    def connect(self) -> None:
        """Make the first contact, and wait until the replica is whole; see `PrismDriver`."""
        try:
            self._engine.connect()
            is_ready = is_done(self._engine.ready(), self._config.ready_timeout_s)
            self._engine.check_ready(is_ready=is_ready)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the feed, and write the snapshot if there is to be one. Safe to repeat."""
        self._engine.close()

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def query(
        self,
        embedding: npt.ArrayLike | None = None,
        *,
        text: str | None = None,
        top_k: int = 10,
        threshold: float | None = None,
        table: str | None = None,
        where: Mapping[str, object] | None = None,
    ) -> list[RowMatch]:
        """Find the rows nearest to a vector or a text; see `PrismDriver.query`."""
        engine = self._engine
        check_query(embedding, text)
        vector = None if embedding is None else checked_embedding(embedding)
        if engine.is_stale():
            return engine.ask(
                vector, text, top_k=top_k, threshold=threshold, table=table, where=where
            )
        if vector is None:
            vector = engine.embed(text or "", table)
        return engine.query(vector, top_k=top_k, threshold=threshold, table=table, where=where)

    def get(self, row_id: str, table: str | None = None) -> Row | None:
        """Read a row by its id; see `PrismDriver.get`."""
        return self._engine.get(row_id, table)

    def write(
        self,
        *,
        row_id: str,
        data: Mapping[str, object],
        table: str | None = None,
        wait: bool = True,
        timeout_s: float = 10.0,
    ) -> WriteAck:
        """Upsert a row in the database, through the wrapper; see `PrismDriver.write`."""
        deadline = time.monotonic() + timeout_s
        event_id, row_id, position = self._engine.write(
            row_id=row_id,
            data=data,
            table=table,
            wait_s=timeout_s if wait else 0.0,
            timeout_s=timeout_s,
        )
        if not wait:
            return WriteAck(event_id, row_id, is_seen=False)
        if position is None or not is_done(
            self._engine.until_position(position), deadline - time.monotonic()
        ):
            raise self._engine.late(event_id, timeout_s)
        return WriteAck(event_id, row_id, is_seen=True)

    def wait_for(self, event_id: str, *, timeout_s: float = 10.0) -> None:
        """Wait until the replica has come to an event; see `PrismDriver.wait_for`."""
        if not is_done(self._engine.until(event_id), timeout_s):
            raise self._engine.late(event_id, timeout_s)

    def on_change(self, callback: Callback) -> Callable[[], None]:
        """Call back after each change that reads see; see `PrismDriver.on_change`."""
        return self._engine.on_change(callback)

    @property
    def port(self) -> int | None:
        """The port it listens on for the wrapper to dial; see `PrismDriver.port`."""
        return self._engine.port

    def status(self) -> DriverStatus:
        """Tell how far the replica is, and whether the feed runs."""
        return self._engine.status()
