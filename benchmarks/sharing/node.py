"""A node as a process of its own; orders and answers are lines of JSON.

The first line holds its settings. With peers it is a node of a cluster; without, a `PrismCache`
alone, with the same settings, for the same traffic.
"""

from __future__ import annotations

import asyncio
import functools
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

if not __package__:  # as a program
    sys.path[0] = str(Path(__file__).parents[1])

from chorus_fabric.mesh import CHORUSFabric, FabricConfig
from prism.cache import PrismCache
from prism.cluster import ClusterNode, RoleChange
from prism.cluster.cache import ClusterCache
from prismresonance.embed import MiniLMEmbedder
from sharing.model import CountingModel

_LLM = "gpt-4o"


class _Answers(Protocol):
    """What a node asks: its own cache, or that of all."""

    async def ask(self, text: str, call: Callable[[], Awaitable[str]]) -> object:
        """Answer from the cache, or by a call."""

    async def forget(self) -> None:
        """Drop all answers."""


class _Alone:
    def __init__(self, embedder: MiniLMEmbedder) -> None:
        self._cache = PrismCache.build("bench", _LLM, embedder=embedder)

    async def ask(self, text: str, call: Callable[[], Awaitable[str]]) -> object:
        return await self._cache.aget_or_call(text, call)

    async def forget(self) -> None:
        self._cache.invalidate(everything=True)


class _Shared:
    def __init__(self, cache: ClusterCache) -> None:
        self._cache = cache

    async def ask(self, text: str, call: Callable[[], Awaitable[str]]) -> object:
        return await self._cache.get_or_call(text, call)

    async def forget(self) -> None:
        await self._cache.invalidate(everything=True)


class _Node:
    """Obeys orders."""

    def __init__(
        self, answers: _Answers, model: CountingModel, cache: ClusterCache | None = None,
        node: ClusterNode | None = None,
    ) -> None:  # fmt: skip
        self._answers, self._model = answers, model
        self._cache, self._node = cache, node

    async def obey(self, verb: str, given: Any) -> object:
        """Do one thing; give what came of it."""
        match verb:
            case "serve":  # one text after the other by each of so many clients
                return await self._serve(given["requests"], given["clients"])
            case "forget":
                await self._answers.forget()
                return None
            case "watch":
                return await self._watch(given)
            case "answered":
                return [self._model.answered[text] for text in given]
            case "flush":
                return self._cache is None or await self._cache.flush(timeout_s=30.0)
            case "status":
                return self._status()
        raise ValueError(verb)

    async def _serve(self, requests: list[tuple[str, str]], clients: int) -> dict[str, object]:
        model, waiting = self._model, iter(enumerate(requests))
        answers: list[object] = [None] * len(requests)
        calls, tokens = model.calls, model.tokens
        unserved = 0 if self._cache is None else self._cache.metrics().unserved

        async def client() -> None:
            for number, (text, intent) in waiting:
                call = functools.partial(model.answer, text, intent)
                answers[number] = await self._answers.ask(text, call)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(clients):
                tasks.create_task(client())
        given, model.intents = model.intents, {}
        return {
            "answers": answers,
            "intents": given,
            "calls": model.calls - calls,
            "tokens": model.tokens - tokens,
            "unserved": (0 if self._cache is None else self._cache.metrics().unserved) - unserved,
        }

    async def _watch(self, texts: list[str]) -> list[float]:
        assert self._cache is not None  # noqa: S101  only nodes of a cluster are told to
        seen: dict[str, float] = {}
        while len(seen) < len(texts):
            for text in texts:
                if text not in seen and self._cache.has(text):
                    seen[text] = time.monotonic()
            await asyncio.sleep(0.0005)
        return [seen[text] for text in texts]

    def _status(self) -> dict[str, object]:
        if self._cache is None or self._node is None:
            return {"is_whole": True, "role": "", "digest": ""}
        metrics, lease = self._cache.metrics(), self._node.status()
        return {
            "is_whole": metrics.is_synced and lease.reachable == len(lease.voters),
            "role": lease.role.name,
            "digest": metrics.digest,
        }


async def _run() -> None:
    loop = asyncio.get_running_loop()
    given = json.loads(await loop.run_in_executor(None, sys.stdin.readline))
    model = CountingModel(given["seed"], latency_s=given["latency_ms"] / 1000)
    embedder = MiniLMEmbedder()
    embedder.embed(["loads the model"])
    if not given["peers"]:
        await _obey(_Node(_Alone(embedder), model))
        return
    fabric = CHORUSFabric(
        node_id=given["node_id"], peers=given["peers"], listen=given["listen"],
        secret=given["secret"], config=FabricConfig(tick_s=0.02),
    )  # fmt: skip
    node = ClusterNode(fabric=fabric, term_path=given["term_path"])
    cache = ClusterCache(node_id=given["node_id"], fabric=fabric, llm_model=_LLM, embedder=embedder)

    def became(change: RoleChange) -> None:
        print(json.dumps(["became", change.role.name, change.token, change.at]), flush=True)

    node.on_role_change(became)
    with node:
        async with fabric, cache:
            await _obey(_Node(_Shared(cache), model, cache, node))


async def _obey(node: _Node) -> None:
    loop = asyncio.get_running_loop()

    async def obey(number: int, verb: str, given: Any) -> None:
        result = await node.obey(verb, given)
        print(json.dumps(["to", number, result]), flush=True)

    async with asyncio.TaskGroup() as tasks:
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            tasks.create_task(obey(*json.loads(line)))


if __name__ == "__main__":
    asyncio.run(_run())
