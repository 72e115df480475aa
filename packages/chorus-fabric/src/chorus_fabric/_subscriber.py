"""A subscriber: follows a feed for ever, over every kind of interruption."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from chorus_fabric._backoff import Backoff
from chorus_fabric._client import ClientConfig, ServiceClient, Welcome
from chorus_fabric._feed_writer import FeedPosition
from chorus_fabric._listener import DriverListener
from chorus_fabric._subscription import FeedEvent, Reached, Subscription
from chorus_fabric.errors import ChorusError, FeedProtocolError, ServiceUnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from chorus_fabric._feed import StreamSchema
    from chorus_fabric._handshake import Session

__all__ = ["Connected", "Disconnected", "Subscriber"]

_log = logging.getLogger("chorus_fabric.subscriber")

_FIRST_S: Final = 0.05
_MOST_S: Final = 1.0
_SILENCE_S: Final = 10.0
_WATCH_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Connected:
    """The feed runs.

    Attributes:
        welcome: What the service announced.
    """

    welcome: Welcome


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The feed was interrupted, or could not begin; the subscriber tries again by itself.

    Attributes:
        error: Why.
        retry_in_s: When it tries again.
    """

    error: ChorusError
    retry_in_s: float


class Link(Protocol):
    """One run of a feed, whoever dialled."""

    welcome: Welcome
    session: Session

    def messages(
        self, position: FeedPosition, tables: tuple[str, ...]
    ) -> Iterator[bytes | memoryview]:
        """Ask for frames and give them."""

    def after(self, position: FeedPosition | None) -> None:
        """Do what is due after a message: tell the position if it is new, renew keys."""

    def cancel(self) -> None:
        """End it, from any thread."""


class Subscriber:
    """Follow the feed of a service.

    Iterate over it in one thread (`for`) or in one event loop (`async for`): it gives what to do
    with a replica, and word of the connection, until `close` is called. Reconnects are without end,
    after 50 ms at first and up to 1 s, shortened by chance.

    An event's arrays and columns lie in the message's memory: copy what shall outlive it.

    Args:
        config: Where the service is, and who asks. With `listen`, only who.
        tables: Names of the tables wanted; none for all.
        position: What is there already, as from a file.
        schemas: The tables that are there already.
        listen: Waits for the service to dial, instead of dialling it.
        silence_s: After so long without a word from the service (which marks each second) the
            connection is given up.
    """

    def __init__(
        self,
        config: ClientConfig,
        *,
        tables: tuple[str, ...] = (),
        position: FeedPosition | None = None,
        schemas: tuple[StreamSchema, ...] = (),
        listen: DriverListener | None = None,
        silence_s: float = _SILENCE_S,
    ) -> None:
        self._config = config
        self._tables = tuple(tables)
        self._subscription = Subscription(position or FeedPosition(), schemas)
        self._listen = listen
        self._silence_s = silence_s
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._link: Link | None = None
        self._waiting_since: float | None = None

    def close(self) -> None:
        """End the iteration, from any thread. Safe to repeat."""
        with self._lock:
            self._closed.set()
            link = self._link
        if link is not None:
            link.cancel()
        if self._listen is not None:
            self._listen.close()

    def __iter__(self) -> Iterator[FeedEvent | Connected | Disconnected]:
        backoff = Backoff(first_s=_FIRST_S, most_s=_MOST_S, rng=random.random)
        watch = threading.Thread(target=self._watch, name="chorus-feed-watch", daemon=True)
        watch.start()
        while not self._closed.is_set():
            error: ChorusError
            try:
                yield from self._run(backoff)
            except FeedProtocolError as caught:
                error = caught
                if caught.begin_anew:
                    self._subscription.forget()
            except ChorusError as caught:
                error = caught
            else:
                error = ServiceUnavailableError(
                    f"{self._config.address}: the service ended the feed"
                )
            if self._closed.is_set():
                return
            wait_s = backoff.next_s()
            _log.info("the feed is interrupted: %s", error)
            yield Disconnected(error, wait_s)
            self._closed.wait(wait_s)

    async def __aiter__(self) -> AsyncIterator[FeedEvent | Connected | Disconnected]:
        events = iter(self)
        try:
            while (event := await asyncio.to_thread(next, events, None)) is not None:
                yield event
        finally:
            self.close()

    def _run(self, backoff: Backoff) -> Iterator[FeedEvent | Connected]:
        link = self._open()
        if link is None:
            return
        try:
            with self._lock:
                self._link = link
                if self._closed.is_set():
                    return
            yield Connected(link.welcome)
            subscription = self._subscription
            messages = link.messages(subscription.reconnect(), self._tables)
            while (message := self._next(messages)) is not None:
                event = subscription.receive(link.session.opener.open(message))
                position = None
                if isinstance(event, Reached):
                    backoff.reset()
                    position = event.position
                yield event
                link.after(position)
        finally:
            with self._lock:
                self._link = None
            link.cancel()

    def _next(self, messages: Iterator[bytes | memoryview]) -> bytes | memoryview | None:
        self._waiting_since = time.monotonic()
        try:
            return next(messages, None)
        finally:
            self._waiting_since = None

    def _open(self) -> Link | None:
        if self._listen is not None:
            return self._listen.accept(self._config)
        return _DialledLink(self._config)

    def _watch(self) -> None:
        while not self._closed.wait(min(_WATCH_S, self._silence_s / 4)):
            since = self._waiting_since
            if since is not None and time.monotonic() - since > self._silence_s:
                with self._lock:
                    link = self._link
                if link is not None:
                    _log.warning("no word for %g s: connecting anew", self._silence_s)
                    link.cancel()


class _DialledLink:
    """A feed from a service that this side called."""

    def __init__(self, config: ClientConfig) -> None:
        self._client = ServiceClient(config)
        self._cancel: Callable[[], None] = self._client.close
        try:
            self.welcome = self._client.hello()
        except BaseException:
            self._client.close()
            raise
        self.session = self._client.session

    def messages(
        self, position: FeedPosition, tables: tuple[str, ...]
    ) -> Iterator[bytes | memoryview]:
        call = self._client.subscribe(position, tables)
        return iter(call)

    def after(self, position: FeedPosition | None) -> None:  # noqa: ARG002  as `Link` has it
        self._client.renew()

    def cancel(self) -> None:
        self._client.close()
