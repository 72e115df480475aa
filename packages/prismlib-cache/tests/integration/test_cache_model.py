"""The whole cache against a model of it: a dict of exact texts with times, tags and scopes.

The embedder of these tests puts every two texts far apart, so that only the exact tier can hit and
the model knows every answer.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import numpy.typing as npt
from doubles import Clock
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from prism.cache import PrismCache

QUESTIONS = st.sampled_from(["alpha", "Beta?", "gamma ray", "delta 7", "not epsilon"])
TENANTS = st.sampled_from(["ours", "theirs"])
PROMPTS = st.sampled_from([None, "be brief"])
TAGS = st.sampled_from(["red", "blue"])
TTLS = st.none() | st.sampled_from([5.0, 50.0])


class FarApart:
    model_id = "far-apart"
    dim = 64

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        rows = np.zeros((len(texts), self.dim), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            row[sum(text.lower().strip("?").encode()) % self.dim] = 1.0
        return rows


class CacheMachine(RuleBasedStateMachine):
    path: Path | None = None

    @initialize()
    def start(self) -> None:
        self.clock = Clock()
        self.said = 0
        self.model: dict[tuple[str, str | None, str], tuple[str, float | None, set[str]]] = {}
        self.caches = {tenant: self.build(tenant) for tenant in ("ours", "theirs")}

    def build(self, tenant: str) -> PrismCache:
        return PrismCache.build(
            tenant, "gpt-4o", embedder=FarApart(), path=self.path, clock=self.clock
        )

    def expected(self, tenant: str, prompt: str | None, question: str) -> str | None:
        answer, expires_at, _ = self.model.get(
            (tenant, prompt, question), ("", float("-inf"), set())
        )
        return answer if expires_at is None or expires_at > self.clock.now else None

    @rule(tenant=TENANTS, prompt=PROMPTS, question=QUESTIONS, ttl_s=TTLS, tag=TAGS)
    def ask(
        self, tenant: str, prompt: str | None, question: str, ttl_s: float | None, tag: str
    ) -> None:
        expected = self.expected(tenant, prompt, question)

        def call() -> str:
            assert expected is None, "called although it is stored"
            self.said += 1
            return f"answer {self.said}"

        view = self.caches[tenant].scope(system_prompt=prompt)
        answer = view.get_or_call(question, call, ttl_s=ttl_s, tags=[tag])
        if expected is None:
            expires_at = None if ttl_s is None else self.clock.now + ttl_s
            self.model[tenant, prompt, question] = (answer, expires_at, {tag})
        else:
            assert answer == expected

    @rule(tenant=TENANTS, tag=TAGS)
    def invalidate_tag(self, tenant: str, tag: str) -> None:
        gone = [k for k, (_, _, tags) in self.model.items() if k[0] == tenant and tag in tags]
        live = [k for k in gone if self.expected(*k) is not None]
        assert self.caches[tenant].invalidate(tag=tag) >= len(live)
        for key in gone:
            del self.model[key]

    @rule(tenant=TENANTS, question=QUESTIONS)
    def invalidate_question(self, tenant: str, question: str) -> None:
        self.caches[tenant].invalidate(query=question)
        self.model.pop((tenant, None, question), None)

    @rule(seconds=st.sampled_from([1.0, 10.0, 100.0]))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule(tenant=TENANTS)
    def restart(self, tenant: str) -> None:
        if self.path is not None:
            self.caches[tenant].close()
            self.caches[tenant] = self.build(tenant)

    @invariant()
    def everything_stored_is_found_and_nothing_else(self) -> None:
        for tenant, cache in getattr(self, "caches", {}).items():
            live = [k for k in self.model if k[0] == tenant and self.expected(*k) is not None]
            metrics = cache.metrics()
            assert metrics.entries == len(live)
            index = cache._engine._shelf._vectors.index
            assert (0 if index is None else len(index)) == len(live)
            for key in live:
                found = cache.scope(system_prompt=key[1]).lookup(key[2])
                assert (found.hit, found.answer) == (True, self.expected(*key))

    def teardown(self) -> None:
        for cache in getattr(self, "caches", {}).values():
            cache.close()


class DurableCacheMachine(CacheMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp()
        self.path = Path(self.folder) / "answers.db"

    def teardown(self) -> None:
        super().teardown()
        shutil.rmtree(self.folder)


PROFILE: dict[str, Any] = {"max_examples": 40, "stateful_step_count": 25}
TestCacheModel = CacheMachine.TestCase
TestCacheModel.settings = settings(**PROFILE)
TestDurableCacheModel = DurableCacheMachine.TestCase
TestDurableCacheModel.settings = settings(**PROFILE)
