"""A publisher's server, its dialled drivers and its housekeeping, in one event loop."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from chorus_fabric._channel import SERVER_OPTIONS, address
from chorus_fabric._dial_out import feed_driver
from chorus_fabric._service import SERVICE
from chorus_fabric._tls import server_credentials

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from chorus_fabric._publisher_config import DriverEndpoint, PublisherConfig
    from chorus_fabric._service import WrapperService

__all__ = ["Serving"]

_log = logging.getLogger("chorus_fabric.publisher")

_TICK_S: Final = 1.0


class Serving:
    """Serve until `stop`. All methods belong to one event loop.

    Args:
        config: The publisher's settings.
        service: What is served.

    Attributes:
        port: Where it listens; `None` before `start`, and where it does not.
    """

    def __init__(self, config: PublisherConfig, service: WrapperService) -> None:
        self._config = config
        self._service = service
        self._server: grpc.aio.Server | None = None
        self._health = HealthServicer()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port: int | None = None

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: The port is taken.
            CertificateError: Certificate files are missing or do not belong together.
        """
        config = self._config
        if config.host is not None:
            server = grpc.aio.server(options=SERVER_OPTIONS)
            server.add_generic_rpc_handlers((self._service.handlers(),))
            health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
            place = address(config.host, config.port)
            try:
                if config.tls is None:
                    self.port = server.add_insecure_port(place)
                else:
                    self.port = server.add_secure_port(place, server_credentials(config.tls))
            except RuntimeError as error:
                raise OSError(
                    f"cannot listen on {place}: is another program there, or the address not this "
                    "machine's?"
                ) from error
            await server.start()
            self._server = server
            await self._tell_health(health_pb2.HealthCheckResponse.SERVING)
            _log.info("listening on %s", address(config.host, self.port))
        self._keep(self._tick())

    def dial(self, endpoint: DriverEndpoint) -> None:
        """Feed a driver that listens."""
        self._keep(feed_driver(endpoint, config=self._config, service=self._service))

    async def stop(self) -> None:
        """Bring subscribers to the log's head, for `drain_s` at most, and end."""
        self._service.close()
        if self._server is not None:
            await self._tell_health(health_pb2.HealthCheckResponse.NOT_SERVING)
            await self._server.stop(self._config.drain_s)
        await self._service.drained(self._config.drain_s)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _keep(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            self._service.tick()

    async def _tell_health(self, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        for name in ("", SERVICE):
            await self._health.set(name, status)
