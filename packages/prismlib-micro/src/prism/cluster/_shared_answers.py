"""What one node holds of the cluster's answers, kept in step with the others over a fabric."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from chorus_fabric import ChorusError
from chorus_fabric.mesh import FrameKind
from prism.cluster._questions import question_of
from prism.cluster._replication import (
    Acknowledged,
    Digest,
    Listing,
    Member,
    Outcome,
    Placed,
    Pull,
    Put,
    Removed,
    Stored,
    ToPeer,
)
from prism.cluster._shared_store import SharedStore
from prism.cluster._wire import decode, encode
from prism.cluster.errors import MalformedMessageError

if TYPE_CHECKING:
    from chorus_fabric.mesh import CHORUSFabric, MeshMessage
    from prism.cluster._clock import Stamp
    from prism.cluster._replica import Invalidation

__all__ = ["Held", "SharedAnswers"]

_log = logging.getLogger("prism.cluster")

_BULK = (Put, Stored, Digest, Listing, Pull)


class Held(NamedTuple):
    """What a node holds; see `ClusterMetrics`."""

    entries: int
    size_bytes: int
    unconfirmed: int
    is_synced: bool
    digest: str


class SharedAnswers:
    """The replica of one node, its messages, and which question has which key.

    Frames come on the event loop, ticks on the heartbeat thread, writes on any: the store's lock
    is over the member, and nothing is called with it held.

    Args:
        fabric: What carries the messages.
        member: This node's part in replication.
        arrived: Called in the event loop when the answer to a question is here.
        invalidated: Called with an invalidation that is in force here now.
    """

    def __init__(
        self,
        fabric: CHORUSFabric,
        member: Member,
        *,
        arrived: Callable[[str], None],
        invalidated: Callable[[Invalidation], None],
    ) -> None:
        self._fabric = fabric
        self._member = member
        self._arrived = arrived
        self._invalidated = invalidated
        self.store = SharedStore(member, wall=time.time, act=self._act)
        self._keys: dict[str, bytes] = {}
        self._questions: dict[bytes, str] = {}
        self._acks: dict[Stamp, asyncio.Event] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    # -- what is held

    def holds(self, question: str) -> bool:
        """Tell whether the answer to this question is here."""
        return question in self._keys

    def stamp_of(self, question: str) -> Stamp | None:
        """Give when the answer that is held here was written."""
        key = self._keys.get(question)
        item = None if key is None else self._member.replica.items.get(key)
        return None if item is None else item.stamp

    def invalidations_known(self) -> str:
        """Name the invalidations that are known here, in short."""
        with self.store.lock:
            known = sorted(self._member.replica.known.items())
        return hashlib.sha256(repr(known).encode()).hexdigest()[:16]

    def serves(self) -> bool:
        """Tell whether this node's lease on reading is live."""
        return self._member.may_serve(self._fabric.now())

    def held(self) -> Held:
        """Give how much is held at this moment."""
        with self.store.lock:
            replica = self._member.replica
            text = repr((replica.digest, sorted(replica.known.items())))
            return Held(
                entries=len(replica.items),
                size_bytes=replica.size_bytes,
                unconfirmed=self._member.unsafe,
                is_synced=self._member.is_synced,
                digest=hashlib.sha256(text.encode()).hexdigest()[:16],
            )

    # -- from this node

    def use(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wake those who wait in this event loop from now on."""
        self._loop = loop

    async def invalidate(self, tag: str, *, timeout_s: float) -> None:
        """Remove what has a tag, or everything for none; returns when no node serves it."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while not self._member.is_synced:
            if loop.time() > deadline:
                raise TimeoutError(f"not in step with the other nodes within {timeout_s:g} s")
            await asyncio.sleep(0.02)
        acknowledged = asyncio.Event()

        def begin(member: Member) -> list[Outcome]:
            one, gone = member.replica.invalidate(tag=tag, wall_s=time.time())
            self._acks[one.stamp] = acknowledged
            return [Removed(gone, one), *member.spread(one, self._fabric.now())]

        self._act(self.store.take(begin))
        try:
            await asyncio.wait_for(acknowledged.wait(), max(0.0, deadline - loop.time()))
        except TimeoutError:
            raise TimeoutError(
                f"no majority of nodes acknowledged the invalidation within {timeout_s:g} s; it "
                "reaches them when they come back"
            ) from None

    async def flush(self, *, timeout_s: float) -> bool:
        """Wait until another node has confirmed each answer; tells whether it did."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while self._member.unsafe and loop.time() < deadline:  # noqa: ASYNC110 - of a thread
            await asyncio.sleep(0.01)
        return not self._member.unsafe

    def send_again(self, question: str, peer: str) -> bool:
        """Send the answer to one node; tells whether it is here."""
        key = self._keys.get(question)
        if key is None:
            return False
        with self.store.lock:
            item = self._member.replica.items.get(key)
        if item is None:
            return False
        self._send_all([ToPeer(peer, Put(item, wants_answer=False))])
        return True

    # -- from others

    def on_frame(self, message: MeshMessage) -> None:
        """Take a message of another node."""
        try:
            said = decode(message.payload)
        except MalformedMessageError as error:
            _log.warning("a frame of %s is refused: %s", message.sender, error)
            return
        self._loop = self._loop or asyncio.get_running_loop()
        now = self._fabric.now()
        self._act(self.store.take(lambda member: member.receive(message.sender, said, now)))

    def on_tick(self, now: float) -> None:
        """Do what is due; on the heartbeat thread: never waits for whoever holds the lock."""
        if not self.store.lock.acquire(blocking=False):
            return
        try:
            outcomes = self._member.tick(now) if now >= self._member.deadline else []
        finally:
            self.store.lock.release()
        self._act(outcomes)

    def soon(self, call: Callable[[str], None], word: str) -> None:
        """Call in the event loop, if there is one yet; from any thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call, word)

    def _act(self, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            if isinstance(outcome, Placed):
                self._know(outcome.item.tags, outcome.item.key)
            elif isinstance(outcome, Removed):
                self._forget(outcome)
            elif isinstance(outcome, Acknowledged) and self._loop is not None:
                done = self._acks.pop(outcome.stamp, None)
                if done is not None:
                    self._loop.call_soon_threadsafe(done.set)
        self._send_all(outcomes)

    def _send_all(self, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            if isinstance(outcome, ToPeer):
                message = outcome.message
                kind = FrameKind.TOKEN_SYNC if isinstance(message, _BULK) else FrameKind.INVALIDATE
                with contextlib.suppress(ChorusError):  # what is lost is found by digests
                    self._fabric.send(outcome.to, kind, encode(message))

    def _know(self, tags: Sequence[str], key: bytes) -> None:
        for question in map(question_of, tags):
            if question is not None:
                self._keys[question] = key
                self._questions[key] = question
                self.soon(self._arrived, question)

    def _forget(self, removed: Removed) -> None:
        for key in removed.keys:
            question = self._questions.pop(key, None)
            if question is not None:
                self._keys.pop(question, None)
        if removed.by is not None:
            self._invalidated(removed.by)
