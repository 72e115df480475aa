"""The driver for code that awaits."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from prism.ffi._arguments import check_query, checked_embedding
from prism.ffi._engine import Engine
from prism.ffi._status import WriteAck

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Future
    from types import TracebackType
    from typing import Self

    import numpy.typing as npt

    from prism.ffi._config import DriverConfig
    from prism.ffi._notices import Callback
    from prism.ffi._row import Row, RowMatch
    from prism.ffi._status import DriverStatus

__all__ = ["PrismDriver"]


class PrismDriver:
    """A live replica of the wrapper's rows in this process.

    Reads answer from memory: they take no lock, wait for nobody and never touch the network, unless
    `on_stale="query"` asks for it. The replica follows the database through the wrapper, usually by
    milliseconds; `status` tells how far it is behind. It goes on answering while the wrapper is
    away, and reconnects for ever.

    Use it as an async context manager, or call `connect` and `close`. Methods may be called from
    any event loop; `get`, `status` and `on_change` also from any thread. `PrismDriverSync` is the
    same for code that does not await.

    Args:
        config: Settings; `DriverConfig(wrapper_host="db-proxy-1")` is enough.
    """

    def __init__(self, config: DriverConfig) -> None:
        self._config = config
        self._engine = Engine(config)

    async def connect(self) -> None:
        """Make the first contact, and wait until the replica is whole.

        With a snapshot that can be used (`snapshot_path`) it returns at once, and warns in the log
        if the wrapper is away; `status().lag_s` is `None` until the wrapper has answered.

        Raises:
            WrapperUnavailableError: No wrapper answers, or the replica did not become whole in
                time; the message names host, port and remedy.
            DriverConfigurationError: The wrapper refuses this driver: tenant, secret or
                certificate; or the port to listen on is taken.
            ModelMismatchError: The given embedder is not the wrapper's.
        """
        try:
            await asyncio.to_thread(self._engine.connect)
            is_ready = await _done(self._engine.ready(), self._config.ready_timeout_s)
            self._engine.check_ready(is_ready=is_ready)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """End the feed, and write the snapshot if there is to be one. Safe to repeat."""
        await asyncio.to_thread(self._engine.close)

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def query(
        self,
        embedding: npt.ArrayLike | None = None,
        *,
        text: str | None = None,
        top_k: int = 10,
        threshold: float | None = None,
        table: str | None = None,
        where: Mapping[str, object] | None = None,
    ) -> list[RowMatch]:
        """Find the rows nearest to a vector or a text.

        Args:
            embedding: Of the width of the rows' model, or 64 projected components
                (`prismresonance.PrismProjector(tenant_id=...)`). Scores of the latter are cosines
                in the projected space, in a second index that is kept from then on.
            text: Instead: embedded here, with the model that the wrapper announces.
            top_k: How many matches at most.
            threshold: The least score, -1 to 1; `None` for any.
            table: Which table; `None` searches all.
            where: Column to value, to a list of values, or to a `prismresonance.Between`; all must
                hold. See `DriverConfig.indexed_columns`.

        Returns:
            Matches by falling score.

        Raises:
            DriverConfigurationError: An argument is not acceptable; the message says why.
            UnknownTableError: No such table is replicated.
            ModelMismatchError: `text` cannot be embedded with the rows' model here.
            StaleReplicaError: The replica is older than `max_lag_s`.
            WrapperUnavailableError: It is, and the wrapper that was to be asked is away.
        """
        engine = self._engine
        check_query(embedding, text)
        if engine.is_stale():
            vector = None if embedding is None else checked_embedding(embedding)
            return await asyncio.to_thread(
                engine.ask,
                vector,
                text,
                top_k=top_k,
                threshold=threshold,
                table=table,
                where=where,
            )
        if text is not None:
            vector = await asyncio.to_thread(engine.embed, text, table)
        else:
            vector = checked_embedding(embedding if embedding is not None else ())

        def search() -> list[RowMatch]:
            return engine.query(vector, top_k=top_k, threshold=threshold, table=table, where=where)

        if engine.is_long(embedding=vector, where=where):
            return await asyncio.to_thread(search)
        return search()

    def get(self, row_id: str, table: str | None = None) -> Row | None:
        """Read a row by its id: a look-up in a dictionary.

        Args:
            row_id: Its id: the key as text, or the parts of a key of several columns as a JSON
                array.
            table: Its table; may be left out if one table alone has that id.

        Returns:
            The row, or `None`.

        Raises:
            UnknownTableError: No such table is replicated, or several tables have that id.
            StaleReplicaError: The replica is older than `max_lag_s`; with `on_stale="query"` too,
                since the wrapper has no read by id to fall back on.
            DriverClosedError: The driver is not connected.
        """
        return self._engine.get(row_id, table)

    async def write(
        self,
        *,
        row_id: str,
        data: Mapping[str, object],
        table: str | None = None,
        wait: bool = True,
        timeout_s: float = 10.0,
    ) -> WriteAck:
        """Upsert a row in the database, through the wrapper.

        Args:
            row_id: Its id; the key's column need not be in `data`.
            data: Column to value: what JSON holds, dates and times, decimals, UUIDs.
            table: Which table; may be left out if the wrapper knows which one is meant.
            wait: Whether to wait until this driver's replica has it, so that the next read sees it.
            timeout_s: How long to wait, all in all.

        Returns:
            The commit's event, and whether the replica has it.

        Raises:
            CallRefusedError: The wrapper refuses it, and nothing was changed.
            WrapperUnavailableError: No answer; see its `may_be_done`.
            NotSeenInTimeError: It is committed, but not in the replica yet.
        """
        deadline = time.monotonic() + timeout_s
        event_id, row_id, position = await asyncio.to_thread(
            self._engine.write,
            row_id=row_id,
            data=data,
            table=table,
            wait_s=timeout_s if wait else 0.0,
            timeout_s=timeout_s,
        )
        if not wait:
            return WriteAck(event_id, row_id, is_seen=False)
        left_s = deadline - time.monotonic()
        if position is None or not await _done(self._engine.until_position(position), left_s):
            raise self._engine.late(event_id, timeout_s)
        return WriteAck(event_id, row_id, is_seen=True)

    async def wait_for(self, event_id: str, *, timeout_s: float = 10.0) -> None:
        """Wait until the replica has come to an event, such as another process's write.

        Args:
            event_id: Of a `WriteAck`.
            timeout_s: How long.

        Raises:
            NotSeenInTimeError: It has not come in time.
            DriverConfigurationError: The id names no position.
        """
        if not await _done(self._engine.until(event_id), timeout_s):
            raise self._engine.late(event_id, timeout_s)

    def on_change(self, callback: Callback) -> Callable[[], None]:
        """Call back after each change that reads see.

        A plain function is called in a thread of its own, a coroutine function in the event loop
        that runs now; one notice after the other. Slow callbacks hold up each other, not the
        feed: when too much waits, notices are dropped and the next says so.

        Args:
            callback: Takes a `ChangeNotice`.

        Returns:
            What ends it.
        """
        return self._engine.on_change(callback)

    @property
    def port(self) -> int | None:
        """The port it listens on for the wrapper to dial; `None` if it dials, or not yet."""
        return self._engine.port

    def status(self) -> DriverStatus:
        """Tell how far the replica is, and whether the feed runs."""
        return self._engine.status()


async def _done(future: Future[None], timeout_s: float) -> bool:
    try:
        await asyncio.wait_for(asyncio.wrap_future(future), max(0.0, timeout_s))
    except TimeoutError:
        return False
    return True
