"""Scopes, forms, savings, the decorator: what a user sees of asking."""

from __future__ import annotations

import asyncio
import functools
import itertools
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prism.cache import CacheConfigurationError, PrismCache, Reply, Usage

if TYPE_CHECKING:
    from doubles import Model

Build = Callable[..., PrismCache]

SCOPES = st.fixed_dictionaries(
    {},
    optional={
        "model": st.sampled_from(["gpt-4o", "o9"]),
        "system_prompt": st.sampled_from(["be brief", "be kind"]),
        "tools": st.sampled_from([[{"name": "a"}], [{"name": "b"}]]),
        "parameters": st.sampled_from([{"temperature": 0}, {"temperature": 1}]),
        "history": st.sampled_from([[{"role": "user", "content": c}] for c in ("hi", "ho")]),
        "context": st.sampled_from(["document one", "document two"]),
    },
)


@settings(max_examples=40)
@given(asked=st.lists(st.tuples(st.sampled_from(["ours", "theirs"]), SCOPES), max_size=12))
def test_a_hit_is_never_from_another_scope(asked: list[tuple[str, dict[str, Any]]]) -> None:
    from doubles import WordEmbedder

    caches = {t: PrismCache.build(t, "gpt-4o", embedder=WordEmbedder()) for t in ("ours", "theirs")}
    for (tenant, scope), wording in itertools.product(asked, ["what is up", "what is up please"]):
        said = f"{tenant} {sorted({'model': 'gpt-4o', **scope}.items())}"
        view = caches[tenant].scope(**scope)
        assert view.get_or_call(wording, lambda said=said: said) == said


def test_scopes_narrow_each_other(cache: PrismCache) -> None:
    kind = cache.scope(system_prompt="be kind")
    kind.put("what is up", "dear, much")
    assert not cache.lookup("what is up").hit
    assert kind.scope(history=["hi"]).lookup("what is up").hit is False
    assert cache.scope(system_prompt="be kind").lookup("what is up").answer == "dear, much"


def test_bypass_neither_asks_nor_stores(cache: PrismCache, model: Model) -> None:
    cache.put("what is up", "much")
    assert (
        cache.get_or_call("what is up", lambda: model.answer("q"), bypass=True) == "answer 1 to q"
    )
    assert cache.lookup("what is up").answer == "much"
    metrics = cache.metrics()
    assert (metrics.bypassed, metrics.calls, metrics.hit_rate) == (1, 1, 0.0)


def test_answers_are_copies(cache: PrismCache) -> None:
    first = cache.get_or_call("what is up", lambda: {"items": [1]})
    first["items"].append(2)
    second = cache.get_or_call("what is up", lambda: {"items": []})
    second["items"].append(3)
    assert cache.lookup("what is up").answer == {"items": [1]}


def test_reported_usage_is_what_is_saved(cache: PrismCache) -> None:
    def call() -> Reply[str]:
        return Reply("much", Usage(input_tokens=1000, output_tokens=200), model="gpt-4o-mini")

    assert cache.get_or_call("what is up", call) == "much"
    assert cache.get_or_call("what is up", call) == "much"
    metrics = cache.metrics()
    assert (metrics.tokens_saved, metrics.tokens_saved_estimated) == (1200, 0)
    assert 0 < metrics.cost_saved_usd < 0.001


def test_explain_and_lookup_count_as_nothing(cache: PrismCache) -> None:
    cache.put("what is up", "much")
    assert cache.lookup("what is up").hit
    assert cache.explain("what is up").decision == "exact"
    assert cache.explain("what is up please").decision == "similar"
    assert cache.explain("does error 5501 come").decision == "miss"
    assert cache.metrics().requests == cache.metrics().hits == 0


def test_a_guard_that_forbade_a_hit_is_counted_and_explained(cache: PrismCache) -> None:
    cache.put("what does error 5501 mean here", "a lost parcel")
    assert cache.get_or_call("what does error 5502 mean here", lambda: "a lost key") == "a lost key"
    assert cache.metrics().vetoes == {"number": 1}
    text = str(cache.explain("what does error 5503 mean here"))
    assert "asked about 5503, stored about 550" in text


def test_a_plain_threshold_decides_by_cosine(build: Build) -> None:
    cache = build(similarity_threshold=0.5)
    cache.put("what does error 5501 mean here", "a lost parcel")
    assert cache.lookup("what does error 5502 mean here").hit


def test_the_decorator(cache: PrismCache, model: Model) -> None:
    @cache.cached
    def ask(question: str, *, language: str = "en") -> str:
        """Ask the model."""
        return model.answer(f"{question} in {language}")

    assert ask.__doc__ == "Ask the model."
    assert ask("what is up") == ask("What is up?") == ask("what is up", language="en")
    assert ask("what is up", language="de") == "answer 2 to what is up in de"
    assert model.calls == 2


