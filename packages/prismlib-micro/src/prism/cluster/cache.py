"""Answers that all nodes share: what one node asked, no node asks again."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import inspect
import json
import logging
import secrets
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

from chorus_fabric import ChorusError
from chorus_fabric.mesh import FrameKind
from prism.cache import PrismCache, ScopedCache
from prism.cluster._clock import Stamp
from prism.cluster._flight_table import FlightTable, owner_of
from prism.cluster._given_vectors import GivenVectors
from prism.cluster._replica import Replica
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
from prism.cluster.compress import ContextCompressor
from prism.cluster.errors import (
    ClusterClosedError,
    ClusterConfigurationError,
    MalformedMessageError,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    from chorus_fabric.mesh import CHORUSFabric, MeshMessage, PeerStatus
    from prism.cluster.compress import CompressedContext
    from prismresonance.embed import Embedder

__all__ = ["ClusterCache", "ClusterMetrics", "Compressor"]

_log = logging.getLogger("prism.cluster")

_QUESTION = "prism.question:"
_BULK = (Put, Stored, Digest, Listing, Pull)
_READY_WITHIN_S = 2.0
_BUSY_S = 10.0  # a lease that does not come for so long, though nodes are up
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.25, 2.0


class Compressor(Protocol):
    """Chooses what of the context the model is given; `ContextCompressor` is one."""

    def compress(
        self,
        question: str,
        chunks: Sequence[str],
        *,
        query_vector: npt.ArrayLike | None,
        chunk_vectors: npt.ArrayLike | None,
    ) -> CompressedContext:
        """Choose what to keep of `chunks`, in document order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterMetrics:
    """What one node counted.

    Attributes:
        questions: Calls of `get_or_call`.
        calls: How often this node called the model.
        shared: Answers that another node's call gave while this node waited for it.
        unserved: Questions asked of the model because this node could not renew its lease on
            reading: it was cut off from a majority.
        context_tokens: Tokens of the contexts that came with questions this node asked the model.
        context_tokens_kept: What was left of them for the model.
        entries: Answers held.
        size_bytes: What they count for; at most `max_bytes`.
        unconfirmed: Answers of this node that no other node has confirmed yet.
        is_synced: Whether this node is in step with the others.
        digest: Equal on two nodes that hold the same.
    """

    questions: int
    calls: int
    shared: int
    unserved: int
    context_tokens: int
    context_tokens_kept: int
    entries: int
    size_bytes: int
    unconfirmed: int
    is_synced: bool
    digest: str


@dataclass(slots=True)
class _Flight:
    question: str
    name: str
    owner: str = ""
    has_begun: bool = False
    before: Stamp | None = None


