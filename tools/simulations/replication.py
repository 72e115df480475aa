"""Shared answers among faults: one seed is one schedule, and plays the same each time.

Clocks of day differ by up to five seconds, messages are lost, doubled and delayed by up to 1.5 s,
links are cut, one process at a time dies and starts with nothing. Nodes write and invalidate.

Checked: once an invalidation is acknowledged, no node serves what was written before it was asked
for; after faults end all nodes hold the same within four seconds; what another node confirmed is
still held; room stays within its bound.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from prism.cluster._clock import Stamp
from prism.cluster._replica import Replica
from prism.cluster._replication import Acknowledged, Member, Outcome, SafeNow, ToPeer

__all__ = ["Schedule", "play"]

_FAULTS_END_S = 8.0
_HEAL_S = 4.0
_KEYS = [bytes([number * 37]) + bytes(31) for number in range(6)]
_TAGS = ("red", "blue")


@dataclass(slots=True)
class Schedule:
    """What came of one schedule."""

    seed: int
    problems: list[str] = field(default_factory=list)
    events: int = 0
    acknowledged: int = 0
    served: int = 0


class _Node:
    __slots__ = ("day", "is_alive", "member", "name", "paused_until", "rate", "run")

    def __init__(self, name: str, day: float, rate: float) -> None:
        self.name = name
        self.day = day
        self.rate = rate
        self.run = 0
        self.is_alive = True
        self.paused_until = 0.0
        self.member: Member


class _World:
    def __init__(
        self, seed: int, member: type[Member], replica: type[Replica], max_bytes: int, log: int
    ) -> None:
        self.random = rng = random.Random(seed)
        self.result = Schedule(seed)
        self.now = 0.0
        self.is_faulty = True
        self._member, self._replica = member, replica
        self.max_bytes, self._log = max_bytes, log
        self._queue: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._serial = 0
        self._cut: set[tuple[str, str]] = set()
        self._asked: dict[Stamp, tuple[float, bytes, str]] = {}
        self.acknowledged: list[tuple[float, bytes, str]] = []
        self.safe: dict[bytes, Stamp] = {}
        self.names = ["a", "b", "c"]
        self.nodes = {
            name: _Node(name, 1e6 + rng.uniform(-5, 5), 1 + rng.uniform(-0.01, 0.01))
            for name in self.names
        }
        for node in self.nodes.values():
            self.boot(node)

    def at(self, when: float, action: Callable[..., None], *arguments: Any) -> None:
        self._serial += 1
        heapq.heappush(self._queue, (when, self._serial, action, arguments))

    def run_until(self, when: float) -> None:
        while self._queue and self._queue[0][0] <= when and not self.result.problems:
            self.now, _, action, arguments = heapq.heappop(self._queue)
            self.result.events += 1
            action(*arguments)
        self.now = when

    def boot(self, node: _Node) -> None:
        node.run += 1
        node.is_alive = True
        replica = self._replica(node.name, max_bytes=self.max_bytes, most_invalidations=self._log)
        node.member = self._member(
            node.name, self.names, run=node.run, replica=replica, now=self.now * node.rate
        )
        self.at(self.now + 1e-3, self._tick, node, node.run)

    def _tick(self, node: _Node, run: int) -> None:
        if not node.is_alive or node.run != run:
            return
        if node.paused_until > self.now:
            self.at(node.paused_until + 1e-4, self._tick, node, run)
            return
        self.do(node, node.member.tick(self.now * node.rate))
        self.at(self.now + 0.1, self._tick, node, run)

    def do(self, node: _Node, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            if isinstance(outcome, ToPeer):
                self._send(node.name, outcome)
            elif isinstance(outcome, Acknowledged):
                self.result.acknowledged += 1
                self.acknowledged.append(self._asked[outcome.stamp])
            elif (
                isinstance(outcome, SafeNow)
                and self.safe.get(outcome.key, outcome.stamp) <= outcome.stamp
            ):
                self.safe[outcome.key] = outcome.stamp
        if node.member.replica.size_bytes > self.max_bytes:
            self.fail(f"{node.name} holds {node.member.replica.size_bytes} bytes")

    def _send(self, sender: str, outcome: ToPeer) -> None:
        rng = self.random
        if (sender, outcome.to) in self._cut:
            return
        copies, delay = 1, 0.0005 + 0.004 * rng.random()
        if self.is_faulty:
            luck = rng.random()
            if luck < 0.08:
                return
            if luck < 0.14:
                delay = rng.uniform(0.01, 1.5)
            elif luck < 0.17:
                copies = 2
        for _ in range(copies):
            self.at(self.now + delay, self._deliver, sender, self.nodes[outcome.to], outcome)
            delay = rng.uniform(0.001, 1.5)

    def _deliver(self, sender: str, node: _Node, outcome: ToPeer) -> None:
        if not node.is_alive or (sender, node.name) in self._cut:
            return
        if node.paused_until > self.now:
            self.at(node.paused_until + 1e-4, self._deliver, sender, node, outcome)
            return
        self.do(node, node.member.receive(sender, outcome.message, self.now * node.rate))

    # -- what users do

    def write(self, node: _Node) -> None:
        if not node.is_alive or node.paused_until > self.now or not node.member.is_synced:
            return
        item, _ = node.member.replica.write(
            self.random.choice(_KEYS),
            self.now,
            tags=[self.random.choice(_TAGS)],
            size=100,
            wall_s=self.now + node.day,
        )
        self.do(node, node.member.put(item))

    def invalidate(self, node: _Node) -> None:
        if not node.is_alive or node.paused_until > self.now or not node.member.is_synced:
            return
        key = self.random.choice(_KEYS) if self.random.random() < 0.7 else b""
        tag = self.random.choice(_TAGS) if not key and self.random.random() < 0.8 else ""
        one, _ = node.member.replica.invalidate(key=key, tag=tag, wall_s=self.now + node.day)
        self._asked[one.stamp] = self.now, key, tag
        self.do(node, node.member.spread(one, self.now * node.rate))

    def read(self) -> None:
        for node in self.nodes.values():
            if (
                not node.is_alive
                or node.paused_until > self.now
                or not node.member.may_serve(self.now * node.rate)
            ):
                continue
            for item in node.member.replica.items.values():
                self.result.served += 1
                for asked_at, key, tag in self.acknowledged:
                    if item.body < asked_at and (
                        item.key == key or (not key and (not tag or tag in item.tags))
                    ):
                        self.fail(
                            f"{node.name} serves what was written at {item.body:.3f} s, "
                            f"invalidated at {asked_at:.3f} s"
                        )
                        return

    # -- faults

    def plan(self) -> None:
        rng, when = self.random, 0.5
        while (when := when + rng.expovariate(6)) < _FAULTS_END_S:
            node = self.nodes[rng.choice(self.names)]
            self.at(when, self.write if rng.random() < 0.75 else self.invalidate, node)
        when, free = 0.8, 0.0
        while (when := when + rng.expovariate(1.0)) < _FAULTS_END_S:
            node = self.nodes[rng.choice(self.names)]
            end = min(_FAULTS_END_S, when + rng.uniform(0.2, 3.5))
            fault = rng.choice(("isolate", "split", "one-way", "pause", "crash"))
            others = [name for name in self.names if name != node.name]
            if fault == "crash":
                # Nobody else may forget while this one is away: memory is all there is.
                if when > free:
                    free = end + 3.0
                    self.at(when, self._crash, node)
                    self.at(end, self._restart, node)
            elif fault == "pause":
                self.at(when, self._pause, node, end)
            else:
                chosen = others if fault == "isolate" else [rng.choice(others)]
                links = {(node.name, other) for other in chosen}
                if fault != "one-way":
                    links |= {(other, node.name) for other in chosen}
                self.at(when, self._cut.update, links)
                self.at(end, self._cut.difference_update, links)
        when = 0.5
        while (when := when + 0.05) < _FAULTS_END_S + _HEAL_S:
            self.at(when + rng.uniform(0, 0.04), self.read)

    def _pause(self, node: _Node, end: float) -> None:
        node.paused_until = max(node.paused_until, end)

    def _crash(self, node: _Node) -> None:
        node.is_alive = False
        # What only this node held and nobody confirmed may go; what was confirmed may not.

    def _restart(self, node: _Node) -> None:
        if not node.is_alive:
            self.boot(node)

    def heal(self) -> None:
        self._cut.clear()
        self.is_faulty = False
        for node in self.nodes.values():
            node.paused_until = 0.0
            self._restart(node)

    def fail(self, problem: str) -> None:
        self.result.problems.append(f"at {self.now:.4f} s: {problem}")


def play(
    seed: int,
    *,
    member: type[Member] = Member,
    replica: type[Replica] = Replica,
    max_bytes: int = 10_000,
    log: int = 1_000,
) -> Schedule:
    """Play one schedule.

    Args:
        seed: Which one.
        member: The machine; a mutant in tests.
        replica: What it holds; likewise.
        max_bytes: How much room there is; an item takes 100.
        log: How many invalidations of a node are kept.
    """
    world = _World(seed, member, replica, max_bytes, log)
    world.plan()
    world.run_until(_FAULTS_END_S)
    world.heal()
    world.run_until(_FAULTS_END_S + _HEAL_S)
    if world.result.problems:
        return world.result
    held = [node.member.replica for node in world.nodes.values()]
    if len({one.digest for one in held}) > 1 or any(one.known != held[0].known for one in held):
        world.fail(f"nodes differ {_HEAL_S:g} s after faults ended")
    if not all(node.member.may_serve(world.now * node.rate) for node in world.nodes.values()):
        world.fail("a node that hears all others serves nothing")
    # A confirmed item is held, or something later under its key, unless it was invalidated.
    touched = {key for _, key, _ in world._asked.values()}
    if b"" not in touched and max_bytes >= 1_000 and log >= 100:
        for key, stamp in world.safe.items():
            item = held[0].items.get(key)
            if key not in touched and (item is None or item.stamp < stamp):
                world.fail("a confirmed answer is lost")
    return world.result