async def test_the_decorator_on_coroutines_and_generators(cache: PrismCache, model: Model) -> None:
    @cache.cached
    async def ask(question: str) -> str:
        await asyncio.sleep(0)
        return model.answer(question)

    @cache.cached
    def stream(question: str) -> Iterator[str]:
        yield from model.answer(question).split()

    @cache.cached
    async def astream(question: str) -> AsyncIterator[str]:
        for word in model.answer(question).split():
            yield word

    assert await ask("what is up") == await ask("what is up")
    assert list(stream("what is up")) == list(stream("what is up"))
    assert [w async for w in astream("what is up")] == [w async for w in astream("what is up")]
    assert model.calls == 3


def test_a_function_without_a_question_cannot_be_cached(cache: PrismCache) -> None:
    with pytest.raises(CacheConfigurationError, match="no parameter for the question"):
        cache.cached(lambda: "much")


def test_a_stream_passes_through_as_it_comes_and_is_stored_when_complete(cache: PrismCache) -> None:
    sent: list[str] = []

    def chunks() -> Iterator[str]:
        for chunk in ("Hel", "lo ", "you"):
            sent.append(chunk)
            yield chunk

    stream = cache.get_or_call("say hello", chunks)
    assert next(stream) == "Hel"
    assert sent == ["Hel"]
    assert not cache.lookup("say hello").hit
    assert list(stream) == ["lo ", "you"]
    assert list(cache.get_or_call("say hello", chunks)) == ["Hel", "lo ", "you"]
    assert cache.get_or_call("say hello", chunks, stream=False) == "Hello you"
    assert cache.lookup("say hello").answer == "Hello you"
    assert sent == ["Hel", "lo ", "you"]


def test_a_stream_that_is_left_or_fails_is_not_stored(cache: PrismCache) -> None:
    closed = threading.Event()

    def endless() -> Iterator[str]:
        try:
            yield from itertools.repeat("more")
        finally:
            closed.set()

    def failing() -> Iterator[str]:
        yield "Hel"
        raise ConnectionError("away")

    stream = cache.get_or_call("say hello", endless)
    assert next(stream) == "more"
    stream.close()  # type: ignore[attr-defined]  # the reader of a stream can be closed
    assert closed.is_set()
    with pytest.raises(ConnectionError):
        list(cache.get_or_call("say hello", failing))
    assert not cache.lookup("say hello").hit
    assert list(cache.get_or_call("say hello", lambda: iter(["Hi"]))) == ["Hi"]


async def test_concurrent_readers_share_one_stream(cache: PrismCache) -> None:
    go, begun = asyncio.Event(), 0

    async def chunks() -> AsyncIterator[str]:
        nonlocal begun
        begun += 1
        yield "Hel"
        await go.wait()
        yield "lo"

    async def read() -> list[str]:
        stream = await cache.aget_or_call("say hello", chunks)
        return [chunk async for chunk in stream]

    readers = [asyncio.create_task(read()) for _ in range(20)]
    while cache.metrics().shared_calls < 19:
        await asyncio.sleep(0.001)
    go.set()
    assert await asyncio.gather(*readers) == [["Hel", "lo"]] * 20
    assert begun == 1


def test_a_value_for_a_caller_who_wants_chunks(cache: PrismCache) -> None:
    cache.put("say hello", "Hello you")
    assert list(cache.get_or_call("say hello", lambda: iter(["x"]), stream=True)) == ["Hello you"]


def test_decorated_functions_share_answers_only_where_all_is_equal(cache: PrismCache) -> None:
    def make(language: str) -> Callable[[str], str]:
        @cache.cached
        def ask(question: str) -> str:
            return language

        return ask

    german, french = make("de"), make("fr")
    assert (german("what is up"), french("what is up")) == ("de", "fr")
    for document in ("doc A", "doc B"):
        ask = cache.scope(context=document).cached(lambda q, d=document: d, name="ask")
        assert ask("what is up") == ask("What is up?") == document


def test_bound_methods_and_partials_share_nothing(cache: PrismCache) -> None:
    class Bot:
        def __init__(self, voice: str) -> None:
            self.voice = voice

        def ask(self, question: str) -> str:
            return self.voice

        def __call__(self, question: str) -> str:
            return self.voice

    for voice in ("pirate", "lawyer"):
        bot = Bot(voice)
        for ask in (bot.ask, bot, functools.partial(bot.ask)):
            assert cache.cached(ask)("what is up") == voice


