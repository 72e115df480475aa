"""A feed to a driver that listens: Hello and Subscribe in the other direction.

The publisher opens `DriverService.Feed`. The driver speaks first, with the HelloRequest that it
would send to a service, and from there on all is as if it had called: only who opened the
connection differs, not who proves what to whom.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, cast

import grpc

from chorus_fabric._backoff import Backoff
from chorus_fabric._channel import CHANNEL_OPTIONS, address
from chorus_fabric._envelope import envelope_of
from chorus_fabric._statuses import error_of
from chorus_fabric._tls import channel_credentials, channel_options
from chorus_fabric.errors import ChorusError
from chorus_fabric.v1 import wrapper_pb2 as pb

if TYPE_CHECKING:
    from chorus_fabric._feed_stream import FeedStream
    from chorus_fabric._publisher_config import DriverEndpoint, PublisherConfig
    from chorus_fabric._service import WrapperService

    _FeedCall = grpc.aio.StreamStreamCall[bytes, pb.Ack]

__all__ = ["feed_driver"]

_log = logging.getLogger("chorus_fabric.publisher")

_FIRST_S, _MOST_S = 0.05, 1.0


async def feed_driver(
    endpoint: DriverEndpoint, *, config: PublisherConfig, service: WrapperService
) -> None:
    """Feed one driver, for ever: connect again whenever the connection is lost."""
    backoff = Backoff(first_s=_FIRST_S, most_s=_MOST_S, rng=random.random)
    place = address(endpoint.host, endpoint.port)
    told = ""
    while True:
        try:
            await _feed_once(place, config, service, backoff)
            word = "the driver ended the feed"
        except grpc.RpcError as error:
            word = str(error_of(error, place))
        except ChorusError as error:
            word = str(error)
        if word != told:
            _log.warning("driver at %s: %s; trying again for ever", place, word)
            told = word
        await asyncio.sleep(backoff.next_s())


async def _feed_once(
    place: str, config: PublisherConfig, service: WrapperService, backoff: Backoff
) -> None:
    options: list[tuple[str, str | int]] = list(CHANNEL_OPTIONS)
    if config.tls is None:
        channel = grpc.aio.insecure_channel(place, options=options)
    else:
        options += channel_options(config.tenant_id)
        channel = grpc.aio.secure_channel(place, channel_credentials(config.tls), options=options)
    async with channel:
        # Envelopes are bytes here: protobuf would copy the frames in them.
        feed = channel.stream_stream(
            "/chorus_fabric.v1.DriverService/Feed",
            request_serializer=None,
            response_deserializer=pb.Ack.FromString,
        )
        call = cast("_FeedCall", feed(None))
        feeds: list[FeedStream] = []
        sending = asyncio.Lock()  # an answer to a renewal may come between two frames

        async def send(message: bytes) -> None:
            async with sending:
                await call.write(envelope_of(message))

        sender: asyncio.Task[None] | None = None
        try:
            while isinstance(ack := await call.read(), pb.Ack):
                match ack.WhichOneof("content"):
                    case "hello":
                        # TLS has looked for the tenant in the driver's certificate already.
                        reply = service.hello(ack.hello, None, is_called=False)
                        async with sending:
                            await call.write(pb.Envelope(hello=reply).SerializeToString())
                    case "subscribe" if sender is None:
                        backoff.reset()
                        sender = asyncio.create_task(
                            service.stream(ack.subscribe, send, peer=place, begun=feeds.append)
                        )
                        sender.add_done_callback(lambda _: call.cancel())
                    case "position" if feeds:
                        feeds[0].acked_seq = ack.position.seq
        except asyncio.CancelledError:
            # Either this task is cancelled, or the sender ended and took the call with it.
            if sender is None or not sender.done():
                raise
        finally:
            call.cancel()
            if sender is not None:
                sender.cancel()
                results = await asyncio.gather(sender, return_exceptions=True)
        if sender is not None and isinstance(results[0], ChorusError):
            raise results[0]
