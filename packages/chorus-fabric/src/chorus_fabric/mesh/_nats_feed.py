"""A change feed through a JetStream stream: one writer, any number of readers it knows not of.

    chorus.feed.<tenant>.run     "CHRN", when the run began (ns), 24 random bytes, HMAC of them
    chorus.feed.<tenant>.frame   the frames of that run, sealed, in parts where they are large

The frames are those of any feed: RESET, SCHEMA, ROWS, ... MARK, in one ordered lane with its chain
of watermarks. As nobody shakes hands with a stream, its keys follow from the secret and the run's
name. So whoever gets the secret later can open what was recorded: the one thing that is less than
over a session. A run begins with a RESET and a snapshot, when a writer starts, and when what came
after the snapshot outgrows it; what lies before the run is then purged.

A writer states with each message which one it follows, so a second one, which begins a run of its
own, ends the first. A reader resumes by the number of a message in the stream, and the chain tells
whether that is where it stopped; a run older than one it has seen is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import itertools
import logging
import os
import random
import struct
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.api import ConsumerConfig, DeliverPolicy, DiscardPolicy, StreamConfig
from nats.js.errors import APIError, NotFoundError

from chorus_fabric._backoff import Backoff
from chorus_fabric._codec import MAX_FRAME_BYTES, name_hash
from chorus_fabric._feed_writer import FeedPosition, FeedWriter
from chorus_fabric._keys import EpochKeys, psk_of
from chorus_fabric._sealing import SessionOpener, SessionSealer
from chorus_fabric._subscriber import Disconnected
from chorus_fabric._subscription import Reached, Subscription
from chorus_fabric.errors import (
    ChorusError,
    FeedProtocolError,
    FrameError,
    FrameOrderError,
    PositionGoneError,
    ServiceUnavailableError,
    WrongStateError,
)
from chorus_fabric.mesh._nats_store import WRONG_LAST, patiently
from chorus_fabric.mesh._parts import Assembler, parts_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from nats.aio.client import Client
    from nats.js.client import JetStreamContext

    from chorus_fabric._feed import FeedLog, StreamSchema
    from chorus_fabric._frame import Frame
    from chorus_fabric._subscription import FeedEvent
    from chorus_fabric.mesh._nats import NatsServers

__all__ = ["JetStreamPublisher", "JetStreamSubscriber", "StreamPosition"]

_log = logging.getLogger("chorus_fabric.mesh")

_RUN: Final = struct.Struct("<4sQ24s32s")
_MAGIC: Final = b"CHRN"
_NONE: Final = b""
_PUBLISH_S: Final = 2.0
_SILENCE_S: Final = 5.0


class _Keys:
    """What follows from the secret."""

    def __init__(self, tenant_id: str, secret: str | bytes) -> None:
        self.tenant_id = tenant_id
        self._psk = psk_of(secret, tenant_id)
        self._marking = hmac.digest(self._psk, b"chorus-fabric 1 stream run", "sha256")

    def new_run(self) -> bytes:
        content = _RUN.pack(_MAGIC, time.time_ns(), os.urandom(24), bytes(32))[:-32]
        return content + hmac.digest(self._marking, content, "sha256")

    def began_ns(self, run: bytes) -> int:
        """When a run began, if one who holds the secret began it; else 0."""
        if len(run) != _RUN.size:
            return 0
        magic, began_ns, _, mark = _RUN.unpack(run)
        genuine = hmac.digest(self._marking, run[:-32], "sha256")
        is_run = magic == _MAGIC and hmac.compare_digest(mark, genuine)
        return int(began_ns) if is_run else 0

    def epoch(self, run: bytes) -> EpochKeys:
        return EpochKeys(
            chaining_key=self._psk,
            transcript_hash=hashlib.sha256(b"chorus-fabric 1 stream\x00" + run).digest(),
        )

    def sealer(self, run: bytes, sender: str) -> SessionSealer:
        sealer = SessionSealer(
            tenant_id=self.tenant_id, sender=sender, delivery="ordered", is_sealed=True,
            max_frame_bytes=MAX_FRAME_BYTES,
        )  # fmt: skip
        sealer.install(0, self.epoch(run).lane("responder", "ordered", is_sealed=True))
        return sealer

    def opener(self, run: bytes, sender: str) -> _StreamOpener:
        opener = _StreamOpener(
            tenant_id=self.tenant_id, sender=sender, delivery="ordered", is_sealed=True,
            max_frame_bytes=MAX_FRAME_BYTES,
        )  # fmt: skip
        opener.install(0, self.epoch(run).lane("responder", "ordered", is_sealed=True))
        return opener


class _StreamOpener(SessionOpener):
    """An opener that can go on where another stopped."""

    @property
    def watermark(self) -> bytes:
        return self._before

    def resume(self, counter: int, watermark: bytes) -> None:
        """Expect the frame of this counter, after one with this watermark."""
        if counter:
            self._epochs[0].counters.accept(counter - 1)
            self._before = watermark
            self._frames = counter


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamPosition:
    """Where a reader of a stream stands; to be kept beside what it has built, such as in a file.

    Attributes:
        sequence: Number of the last message it has applied.
        run: The run's first message.
        counter: How many frames of the run it has opened.
        watermark: The last one's watermark.
        feed: The position in the change log.
    """

    sequence: int
    run: bytes = field(repr=False)
    counter: int
    watermark: bytes = field(repr=False)
    feed: FeedPosition


def _subjects(tenant_id: str) -> tuple[str, str, str]:
    """Give the stream's name, and the subjects of runs and of frames."""
    tenant = name_hash("tenant", tenant_id).hex()
    return f"CHORUS_FEED_{tenant}", f"chorus.feed.{tenant}.run", f"chorus.feed.{tenant}.frame"


