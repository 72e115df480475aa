"""The real GPTCache, for the time of its `get()`. Not developed any more; it still installs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from contestant import optional
from prismresonance.embed import Embedder

NEEDS = ("gptcache", "faiss", "sqlalchemy")


def missing() -> str | None:
    """Name the first package that is not installed; `None` when none is missing."""
    return next((name for name in NEEDS if optional(name) is None), None)


class GPTCachePeer:
    """GPTCache as its `init_similar_cache` sets it up (SQLite, faiss flat, .8), with our embedder.

    Args:
        embedder: Embeds the questions.
        questions: What is stored.
        answers: With what.
        folder: For its two files.
    """

    def __init__(
        self, embedder: Embedder, questions: Sequence[str], answers: Sequence[str], folder: Path
    ) -> None:
        gptcache: Any = optional("gptcache")
        manager: Any = optional("gptcache.manager")
        distance: Any = optional("gptcache.similarity_evaluation.distance")
        before: Any = optional("gptcache.processor.pre")
        api: Any = optional("gptcache.adapter.api")
        stored = manager.get_data_manager(
            manager.CacheBase("sqlite", sql_url=f"sqlite:///{folder / 'gptcache.db'}"),
            manager.VectorBase(
                "faiss", dimension=embedder.dim, index_path=str(folder / "gptcache.index")
            ),
            max_size=10 * len(questions),
        )
        self._get = api.get
        self._cache = gptcache.Cache()
        self._cache.init(
            pre_embedding_func=before.get_prompt,
            embedding_func=lambda text, **_: embedder.embed([text])[0],
            data_manager=stored,
            similarity_evaluation=distance.SearchDistanceEvaluation(),
        )
        self._cache.import_data(list(questions), list(answers))

    def get(self, question: str) -> str | None:
        """Look a question up."""
        answer: str | None = self._get(question, cache_obj=self._cache)
        return answer

    def close(self) -> None:
        """Write the files, and do not try it again when the process ends and they are gone."""
        self._cache.data_manager.close()
        self._cache.data_manager = SimpleNamespace(close=lambda: None)
