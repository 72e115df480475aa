"""Both ways to push, and the thread that serves them."""

from __future__ import annotations

import asyncio
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from chorus_fabric import ChorusError, check_bind
from prism.wrapper.sources.errors import SourceConfigurationError
from prism.wrapper.sources.tidb._grpc import GrpcEndpoint
from prism.wrapper.sources.tidb._http import PushEndpoint
from prism.wrapper.sources.tidb._intake import Intake
from prism.wrapper.sources.tidb._settings import TidbSettings

__all__ = ["Endpoint", "check_endpoint"]

_WORKERS: Final = 4
_STOP_S: Final = 10.0


def check_endpoint(settings: TidbSettings) -> ssl.SSLContext | None:
    """Read the endpoint's certificate, if it has one.

    Raises:
        SourceConfigurationError: It cannot be used, or the endpoint would send its token in the
            clear through a network.
    """
    if settings.certificate is None or settings.key is None:
        try:
            check_bind(settings.listen_host, None, None)
        except ChorusError:
            raise SourceConfigurationError(
                f"listen_host: {settings.listen_host} can be reached from other machines, and "
                "without a certificate the token would travel in the clear. Give certificate and "
                "key (`chorus-fabric issue` makes them), or listen at 127.0.0.1"
            ) from None
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.certificate, settings.key)
    except (OSError, ssl.SSLError) as error:
        raise SourceConfigurationError(
            f"certificate: {settings.certificate} and its key cannot be used: {error}"
        ) from None
    return context


class Endpoint:
    """Listens from the start to `stop`.

    Args:
        intake: Where pushes go.
        settings: Where to listen, and how.

    Raises:
        SourceConfigurationError: It cannot listen there.
    """

    def __init__(self, intake: Intake, settings: TidbSettings) -> None:
        tls = check_endpoint(settings)
        self.port = 0
        self.grpc_port: int | None = None
        self._over = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started = threading.Event()
        self._failure: OSError | None = None
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="prism-push")
        self._http = PushEndpoint(
            intake,
            token=settings.token,
            batch_bytes=settings.batch_bytes,
            tls=tls,
            workers=self._workers,
        )
        self._grpc: GrpcEndpoint | None = None
        if settings.grpc_port is not None:
            self._grpc = GrpcEndpoint(
                intake,
                token=settings.token,
                batch_bytes=settings.batch_bytes,
                certificate=settings.certificate,
                key=settings.key,
            )
            self.grpc_port = self._grpc.start(settings.listen_host, settings.grpc_port)
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(settings)), name="prism-push-http", daemon=True
        )
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            self.stop()
            raise SourceConfigurationError(
                f"listen_port: cannot listen at {settings.listen_host}:{settings.listen_port}: "
                f"{self._failure.strerror}"
            )

    @property
    def answered(self) -> dict[int, int]:
        """How often each HTTP status was answered."""
        return self._http.answered

    def stop(self) -> None:
        """Listen no more. May be called more than once."""
        if self._grpc is not None:
            self._grpc.stop()
            self._grpc = None
        if self._loop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(_STOP_S)
        self._workers.shutdown(wait=False)

    async def _serve(self, settings: TidbSettings) -> None:
        self._loop = asyncio.get_running_loop()
        try:
            self.port = await self._http.start(settings.listen_host, settings.listen_port)
        except OSError as error:
            self._failure = error
            return
        finally:
            self._started.set()
        await self._over.wait()
        await self._http.stop()
