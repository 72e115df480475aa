"""What a type checker tells users: checked by `hatch run lint:types`, never run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import assert_type

from prism.cache import (
    ADMISSION_RULES,
    AdmissionRule,
    Explanation,
    Lookup,
    PrismCache,
    Reply,
    ScopedCache,
    Usage,
)


def text() -> str:
    return "much"


def reply() -> Reply[str]:
    return Reply("much", Usage(input_tokens=1, output_tokens=1))


def chunks() -> Iterator[str]:
    yield "much"


async def atext() -> str:
    return "much"


async def areply() -> Reply[dict[str, int]]:
    return Reply({"much": 1})


async def achunks() -> AsyncIterator[str]:
    yield "much"


def sync_calls(cache: PrismCache) -> None:
    assert_type(cache.get_or_call("what is up", text), str)
    assert_type(cache.get_or_call(query="what is up", call_fn=lambda: 3), int)
    assert_type(cache.get_or_call("what is up", reply), str)
    assert_type(cache.get_or_call("what is up", chunks), Iterator[str])
    assert_type(cache.lookup("what is up"), Lookup)
    assert_type(cache.explain("what is up"), Explanation)
    assert_type(cache.scope(system_prompt="be brief"), ScopedCache)
    assert_type(cache.scope(user="ann"), ScopedCache)
    assert_type(cache.conversation([{"role": "user", "content": "hi"}]), tuple[ScopedCache, str])
    assert_type(cache.get_or_call("what is up", text, admit=True), str)
    assert_type(cache.explain("what is up", admit=True), Explanation)


def rules() -> PrismCache:
    own = AdmissionRule(name="short", reason="too short", matches=lambda text: len(text) < 3)
    return PrismCache.build("tests", "gpt-4o", admission=(*ADMISSION_RULES, own))


async def async_calls(cache: PrismCache) -> None:
    assert_type(await cache.aget_or_call("what is up", text), str)
    assert_type(await cache.aget_or_call("what is up", atext), str)
    assert_type(await cache.aget_or_call("what is up", areply), dict[str, int])
    assert_type(await cache.aget_or_call("what is up", achunks), AsyncIterator[str])
    assert_type(await cache.aget_or_call("what is up", chunks), AsyncIterator[str])


def decorated(cache: PrismCache) -> None:
    @cache.cached
    def ask(question: str, *, language: str = "en") -> str:
        return f"{question} {language}"

    assert_type(ask("what is up", language="de"), str)

    @cache.cached(admit=True)
    def act(question: str) -> str:
        return question

    assert_type(act("what is up"), str)
