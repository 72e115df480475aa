"""Publishers in processes of their own, and subscribers whose rows can be compared."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from chorus_fabric import (
    Began,
    Cleared,
    ClientConfig,
    Connected,
    Deleted,
    Disconnected,
    FeedPosition,
    Reached,
    Subscriber,
    Upserted,
)

PROGRAM = Path(__file__).with_name("publisher_program.py")
DEADLINE_S = 30.0


def until(condition: Callable[[], object], *, deadline_s: float = DEADLINE_S) -> None:
    """Poll a condition; the test fails if it does not come true."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.005)


class PublisherProcess:
    """A publisher that can be killed."""

    def __init__(self, **settings: Any) -> None:
        self.settings = {"port": 0, "tenant_id": "t", **settings}
        self._process = subprocess.Popen(
            [sys.executable, str(PROGRAM), json.dumps(self.settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port: int = self._answer()["port"]

    @property
    def pid(self) -> int:
        return self._process.pid

    def tell(self, **word: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(word) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def put(self, *rows: dict[str, Any]) -> dict[str, Any]:
        return self.tell(many=list(rows))

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._end()

    def again(self) -> PublisherProcess:
        """Start another on the same port."""
        settings = {**self.settings, "port": self.port}
        return PublisherProcess(**settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._end()

    def _end(self) -> None:
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not pipe.closed:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the publisher died"
        read: dict[str, Any] = json.loads(line)
        return read


def row(row_id: str, text: str = "", *, table: str = "products", width: int = 4) -> dict[str, Any]:
    vector = [1.0, float(len(text)), *[0.5] * (width - 2)]
    return {
        "table": table, "row_id": row_id, "vector": vector, "text": text, "columns": {"t": text},
    }  # fmt: skip


def gone(row_id: str, *, table: str = "products") -> dict[str, Any]:
    return {"table": table, "row_id": row_id, "vector": None}


class Follower:
    """A subscriber in a thread, and the rows it has."""

    def __init__(self, config: ClientConfig, **more: Any) -> None:
        self.rows: dict[tuple[str, str], tuple[int, str]] = {}
        self.position = FeedPosition()
        self.resets = 0
        self.connects = 0
        self.errors: list[Exception] = []
        self.paused = threading.Event()
        self._subscriber = Subscriber(config, **more)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.paused.clear()
        self._subscriber.close()
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()

    def texts(self) -> dict[str, str]:
        return {row_id: text for (_, row_id), (_, text) in sorted(self.rows.items())}

    def has(self, answer: dict[str, Any]) -> bool:
        return (self.position.epoch, self.position.seq) == (answer["epoch"], answer["head"])

    def _run(self) -> None:
        built = self.rows
        for event in self._subscriber:
            while self.paused.is_set():
                time.sleep(0.005)
            if isinstance(event, Connected):
                self.connects += 1
            elif isinstance(event, Disconnected):
                self.errors.append(event.error)
            elif isinstance(event, Began):
                built = {}
                self.resets += 1
            elif isinstance(event, Upserted):
                frame = event.frame
                items = zip(frame.ids, frame.texts, frame.seqs.tolist(), strict=True)
                for row_id, text, seq in items:
                    built[event.schema.name, row_id] = (seq, text)
            elif isinstance(event, Deleted):
                for row_id in event.frame.ids:
                    built.pop((event.schema.name, row_id), None)
            elif isinstance(event, Cleared):
                for key in [key for key in built if key[0] == event.schema.name]:
                    del built[key]
            elif isinstance(event, Reached):
                if event.is_first:
                    self.rows = built
                self.position = event.position
