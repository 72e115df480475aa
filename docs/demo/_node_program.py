"""A node of the demo as a process of its own: orders and what comes of them are lines of JSON.

The first line on its standard input holds its settings; it ends with its standard input. Times are
those of the fabric's clock, which all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _faq import load
from _mock_llm import MockLLM
from _support import MODEL
from chorus_fabric.mesh import CHORUSFabric, FabricConfig
from prism.cluster import ClusterNode
from prism.cluster.cache import ClusterCache
from prismresonance.embed import MiniLMEmbedder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prism.cluster import RoleChange

_telling = threading.Lock()


def tell(what: Mapping[str, object]) -> None:
    """Write one line."""
    with _telling:
        print(json.dumps(what), flush=True)


class Desk:
    """One node's model, which counts, behind the cache of all nodes."""

    def __init__(self, settings: Mapping[str, Any], fabric: CHORUSFabric) -> None:
        self.fabric = fabric
        self.node = ClusterNode(fabric=fabric, term_path=settings["term_path"])
        self.node.on_role_change(self._became)
        embedder = MiniLMEmbedder()
        embedder.embed(["loads the model"])
        self.cache = ClusterCache(
            node_id=fabric.node_id, fabric=fabric, llm_model=MODEL, embedder=embedder
        )
        faq = load(Path(__file__).with_name("faq.toml"))
        self._llm = MockLLM(faq, latency_s=settings["latency_ms"] / 1000)
        self._counting = threading.Lock()
        self._tokens = 0

    async def obey(self, verb: str, given: Any) -> dict[str, object]:
        """Do one thing and give what came of it."""
        match verb:
            case "ask":
                return await self._ask(given)
            case "has":
                return {"has": [self.cache.has(text) for text in given]}
            case "flush":
                return {"flushed": await self.cache.flush(timeout_s=10.0)}
            case "status":
                return self._status()
        raise ValueError(f"no such order: {verb}")

    async def _ask(self, question: str) -> dict[str, object]:
        start = time.perf_counter()
        answer = await self.cache.get_or_call(query=question, call_fn=lambda: self._call(question))
        return {"answer": str(answer), "seconds": time.perf_counter() - start, **self._spent()}

    def _call(self, question: str) -> str:
        reply = self._llm.answer(question)
        with self._counting:
            self._tokens += reply.input_tokens + reply.output_tokens
        return reply.text

    def _spent(self) -> dict[str, object]:
        with self._counting:
            return {"calls": self._llm.calls, "tokens": self._tokens}

    def _status(self) -> dict[str, object]:
        lease, answers = self.node.status(), self.cache.metrics()
        return {
            "role": lease.role.name,
            "token": lease.token,
            "up": sum(peer.is_up for peer in self.fabric.peers().values()),
            "is_synced": answers.is_synced,
            "entries": answers.entries,
            "digest": answers.digest,
            **self._spent(),
        }

    def _became(self, change: RoleChange) -> None:
        tell({"role": change.role.name, "token": change.token, "at": change.at})


async def run() -> None:
    """Be a node until standard input ends."""
    loop = asyncio.get_running_loop()
    settings = json.loads(await loop.run_in_executor(None, sys.stdin.readline))
    fabric = CHORUSFabric(
        node_id=settings["node_id"],
        peers=settings["peers"],
        listen=settings["listen"],
        secret=settings["secret"],
        config=FabricConfig(tick_s=0.02),
    )
    desk = Desk(settings, fabric)

    async def obey(number: int, verb: str, given: Any) -> None:
        tell({"to": number, **await desk.obey(verb, given)})

    with desk.node:
        async with fabric, desk.cache, asyncio.TaskGroup() as tasks:
            while line := await loop.run_in_executor(None, sys.stdin.readline):
                tasks.create_task(obey(*json.loads(line)))


if __name__ == "__main__":
    asyncio.run(run())
