"""One subscriber's stream: reads ahead from the log, seals, and waits for the subscriber.

A reader fills a queue that is bounded in bytes; whoever sends takes from it. The reader waits while
the queue is full, and the log waits for nobody: a subscriber that takes its time reads less often
and gets the newest state of each row. One that takes nothing is cut off by the sender.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from chorus_fabric._feed_writer import FeedPosition, FeedWriter
from chorus_fabric._frame import FrameKind
from chorus_fabric.errors import PositionGoneError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from concurrent.futures import Executor

    from chorus_fabric._feed import FeedLog
    from chorus_fabric._frame import Frame
    from chorus_fabric._publisher_config import PublisherConfig
    from chorus_fabric._shelf import ShelvedSession

__all__ = ["FeedStream", "SubscriberStatus"]

_log = logging.getLogger("chorus_fabric.service")

# Every message costs both sides a fraction of a millisecond, whatever is in it. Were each change
# sent by itself, messages would pile up on the way to a busy subscriber.
_LEAST_INTERVAL_S: Final = 0.004
_MOST_QUEUED: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriberStatus:
    """One subscriber at one moment.

    Attributes:
        node_id: Its name.
        peer: Its address.
        epoch: Epoch of the log that it is sent.
        seq: Everything up to here was sealed for it.
        queued_bytes: What waits to be sent.
        sent_bytes: What was sent.
        sent_rows: Changes that were sent.
        oversized_rows: Rows too large for a frame (16 MB), which it cannot have.
        acked_seq: What it said it has applied; `None` where it does not say.
    """

    node_id: str
    peer: str
    epoch: int
    seq: int
    queued_bytes: int
    sent_bytes: int
    sent_rows: int
    oversized_rows: int
    acked_seq: int | None


class FeedStream:
    """Make the messages for one subscriber. Belongs to one event loop.

    Args:
        log: What is read.
        shelved: The session that seals.
        position: Where the subscriber stands.
        tables: What it wants.
        config: The publisher's settings.
        executor: Where the log is read and frames are sealed.
        peer: The subscriber's address.
    """

    def __init__(
        self,
        *,
        log: FeedLog,
        shelved: ShelvedSession,
        position: FeedPosition,
        tables: tuple[str, ...],
        config: PublisherConfig,
        executor: Executor,
        peer: str,
    ) -> None:
        self._log = log
        self._shelved = shelved
        session = shelved.session
        self._writer = FeedWriter(
            tenant_id=session.tenant_id, sender=session.node, position=position, tables=tables
        )
        self._config = config
        self._executor = executor
        self._peer = peer
        self._queue: deque[tuple[bytes, int]] = deque()
        self._queued_bytes = 0
        self._changed = asyncio.Event()  # the queue, for the sender
        self._room = asyncio.Event()  # the queue, for the reader
        self._woken = asyncio.Event()  # the log, for the reader
        self._begun = False
        self._is_live = False
        self._is_closing = False
        self._sent_bytes = 0
        self._sent_rows = 0
        self._reader: asyncio.Task[None] | None = None
        self._unsubscribe: Callable[[], None] = _nothing
        self.acked_seq: int | None = None

    @property
    def status(self) -> SubscriberStatus:
        """How it stands."""
        return SubscriberStatus(
            node_id=self._shelved.session.peer,
            peer=self._peer,
            epoch=self._writer.position.epoch,
            seq=self._writer.position.seq,
            queued_bytes=self._queued_bytes,
            sent_bytes=self._sent_bytes,
            sent_rows=self._sent_rows,
            oversized_rows=self._writer.oversized,
            acked_seq=self.acked_seq,
        )

    def close(self) -> None:
        """End the stream once the subscriber has all that is in the log."""
        self._is_closing = True
        self._woken.set()

    async def messages(self) -> AsyncIterator[bytes]:
        """Give messages for ever, or until `close`; whoever takes them calls `end` at last.

        Raises:
            ChorusError: The session has ended, or the log cannot be read.
        """
        loop = asyncio.get_running_loop()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and so is the stream
                loop.call_soon_threadsafe(self._woken.set)

        self._unsubscribe = self._log.subscribe(wake)
        reader = self._reader = loop.create_task(self._read(), name="chorus-feed-reader")
        reader.add_done_callback(lambda _: self._changed.set())
        while True:
            while self._queue:
                message, rows = self._queue.popleft()
                yield message
                self._queued_bytes -= len(message)
                self._sent_bytes += len(message)
                self._sent_rows += rows
                self._room.set()
            if reader.done() and not self._queue:
                reader.result()
                return
            self._changed.clear()
            if not reader.done() and not self._queue:
                await self._changed.wait()

    async def end(self) -> None:
        """Stop reading ahead. Safe to repeat."""
        self._unsubscribe()
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            begun_at = loop.time()
            self._woken.clear()
            messages, is_live = await loop.run_in_executor(self._executor, self._batch)
            for message, rows in messages:
                self._queue.append((message, rows))
                self._queued_bytes += len(message)
            self._changed.set()
            if is_live:
                if self._is_closing:
                    return
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), self._config.heartbeat_s)
                # The first change after a pause goes out at once; under a steady stream of them,
                # what comes within one interval goes out together.
                early_s = begun_at + _LEAST_INTERVAL_S - loop.time()
                if early_s > 0 and not self._is_closing:
                    await asyncio.sleep(early_s)
            while self._queued_bytes >= self._config.queue_bytes or len(self._queue) > _MOST_QUEUED:
                self._room.clear()
                await self._room.wait()

    def _batch(self) -> tuple[list[tuple[bytes, int]], bool]:
        log, writer = self._log, self._writer
        epoch, floor, head = log.epoch, log.floor(), log.head()
        frames: list[Frame] = []
        if not self._begun:
            self._begun = True
            if not writer.resumes(epoch=epoch, floor=floor, head=head):
                frames = writer.reset(epoch=epoch, floor=floor)
        is_live = False
        try:
            at = writer.position
            batch = log.read(
                epoch=at.epoch,
                after=at.seq,
                base=at.base,
                limit_bytes=self._config.batch_bytes,
                streams=writer.streams(log.schemas()),
            )
            schemas = log.schemas()
            is_over = log.epoch != at.epoch  # then these may be the next one's tables
        except PositionGoneError:
            is_over = True
        if is_over:
            frames += writer.reset(epoch=log.epoch, floor=log.floor())
        else:
            is_live = batch.upto >= head
            before = writer.oversized
            frames += writer.batch(
                batch,
                schemas,
                head=head,
                is_live=is_live,
                source_age_s=log.source_age_s(),
            )
            if writer.oversized > before:
                _log.warning("a row is too large to be sent, and missing at %s", self._peer)
        with self._shelved.lock:
            sealer = self._shelved.session.sealer
            messages = [(sealer.seal(frame), _changes(frame)) for frame in frames]
        return messages, is_live


def _changes(frame: Frame) -> int:
    return 1 if frame.kind is FrameKind.CLEAR else len(frame.seqs)


def _nothing() -> None:
    """Stand in until there is something to end."""
