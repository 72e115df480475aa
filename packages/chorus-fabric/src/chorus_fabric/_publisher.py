"""The publisher: one log, any number of subscribers."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from chorus_fabric._bind import check_bind
from chorus_fabric._channel import SERVER_OPTIONS, address
from chorus_fabric._dial_out import feed_driver
from chorus_fabric._feed import RowChange
from chorus_fabric._memory_log import MemoryLog
from chorus_fabric._publisher_config import DriverEndpoint, PublisherConfig
from chorus_fabric._service import WrapperService
from chorus_fabric._tls import server_credentials
from chorus_fabric.errors import FabricConfigurationError, InvalidFrameError
from chorus_fabric.v1 import wrapper_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from types import TracebackType
    from typing import Self

    from chorus_fabric._feed import FeedLog
    from chorus_fabric._feed_stream import SubscriberStatus
    from chorus_fabric._handlers import HealthHandler, QueryHandler, WriteHandler

__all__ = ["CHORUSPublisher", "PublisherStatus"]

_log = logging.getLogger("chorus_fabric.publisher")

_SERVICE: Final = "chorus_fabric.v1.WrapperService"
_TICK_S: Final = 1.0
_THREADS: Final = 16
_MOST_AT_ONCE: Final = 2000


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

    Use it in one event loop: `run` for changes from a queue, `serve` for a log that others write
    to, or `start` and `stop` around something else.

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
        self._endpoints: list[DriverEndpoint] = []
        self._server: grpc.aio.Server | None = None
        self._health = HealthServicer()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped: asyncio.Event | None = None
        self._port: int | None = None
        self._refused_changes = 0

    @property
    def log(self) -> FeedLog:
        """What is streamed."""
        return self._log

    @property
    def port(self) -> int | None:
        """The port it listens on; `None` before `start` and where it does not listen."""
        return self._port

    @property
    def status(self) -> PublisherStatus:
        """How it stands."""
        return PublisherStatus(
            epoch=self._log.epoch,
            head=self._log.head(),
            subscribers=tuple(stream.status for stream in self._service.streams),
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
        if self._stopped is not None:
            self._spawn(endpoint)

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
        stopped = self._stopped
        try:
            if stopped is not None:
                await stopped.wait()
        finally:
            await self.stop()

    async def start(self) -> None:
        """Listen, and dial the drivers.

        Raises:
            OSError: The port is taken.
            CertificateError: Certificate files are missing or do not belong together.
            FabricConfigurationError: It runs already, or has been stopped.
        """
        if self._stopped is not None:
            raise FabricConfigurationError("a publisher is started once: make another")
        config = self._config
        self._stopped = asyncio.Event()
        if config.host is not None:
            server = grpc.aio.server(options=SERVER_OPTIONS)
            wrapper_pb2_grpc.add_WrapperServiceServicer_to_server(self._service, server)
            health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
            place = address(config.host, config.port)
            try:
                if config.tls is None:
                    self._port = server.add_insecure_port(place)
                else:
                    self._port = server.add_secure_port(place, server_credentials(config.tls))
            except RuntimeError as error:
                raise OSError(
                    f"cannot listen on {place}: is another program there, or the address not this "
                    "machine's?"
                ) from error
            await server.start()
            self._server = server
            await self._tell_health(health_pb2.HealthCheckResponse.SERVING)
            _log.info("listening on %s", address(config.host, self._port))
        self._keep(self._tick())
        for endpoint in self._endpoints:
            self._spawn(endpoint)

    async def stop(self) -> None:
        """Bring subscribers to the log's head, for `drain_s` at most, and end. Safe to repeat."""
        stopped = self._stopped
        if stopped is None or stopped.is_set():
            return
        stopped.set()
        self._service.close()
        if self._server is not None:
            await self._tell_health(health_pb2.HealthCheckResponse.NOT_SERVING)
            await self._server.stop(self._config.drain_s)
        await self._service.drained(self._config.drain_s)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._executor.shutdown(wait=False, cancel_futures=True)

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

    def _spawn(self, endpoint: DriverEndpoint) -> None:
        self._keep(feed_driver(endpoint, config=self._config, service=self._service))

    def _keep(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            self._service.tick()

    async def _tell_health(self, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        for name in ("", _SERVICE):
            await self._health.set(name, status)
