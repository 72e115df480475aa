"""What users were promised, as it was written, on a fabric of one node."""

from __future__ import annotations

import numpy as np

from chorus_fabric.mesh import CHORUSFabric


class _Model:
    def __init__(self) -> None:
        self.calls = 0

    def complete(self, question: str) -> str:
        self.calls += 1
        return f"an answer to {question}"


def embed(text: str) -> np.ndarray:
    return np.random.default_rng(len(text)).normal(size=384).astype(np.float32)


async def test_the_cluster_cache_block() -> None:
    llm = _Model()
    user_question = "How do I reset my password?"
    retrieved_docs = ["Passwords are reset in the settings.", "The office opens at nine."]
    doc_embeddings = np.stack([embed(doc) for doc in retrieved_docs])
    async with CHORUSFabric(node_id="node-1", peers={}, listen="127.0.0.1:0") as chorus_fabric:
        for _ in range(2):
            from prism.cluster.cache import ClusterCache

            cache = ClusterCache(node_id="node-1", fabric=chorus_fabric)
            for _ in range(2):
                answer = await cache.get_or_call(
                    query=user_question, query_vector=embed(user_question),
                    call_fn=lambda: llm.complete(user_question),
                    context_chunks=retrieved_docs, chunk_vectors=doc_embeddings,
                )  # fmt: skip
                assert answer == "an answer to How do I reset my password?"
            cache.close()
    assert llm.calls == 2  # one for each cache
