"""Three caches over a simulated mesh: what one node asked, no other asks again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import numpy as np
import pytest

from chorus_fabric.mesh import CHORUSFabric, FrameKind, SimulatedNetwork
from prism.cache import Reply, Usage
from prism.cluster import ClusterClosedError, ClusterConfigurationError
from prism.cluster.cache import ClusterCache

NAMES = ("node-1", "node-2", "node-3")


def vector(text: str) -> np.ndarray:
    seed = int.from_bytes(text.casefold().encode()[:64].ljust(8), "big") % 2**32
    return np.random.default_rng(seed).normal(size=64).astype(np.float32)


class Model:
    def __init__(self) -> None:
        self.asked: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def answer(self, text: str) -> str:
        self.asked.append(text)
        await self.gate.wait()
        return f"the answer to {text}"


def losing(receiver: str, send: Callable[..., None]) -> Callable[..., None]:
    """Lose the bulk that goes to one node; its lease on reading is renewed all the same."""

    def lossy(peer: str, kind: FrameKind, payload: bytes) -> None:
        if peer != receiver or kind is not FrameKind.TOKEN_SYNC:
            send(peer, kind, payload)

    return lossy


class Room:
    def __init__(self, network: SimulatedNetwork, caches: list[ClusterCache]) -> None:
        self.network = network
        self.caches = caches
        self.model = Model()

    async def ask(self, node: int, text: str, **options: object) -> object:
        return await self.caches[node].get_or_call(
            query=text,
            query_vector=vector(text),
            call_fn=lambda: self.model.answer(text),
            **options,  # type: ignore[arg-type]
        )

    async def until(self, condition: object) -> None:
        async with asyncio.timeout(20):
            while not condition():  # type: ignore[operator]
                await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def opened() -> AsyncIterator[Room]:
    network = SimulatedNetwork(seed=5)
    fabrics = [
        CHORUSFabric(
            node_id=name, peers=[n for n in NAMES if n != name], transport=network.transport(name)
        )
        for name in NAMES
    ]
    caches = [ClusterCache(node_id=fabric.node_id, fabric=fabric) for fabric in fabrics]
    for fabric in fabrics:
        await fabric.start()

    async def pass_time() -> None:
        while True:
            await network.run_for(0.02)
            await asyncio.sleep(0.002)

    clock = asyncio.create_task(pass_time())
    room = Room(network, caches)
    try:
        await room.until(lambda: all(cache.metrics().is_synced for cache in caches))
        yield room
    finally:
        clock.cancel()
        for cache in caches:
            cache.close()
        for fabric in fabrics:
            await fabric.close()


async def test_an_answer_of_one_node_is_everybodys() -> None:
    async with opened() as room:
        first = await room.ask(0, "How do I pay?")
        await room.until(lambda: all(cache.has("How do I pay?") for cache in room.caches))

        assert [await room.ask(n, " how do I  PAY?") for n in (0, 1, 2)] == [first] * 3
        assert room.model.asked == ["How do I pay?"]
        assert await room.caches[0].flush()
        assert len({cache.metrics().digest for cache in room.caches}) == 1


async def test_all_nodes_that_ask_at_once_call_once() -> None:
    async with opened() as room:
        texts = [f"How do {word} work?" for word in ("ships", "trains", "roads", "rivers")]
        room.model.gate.clear()
        asking = [asyncio.create_task(room.ask(n, text)) for text in texts for n in (0, 1, 2)]
        await room.until(lambda: len(room.model.asked) == len(texts))
        room.model.gate.set()
        answers = await asyncio.gather(*asking)

        assert answers == [f"the answer to {text}" for text in texts for _ in range(3)]
        assert sorted(room.model.asked) == sorted(texts)


async def test_no_node_serves_an_answer_after_its_invalidation() -> None:
    async with opened() as room:
        await room.ask(0, "What does it cost?", tags=["prices"])
        await room.until(lambda: all(cache.has("What does it cost?") for cache in room.caches))

        await room.caches[2].invalidate(tag="prices")

        assert not any(cache.has("What does it cost?") for cache in room.caches)
        await room.ask(1, "What does it cost?")
        assert len(room.model.asked) == 2
        await room.caches[0].invalidate(query="what does it COST?")
        await room.ask(2, "What does it cost?")
        assert len(room.model.asked) == 3


async def test_a_node_that_is_cut_off_serves_nothing_and_catches_up() -> None:
    async with opened() as room:
        await room.ask(0, "Where is the station?")
        await room.until(lambda: room.caches[2].has("Where is the station?"))
        room.network.isolate("node-3")

        await room.caches[0].invalidate(query="Where is the station?")

        assert room.caches[2].has("Where is the station?")
        await room.ask(2, "Where is the station?")
        assert room.caches[2].metrics().unserved == 1
        priced = await room.caches[2].get_or_call(
            "Why?", lambda: Reply("So.", usage=Usage(input_tokens=9, output_tokens=2))
        )
        assert priced == "So."  # as from the cache: the answer alone
        assert len(room.model.asked) == 2
        room.network.heal()
        await room.until(lambda: len({cache.metrics().digest for cache in room.caches}) == 1)
        assert not room.caches[2].has("Where is the station?")


async def test_an_answer_that_one_other_node_holds_is_not_asked_again() -> None:
    texts = [f"Where does river {number} end?" for number in range(12)]
    async with opened() as room:
        with pytest.MonkeyPatch.context() as patch:
            for one in room.caches[:2]:
                patch.setattr(one._fabric, "send", losing("node-3", one._fabric.send))
            await asyncio.gather(*(room.ask(0, text) for text in texts))
            await room.until(lambda: all(room.caches[1].has(text) for text in texts))
            assert not any(room.caches[2].has(text) for text in texts)
        room.network.crash("node-1")

        answers = await asyncio.gather(*(room.ask(2, text) for text in texts))

        assert answers == [f"the answer to {text}" for text in texts]
        assert sorted(room.model.asked) == sorted(texts)
        await room.until(lambda: not any(len(one._flights._table) for one in room.caches[1:]))


async def test_a_failing_leader_hands_over_and_what_cannot_be_kept_holds_nobody_up() -> None:
    async with opened() as room:
        room.model.gate.clear()

        async def fail() -> str:
            room.model.asked.append("failing")
            await room.model.gate.wait()
            raise ValueError("no model")

        async def ask(node: int) -> object:
            return await room.caches[node].get_or_call(
                query="Why?", query_vector=vector("Why?"), call_fn=fail
            )

        asking = [asyncio.create_task(ask(node)) for node in (0, 1, 2)]
        await room.until(lambda: len(room.model.asked) == 1)
        room.model.gate.set()
        outcomes = await asyncio.gather(*asking, return_exceptions=True)
        assert [type(one) for one in outcomes] == [ValueError] * 3

        for node in (0, 1, 2):
            unkept = await room.caches[node].get_or_call(
                query="Which object?", query_vector=vector("Which object?"), call_fn=lambda: ...
            )
            assert unkept is ...


async def test_a_check_of_a_hit_holds_no_other_node_up() -> None:
    async with opened() as room:
        first = room.caches[0]

        async def ask(text: str) -> int:
            await first.get_or_call(
                query=text, query_vector=vector("pay"), call_fn=lambda: room.model.answer("pay")
            )
            assert first._cache is not None
            return first._cache.metrics().checks

        await ask("How do I pay?")
        for _ in range(2_000):
            if await ask("How can I pay?"):  # it is found by meaning, and so not kept
                break
        else:
            pytest.fail("no hit was checked")
        await room.until(lambda: len(room.model.asked) == 2)

        await room.until(lambda: not any(len(one._flights._table) for one in room.caches))


async def test_context_is_part_of_the_key_and_given_to_the_model() -> None:
    filling = "The house was built in 1901. It was enlarged twice. Its garden has old roses. " * 40
    contexts = [[f"{filling}Adults pay twelve euros."], ["Children pay four euros."]]
    async with opened() as room:
        cache = room.caches[0]
        seen: list[list[str]] = []

        async def answer(chunks: list[str]) -> str:
            seen.append(chunks)
            return "so"

        for chunks in (*contexts, contexts[0]):
            await cache.get_or_call(
                query="How much do adults pay?",
                query_vector=vector("so"),
                call_fn=answer,
                context_chunks=chunks,
                chunk_vectors=np.ones((len(chunks), 64)),
            )
        # Twice asked of one context is one call; of a long one the model gets what bears on it.
        first, second = seen
        assert "Adults pay twelve euros." in first[0]
        assert len(first[0]) < len(contexts[0][0]) / 2
        assert second == contexts[1]
        metrics = cache.metrics()
        assert 0 < metrics.context_tokens_kept < metrics.context_tokens / 2


async def test_what_makes_no_sense_is_refused() -> None:
    async with opened() as room:
        await room.ask(0, "How?")
        with pytest.raises(ClusterConfigurationError, match="query_vector"):
            await room.caches[0].get_or_call(query="How?", call_fn=lambda: "so")
        with pytest.raises(ClusterConfigurationError, match="64 finite numbers"):
            await room.caches[0].get_or_call("How?", lambda: "so", query_vector=[1.0])
        with pytest.raises(ClusterConfigurationError, match="exactly one"):
            await room.caches[0].invalidate()
        with pytest.raises(ClusterConfigurationError, match="the fabric's"):
            ClusterCache(node_id="x", fabric=room.caches[0]._fabric)
        room.caches[1].close()
        with pytest.raises(ClusterClosedError):
            await room.ask(1, "How?")
