"""The bare embedder at its best batch: what the wrapper could reach with texts for free."""

from __future__ import annotations

import time
from collections.abc import Sequence

from feeding.rate import Run
from prismresonance.embed import StaticEmbedder

BATCHES = (16, 32, 64, 128, 256, 512, 1024)


def embed_all(texts: Sequence[str], batch: int) -> Run:
    """Embed texts, `batch` in a call. Meant for a process of its own."""
    embedder = StaticEmbedder()
    embedder.embed(texts[:batch])
    start, cpu = time.perf_counter(), time.process_time()
    for place in range(0, len(texts), batch):
        embedder.embed(texts[place : place + batch])
    return Run(len(texts), time.perf_counter() - start, time.process_time() - cpu)


def best_batch(texts: Sequence[str]) -> int:
    """Find the batch that embeds these texts quickest, the best of three tries each."""
    embedder = StaticEmbedder()
    embedder.embed(texts[:64])

    def seconds(batch: int) -> float:
        start = time.perf_counter()
        for place in range(0, len(texts), batch):
            embedder.embed(texts[place : place + batch])
        return time.perf_counter() - start

    tries = [(seconds(batch), batch) for _ in range(3) for batch in BATCHES]
    return min(tries)[1]
