"""The publisher: one log, any number of subscribers.

It serves in a thread and an event loop of its own. In the caller's loop, whatever holds that up
would hold up heartbeats, and `asyncio.run`, which ends by cancelling every task, would cancel
gRPC's own among them: grpcio 1.85 does not survive that.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from chorus_fabric._bind import check_bind
from chorus_fabric._channel import address
from chorus_fabric._feed import RowChange
from chorus_fabric._memory_log import MemoryLog
from chorus_fabric._publisher_config import DriverEndpoint, PublisherConfig
from chorus_fabric._service import WrapperService
from chorus_fabric._serving import Serving
from chorus_fabric.errors import FabricConfigurationError, InvalidFrameError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

    from chorus_fabric._feed import FeedLog
    from chorus_fabric._feed_stream import SubscriberStatus
    from chorus_fabric._handlers import HealthHandler, QueryHandler, WriteHandler

__all__ = ["CHORUSPublisher", "PublisherStatus"]

_log = logging.getLogger("chorus_fabric.publisher")

_THREADS: Final = 16
_MOST_AT_ONCE: Final = 2000
_LAST_TURNS_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PublisherStatus:
    """A publisher at one moment.

    Attributes:
        epoch: Epoch of its log.
        head: Highest position of its log.
        subscribers: Those that are connected.
        refused_changes: Changes given to `run` that could not be published.
    """

    epoch: int
    head: int
    subscribers: Sequence[SubscriberStatus]
    refused_changes: int


class CHORUSPublisher:
    """Stream the changes of a log to every subscriber that connects, and to drivers it dials.

    Each subscriber has its own position: it gets a snapshot when it has nothing, or nothing that
    the log can be read on from, and else what came after. A slow one gets each row's newest state
    when it comes to it; one that takes nothing for `slow_after_s` is cut off and told to resume.

    `run` takes changes from a queue, `serve` waits beside a log that others write to, `start` and
    `stop` stand around something else. It serves in a thread of its own, so that a busy event loop
    of the caller's does not hold it up.

    Args:
        config: Settings; the defaults listen on loopback.
        log: What is streamed; `None` makes a log in memory, which `run` fills.
        queries: Answers `Query`.
        writes: Answers `Write`.
        health: Answers `Health`.

    Raises:
        UnsafeBindError: It would listen beyond loopback with neither certificates nor secret.
        FabricConfigurationError: A setting is not acceptable.
    """

    def __init__(
        self,
        config: PublisherConfig | None = None,
        *,
        log: FeedLog | None = None,
        queries: QueryHandler | None = None,
        writes: WriteHandler | None = None,
        health: HealthHandler | None = None,
    ) -> None:
        self._config = config or PublisherConfig()
        if self._config.host is not None:
            check_bind(self._config.host, self._config.tls, self._config.secret)
        self._own_log = MemoryLog(model_id=self._config.model_id) if log is None else None
        self._log: FeedLog = self._own_log or log  # type: ignore[assignment]  # one of them is
        self._executor = ThreadPoolExecutor(_THREADS, "chorus-publisher")
        self._service = WrapperService(
            config=self._config,
            log=self._log,
            executor=self._executor,
            queries=queries,
            writes=writes,
            health=health,
        )
        self._serving = Serving(self._config, self._service)
        self._endpoints: list[DriverEndpoint] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._ended: Future[None] = Future()
        self._stopping: Future[None] | None = None
        self._refused_changes = 0

    @property
    def log(self) -> FeedLog:
        """What is streamed."""
        return self._log

    @property
    def port(self) -> int | None:
        """The port it listens on; `None` before `start` and where it does not listen."""
        return self._serving.port

    @property
    def status(self) -> PublisherStatus:
        """How it stands."""
        return PublisherStatus(
            epoch=self._log.epoch,
            head=self._log.head(),
            subscribers=tuple(stream.status for stream in list(self._service.streams)),
            refused_changes=self._refused_changes,
        )

    def add_driver(self, endpoint: DriverEndpoint) -> None:
        """Dial a driver that listens, for as long as the publisher runs.

        Raises:
            FabricConfigurationError: It is of another tenant.
        """
        if endpoint.tenant_id != self._config.tenant_id:
            raise FabricConfigurationError(
                f"the driver at {address(endpoint.host, endpoint.port)} is of tenant "
                f"{endpoint.tenant_id!r}, this publisher of {self._config.tenant_id!r}"
            )
        self._endpoints.append(endpoint)
        if self._loop is not None and self._stopping is None:
            self._loop.call_soon_threadsafe(self._serving.dial, endpoint)

    async def run(self, event_queue: asyncio.Queue[RowChange | None]) -> None:
        """Publish the changes of a queue until it gives `None`, or until cancelled.

        A change that cannot be published (a vector of another width, say) is left out, logged and
        counted. At the end subscribers get what they still lack, for `drain_s` at most.

        Args:
            event_queue: Of this event loop. What is put in must not be changed afterwards.

        Raises:
            FabricConfigurationError: The publisher has a log of its own: use `serve`.
            OSError: The port is taken.
        """
        log = self._own_log
        if log is None:
            raise FabricConfigurationError("`run` fills the publisher's own log; use `serve`")
        await self.start()
        try:
            is_over = False
            while not is_over:
                changes = [await event_queue.get()]
                while len(changes) < _MOST_AT_ONCE and not event_queue.empty():
                    changes.append(event_queue.get_nowait())
                is_over = None in changes
                rows = [change for change in changes if change is not None]
                await asyncio.get_running_loop().run_in_executor(
                    self._executor, self._append, log, rows
                )
                for _ in changes:
                    event_queue.task_done()
        finally:
            await self.stop()

    async def serve(self) -> None:
        """Publish until `stop` is called, or until cancelled.

        Raises:
            OSError: The port is taken.
        """
        await self.start()
        try:
            await asyncio.shield(asyncio.wrap_future(self._ended))
        finally:
            await self.stop()

    async def start(self) -> None:
        """Listen, and dial the drivers.

        Raises:
            OSError: The port is taken.
            CertificateError: Certificate files are missing or do not belong together.
            FabricConfigurationError: It was started before.
        """
        if self._loop is not None:
            raise FabricConfigurationError("a publisher is started once: make another")
        loop = self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=_run_loop, args=(loop,), name="chorus-publisher", daemon=True
        )
        self._thread.start()
        try:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._serving.start(), loop))
        except BaseException:
            await self.stop()
            raise
        for endpoint in self._endpoints:
            loop.call_soon_threadsafe(self._serving.dial, endpoint)

    async def stop(self) -> None:
        """Bring subscribers to the log's head, for `drain_s` at most, and end. Safe to repeat."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        if self._stopping is None:
            self._stopping = asyncio.run_coroutine_threadsafe(self._serving.stop(), loop)
        try:
            await asyncio.shield(asyncio.wrap_future(self._stopping))
        finally:
            if not self._ended.done():
                self._ended.set_result(None)
                loop.call_soon_threadsafe(loop.stop)
                self._executor.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(thread.join)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    def _append(self, log: MemoryLog, changes: list[RowChange]) -> None:
        if not changes:
            return
        try:
            log.append(changes)
        except (InvalidFrameError, AttributeError, TypeError, ValueError) as error:
            if len(changes) > 1:
                for change in changes:
                    self._append(log, [change])
                return
            self._refused_changes += 1
            _log.warning("a change is left out: %s", error)


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        loop.run_until_complete(_leave_nothing())
    finally:
        asyncio.set_event_loop(None)
        loop.close()


async def _leave_nothing() -> None:
    """Let calls end that the server has answered, and end what does not."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if left:
        # gRPC's own: they need some turns of the loop, and complain in the log if they get none.
        _, left = await asyncio.wait(left, timeout=_LAST_TURNS_S)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
