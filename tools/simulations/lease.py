"""The lease among faults: one seed is one schedule, and plays the same each time.

Messages are lost, doubled, delayed by up to two seconds (so also reordered, and delivered to later
runs of a process); links are cut in one direction or both; processes stand still, die and start
again at once or late; clocks differ in rate by the assumed bound and begin anywhere.

Checked at every event: at most one GREEN, and tokens that rise from holder to holder. At the end
faults stop for a majority, and there has to be a GREEN within two leases, which stays; then it is
killed, and there has to be another within two leases if a majority is left.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from prism.cluster._lease import Lease
from prism.cluster._lease_config import LeaseConfig
from prism.cluster._lease_messages import NO_GRANT, Became, Effect, Role, Send, Store

__all__ = ["Schedule", "play", "stop_green"]

_FAULTS = ("split", "one-way", "isolate", "pause", "crash", "restart", "hand-over")
_WARM_UP_S = 1.5
_LONGEST_DELAY_S = 2.0


@dataclass(slots=True)
class Schedule:
    """What came of one schedule."""

    seed: int
    problems: list[str] = field(default_factory=list)
    promotions: int = 0
    takeover_s: float | None = None
    takeovers_s: list[float] = field(default_factory=list)
    events: int = 0


class _Node:
    __slots__ = (
        "clock_at_zero",
        "disk",
        "is_alive",
        "lease",
        "name",
        "paused_until",
        "rate",
        "run",
        "timer",
    )

    def __init__(self, name: str, rate: float, clock_at_zero: float) -> None:
        self.name = name
        self.rate = rate
        self.clock_at_zero = clock_at_zero
        self.disk = NO_GRANT
        self.is_alive = True
        self.paused_until = 0.0
        self.run = 0
        self.timer = -1.0
        self.lease: Lease

    def clock(self, now: float) -> float:
        return now * self.rate + self.clock_at_zero


class _World:
    def __init__(
        self,
        seed: int,
        *,
        lease: type[Lease],
        config: LeaseConfig,
        drift: float,
        keeps_terms: bool,
    ) -> None:
        self.random = rng = random.Random(seed)
        self.result = Schedule(seed)
        self.config = config
        self.now = 0.0
        self.is_faulty = True
        self.delay_s = (0.0002, 0.002)
        self._lease = lease
        self._keeps_terms = keeps_terms
        self._queue: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._serial = 0
        self._cut: dict[tuple[str, str], int] = {}
        self._last: tuple[int, str, int] = (0, "", 0)
        names = ["a", "b", "c", "d", "e"][: rng.choice((3, 3, 3, 3, 5))]
        self.witness = names[-1] if len(names) == 3 and rng.random() < 0.2 else ""
        self.names = names
        self.nodes = {
            name: _Node(
                name,
                1 + drift * (rng.choice((-1, 1)) if rng.random() < 0.5 else rng.uniform(-1, 1)),
                rng.uniform(0, 1e5),
            )
            for name in names
        }
        for node in self.nodes.values():
            self._boot(node)

    # -- events

    def at(self, when: float, action: Callable[..., None], *arguments: Any) -> None:
        self._serial += 1
        heapq.heappush(self._queue, (when, self._serial, action, arguments))

    def run_until(self, when: float, *, stop: Callable[[], bool] | None = None) -> None:
        queue = self._queue
        while queue and queue[0][0] <= when:
            self.now, _, action, arguments = heapq.heappop(queue)
            self.result.events += 1
            action(*arguments)
            if self.result.problems or (stop is not None and stop()):
                return
        self.now = when

    def _boot(self, node: _Node) -> None:
        node.run += 1
        node.is_alive = True
        node.paused_until = 0.0
        node.lease = self._lease(
            node.name,
            self.names,
            incarnation=node.run,
            config=self.config,
            now=node.clock(self.now),
            jitter=self.random.random,
            stored=node.disk,
            is_witness=node.name == self.witness,
        )
        node.timer = -1.0
        self._arm(node)

    def _arm(self, node: _Node) -> None:
        deadline = node.lease.deadline
        when = (deadline - node.clock_at_zero) / node.rate + 1e-6
        if when < self.now:
            when = self.now + 1e-4
        if when < 1e9 and not self.now < node.timer <= when:
            node.timer = when
            self.at(when, self._tick, node, node.run, when)

    def _tick(self, node: _Node, run: int, when: float) -> None:
        if not node.is_alive or node.run != run or node.timer != when:
            return
        if node.paused_until > self.now:
            node.timer = late = node.paused_until + self.random.uniform(0, 0.001)
            self.at(late, self._tick, node, run, late)
            return
        node.timer = -1.0
        now = node.clock(self.now)
        if node.lease.deadline <= now:
            self._do(node, node.lease.tick(now))
        self._arm(node)

    def _do(self, node: _Node, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                self._send(node.name, effect)
            elif isinstance(effect, Store):
                if self._keeps_terms:
                    node.disk = effect.grant
            elif effect.role is Role.GREEN:
                self._check_token(node, effect)
        if node.lease.is_green(node.clock(self.now)):
            self._check_alone(node)

    def _send(self, sender: str, effect: Send) -> None:
        rng = self.random
        copies = 1
        delay = rng.uniform(*self.delay_s)
        if self.is_faulty:
            if (sender, effect.to) in self._cut:
                return
            luck = rng.random()
            if luck < 0.05:
                return
            if luck < 0.10:
                delay = rng.uniform(0.01, _LONGEST_DELAY_S)
            elif luck < 0.13:
                copies = 2
        for _ in range(copies):
            self.at(self.now + delay, self._deliver, sender, self.nodes[effect.to], effect.message)
            delay = rng.uniform(0.0002, _LONGEST_DELAY_S)

    def _deliver(self, sender: str, node: _Node, message: Any) -> None:
        if not node.is_alive or (sender, node.name) in self._cut:
            return
        if node.paused_until > self.now:
            when = node.paused_until + self.random.uniform(0, 0.001)
            self.at(when, self._deliver, sender, node, message)
            return
        self._do(node, node.lease.receive(sender, message, node.clock(self.now)))
        self._arm(node)

    # -- faults

    def break_things(self, until: float) -> None:
        """Plan faults up to a moment; all of them end there."""
        rng = self.random
        when = self.now
        while (when := when + rng.expovariate(2.0)) < until:
            node = self.nodes[rng.choice(self.names)]
            end = min(until, when + rng.choice((0.05, 0.3, 1.0, 3.0)) * rng.uniform(0.3, 1.5))
            fault = rng.choice(_FAULTS)
            others = [name for name in self.names if name != node.name]
            if fault in ("split", "one-way", "isolate"):
                if fault != "isolate":
                    others = [rng.choice(others)]
                links = [(node.name, other) for other in others]
                if fault != "one-way":
                    links += [(other, node.name) for other in others]
                elif rng.random() < 0.5:
                    links = [(other, own) for own, other in links]
                self.at(when, self._cut_links, links)
                self.at(end, self._mend_links, links)
            elif fault == "pause":
                self.at(when, self.pause, node, end)
            elif fault == "hand-over":
                self.at(when, self._hand_over, node, rng.choice(others))
            else:
                self.at(when, self.crash, node)
                later = when + rng.uniform(0.005, 0.3) if fault == "restart" else end
                self.at(min(later, until), self._restart, node)

    def _cut_links(self, links: list[tuple[str, str]]) -> None:
        for link in links:
            self._cut[link] = self._cut.get(link, 0) + 1

    def _mend_links(self, links: list[tuple[str, str]]) -> None:
        for link in links:
            if self._cut[link] == 1:
                del self._cut[link]
            else:
                self._cut[link] -= 1

    def pause(self, node: _Node, end: float) -> None:
        node.paused_until = max(node.paused_until, end)

    def crash(self, node: _Node) -> None:
        node.is_alive = False

    def _restart(self, node: _Node) -> None:
        if not node.is_alive:
            self._boot(node)

    def _hand_over(self, node: _Node, successor: str) -> None:
        if node.is_alive and node.paused_until <= self.now:
            self._do(node, node.lease.hand_over(node.clock(self.now), to=successor))
            self._arm(node)

    # -- checks

    def green(self) -> _Node | None:
        for node in self.nodes.values():
            if node.is_alive and node.lease.is_green(node.clock(self.now)):
                return node
        return None

    def fail(self, problem: str) -> None:
        self.result.problems.append(f"at {self.now:.4f} s: {problem}")

    def _check_alone(self, node: _Node) -> None:
        for other in self.nodes.values():
            if other is not node and other.is_alive and other.lease.is_green(other.clock(self.now)):
                self.fail(f"two GREEN, {node.name} and {other.name}")

    def _check_token(self, node: _Node, became: Became) -> None:
        token, holder, run = self._last
        self.result.promotions += 1
        given = became.token or 0
        if given < token or (given == token and (holder, run) != (node.name, node.run)):
            self.fail(f"token {given} of {node.name} after {token} of {holder}")
        self._last = given, node.name, node.run


def play(
    seed: int,
    *,
    lease: type[Lease] = Lease,
    config: LeaseConfig | None = None,
    drift: float | None = None,
    keeps_terms: bool = True,
    faults_s: float = 5.0,
) -> Schedule:
    """Play one schedule.

    Args:
        seed: Which one.
        lease: The machine; a mutant in tests.
        config: Its times.
        drift: By how much rates really differ; the assumed bound if `None`.
        keeps_terms: Whether disks keep what is stored.
        faults_s: For how long things break.
    """
    config = config or LeaseConfig()
    world = _World(
        seed,
        lease=lease,
        config=config,
        drift=config.max_drift if drift is None else drift,
        keeps_terms=keeps_terms,
    )
    result, patience_s = world.result, 2 * config.lease_s
    world.break_things(_WARM_UP_S + faults_s)
    world.run_until(_WARM_UP_S + faults_s + 1e-3)
    world.is_faulty = False
    healed = world.now
    if not result.problems:
        world.run_until(healed + patience_s)
    if not result.problems and world.green() is None:
        world.fail(f"no GREEN within {patience_s:g} s of a majority")
    if not result.problems:
        _check_calm_and_takeover(world, patience_s)
    return result


def _check_calm_and_takeover(world: _World, patience_s: float) -> None:
    result = world.result
    # What was delayed among the faults may still arrive, and must not depose a healthy GREEN.
    before = world.green(), result.promotions
    world.run_until(world.now + patience_s)
    if result.problems:
        return
    if (world.green(), result.promotions) != before:
        world.fail("a GREEN that was well lost its lease")
        return
    green = world.green()
    if green is not None:
        died = world.now
        world.crash(green)
        world.run_until(died + patience_s, stop=lambda: world.green() is not None)
        if not result.problems and world.green() is None:
            world.fail(f"no GREEN within {patience_s:g} s of its death")
        result.takeover_s = world.now - died


def stop_green(
    seed: int,
    *,
    lease: type[Lease] = Lease,
    config: LeaseConfig | None = None,
    delay_s: tuple[float, float] = (0.002, 0.02),
    times: int = 10,
) -> Schedule:
    """Let the GREEN of a calm cluster stand still, again and again; nothing else goes wrong.

    Args:
        seed: Which schedule.
        lease: The machine; a mutant in tests.
        config: Its times.
        delay_s: What a message takes, at least and at most: long ones are those of a busy machine.
        times: How often. The schedule's `takeovers_s` are as many, unless a promise is broken.
    """
    config = config or LeaseConfig()
    world = _World(seed, lease=lease, config=config, drift=0.0, keeps_terms=True)
    world.is_faulty, world.delay_s = False, delay_s
    result, patience_s = world.result, 4 * config.lease_s
    world.run_until(_WARM_UP_S)
    for _ in range(times):
        world.run_until(world.now + patience_s * world.random.uniform(1.0, 1.5))
        green = world.green()
        if green is None and not result.problems:
            world.fail("no GREEN although nothing is wrong")
        if green is None or result.problems:
            break
        stopped = world.now
        world.pause(green, stopped + patience_s)
        world.run_until(
            stopped + patience_s,
            stop=lambda: world.green() not in (None, green),  # noqa: B023 - called in this turn
        )
        if world.green() in (None, green):
            world.fail(f"no GREEN within {patience_s:g} s while {green.name} stands still")
        result.takeovers_s.append(world.now - stopped)
    return result