# Every node of a tenant that writes its feed speaks under this name: a reader does not know who it
# was, and a run is no session with anybody.
_SENDER: Final = "feed"


def _heed_cancellation() -> None:
    """Raise if this task was cancelled and something below has swallowed that.

    Before Python 3.12 `asyncio.wait_for`, which nats-py awaits with, does so when what it waits
    for is done in the same moment.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


class JetStreamPublisher:
    """Write a log's feed into a stream, for as long as `run` runs. Belongs to one event loop.

    Args:
        servers: Where they are.
        log: What is published.
        tenant_id: Whose rows it holds.
        secret: What writer and readers hold.
        replicas: On how many servers the stream is kept, 1, 3 or 5.
        heartbeat_s: Seconds between marks while nothing changes.
        batch_bytes: About how much is read from the log at once.
        outgrown_bytes: A new run begins when what followed the snapshot is longer than this and
            than four snapshots. Raising it keeps more of the past, which readers that were away
            for long need not fetch as a snapshot.
        patience_s: For how long servers may leave a message unanswered before `run` gives up.
            While they choose a leader, which takes seconds, none is answered.
    """

    def __init__(
        self,
        servers: NatsServers,
        *,
        log: FeedLog,
        tenant_id: str,
        secret: str | bytes,
        replicas: int = 3,
        heartbeat_s: float = 1.0,
        batch_bytes: int = 512 << 10,
        outgrown_bytes: int = 64 << 20,
        patience_s: float = 30.0,
    ) -> None:
        self._servers = servers
        self._log = log
        self._keys = _Keys(tenant_id, secret)
        self._name, self._run_subject, self._frame_subject = _subjects(tenant_id)
        self._replicas = replicas
        self._heartbeat_s = heartbeat_s
        self._batch_bytes = batch_bytes
        self._outgrown_bytes = outgrown_bytes
        self._patience_s = patience_s
        self._numbers = itertools.count(random.getrandbits(32))
        self._last = 0
        self.runs = 0
        self.written_bytes = 0

    async def run(self) -> None:
        """Publish until cancelled.

        Raises:
            ServiceUnavailableError: The servers cannot be reached, or do not answer for long.
            WrongStateError: Another writer of this tenant has begun.
        """
        client = await self._servers.connect("feed writer")
        woken = asyncio.Event()
        loop = asyncio.get_running_loop()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and so is the writer
                loop.call_soon_threadsafe(woken.set)

        end = self._log.subscribe(wake)
        try:
            stream = client.jetstream(timeout=_PUBLISH_S)
            config = StreamConfig(
                name=self._name,
                subjects=[self._run_subject, self._frame_subject],
                num_replicas=self._replicas,
                discard=DiscardPolicy.NEW,
            )
            await patiently(lambda: stream.add_stream(config))
            while True:
                await self._one_run(client, stream, woken)
        finally:
            end()
            await client.close()

    async def _one_run(
        self, client: Client, stream: JetStreamContext, woken: asyncio.Event
    ) -> None:
        info = await patiently(lambda: stream.stream_info(self._name))
        self._last = info.state.last_seq
        run = self._keys.new_run()
        await self._publish(stream, self._run_subject, run)
        first = self._last
        self.runs += 1
        sealer = self._keys.sealer(run, _SENDER)
        writer = FeedWriter(tenant_id=self._keys.tenant_id, sender=_SENDER, position=FeedPosition())
        written = snapshot = 0
        while True:
            woken.clear()
            frames, is_live = await asyncio.to_thread(self._batch, writer)
            for frame in frames:
                message = sealer.seal(frame)
                number = next(self._numbers) & 0xFFFF_FFFF
                for part in parts_of(message, number, most_bytes=client.max_payload - 1024):
                    await self._publish(stream, self._frame_subject, part)
                written += len(message)
                self.written_bytes += len(message)
            if not is_live:
                continue
            if not snapshot:
                snapshot = max(1, written)
                await patiently(lambda: stream.purge_stream(self._name, seq=first))
            elif written - snapshot > max(self._outgrown_bytes, 4 * snapshot):
                return
            try:
                async with asyncio.timeout(self._heartbeat_s):
                    await woken.wait()
            except TimeoutError:
                continue

    def _batch(self, writer: FeedWriter) -> tuple[list[Frame], bool]:
        log = self._log
        frames: list[Frame] = []
        epoch, floor, head = log.epoch, log.floor(), log.head()
        if writer.position.epoch == 0:
            frames = writer.reset(epoch=epoch, floor=floor)
        at = writer.position
        try:
            batch = log.read(
                epoch=at.epoch, after=at.seq, base=at.base, limit_bytes=self._batch_bytes,
                streams=None,
            )  # fmt: skip
            schemas = log.schemas()
            is_over = log.epoch != at.epoch
        except PositionGoneError:
            is_over = True
        if is_over:
            return frames + writer.reset(epoch=log.epoch, floor=log.floor()), False
        is_live = batch.upto >= head
        frames += writer.batch(
            batch, schemas, head=head, is_live=is_live, source_age_s=log.source_age_s()
        )
        return frames, is_live

    async def _publish(self, stream: JetStreamContext, subject: str, content: bytes) -> None:
        """Append one message right after the last one, once."""
        headers = {"Nats-Expected-Last-Sequence": str(self._last)}

        async def append() -> int:
            try:
                ack = await stream.publish(
                    subject, content, timeout=_PUBLISH_S, stream=self._name, headers=headers
                )
            except APIError as error:
                if error.err_code != WRONG_LAST:
                    raise
                # It may be the own message, whose acknowledgement was lost.
                try:
                    found = await stream.get_msg(self._name, seq=self._last + 1)
                except NotFoundError:
                    # Whoever leads now has not read everything yet.
                    raise NatsTimeoutError from None
                if found.data != content:
                    raise WrongStateError(
                        "another writer publishes this tenant's feed: run one at a time"
                    ) from None
                return self._last + 1
            return ack.seq

        self._last = await patiently(append, patience_s=self._patience_s)
        _heed_cancellation()


class JetStreamSubscriber:
    """Follow a feed that is in a stream: `async for event in subscriber`, in one event loop.

    Gives the events that `Subscriber` gives, and `Disconnected` when it begins again after
    something was missing or did not hold.

    Args:
        servers: Where they are.
        tenant_id: Whose rows are wanted.
        secret: What writer and readers hold.
        position: Where an earlier reader stopped, together with what it had built; `None` begins
            with the snapshot of the latest run.
        schemas: The tables that were there then.

    Attributes:
        position: After each `Reached`: what to keep, to go on from there.
        refused: Messages that no writer with the secret has made.
    """

    def __init__(
        self,
        servers: NatsServers,
        *,
        tenant_id: str,
        secret: str | bytes,
        position: StreamPosition | None = None,
        schemas: Sequence[StreamSchema] = (),
    ) -> None:
        self._servers = servers
        self._keys = _Keys(tenant_id, secret)
        self._name, self._run_subject, self._frame_subject = _subjects(tenant_id)
        self._subscription = Subscription(
            FeedPosition() if position is None else position.feed, tuple(schemas)
        )
        self._next = 0
        self._run = _NONE
        self._opener: _StreamOpener | None = None
        self._newest_ns = 0
        self._assembler = Assembler()
        self.position = position
        self.refused = 0
        if position is not None:
            self._next = position.sequence + 1
            self._run = position.run
            self._newest_ns = self._keys.began_ns(position.run)
            self._opener = self._keys.opener(position.run, _SENDER)
            self._opener.resume(position.counter, position.watermark)

    async def __aiter__(self) -> AsyncIterator[FeedEvent | Disconnected]:
        backoff = Backoff(first_s=0.05, most_s=1.0, rng=random.random)
        client: Client | None = None
        try:
            while True:
                try:
                    if client is None:
                        client = await self._servers.connect("feed reader")
                    async for event in self._follow(client.jetstream(timeout=_PUBLISH_S)):
                        if isinstance(event, Reached):
                            backoff.reset()
                        yield event
                except ChorusError as caught:
                    error = caught
                    if not isinstance(caught, ServiceUnavailableError):
                        self._forget()
                except (NatsError, OSError) as caught:
                    error = ServiceUnavailableError(f"JetStream does not answer: {caught!r}")
                else:
                    _heed_cancellation()
                    continue
                wait_s = backoff.next_s()
                _log.info("the feed is interrupted: %s", error)
                yield Disconnected(error, wait_s)
                await asyncio.sleep(wait_s)
        finally:
            if client is not None:
                await client.close()

    async def _follow(self, stream: JetStreamContext) -> AsyncIterator[FeedEvent]:
        """Read on until nothing comes for long."""
        if not self._next:
            try:
                found = await stream.get_last_msg(self._name, self._run_subject)
            except NotFoundError:
                raise ServiceUnavailableError("no writer has published this feed yet") from None
            self._next = found.seq or 1
        subscribed = await stream.subscribe(
            self._run_subject.removesuffix("run") + "*",
            stream=self._name,
            ordered_consumer=True,
            config=ConsumerConfig(
                deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=self._next
            ),
        )
        try:
            while True:
                try:
                    message = await subscribed.next_msg(timeout=_SILENCE_S)
                except (NatsTimeoutError, TimeoutError):
                    return  # marks come each second: ask anew, from where this one stands
                _heed_cancellation()
                event = self._take(
                    message.metadata.sequence.stream,
                    message.data,
                    is_run=message.subject == self._run_subject,
                )
                if event is not None:
                    yield event
        finally:
            await subscribed.unsubscribe()

    def _take(self, sequence: int, content: bytes, *, is_run: bool) -> FeedEvent | None:
        if sequence < self._next:
            return None
        is_gap = sequence > self._next
        if is_run:
            self._next = sequence + 1
            self._begin(content)
            return None
        if is_gap:
            raise FrameOrderError(
                f"messages {self._next} to {sequence - 1} of the stream are gone: begin with the "
                "latest snapshot"
            )
        self._next = sequence + 1
        whole = self._assembler.receive(content)
        if whole is None or self._opener is None:
            return None
        try:
            frame = self._opener.open(whole)
        except FrameOrderError:
            raise
        except FrameError:
            # Whoever can write to the stream and has no secret: it changes nothing. If it took a
            # genuine frame's place, the next one does not follow.
            self.refused += 1
            return None
        event = self._subscription.receive(frame)
        if isinstance(event, Reached):
            self.position = StreamPosition(
                sequence=sequence,
                run=self._run,
                counter=self._opener.frames,
                watermark=self._opener.watermark,
                feed=event.position,
            )
        return event

    def _begin(self, run: bytes) -> None:
        began_ns = self._keys.began_ns(run)
        if not began_ns:
            self.refused += 1
            return
        if began_ns < self._newest_ns:
            raise FeedProtocolError(
                "a run older than one that was seen: the servers went back, or writers' clocks "
                "differ"
            )
        self._newest_ns = began_ns
        self._run = run
        self._opener = self._keys.opener(run, _SENDER)
        self._assembler = Assembler()
        self._subscription.reconnect()

    def _forget(self) -> None:
        """Begin with the latest run."""
        self._next = 0
        self._opener = None
        self._assembler = Assembler()
        self._subscription.forget()
