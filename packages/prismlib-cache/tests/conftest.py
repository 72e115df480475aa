from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from doubles import Clock, Model, WordEmbedder

from prism.cache import PrismCache


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def build(clock: Clock) -> Iterator[Callable[..., PrismCache]]:
    """Build caches on the word embedder and the clock; all are closed in the end."""
    caches: list[PrismCache] = []

    def build(tenant_id: str = "tests", llm_model: str = "gpt-4o", **settings: Any) -> PrismCache:
        settings.setdefault("embedder", WordEmbedder())
        settings.setdefault("clock", clock)
        caches.append(PrismCache.build(tenant_id, llm_model, **settings))
        return caches[-1]

    yield build
    for cache in caches:
        cache.close()


@pytest.fixture
def cache(build: Callable[..., PrismCache]) -> PrismCache:
    return build()