def test_a_name_lets_definitions_share(cache: PrismCache, model: Model) -> None:
    for _ in range(2):

        @cache.cached(name="ask")
        def ask(question: str) -> str:
            return model.answer(question)

        assert ask("what is up") == "answer 1 to what is up"


def test_a_method_cannot_be_cached(cache: PrismCache) -> None:
    with pytest.raises(CacheConfigurationError, match="is a method"):

        class Bot:
            @cache.cached
            def ask(self, question: str) -> str:
                return question


@pytest.mark.parametrize("chunks", [["Hel", "lo"], [{"delta": "Hel"}, {"delta": "lo"}]])
@pytest.mark.parametrize("bypass", [False, True])
def test_the_form_is_the_same_on_a_miss_and_on_a_hit(
    cache: PrismCache, chunks: list[Any], bypass: bool
) -> None:
    whole = "Hello" if chunks[0] == "Hel" else chunks

    def call() -> Iterator[Any]:
        return iter(chunks)

    for _ in range(2):
        assert cache.get_or_call("say hello", call, stream=False, bypass=bypass) == whole
        assert list(cache.get_or_call("say hello", call, bypass=bypass)) == chunks
    for _ in range(2):
        one = cache.get_or_call("say one", lambda: "one", stream=True, bypass=bypass)
        assert list(one) == ["one"]


def test_a_stream_of_objects_read_whole_reaches_its_caller(cache: PrismCache) -> None:
    chunks = [object(), object()]
    assert cache.get_or_call("say hello", lambda: iter(chunks), stream=False) == chunks
    assert cache.metrics().unstorable == 1


@pytest.mark.parametrize("answer", [{"n": 10**5000}, json.loads("[" * 900 + "]" * 900)])
def test_an_answer_that_is_hard_to_store_still_reaches_its_caller(
    cache: PrismCache, answer: Any
) -> None:
    for _ in range(20):
        answer = {"deeper": answer}
    deep = [answer]
    for _ in range(2000):
        deep = [deep]
    assert cache.get_or_call("what is up", lambda: deep) is deep


async def test_a_sync_call_that_raises_stop_iteration_ends(cache: PrismCache) -> None:
    with pytest.raises(RuntimeError, match="StopIteration"):
        await asyncio.wait_for(cache.aget_or_call("what is up", lambda: next(iter([]))), 30)


def test_who_asks_after_a_removal_does_not_get_what_was_fetched_before(cache: PrismCache) -> None:
    begun, go = threading.Event(), threading.Event()
    answers: list[str] = []

    def old() -> str:
        begun.set()
        assert go.wait(30)
        return "stale"

    asking = threading.Thread(
        target=lambda: answers.append(cache.get_or_call("what does it cost", old))
    )
    asking.start()
    assert begun.wait(30)
    cache.invalidate(everything=True)
    assert cache.get_or_call("what does it cost", lambda: "fresh") == "fresh"
    go.set()
    asking.join(30)
    assert answers == ["stale"]
    assert cache.lookup("what does it cost").answer == "fresh"


def test_metrics_add_up_and_can_be_sent(cache: PrismCache) -> None:
    def fail() -> str:
        raise ConnectionError

    cache.get_or_call("what is up", lambda: "much")
    cache.get_or_call("what is up", lambda: "much")
    cache.get_or_call("what is up", lambda: "much", bypass=True)
    with pytest.raises(ConnectionError):
        cache.get_or_call("who is there", fail)
    figures = json.loads(json.dumps(cache.metrics().as_dict()))
    assert figures["requests"] == 4
    assert figures["unanswered"] == 1
    assert figures["hits"] == figures["misses"] == figures["bypassed"] == 1
    assert figures["hit_rate"] == 0.5


def test_an_unknown_price_is_null_for_machines(build: Build) -> None:
    cache = build(llm_model="our-own-model")
    for _ in range(2):
        cache.get_or_call("what is up", lambda: "much")
    assert cache.metrics().as_dict()["cost_saved_usd"] is None
    assert f"{cache.metrics().cost_saved_usd:.2f}" == "nan"


@pytest.mark.parametrize("usage", [{"prompt_tokens": 1}, 3])
def test_a_usage_must_be_one(usage: Any) -> None:
    with pytest.raises(CacheConfigurationError, match="Usage"):
        Reply("much", usage)


@pytest.mark.parametrize(
    "tokens",
    [
        {"input_tokens": "5", "output_tokens": 1},
        {"input_tokens": -1, "output_tokens": 1},
        {"input_tokens": 5, "output_tokens": 1, "cached_tokens": 20},
    ],
)
def test_a_usage_that_makes_no_sense_is_told(tokens: Any) -> None:
    with pytest.raises(CacheConfigurationError):
        Usage(**tokens)
