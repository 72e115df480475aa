"""Requests that wait for their answers, from any number of event loops."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chorus_fabric.errors import (
    ChorusError,
    PeerDownError,
    QueueFullError,
    RequestFailedError,
    RequestTimeoutError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Requests"]


@dataclass(frozen=True, slots=True)
class _Waiting:
    peer: str
    deadline: float
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[bytes]

    def settle(self, result: bytes | ChorusError) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self.loop.call_soon_threadsafe(_settle, self.future, result)


class Requests:
    """Bring answers to those who wait. Safe to share between threads.

    Args:
        most: How many to one peer may wait.
    """

    def __init__(self, *, most: int) -> None:
        self._most = most
        # From a random number on: an answer to a process before this one fits nothing here.
        self._numbers = itertools.count(random.getrandbits(62))
        self._waiting: dict[int, _Waiting] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._waiting)

    def next_number(self) -> int:
        """Give a number that no other request of this process has."""
        return next(self._numbers)

    def begin(self, number: int, peer: str, *, deadline: float) -> asyncio.Future[bytes]:
        """Give what the answer will be put into; `end` must follow.

        Raises:
            QueueFullError: Too many wait for that peer.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bytes] = loop.create_future()
        with self._lock:
            if sum(one.peer == peer for one in self._waiting.values()) >= self._most:
                raise QueueFullError(
                    f"{self._most} requests wait for {peer} already: raise most_requests, or ask "
                    "less"
                )
            self._waiting[number] = _Waiting(peer, deadline, loop, future)
        return future

    def end(self, number: int) -> None:
        """Forget a request."""
        with self._lock:
            self._waiting.pop(number, None)

    def answer(self, number: int, peer: str, reply: bytes | None) -> None:
        """Take an answer, if that peer was asked; `None`: it failed there."""
        with self._lock:
            waiting = self._waiting.get(number)
            if waiting is None or waiting.peer != peer:
                return
            del self._waiting[number]
        if reply is None:
            waiting.settle(
                RequestFailedError(f"{peer} could not answer: look into its log, or try again")
            )
        else:
            waiting.settle(reply)

    def fail(self, peer: str, reason: str) -> None:
        """End all requests to a peer."""
        for waiting in self._taken(lambda one: one.peer == peer):
            waiting.settle(PeerDownError(reason, node_id=peer))

    def expire(self, now: float) -> None:
        """End those whose time is over."""
        if self._waiting:
            for waiting in self._taken(lambda one: one.deadline <= now):
                waiting.settle(RequestTimeoutError(f"no answer of {waiting.peer} in time"))

    def _taken(self, is_meant: Callable[[_Waiting], bool]) -> list[_Waiting]:
        with self._lock:
            numbers = [number for number, one in self._waiting.items() if is_meant(one)]
            return [self._waiting.pop(number) for number in numbers]


def _settle(future: asyncio.Future[bytes], result: bytes | ChorusError) -> None:
    if future.done():
        return
    if isinstance(result, ChorusError):
        future.set_exception(result)
    else:
        future.set_result(result)
