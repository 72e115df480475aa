"""Learning as seen from outside: groups, judge, checks, feedback, restarts, failures."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from doubles import WordEmbedder

from prism.cache import CacheConfigurationError, PrismCache, SQLiteStore

Build = Callable[..., PrismCache]

WORDINGS = (
    "{topic} {topic} {topic} page under settings",
    "under settings the {topic} {topic} {topic} page",
    "in the settings {topic} {topic} {topic} page",
)
TOPICS = ("billing", "shipping", "passwords", "invoices", "refunds")
WAYS = ("tell me about {topic}", "tell me more about {topic} now", "words about {topic} then")


class Rewording:
    """A model that words each answer anew. Safe for threads."""

    def __init__(self) -> None:
        self._turns = itertools.count()
        self.calls = 0

    def __call__(self, topic: str) -> str:
        self.calls += 1
        return WORDINGS[next(self._turns) % len(WORDINGS)].format(topic=topic)


def ask_everything(cache: PrismCache, model: Rewording, rounds: int = 40) -> None:
    rng = np.random.default_rng(1)
    for number in range(rounds * len(TOPICS)):
        topic = TOPICS[rng.integers(len(TOPICS))]
        way = WAYS[rng.integers(len(WAYS))].format(topic=topic)
        cache.get_or_call(f"{way} {number % 7}", lambda topic=topic: model(topic))
        if number % 5 == 0:
            assert cache.settle()
    assert cache.settle()


def test_groups_form_though_every_answer_is_worded_anew(build: Build) -> None:
    cache = build(strict=True, max_error=0.001)
    for topic, way, wording in zip(
        ["billing"] * 3 + ["shipping"] * 3, WAYS * 2, WORDINGS * 2, strict=True
    ):
        cache.put(way.format(topic=topic), wording.format(topic=topic))
    entries = list(cache._engine._shelf._entries.values())
    groups = {entry.group for entry in entries}
    assert len(groups) == 2
    assert all(entry.meaning is not None for entry in entries)


def test_misses_teach_and_the_error_is_told(build: Build) -> None:
    cache, model = build(), Rewording()
    ask_everything(cache, model)
    metrics = cache.metrics()
    assert metrics.labels > 20
    assert metrics.labels_dropped == 0
    assert metrics.error_estimate is not None
    assert metrics.error_bound is not None
    assert metrics.error_estimate <= metrics.error_bound
    assert metrics.cache_errors == {}
    explained = cache.explain("tell me about billing please")
    assert explained.required_by == "labels"
    assert explained.labels > 20
    assert "labels" in str(explained)


def test_a_new_cache_says_that_experience_decides(build: Build) -> None:
    cache = build()
    cache.put("what is up", "much")
    explained = cache.explain("what is up please")
    assert (explained.required_by, explained.weighed_by) == ("experience", "experience")
    assert explained.error_bound is None
    assert "nothing learned yet" in str(explained)
    assert cache.metrics().error_bound is None


@pytest.mark.parametrize("is_async", [False, True])
def test_a_judge_is_asked_beside_the_caller(build: Build, *, is_async: bool) -> None:
    asked: list[tuple[str, ...]] = []
    callers = threading.current_thread()

    def judge(*given: str) -> bool:
        assert threading.current_thread() is not callers
        asked.append(given)
        return True

    async def ajudge(*given: str) -> bool:
        await asyncio.sleep(0)
        return judge(*given)

    cache = build(judge=ajudge if is_async else judge, strict=True)
    cache.get_or_call("where is the wooden house", lambda: "left")
    cache.get_or_call("where is the haunted castle", lambda: "right")
    assert cache.settle()
    assert asked == [("where is the haunted castle", "right", "where is the wooden house", "left")]
    entries = list(cache._engine._shelf._entries.values())
    assert len({entry.group for entry in entries}) == 1
    assert cache.metrics().labels == 1


async def test_an_async_judge_runs_on_the_callers_loop(build: Build) -> None:
    loops: list[object] = []

    async def judge(*_: str) -> bool:
        loops.append(asyncio.get_running_loop())
        return True

    cache = build(judge=judge)
    await cache.aget_or_call("where is the wooden house", lambda: "left")
    await cache.aget_or_call("where is the haunted castle", lambda: "right")
    assert await asyncio.to_thread(cache.settle)
    assert loops == [asyncio.get_running_loop()]


@pytest.mark.parametrize("verdict", [None, "yes", ValueError("no")])
def test_a_judge_that_fails_teaches_nothing(build: Build, verdict: object) -> None:
    def judge(*_: str) -> Any:
        if isinstance(verdict, Exception):
            raise verdict
        return verdict

    cache = build(judge=judge)
    cache.get_or_call("where is the wooden house", lambda: "left")
    assert cache.get_or_call("where is the haunted castle", lambda: "right") == "right"
    assert cache.settle()
    metrics = cache.metrics()
    assert (metrics.labels, metrics.unlabelled) == (0, 1)
    assert metrics.cache_errors == ({} if verdict is None else {"judge": 1})


def check_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prism.cache._calibration.calibrator._UNCHECKED_REQUESTS", 0)
    monkeypatch.setattr("prism.cache._learner.is_checked", lambda *_: True)


def test_a_hit_is_checked_now_and_then(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    check_always(monkeypatch)
    cache = build(shadow=0.2)
    cache.put("where is my wooden house", "left")
    calls: list[str] = []

    def call() -> str:
        calls.append(threading.current_thread().name)
        return "right"

    for number in range(4):
        # Other words each time, or the exact tier would answer.
        cache.get_or_call(f"where is my wooden house {'please ' * (number + 1)}", call)
        assert cache.settle()
    metrics = cache.metrics()
    assert metrics.checks >= 1
    assert 1 <= metrics.checks_wrong <= metrics.checks
    assert metrics.calls == len(calls) == metrics.checks + metrics.misses
    assert metrics.check_tokens > 0
    assert calls.count("prism-cache-call") == metrics.checks
    # What was found wrong is put right for whoever asks it again.
    assert any(
        cache.lookup(f"where is my wooden house {'please ' * (number + 1)}").answer == "right"
        for number in range(4)
    )


async def test_a_hit_is_checked_on_the_callers_loop(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_always(monkeypatch)
    cache = build(shadow=0.2)
    cache.put("where is my wooden house", "left")
    checked = asyncio.Event()

    async def call() -> str:
        checked.set()
        return "left"

    assert await cache.aget_or_call("where is my wooden house please", call) == "left"
    async with asyncio.timeout(10):
        await checked.wait()
        while cache.metrics().labels < 1:
            await asyncio.to_thread(cache.settle)
    assert cache.metrics().checks_wrong == 0


def test_a_check_that_fails_is_counted_and_nothing_else(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_always(monkeypatch)
    cache = build(shadow=0.2)
    cache.put("where is my wooden house", "left")

    def call() -> str:
        raise ValueError("the model is away")

    assert cache.get_or_call("where is my wooden house please", call) == "left"
    assert cache.settle()
    metrics = cache.metrics()
    assert metrics.cache_errors == {"check": 1}
    assert (metrics.failed_calls, metrics.labels) == (1, 0)


@pytest.mark.parametrize("settings", [{"shadow": 0}, {"learn": False}])
def test_checks_can_be_switched_off(build: Build, settings: dict[str, Any]) -> None:
    cache, model = build(**settings), Rewording()
    ask_everything(cache, model)
    metrics = cache.metrics()
    assert metrics.checks == 0
    assert metrics.calls == metrics.misses == model.calls


def test_the_first_hits_of_a_scope_cost_no_call(build: Build) -> None:
    cache = build()
    cache.put("where is my wooden house", "left")
    for number in range(50):
        cache.get_or_call(f"where is my wooden house {'please ' * (number % 9)}", lambda: "left")
    assert cache.settle()
    metrics = cache.metrics()
    assert metrics.similar_hits > 25
    assert metrics.checks == 0
    assert metrics.calls == metrics.misses


@pytest.mark.parametrize(
    "settings", [{"shadow": 0.5}, {"shadow": True}, {"learn": 1}, {"judge": 1}]
)
def test_settings_that_make_no_sense(build: Build, settings: dict[str, Any]) -> None:
    with pytest.raises(CacheConfigurationError, match=next(iter(settings))):
        build(**settings)


def test_feedback_is_a_lesson(build: Build) -> None:
    cache = build()
    cache.put("where is my wooden house", "left")
    assert cache.get_or_call("where is my wooden house please", lambda: "right") == "left"
    assert cache.feedback("where is my wooden house please", wrong=True)
    assert cache.settle()
    [family] = cache._engine._learner._families.values()  # type: ignore[union-attr]
    assert len(family.calibrator._reports) == 1


def test_what_was_learned_survives_a_restart(build: Build, tmp_path: Path) -> None:
    path, model = tmp_path / "answers.sqlite", Rewording()
    cache = build(path=path)
    ask_everything(cache, model)
    before = cache.explain("tell me about billing please")
    groups = {entry.key: entry.group for entry in cache._engine._shelf._entries.values()}
    cache.close()
    again = build(path=path)
    after = again.explain("tell me about billing please")
    assert after.required_by == before.required_by == "labels"
    assert after.labels >= before.labels > 20
    entries = again._engine._shelf._entries
    assert {key: entry.group for key, entry in entries.items()} == groups
    assert any(entry.meaning is not None for entry in entries.values())


def test_a_damaged_note_is_as_good_as_none(build: Build, tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    cache = build(path=path)
    ask_everything(cache, Rewording())
    cache.close()
    with SQLiteStore(path) as store:
        [tenant] = {
            bytes(row[0])
            for row in store._writer.connection.execute("SELECT tenant FROM notes")  # type: ignore[union-attr]
        }
        store.note(tenant, dict.fromkeys(store.notes(tenant), b"nonsense that fits nowhere"))
    again = build(path=path)
    assert again.explain("tell me about billing please").required_by == "experience"
    assert again.get_or_call("who is there", lambda: "me") == "me"


def test_learning_that_fails_or_lags_fails_no_question(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prism.cache._worker._WAITING", 2)
    monkeypatch.setattr("prism.cache._reading._table_beside", lambda _: None)
    held = threading.Event()

    class Stuck(WordEmbedder):
        def embed(self, texts: Any) -> Any:
            if texts[0].startswith("answer"):
                assert held.wait(20)
                raise ValueError("out of order")
            return super().embed(texts)

    cache = build(embedder=Stuck())
    for number in range(8):
        said = f"answer {number}"
        assert cache.get_or_call(f"where is house {number}", lambda said=said: said) == said
    assert cache.metrics().labels_dropped >= 5
    held.set()
    assert cache.settle()
    assert cache.metrics().cache_errors["learning"] >= 1


def test_a_closed_cache_learns_no_more(build: Build) -> None:
    cache = build()
    cache.get_or_call("who is there", lambda: "me")
    cache.close()
    cache.close()
    assert not cache.settle(0.1)


def test_scopes_of_one_family_learn_together(build: Build) -> None:
    cache = build()
    for number in range(3):
        view = cache.scope(history=[f"turn {number}"])
        view.get_or_call("where is the wooden house", lambda: "left")
        view.get_or_call("where is the haunted castle", lambda: "right")
    cache.scope(system_prompt="be kind").get_or_call("who is there", lambda: "me")
    assert cache.settle()
    families = cache._engine._learner._families  # type: ignore[union-attr]
    assert sorted(f.calibrator.labels for f in families.values()) == [0, 3]
