"""A server on loopback that speaks the embedding protocols of OpenAI, Voyage and Ollama."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import threading
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from prismresonance.embed import OllamaEmbedder, OpenAIEmbedder, VoyageEmbedder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from prismresonance.embed._provider import ProviderEmbedder

WIDTH = 8
KEY = "sk-secret-9f2c"

Body = dict[str, Any]


@dataclass
class Reply:
    """What the server does with one request in place of answering it."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    change: Callable[[list[list[float]], list[int]], tuple[Any, list[int]]] | None = None
    hang: bool = False
    hang_up: bool = False


@dataclass
class Request:
    path: str
    key: str
    body: Body

    @property
    def texts(self) -> list[str]:
        return self.body["input"]


class FakeClock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.time = 100.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds


def vector_of(text: str, width: int = WIDTH) -> list[float]:
    """The vector that the server gives a text."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
    return np.random.default_rng(seed).normal(size=width).astype(np.float32).tolist()


def unit_rows_of(texts: list[str], width: int = WIDTH) -> np.ndarray:
    rows = np.zeros((len(texts), width), np.float32)
    for row, text in zip(rows, texts, strict=True):
        if text.strip():
            row[:] = vector_of(text, width)
            row /= np.linalg.norm(row)
    return rows


class EmbeddingServer:
    """Answers every request, except that it first follows the replies in `script`."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.script: list[Reply] = []
        self.released = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                server.answer(self)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, http: BaseHTTPRequestHandler) -> None:
        body = json.loads(http.rfile.read(int(http.headers["Content-Length"])))
        key = (http.headers["Authorization"] or "").removeprefix("Bearer ")
        self.requests.append(Request(http.path, key, body))
        reply = self.script.pop(0) if self.script else Reply()
        if reply.hang:
            self.released.wait(60)
        if reply.hang or reply.hang_up:
            http.close_connection = True
            return
        content = reply.raw if reply.raw is not None else self._content(http.path, body, reply)
        http.send_response(reply.status)
        for name, value in {"Content-Type": "application/json", **reply.headers}.items():
            http.send_header(name, value)
        http.send_header("Content-Length", str(len(content)))
        http.end_headers()
        http.wfile.write(content)

    def _content(self, path: str, body: Body, reply: Reply) -> bytes:
        texts = body["input"]
        if reply.status >= 300:
            # Real providers quote what they reject; nothing of it may reach our errors.
            quote = f"no, {KEY}, I will not embed {texts[0]}"
            if path == "/api/embed":
                return json.dumps({"error": quote}).encode()
            if path.startswith("/voyage/"):
                return json.dumps({"detail": quote}).encode()
            return json.dumps({"error": {"message": quote, "code": None}}).encode()
        width = body.get("dimensions") or body.get("output_dimension") or WIDTH
        vectors: Any = [vector_of(text, width) for text in texts]
        indices = list(range(len(texts)))
        if reply.change is not None:
            vectors, indices = reply.change(vectors, indices)
        if path == "/api/embed":
            return json.dumps({"model": body["model"], "embeddings": vectors}).encode()
        if body.get("encoding_format") == "base64" and reply.change is None:
            vectors = [base64.b64encode(np.float32(vector)).decode() for vector in vectors]
        items = [
            {"object": "embedding", "embedding": vector, "index": index}
            for vector, index in zip(vectors, indices, strict=True)
        ]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        return json.dumps(
            {"object": "list", "data": items, "model": body["model"], "usage": usage}
        ).encode()


@dataclass
class Provider:
    """One provider's embedder, pointed at the server."""

    name: str
    server: EmbeddingServer
    clock: FakeClock
    built: ExitStack

    def embedder(self, **settings: Any) -> ProviderEmbedder:
        return self.built.enter_context(self._build(settings))

    def _build(self, settings: dict[str, Any]) -> ProviderEmbedder:
        settings.setdefault("clock", self.clock)
        if self.name == "openai":
            url = f"{self.server.url}/v1"
            return OpenAIEmbedder("test-model", api_key=KEY, base_url=url, **settings)
        if self.name == "voyage":
            url = f"{self.server.url}/voyage/v1"
            return VoyageEmbedder("test-model", api_key=KEY, base_url=url, **settings)
        return OllamaEmbedder("test-model", host=self.server.url, **settings)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddingServer]:
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.lower(), raising=False)
    for variable in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "VOYAGE_API_KEY", "OLLAMA_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    server = EmbeddingServer()
    yield server
    server.close()


@pytest.fixture(params=["openai", "voyage", "ollama"])
def provider(request: pytest.FixtureRequest, server: EmbeddingServer) -> Iterator[Provider]:
    with ExitStack() as built:
        yield Provider(request.param, server, FakeClock(), built)


@pytest.fixture
def kit() -> ModuleType:
    """The names of this module, which tests cannot import."""
    return sys.modules[__name__]
