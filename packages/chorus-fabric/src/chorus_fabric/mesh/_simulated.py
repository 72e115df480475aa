"""A network that never was: loss, delay, repetition, partitions and pauses, all from one seed.

Time passes only in `run_for`. Nothing here or in a fabric over it looks at a real clock, so the
same seed and the same calls give the same run, message for message in number, order and time.
(Keys are random as ever; nothing depends on their bytes.)
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from typing import TYPE_CHECKING, Final

from chorus_fabric.errors import FabricConfigurationError
from chorus_fabric.mesh._transport import Lane

if TYPE_CHECKING:
    from collections.abc import Callable

    from chorus_fabric.mesh._transport import Port, Transport

__all__ = ["SimulatedNetwork"]

# How often other tasks of the event loop get a turn after each event. A chain of awaits longer
# than this goes on after the next event; the order is the same in each run either way.
_TURNS: Final = 8


class SimulatedNetwork:
    """Carry the messages of fabrics in this event loop. Belongs to it.

    Args:
        seed: Where chance comes from.
        loss: Share of messages that are lost.
        duplicate: Share of messages that come twice.
        delay_s: The least and the most that a message takes; drawn for each, so they overtake each
            other.

    Attributes:
        now: Seconds since the beginning.
        sent: Messages that were given to the network.
        lost: Those that were lost: by chance, on a cut way or at a node that is gone.
        repeated: Those that came twice.
        delivered: Those that came.

    Raises:
        FabricConfigurationError: A share is not from 0 to 1, or a delay is negative.
    """

    def __init__(
        self,
        *,
        seed: int,
        loss: float = 0.0,
        duplicate: float = 0.0,
        delay_s: tuple[float, float] = (0.0005, 0.002),
    ) -> None:
        if not (0 <= loss <= 1 and 0 <= duplicate <= 1 and 0 <= delay_s[0] <= delay_s[1]):
            raise FabricConfigurationError(
                f"loss and duplicate are 0 to 1 and delay_s a least and a most, got {loss}, "
                f"{duplicate}, {delay_s}"
            )
        self._chance = random.Random(seed)  # noqa: S311  a simulation's
        self.loss = loss
        self.duplicate = duplicate
        self.delay_s = delay_s
        self.now = 0.0
        self.sent = self.lost = self.repeated = self.delivered = 0
        self._order = itertools.count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._nodes: dict[str, _SimulatedTransport] = {}
        self._cut: set[tuple[str, str]] = set()
        self._paused: dict[str, float] = {}

    def transport(self, node_id: str) -> Transport:
        """Give the place of a node; one that was there under this name is gone."""
        self.crash(node_id)
        transport = self._nodes[node_id] = _SimulatedTransport(self, node_id)
        return transport

    def cut(self, sender: str, receiver: str, *, both: bool = True) -> None:
        """Let nothing through from one node to another, nor back if `both`."""
        self._cut.add((sender, receiver))
        if both:
            self._cut.add((receiver, sender))

    def isolate(self, node_id: str) -> None:
        """Let nothing through to or from a node."""
        for other in self._nodes:
            if other != node_id:
                self.cut(node_id, other)

    def heal(self) -> None:
        """Let everything through again."""
        self._cut.clear()

    def pause(self, node_id: str, for_s: float) -> None:
        """Stop a process: it neither ticks nor hears for so long, and then gets all at once."""
        self._paused[node_id] = self.now + for_s

    def crash(self, node_id: str) -> None:
        """End a process: its fabric hears nothing any more, and nobody hears it."""
        old = self._nodes.pop(node_id, None)
        if old is not None:
            old.port = None
        self._paused.pop(node_id, None)

    async def run_for(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        await self._settle()
        while self._events and self._events[0][0] <= end:
            self.now, _, event = heapq.heappop(self._events)
            event()
            await self._settle()
        self.now = end
        await self._settle()

    def after(self, seconds: float, event: Callable[[], None]) -> None:
        """Have something called when so much time has passed."""
        heapq.heappush(self._events, (self.now + seconds, next(self._order), event))

    def _after_pause(self, node_id: str) -> float:
        """How long a node's process is still stopped."""
        return max(0.0, self._paused.get(node_id, 0.0) - self.now)

    def _carry(self, sender: str, receiver: str, lane: Lane, message: bytes) -> None:
        self.sent += 1
        if self._chance.random() < self.loss:
            self.lost += 1
            return
        copies = 1
        if self._chance.random() < self.duplicate:
            self.repeated += 1
            copies = 2
        for _ in range(copies):
            self.after(
                self._chance.uniform(*self.delay_s),
                lambda: self._arrive(sender, receiver, lane, message),
            )

    def _arrive(self, sender: str, receiver: str, lane: Lane, message: bytes) -> None:
        node = self._nodes.get(receiver)
        if node is None or node.port is None or (sender, receiver) in self._cut:
            self.lost += 1
            return
        paused_s = self._after_pause(receiver)
        if paused_s:
            self.after(paused_s, lambda: self._arrive(sender, receiver, lane, message))
            return
        self.delivered += 1
        node.port.received(sender, lane, message)

    async def _settle(self) -> None:
        for _ in range(_TURNS):
            await asyncio.sleep(0)


class _SimulatedTransport:
    """One node's place in the network."""

    has_broker = False

    def __init__(self, network: SimulatedNetwork, node_id: str) -> None:
        self._network = network
        self._node_id = node_id
        self._is_urged = False
        self._awake: set[tuple[str, Lane]] = set()
        self.port: Port | None = None

    def now(self) -> float:
        return self._network.now

    async def start(self, port: Port) -> None:
        if port.node_id != self._node_id:
            raise FabricConfigurationError(
                f"this is the place of {self._node_id!r}, the fabric is {port.node_id!r}"
            )
        self.port = port
        self._network.after(0.0, self._tick)

    def wake(self, peer: str, lane: Lane) -> None:
        if (peer, lane) not in self._awake:
            self._awake.add((peer, lane))
            self._network.after(0.0, lambda: self._send(peer, lane))

    def urge(self) -> None:
        if not self._is_urged:
            self._is_urged = True
            self._network.after(0.0, self._urged)

    async def close(self) -> None:
        self.port = None

    def _send(self, peer: str, lane: Lane) -> None:
        self._awake.discard((peer, lane))
        port = self.port
        if port is None:
            return
        paused_s = self._network._after_pause(self._node_id)
        if paused_s:
            self._awake.add((peer, lane))
            self._network.after(paused_s, lambda: self._send(peer, lane))
            return
        while (message := port.next_message(peer, lane)) is not None:
            self._network._carry(self._node_id, peer, lane, message)

    def _urged(self) -> None:
        self._is_urged = False
        paused_s = self._network._after_pause(self._node_id)
        if self.port is None:
            return
        if paused_s:
            self._is_urged = True
            self._network.after(paused_s, self._urged)
        else:
            self.port.tick()

    def _tick(self) -> None:
        port = self.port
        if port is None:
            return
        paused_s = self._network._after_pause(self._node_id)
        if not paused_s:
            port.tick()
        self._network.after(paused_s or port.tick_s, self._tick)