class ClusterCache:
    """A `PrismCache` whose answers all nodes of a fabric share.

    Make one on each node, with the same settings. Use it from the event loop in which the fabric
    was started. The tenant is the fabric's: other tenants have other fabrics.

    - What a node was answered, its peers have a few milliseconds later, and find by meaning.
    - Nodes that ask the same at once call the model once, whichever of them it is.
    - `invalidate` returns when no node serves the answer any more.
    - A node that is cut off from the majority serves nothing and asks the model, unless `stale_ok`.

    Args:
        node_id: This node's name, as in the fabric.
        fabric: Its place in the mesh.
        llm_model: The model that answers; answers of different models are kept apart.
        embedder: What turns questions into vectors. `None` takes the vectors that callers give
            with the first question, or all-MiniLM-L6-v2 if that one has none.
        compressor: What chooses the part of `context_chunks` that the model is given; a
            `ContextCompressor` if nothing is said. `ContextCompressor(keep=1)` keeps everything.
        max_error: See `PrismCache.build`.
        similarity_threshold: Likewise.
        ttl_s: Likewise.
        max_bytes: Room for answers on this node; the same on all. The oldest go first.
        stale_ok: Serve answers also while cut off, at the price of serving invalidated ones.
        read_lease_s: How long a node serves after it was cut off, and how long an invalidation
            waits for one that is.
        call_timeout_s: How long a call to the model may take before another node may call too.

    Raises:
        ClusterConfigurationError: `node_id` is not the fabric's, or a setting makes no sense.
    """

    def __init__(
        self,
        *,
        node_id: str,
        fabric: CHORUSFabric,
        llm_model: str = "default",
        embedder: Embedder | None = None,
        compressor: Compressor | None = None,
        max_error: float = 0.01,
        similarity_threshold: float | None = None,
        ttl_s: float | None = None,
        max_bytes: int = 256 << 20,
        stale_ok: bool = False,
        read_lease_s: float = 1.0,
        call_timeout_s: float = 120.0,
    ) -> None:
        if node_id != fabric.node_id:
            raise ClusterConfigurationError(
                f"node_id is the fabric's, {fabric.node_id!r}; got {node_id!r}"
            )
        if max_bytes < 1 or read_lease_s <= 0 or call_timeout_s <= 0:
            raise ClusterConfigurationError(
                f"max_bytes, read_lease_s and call_timeout_s are above 0, got {max_bytes}, "
                f"{read_lease_s} and {call_timeout_s}"
            )
        self._fabric = fabric
        self._llm_model = llm_model
        self._embedder = embedder
        self._given: GivenVectors | None = None
        self._compressor = compressor
        self._settings = {
            "max_error": max_error,
            "similarity_threshold": similarity_threshold,
            "ttl_s": ttl_s,
            "max_bytes": max_bytes,
        }
        self._stale_ok = stale_ok
        self._call_timeout_s = call_timeout_s
        self._member = Member(
            node_id,
            (node_id, *fabric.peers()),
            run=secrets.randbits(63),
            replica=Replica(node_id, max_bytes=max_bytes),
            now=fabric.now(),
            read_lease_s=read_lease_s,
            renew_every_s=read_lease_s / 5,
        )
        self._store = SharedStore(self._member, wall=time.time, act=self._act)
        self._cache: PrismCache | None = None
        self._build_lock = threading.Lock()
        self._questions: dict[str, bytes] = {}
        self._asked: dict[bytes, str] = {}
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._flights = FlightTable(longest_s=call_timeout_s)
        self._acks: dict[Stamp, asyncio.Event] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started_by = 0.0
        self._looking = asyncio.Lock()
        self._is_closed = False
        self._counts = dict.fromkeys(
            ("questions", "calls", "shared", "unserved", "context_tokens", "context_tokens_kept"), 0
        )
        fabric.on(FrameKind.TOKEN_SYNC, self._on_frame)
        fabric.on(FrameKind.INVALIDATE, self._on_frame)
        fabric.on_tick(self._on_tick)
        fabric.on_peer(self._on_peer)

    async def get_or_call(
        self,
        query: str,
        call_fn: Callable[..., object],
        *,
        query_vector: npt.ArrayLike | None = None,
        context_chunks: Sequence[str] | None = None,
        chunk_vectors: npt.ArrayLike | None = None,
        ttl_s: float | None = None,
        tags: Iterable[str] = (),
    ) -> Any:
        """Give the answer that the cluster has, or have one node call the model for all.

        Args:
            query: The user's question.
            call_fn: Calls the model; sync or async. If it takes an argument, it is given what was
                kept of the chunks, as a list.
            query_vector: The question's vector, if the caller has it.
            context_chunks: What the answer rests on; answers are shared among questions with the
                same context alone.
            chunk_vectors: Their vectors, shape `(len(context_chunks), dims)`, for the compressor.
            ttl_s: See `PrismCache.get_or_call`.
            tags: Labels for `invalidate(tag=)`.

        Raises:
            ClusterConfigurationError: The vector is of another width than those before it, or is
                missing where callers give them.
            ClusterClosedError: The cache is closed.
            Exception: Whatever `call_fn` raises.
        """
        if self._is_closed:
            raise ClusterClosedError("this cluster cache is closed")
        self._loop = asyncio.get_running_loop()
        self._counts["questions"] += 1
        chunks = tuple(context_chunks or ())
        choose = functools.partial(self._chosen, query, chunks, query_vector, chunk_vectors)
        call = functools.partial(self._call, call_fn, choose)
        if not await self._may_serve():
            self._counts["unserved"] += 1
            return await call()
        view = await self._view(query_vector, chunks)
        question = self._question(query, chunks)
        flight = _Flight(question, self._flight(question))

        async def fly() -> Any:
            flight.has_begun = True
            return await self._fly(flight, query, call, view)

        try:
            with self._vector(query, query_vector):
                answer = await view.aget_or_call(
                    query, fly, ttl_s=ttl_s, tags=(*tags, _QUESTION + question)
                )
        except BaseException:
            self._land(flight, "failed")
            raise
        self._land(flight, "unstored")
        return answer

    async def invalidate(
        self,
        *,
        query: str | None = None,
        tag: str | None = None,
        everything: bool = False,
        context_chunks: Sequence[str] | None = None,
        timeout_s: float = 10.0,
    ) -> None:
        """Remove answers on every node; returns when none of them serves one any more.

        At once if all nodes answer; else after `read_lease_s`, if a majority does. Calls that are
        under way meanwhile are not stored.

        Args:
            query: The answer to this very text, and context.
            tag: All answers with this label.
            everything: All answers of the tenant.
            context_chunks: The context of `query`, as it was given.
            timeout_s: How long to wait for the acknowledgement.

        Raises:
            ClusterConfigurationError: Not exactly one of the three was given.
            TimeoutError: No majority acknowledged it in time. It holds here, and on each node as
                soon as that is reached again; until then a node on the other side may serve it.
            ClusterClosedError: The cache is closed.
        """
        if (query is not None) + (tag is not None) + everything != 1:
            raise ClusterConfigurationError("give exactly one of query, tag and everything=True")
        if self._is_closed:
            raise ClusterClosedError("this cluster cache is closed")
        self._loop = asyncio.get_running_loop()
        deadline = self._loop.time() + timeout_s
        while not self._member.is_synced:
            if self._loop.time() > deadline:
                raise TimeoutError(f"not in step with the other nodes within {timeout_s:g} s")
            await asyncio.sleep(0.02)
        if query is not None:
            tag = _QUESTION + self._question(query, tuple(context_chunks or ()))
        acknowledged = asyncio.Event()

        def begin(member: Member) -> list[Outcome]:
            one, gone = member.replica.invalidate(tag=tag or "", wall_s=time.time())
            self._acks[one.stamp] = acknowledged
            return [Removed(gone, one), *member.spread(one, self._fabric.now())]

        self._act(self._store.take(begin))
        try:
            await asyncio.wait_for(acknowledged.wait(), max(0.0, deadline - self._loop.time()))
        except TimeoutError:
            raise TimeoutError(
                f"no majority of nodes acknowledged the invalidation within {timeout_s:g} s; it "
                "reaches them when they come back"
            ) from None

    async def flush(self, *, timeout_s: float = 5.0) -> bool:
        """Wait until another node has confirmed each answer of this one; tells whether it did."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while self._member.unsafe and loop.time() < deadline:  # noqa: ASYNC110 - of a thread
            await asyncio.sleep(0.01)
        return not self._member.unsafe

    def has(self, query: str, *, context_chunks: Sequence[str] | None = None) -> bool:
        """Tell whether this node holds the answer to this very text, from whichever node."""
        return self._question(query, tuple(context_chunks or ())) in self._questions

    def metrics(self) -> ClusterMetrics:
        """Freeze the counters."""
        with self._store.lock:
            replica = self._member.replica
            text = repr((replica.digest, sorted(replica.known.items())))
            return ClusterMetrics(
                **self._counts,
                entries=len(replica.items),
                size_bytes=replica.size_bytes,
                unconfirmed=self._member.unsafe,
                is_synced=self._member.is_synced,
                digest=hashlib.sha256(text.encode()).hexdigest()[:16],
            )

    def close(self) -> None:
        """Let go of the answers; later questions raise. Closing twice does nothing."""
        self._is_closed = True
        if self._cache is not None:
            self._cache.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    # -- asking

    def _chosen(
        self,
        query: str,
        chunks: tuple[str, ...],
        query_vector: npt.ArrayLike | None,
        chunk_vectors: npt.ArrayLike | None,
    ) -> list[str]:
        if not chunks:
            return []
        if self._compressor is None:
            self._compressor = ContextCompressor()
        kept = self._compressor.compress(
            query, chunks, query_vector=query_vector, chunk_vectors=chunk_vectors
        )
        self._counts["context_tokens"] += kept.tokens_before
        self._counts["context_tokens_kept"] += kept.tokens_after
        return [chunk.text for chunk in kept.chunks]

    async def _call(self, call_fn: Callable[..., object], choose: Callable[[], list[str]]) -> Any:
        self._counts["calls"] += 1
        function: Callable[..., Any] = call_fn
        if _takes_one(call_fn):
            function = functools.partial(call_fn, await asyncio.to_thread(choose))
        if inspect.iscoroutinefunction(call_fn):
            return await function()
        answer = await asyncio.to_thread(function)
        return await answer if isinstance(answer, Awaitable) else answer

    async def _fly(
        self, flight: _Flight, query: str, call: Callable[[], Awaitable[Any]], view: ScopedCache
    ) -> Any:
        """Call the model, or wait for the node that does."""
        question, wait_s = flight.question, _FIRST_WAIT_S
        arrived = asyncio.Event()
        self._waiting.setdefault(question, set()).add(arrived)
        looked_at: Stamp | None = None
        try:
            while True:
                arrived.clear()
                stamp = self._stamp_of(question)
                if stamp != looked_at:
                    looked_at = stamp
                    found = await asyncio.to_thread(view.lookup, query, admit=True)
                    if found.hit:
                        self._counts["shared"] += 1
                        return found.answer
                if await self._leads(flight, stamp):
                    break
                if self._stamp_of(question) == stamp:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(arrived.wait(), wait_s)
                    wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
        finally:
            self._waiting[question].discard(arrived)
            if not self._waiting[question]:
                del self._waiting[question]
        flight.before = stamp
        return await call()

    async def _leads(self, flight: _Flight, stamp: Stamp | None) -> bool:
        """Ask the question's owner whether this node leads."""
        peers = self._fabric.peers()
        up = [self._fabric.node_id, *(name for name, peer in peers.items() if peer.is_up)]
        owner = owner_of(flight.question, up)
        own = self._fabric.node_id
        if owner == own:
            leads = self._flights.ask(flight.question, flight.name, own, self._fabric.now())
        else:
            payload = json.dumps(["ask", flight.question, flight.name, stamp]).encode()
            try:
                reply = await self._fabric.request(
                    owner, FrameKind.TOKEN_SYNC, payload, timeout_s=_LONGEST_WAIT_S
                )
            except ChorusError as error:
                _log.debug("%s cannot be asked who leads: %s", owner, error)
                return False
            leads = reply == b"lead"
        if leads:
            flight.owner = owner
        return leads

    def _land(self, flight: _Flight, how: str) -> None:
        """Tell the owner that no answer will come of the flight, if so."""
        owner, question = flight.owner, flight.question
        if not owner or (how == "unstored" and self._stamp_of(question) != flight.before):
            return
        if owner == self._fabric.node_id:
            self._landed(how, question, flight.name, owner)
            return
        payload = json.dumps([how, question, flight.name, None]).encode()
        with contextlib.suppress(ChorusError):  # it ends when this node goes, or in time
            self._fabric.send(owner, FrameKind.INVALIDATE, payload)

    def _landed(self, how: str, question: str, flight: str, who: str) -> None:
        if how == "unstored":
            self._flights.unstored(question, self._fabric.now())
        else:
            self._flights.gave_up(question, flight, who)

    def _stamp_of(self, question: str) -> Stamp | None:
        """Give when the answer that is held here was written."""
        key = self._questions.get(question)
        item = None if key is None else self._member.replica.items.get(key)
        return None if item is None else item.stamp

    async def _may_serve(self) -> bool:
        """Tell whether answers may be served.

        While a majority is up, a lease that ran out only waits for an event loop: so do we. A hit
        that is found later than this was good when it was asked for, if the lease was live then.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._started_by = self._started_by or began + _READY_WITHIN_S
        if self._serves():
            return True
        async with self._looking:  # one looks at the clock, for all who wait
            while not self._serves():
                now = loop.time()
                is_starting = now < self._started_by
                if now > began + _BUSY_S or not (is_starting or self._is_majority_up()):
                    return False
                await asyncio.sleep(0.01)
        return True

    def _is_majority_up(self) -> bool:
        peers = self._fabric.peers()
        return 1 + sum(peer.is_up for peer in peers.values()) > (len(peers) + 1) // 2

    def _serves(self) -> bool:
        return self._stale_ok or self._member.may_serve(self._fabric.now())

    def _question(self, query: str, chunks: tuple[str, ...]) -> str:
        words = " ".join(query.casefold().split())
        parts = json.dumps([self._fabric.tenant_id, self._llm_model, chunks, words])
        return hashlib.sha256(parts.encode("utf-8", "surrogatepass")).hexdigest()

    def _flight(self, question: str) -> str:
        """Name a flight: who asks after an invalidation must not wait for a call before it."""
        with self._store.lock:
            known = sorted(self._member.replica.known.items())
        return f"{question}:{hashlib.sha256(repr(known).encode()).hexdigest()[:16]}"

    async def _view(
        self, query_vector: npt.ArrayLike | None, chunks: tuple[str, ...]
    ) -> ScopedCache:
        cache = self._cache
        if cache is None:
            cache = await asyncio.to_thread(self._build, query_vector)
        if self._given is not None and query_vector is None:
            raise ClusterConfigurationError(
                "questions of this cache come with their query_vector, as the first one did; give "
                "it, or an embedder"
            )
        return cache.scope(context=list(chunks)) if chunks else cache

    def _build(self, query_vector: npt.ArrayLike | None) -> PrismCache:
        with self._build_lock:
            if self._cache is None:
                embedder = self._embedder
                if embedder is None and query_vector is not None:
                    import numpy as np

                    self._given = GivenVectors(np.asarray(query_vector).size)
                    embedder = self._given
                self._cache = PrismCache.build(
                    self._fabric.tenant_id,
                    self._llm_model,
                    store=self._store,
                    embedder=embedder,
                    **self._settings,  # type: ignore[arg-type]  # checked there
                )
            return self._cache

    def _vector(
        self, query: str, query_vector: npt.ArrayLike | None
    ) -> contextlib.AbstractContextManager[None]:
        if self._given is None or query_vector is None:
            return contextlib.nullcontext()
        return self._given.holding(query, query_vector)

    # -- other nodes

    def _on_frame(self, message: MeshMessage) -> bytes | None:
        if message.payload[:1] == b"[":
            return self._on_flight(message)
        try:
            said = decode(message.payload)
        except MalformedMessageError as error:
            _log.warning("a frame of %s is refused: %s", message.sender, error)
            return None
        self._loop = self._loop or asyncio.get_running_loop()
        now = self._fabric.now()
        self._act(self._store.take(lambda member: member.receive(message.sender, said, now)))
        return None

    def _on_flight(self, message: MeshMessage) -> bytes:
        try:
            verb, question, flight, stamp = json.loads(message.payload)
            theirs = None if stamp is None else Stamp(*stamp)
        except (ValueError, TypeError):
            _log.warning("a frame of %s is refused: no word about a flight", message.sender)
            return b""
        if verb != "ask":
            self._landed(verb, question, flight, message.sender)
            return b""
        ours = self._stamp_of(question)
        if ours is not None and (theirs is None or theirs < ours):
            key = self._questions[question]
            with self._store.lock:
                item = self._member.replica.items.get(key)
            if item is not None:
                self._send_all([ToPeer(message.sender, Put(item, wants_answer=False))])
                return b"wait"
        leads = self._flights.ask(question, flight, message.sender, self._fabric.now())
        return b"lead" if leads else b"wait"

    def _on_tick(self, now: float) -> None:
        # On the heartbeat thread: never wait for whoever holds the lock.
        if self._is_closed or not self._store.lock.acquire(blocking=False):
            return
        try:
            outcomes = self._member.tick(now) if now >= self._member.deadline else []
        finally:
            self._store.lock.release()
        self._act(outcomes)

    def _on_peer(self, peer: PeerStatus) -> None:
        if not peer.is_up and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._flights.lost, peer.node_id)

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
        for tag in tags:
            if tag.startswith(_QUESTION):
                question = tag[len(_QUESTION) :]
                self._questions[question] = key
                self._asked[key] = question
                if self._loop is not None and not self._loop.is_closed():
                    self._loop.call_soon_threadsafe(self._arrived, question)

    def _arrived(self, question: str) -> None:
        for event in self._waiting.get(question, ()):
            event.set()
        self._flights.arrived(question)

    def _forget(self, removed: Removed) -> None:
        for key in removed.keys:
            question = self._asked.pop(key, None)
            if question is not None:
                self._questions.pop(question, None)
        if removed.by is not None and self._cache is not None:
            # Also calls under way must not be stored.
            if removed.by.tag:
                self._cache.invalidate(tag=removed.by.tag)
            else:
                self._cache.invalidate(everything=True)


def _takes_one(call_fn: Callable[..., object]) -> bool:
    try:
        parameters = inspect.signature(call_fn).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(
        parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        for parameter in parameters
    )
