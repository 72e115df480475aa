"""A mock provider: a process of its own that answers over HTTP, as slowly as it is told."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import threading
import time
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection

from answering.model import LLM, RewordingModel
from prism.cache import Reply, Usage

HOST = "127.0.0.1"
_PATH = "/v1/chat/completions"
_TIMEOUT_S = 30.0


class Client:
    """Asks the server as a program asks its provider. Safe for threads: each has a connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._own = threading.local()
        self._connections: list[HTTPConnection] = []

    def ask(self, question: str) -> Reply[str]:
        """Send one question and read the answer with its usage."""
        if not hasattr(self._own, "connection"):
            self._own.connection = HTTPConnection(HOST, self._port, timeout=_TIMEOUT_S)
            self._connections.append(self._own.connection)
        messages = [{"role": "user", "content": question}]
        body = json.dumps({"model": LLM, "messages": messages})
        connection: HTTPConnection = self._own.connection
        connection.request("POST", _PATH, body, {"Content-Type": "application/json"})
        reply = json.loads(connection.getresponse().read())
        usage = Usage(
            input_tokens=reply["usage"]["prompt_tokens"],
            output_tokens=reply["usage"]["completion_tokens"],
        )
        return Reply(reply["choices"][0]["message"]["content"], usage)

    def close(self) -> None:
        """Close the connections of all threads."""
        for connection in self._connections:
            connection.close()


@contextlib.contextmanager
def served(intents: Mapping[str, str], *, latency_s: float, seed: int) -> Iterator[Client]:
    """Start a server that knows the intents of these questions; it ends with the block."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(
        target=_serve, args=(theirs, dict(intents), latency_s, seed), daemon=True
    )
    process.start()
    theirs.close()
    try:
        with ours, contextlib.closing(Client(ours.recv())) as client:
            yield client
    finally:
        process.terminate()
        process.join()


def _serve(parent: Connection, intents: Mapping[str, str], latency_s: float, seed: int) -> None:
    model = RewordingModel(seed)

    class Handler(BaseHTTPRequestHandler):
        """Answers one connection's questions."""

        protocol_version = "HTTP/1.1"
        # Headers and body leave together, at once: otherwise the peer's delayed ack counts.
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_POST(self) -> None:
            """Wait, then answer."""
            length = int(self.headers["Content-Length"])
            question = json.loads(self.rfile.read(length))["messages"][-1]["content"]
            time.sleep(latency_s)
            reply = model.answer(question, intents[question])
            assert reply.usage is not None  # noqa: S101  it always tells
            usage = {
                "prompt_tokens": reply.usage.input_tokens,
                "completion_tokens": reply.usage.output_tokens,
            }
            message = {"role": "assistant", "content": reply.answer}
            body = json.dumps({"choices": [{"message": message}], "usage": usage}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with Server((HOST, 0), Handler) as server:
        parent.send(server.server_address[1])
        server.serve_forever()


class Server(ThreadingHTTPServer):
    """One thread for each connection."""

    daemon_threads = True
    request_queue_size = 128
