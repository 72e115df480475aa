"""Every block of the promised API under prism.cache, as written, with the default embedder."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import openai
import pytest

from prism.cache import PrismCache


class ChatCompletions(BaseHTTPRequestHandler):
    """Speaks enough of the chat completions protocol for the SDK."""

    questions: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.questions.append(body["messages"][-1]["content"])
        answer = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": body["model"],
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "stop",
                    "message": {
                        "role": "assistant",
                        "content": f"answer {len(self.questions)} to {self.questions[-1]}",
                    },
                }
            ],
            "usage": {"prompt_tokens": 12, "completion_tokens": 30, "total_tokens": 42},
        }
        payload = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def openai_client() -> Iterator[openai.OpenAI]:
    ChatCompletions.questions.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), ChatCompletions) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        port = server.server_address[1]
        with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none") as client:
            yield client
        server.shutdown()
        thread.join()


def test_the_sync_block(openai_client: openai.OpenAI, capsys: pytest.CaptureFixture[str]) -> None:
    cache = PrismCache.build(tenant_id="my-app", llm_model="gpt-4o")

    def ask(question: str) -> str:
        return cache.get_or_call(
            query=question,
            call_fn=lambda: openai_client.chat.completions.create(
                model="gpt-4o", messages=[{"role": "user", "content": question}],
            ).choices[0].message.content,
        )  # fmt: skip

    first = ask("How do I reset my password?")
    assert ask("I forgot my password, help") == first
    assert ask("How do I delete my account?") != first
    assert ChatCompletions.questions == [
        "How do I reset my password?",
        "How do I delete my account?",
    ]

    metrics = cache.metrics()
    print(f"Hit rate: {metrics.hit_rate:.0%}")
    print(f"Tokens saved: {metrics.tokens_saved:,}")
    print(f"Cost saved today: ${metrics.cost_saved_usd:.2f}")
    print(f"Projected monthly: ${metrics.cost_saved_usd * 30:.0f}")
    assert capsys.readouterr().out.splitlines()[0] == "Hit rate: 33%"
    assert metrics.tokens_saved == metrics.tokens_saved_estimated > 0
    assert 0 < metrics.cost_saved_usd < 0.01


async def test_the_async_blocks() -> None:
    calls = 0

    class Client:
        async def ask(self, question: str) -> str:
            nonlocal calls
            calls += 1
            await asyncio.sleep(0)
            return f"answer to {question}"

    def llm_call(question: str) -> str:
        nonlocal calls
        calls += 1
        return f"answer to {question}"

    llm_client = Client()
    cache = PrismCache.build(tenant_id="my-app", llm_model="gpt-4o")
    question = "How do I reset my password?"
    answer = await cache.aget_or_call(query=question, call_fn=lambda: llm_client.ask(question))
    assert answer == "answer to How do I reset my password?"

    questions = [
        "What does the Pro plan cost?",
        "I forgot my password, help",
        "Do you ship to Norway?",
        "What does the Pro plan cost?",
    ]
    answers = await asyncio.gather(*(cache.aget_or_call(query=q, call_fn=lambda q=q: llm_call(q)) for q in questions))  # fmt: skip # noqa: E501
    assert answers[1] == answer
    assert answers[0] == answers[3]
    assert calls == 3


def test_two_tenants_share_nothing() -> None:
    acme = PrismCache.build(tenant_id="acme-corp", llm_model="gpt-4o")
    globex = PrismCache.build(tenant_id="globex-inc", llm_model="gpt-4o")
    assert acme.get_or_call(query="Who is our CEO?", call_fn=lambda: "Ann") == "Ann"
    assert globex.get_or_call(query="Who is our CEO?", call_fn=lambda: "Bob") == "Bob"
    assert acme.get_or_call(query="who is our ceo", call_fn=lambda: "nobody") == "Ann"


def test_every_argument_of_build_that_was_promised(tmp_path: Any) -> None:
    with PrismCache.build(
        "t", "m", max_error=0.02, similarity_threshold=None, path=tmp_path / "answers.db",
        ttl_s=60, max_bytes=10_000_000, embedder=None,
    ) as cache:  # fmt: skip
        found = cache.lookup("anything")
        assert not found.hit
        assert found.explanation.reason == "nothing is stored in this scope yet"
