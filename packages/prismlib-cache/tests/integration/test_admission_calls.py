"""Questions that are held back, through every form of asking."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from prism.cache import (
    ADMISSION_RULES,
    AdmissionRule,
    CacheConfigurationError,
    CacheMetrics,
    PrismCache,
    Reply,
    ScopedCache,
    Usage,
)

if TYPE_CHECKING:
    from doubles import Model

Build = Callable[..., PrismCache]

ACTION = "Cancel my order"
DOCUMENT = "Context: The shop is in Oslo.\nQuestion: Which city is the shop in?"


def untouched(metrics: CacheMetrics, times: int) -> bool:
    """Whether the cache had no part in any of `times` questions."""
    return (
        metrics.refused == metrics.calls == metrics.requests == times
        and metrics.entries == metrics.hits == metrics.misses == metrics.shared_calls == 0
        and metrics.unanswered == 0
        and metrics.hit_rate == 0
    )


def test_an_action_calls_the_model_each_time(cache: PrismCache, model: Model) -> None:
    answers = [cache.get_or_call(ACTION, lambda: model.answer(ACTION)) for _ in range(3)]
    assert len(set(answers)) == model.calls == 3
    assert untouched(cache.metrics(), 3)
    assert cache.metrics().held_back == {"action": 3}
    assert not cache.lookup(ACTION, admit=True).hit


async def test_also_from_coroutines(cache: PrismCache, model: Model) -> None:
    async def call() -> str:
        return model.answer(ACTION)

    answers = [await cache.aget_or_call(ACTION, call) for _ in range(2)]
    answers.append(await cache.aget_or_call(ACTION, lambda: model.answer(ACTION)))
    assert len(set(answers)) == 3
    assert untouched(cache.metrics(), 3)


async def test_streams_pass_through_and_are_not_kept(cache: PrismCache, model: Model) -> None:
    def chunks() -> Iterator[str]:
        yield from model.answer("q").split()

    async def achunks() -> AsyncIterator[str]:
        for word in model.answer("q").split():
            yield word

    assert list(cache.get_or_call(ACTION, chunks)) == ["answer", "1", "to", "q"]
    assert cache.get_or_call(ACTION, chunks, stream=False) == "answer2toq"
    assert list(cache.get_or_call(ACTION, lambda: "done", stream=True)) == ["done"]
    assert [c async for c in await cache.aget_or_call(ACTION, achunks)][1] == "3"
    assert await cache.aget_or_call(ACTION, achunks, stream=False) == "answer4toq"
    assert untouched(cache.metrics(), 5)


async def test_the_decorator(cache: PrismCache, model: Model) -> None:
    @cache.cached
    def ask(question: str) -> str:
        return model.answer(question)

    @cache.cached
    async def aask(question: str) -> str:
        return model.answer(question)

    @cache.cached
    def stream(question: str) -> Iterator[str]:
        yield from model.answer(question).split()

    @cache.cached(admit=True)
    def act(question: str) -> str:
        return model.answer(question)

    assert ask(ACTION) != ask(ACTION)
    assert await aask(ACTION) != await aask(ACTION)
    assert list(stream(ACTION)) != list(stream(ACTION))
    assert untouched(cache.metrics(), 6)
    assert act(ACTION) == act(ACTION)


def test_a_reply_is_opened_and_nothing_is_saved(cache: PrismCache) -> None:
    def call() -> Reply[str]:
        return Reply("done", Usage(input_tokens=10, output_tokens=1))

    assert cache.get_or_call(ACTION, call) == "done"
    assert cache.get_or_call(ACTION, call) == "done"
    assert cache.metrics().tokens_saved == 0


def test_a_failed_call_is_the_callers(cache: PrismCache) -> None:
    def fail() -> str:
        raise TimeoutError("no model")

    with pytest.raises(TimeoutError):
        cache.get_or_call(ACTION, fail)
    metrics = cache.metrics()
    assert (metrics.failed_calls, metrics.refused, metrics.unanswered) == (1, 0, 1)


def test_two_at_once_are_two_actions(cache: PrismCache) -> None:
    both = threading.Barrier(2, timeout=30)

    def call() -> int:
        # Passed only if both calls run at the same time.
        return both.wait()

    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: cache.get_or_call(ACTION, call), range(2)))
    assert sorted(answers) == [0, 1]
    assert untouched(cache.metrics(), 2)


def test_a_template_hits_by_its_very_text_alone(cache: PrismCache, model: Model) -> None:
    other = DOCUMENT.replace("Oslo", "Bergen")
    first = cache.get_or_call(DOCUMENT, lambda: model.answer("oslo"))
    assert cache.get_or_call(other, lambda: model.answer("bergen")) != first
    assert cache.get_or_call(DOCUMENT, lambda: model.answer("oslo")) == first
    assert cache.lookup(DOCUMENT).hit
    metrics = cache.metrics()
    assert (metrics.exact_hits, metrics.misses, metrics.refused) == (1, 2, 0)
    assert metrics.held_back == {"template": 2}
    # Nor is it found by others: it has no vector.
    assert cache.explain("Which city is the shop in").candidates == ()


@pytest.mark.parametrize(
    ("question", "rule", "reason"),
    [
        (ACTION, "action", "asks for something to be done"),
        ("What is the weather today?", "freshness", "when it is asked"),
        ("Where is my parcel?", "personal", "who asks"),
        ("And in Spain?", "follow-up", "something said before"),
    ],
)
def test_explain_names_the_rule_and_its_reason(
    cache: PrismCache, question: str, rule: str, reason: str
) -> None:
    found = cache.lookup(question)
    assert not found.hit
    why = found.explanation
    assert (why.decision, why.admission_rule) == ("refused", rule)
    assert reason in why.reason
    assert rule in str(cache.explain(question))
    assert cache.explain(question, admit=True).decision == "miss"
    assert cache.metrics().held_back == {}


def test_explain_tells_what_keeps_a_question_to_its_text(cache: PrismCache) -> None:
    why = cache.explain("What does it cost?")
    assert (why.decision, why.admission_rule) == ("miss", "reference")
    assert "only the same text could hit" in why.reason
    cache.get_or_call("What does it cost?", lambda: "much")
    assert cache.explain("what does it cost").decision == "exact"


def test_the_caller_may_admit_and_refuse(cache: PrismCache, model: Model) -> None:
    first = cache.get_or_call(ACTION, lambda: model.answer("a"), admit=True)
    assert cache.get_or_call(ACTION, lambda: model.answer("a"), admit=True) == first
    assert cache.get_or_call("cancel my order please", lambda: "b", admit=True) == first
    assert cache.lookup(ACTION, admit=True).answer == first
    # It was admitted that once: who does not say so is not served with it.
    assert cache.get_or_call(ACTION, lambda: model.answer("a")) == "answer 2 to a"
    assert not cache.lookup(ACTION).hit
    cache.put("what is up", "much")
    assert cache.get_or_call("what is up", lambda: "called", admit=False) == "called"
    metrics = cache.metrics()
    assert (metrics.bypassed, metrics.refused) == (1, 1)


async def test_admitting_from_a_coroutine(cache: PrismCache, model: Model) -> None:
    first = await cache.aget_or_call(ACTION, lambda: model.answer("a"), admit=True)
    assert await cache.aget_or_call(ACTION, lambda: model.answer("a"), admit=True) == first
    assert await cache.aget_or_call(ACTION, lambda: "no", admit=False) == "no"


@pytest.mark.parametrize("options", [{"admit": "yes"}, {"admit": True, "bypass": True}])
def test_admit_must_make_sense(cache: PrismCache, options: dict[str, Any]) -> None:
    with pytest.raises(CacheConfigurationError, match="admit"):
        cache.get_or_call("what is up", lambda: "much", **options)


def test_what_is_put_is_the_callers_word_about_that_text(build: Build, tmp_path: Path) -> None:
    path = tmp_path / "answers.db"
    with build(path=path) as cache:
        cache.put("Where is my parcel?", "Look under Orders.")
        assert cache.lookup("where is my parcel").answer == "Look under Orders."
    cache = build(path=path)
    assert cache.get_or_call("Where is my parcel", lambda: "called") == "Look under Orders."
    assert cache.metrics().exact_hits == 1
    assert "was put under this very text" in cache.explain("Where is my parcel?").reason
    assert cache.get_or_call("Where is my parcel now?", lambda: "called") == "called"
    assert cache.invalidate(query="where is my parcel?") == 1
    assert cache.get_or_call("Where is my parcel?", lambda: "called") == "called"
    cache.put("Where is my parcel?", "Wrong.")
    assert cache.feedback("Where is my parcel?", wrong=True)
    assert not cache.lookup("Where is my parcel?").hit


def test_answers_from_laxer_times_are_not_served(build: Build, tmp_path: Path) -> None:
    path = tmp_path / "answers.db"
    with build(path=path, admission=None) as lax:
        lax.get_or_call("What is my balance?", lambda: "5 euros")
        assert lax.lookup("What is my balance?").hit
    strict = build(path=path)
    assert strict.get_or_call("What is my balance?", lambda: "7 euros") == "7 euros"
    assert strict.lookup("What is my balance?", admit=True).answer == "5 euros"


def asking(cache: ScopedCache, question: str) -> list[str]:
    said = iter(("first", "second"))
    return [cache.get_or_call(question, lambda: next(said)) for _ in range(2)]


@pytest.mark.parametrize("admission", [None, (), []])
def test_without_rules_everything_is_cached(build: Build, admission: Any) -> None:
    assert asking(build(admission=admission), ACTION) == ["first", "first"]


def test_rules_can_be_left_out_and_added(build: Build) -> None:
    cache = build(
        admission=[
            *(rule for rule in ADMISSION_RULES if rule.name != "personal"),
            AdmissionRule(name="salary", reason="salaries are secret", matches=r"\bsalar(y|ies)\b"),
        ]
    )
    assert asking(cache, "Where is my parcel?") == ["first", "first"]
    assert asking(cache, ACTION) == ["first", "second"]
    assert asking(cache, "Salaries in Oslo") == ["first", "second"]
    assert "salaries are secret" in cache.explain("the salary of a nurse").reason
    assert cache.metrics().held_back == {"action": 2, "salary": 2}


def test_a_rule_that_raises_costs_hits_not_answers(build: Build) -> None:
    def broken(_: str) -> bool:
        raise ZeroDivisionError

    cache = build(admission=[AdmissionRule(name="broken", reason="tests", matches=broken)])
    assert asking(cache, "what is up") == ["first", "second"]
    assert cache.metrics().cache_errors == {"admission": 2}


def test_a_user_in_the_scope_makes_own_affairs_cacheable(cache: PrismCache) -> None:
    ann, bob = cache.scope(user="ann"), cache.scope(user="bob")
    assert asking(ann, "What is my balance?") == ["first", "first"]
    assert asking(bob, "What is my balance?") == ["first", "first"]
    assert asking(cache, "What is my balance?") == ["first", "second"]
    assert asking(ann, ACTION) == ["first", "second"]
    assert cache.metrics().held_back == {"personal": 2, "action": 2}


def test_users_share_nothing(cache: PrismCache) -> None:
    cache.scope(user="ann").put("what is up", "much, Ann")
    assert not cache.scope(user="bob").lookup("what is up").hit
    assert not cache.lookup("what is up").hit
    assert cache.scope(user="ann").lookup("what is up please").hit


def test_follow_ups_are_keyed_by_their_history(cache: PrismCache) -> None:
    spain = cache.scope(history=[{"role": "user", "content": "What is the capital of Spain?"}])
    italy = cache.scope(history=[{"role": "user", "content": "What is the capital of Italy?"}])
    assert spain.get_or_call("And how many live there?", lambda: "3 million") == "3 million"
    assert italy.get_or_call("And how many live there?", lambda: "2.7 million") == "2.7 million"
    assert spain.get_or_call("And how many live there?", lambda: "called") == "3 million"
    assert asking(cache, "And how many live there?") == ["first", "second"]


def test_an_exact_hit_is_asked_about_once(cache: PrismCache, monkeypatch: Any) -> None:
    cache.get_or_call("what is up", lambda: "much")
    assert cache.lookup("what is up").hit

    def asked(*_: object, **__: object) -> None:
        raise AssertionError("the rules were asked again")

    monkeypatch.setattr(cache._engine._finder._gate, "holding", asked)
    assert cache.get_or_call("what is up", lambda: "called") == "much"
    assert cache.metrics().cache_errors == {}
