"""Answers that all nodes share: what one node asked, no node asks again."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import secrets
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from chorus_fabric.mesh import FrameKind
from prism.cache import PrismCache, Reply, ScopedCache
from prism.cluster._given_vectors import GivenVectors
from prism.cluster._model_calls import Asked, Compressor, ModelCalls
from prism.cluster._questions import digest_of, tag_of
from prism.cluster._read_lease import ReadLease
from prism.cluster._replica import Replica
from prism.cluster._replication import Member
from prism.cluster._shared_answers import SharedAnswers
from prism.cluster._shared_flights import SharedFlights
from prism.cluster.errors import ClusterClosedError, ClusterConfigurationError

if TYPE_CHECKING:
    import numpy.typing as npt

    from chorus_fabric.mesh import CHORUSFabric, MeshMessage, PeerStatus
    from prism.cluster._replica import Invalidation
    from prismresonance.embed import Embedder

__all__ = ["ClusterCache", "ClusterMetrics", "Compressor"]


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
        self._settings = {
            "max_error": max_error,
            "similarity_threshold": similarity_threshold,
            "ttl_s": ttl_s,
            "max_bytes": max_bytes,
        }
        member = Member(
            node_id,
            (node_id, *fabric.peers()),
            run=secrets.randbits(63),
            replica=Replica(node_id, max_bytes=max_bytes),
            now=fabric.now(),
            read_lease_s=read_lease_s,
            renew_every_s=read_lease_s / 5,
        )
        self._answers = SharedAnswers(
            fabric, member, arrived=self._on_arrived, invalidated=self._on_invalidated
        )
        self._flights = SharedFlights(fabric, self._answers, longest_s=call_timeout_s)
        self._lease = ReadLease(fabric, lambda: stale_ok or self._answers.serves())
        self._calls = ModelCalls(compressor)
        self._cache: PrismCache | None = None
        self._build_lock = threading.Lock()
        self._is_closed = False
        self._questions_asked = 0
        self._unserved = 0
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
        self._answers.use(asyncio.get_running_loop())
        self._questions_asked += 1
        asked = Asked(query, tuple(context_chunks or ()), query_vector, chunk_vectors)
        call = functools.partial(self._calls.call, call_fn, asked)
        if not await self._lease.holds():
            self._unserved += 1
            reply = await call()
            return reply.answer if isinstance(reply, Reply) else reply
        view = await self._view(asked)
        question = self._question(query, asked.chunks)
        flight = self._flights.begin(question)
        look_up = functools.partial(view.lookup, query, admit=True)
        fly = functools.partial(self._flights.fly, flight, look_up, call)
        try:
            with self._vector(asked):
                answer = await view.aget_or_call(
                    query, fly, ttl_s=ttl_s, tags=(*tags, tag_of(question))
                )
        except BaseException:
            self._flights.land(flight, "failed")
            raise
        self._flights.land(flight, "unstored")
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
        self._answers.use(asyncio.get_running_loop())
        if query is not None:
            tag = tag_of(self._question(query, tuple(context_chunks or ())))
        await self._answers.invalidate(tag or "", timeout_s=timeout_s)

    async def flush(self, *, timeout_s: float = 5.0) -> bool:
        """Wait until another node has confirmed each answer of this one; tells whether it did."""
        return await self._answers.flush(timeout_s=timeout_s)

    def has(self, query: str, *, context_chunks: Sequence[str] | None = None) -> bool:
        """Tell whether this node holds the answer to this very text, from whichever node."""
        return self._answers.holds(self._question(query, tuple(context_chunks or ())))

    def metrics(self) -> ClusterMetrics:
        """Freeze the counters."""
        return ClusterMetrics(
            questions=self._questions_asked,
            calls=self._calls.calls,
            shared=self._flights.shared,
            unserved=self._unserved,
            context_tokens=self._calls.context_tokens,
            context_tokens_kept=self._calls.context_tokens_kept,
            **self._answers.held()._asdict(),
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

    def _question(self, query: str, chunks: tuple[str, ...]) -> str:
        return digest_of(self._fabric.tenant_id, self._llm_model, chunks, query)

    # -- the cache of this node, over the answers of all

    async def _view(self, asked: Asked) -> ScopedCache:
        cache = self._cache
        if cache is None:
            cache = await asyncio.to_thread(self._build, asked.query_vector)
        if self._given is not None and asked.query_vector is None:
            raise ClusterConfigurationError(
                "questions of this cache come with their query_vector, as the first one did; give "
                "it, or an embedder"
            )
        return cache.scope(context=list(asked.chunks)) if asked.chunks else cache

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
                    store=self._answers.store,
                    embedder=embedder,
                    **self._settings,  # type: ignore[arg-type]  # checked there
                )
            return self._cache

    def _vector(self, asked: Asked) -> contextlib.AbstractContextManager[None]:
        if self._given is None or asked.query_vector is None:
            return contextlib.nullcontext()
        return self._given.holding(asked.query, asked.query_vector)

    # -- what the fabric brings

    def _on_frame(self, message: MeshMessage) -> bytes | None:
        if message.payload[:1] == b"[":
            return self._flights.on_frame(message)
        self._answers.on_frame(message)
        return None

    def _on_tick(self, now: float) -> None:
        if not self._is_closed:
            self._answers.on_tick(now)

    def _on_peer(self, peer: PeerStatus) -> None:
        if not peer.is_up:
            self._answers.soon(self._flights.lost, peer.node_id)

    def _on_arrived(self, question: str) -> None:
        self._flights.arrived(question)

    def _on_invalidated(self, by: Invalidation) -> None:
        """Forget also what calls that are under way will bring."""
        if self._cache is None:
            return
        if by.tag:
            self._cache.invalidate(tag=by.tag)
        else:
            self._cache.invalidate(everything=True)
