"""A log, a writer, a subscription and a replica, with faults drawn from a seed.

At the end of every run the replica must equal the log. Each rule that this rests on is taken away
once, and then some run must fail: else the simulation would prove nothing.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from chorus_fabric._feed import RowChange
from chorus_fabric._feed_writer import FeedPosition, FeedWriter
from chorus_fabric._frame import Frame, FrameKind
from chorus_fabric._memory_log import MemoryLog
from chorus_fabric._subscription import (
    Began,
    Cleared,
    Deleted,
    Phase,
    Reached,
    Subscription,
    Upserted,
)
from chorus_fabric.errors import FeedProtocolError, PositionGoneError

TABLES = ("a", "b")
RUNS = 150


@dataclass
class Rules:
    """What a mutant leaves out."""

    keeps_base: bool = True
    resets_at_zero: bool = True
    checks_marks: bool = True
    counts_from_marks: bool = True
    builds_beside: bool = True


Rows = dict[tuple[str, str], tuple[int, str]]


@dataclass
class Replica:
    """What a driver does with events, in a dictionary."""

    rules: Rules
    shown: Rows = field(default_factory=dict)
    shown_whole: bool = False
    built: Rows | None = None
    saved: tuple[FeedPosition, Rows] | None = None

    def apply(self, event: object) -> None:
        if isinstance(event, Began):
            self.built = {}
            if not self.rules.builds_beside:
                self.shown = self.built
        elif isinstance(event, Upserted):
            rows = self._rows()
            frame = event.frame
            for row_id, text, seq in zip(frame.ids, frame.texts, frame.seqs.tolist(), strict=True):
                key = (event.schema.name, row_id)
                if rows.get(key, (0, ""))[0] <= seq:
                    rows[key] = (seq, text)
        elif isinstance(event, Deleted):
            rows = self._rows()
            for row_id, seq in zip(event.frame.ids, event.frame.seqs.tolist(), strict=True):
                if rows.get((event.schema.name, row_id), (seq, ""))[0] <= seq:
                    rows.pop((event.schema.name, row_id), None)
        elif isinstance(event, Cleared):
            rows = self._rows()
            for key in [k for k, (seq, _) in rows.items() if k[0] == event.schema.name]:
                if rows[key][0] <= event.seq:
                    del rows[key]
        elif isinstance(event, Reached) and event.is_first:
            assert self.built is not None
            self.shown, self.built = self.built, None

    def _rows(self) -> Rows:
        return self.shown if self.built is None else self.built


class World:
    def __init__(self, seed: int, rules: Rules) -> None:
        self.random = random.Random(seed)
        self.rules = rules
        self.log = MemoryLog(epoch=1, max_tombstones=self.random.choice([0, 2, 5, 1000]))
        self.subscription = Subscription()
        self.replica = Replica(rules)
        self.writer: FeedWriter | None = None
        self.wire: list[Frame] = []
        self.counter = 0
        self.states: dict[FeedPosition, dict[tuple[str, str], str]] = {}

    def write(self) -> None:
        changes = []
        for _ in range(self.random.randint(1, 4)):
            self.counter += 1
            is_gone = self.random.random() < 0.4
            changes.append(
                RowChange(
                    table=self.random.choice(TABLES),
                    row_id=str(self.random.randint(0, 9)),
                    vector=None if is_gone else [1.0, float(self.counter)],
                    text=f"v{self.counter}",
                )
            )
        self.log.append(changes)

    def connect(self) -> None:
        self.wire.clear()
        position = self.subscription.reconnect()
        self.writer = FeedWriter(tenant_id="t", sender="w", position=position)
        log = self.log
        resumes = self.writer.resumes(epoch=log.epoch, floor=log.floor(), head=log.head())
        if not self.rules.resets_at_zero:
            resumes = resumes or (
                position.epoch == log.epoch and log.floor() <= max(position.seq, position.base)
            )
        if not resumes:
            self.wire += self.writer.reset(epoch=log.epoch, floor=log.floor())

    def send(self) -> None:
        if self.writer is None:
            self.connect()
        writer, log = self.writer, self.log
        assert writer is not None
        at, head = writer.position, log.head()
        # A mutant without base reads on from wherever the position is.
        base = at.base if self.rules.keeps_base else 10**9
        try:
            batch = log.read(
                epoch=at.epoch,
                after=at.seq,
                base=base,
                limit_bytes=self.random.choice([1, 200, 400]),
                streams=None,
            )
        except PositionGoneError:
            self.wire += writer.reset(epoch=log.epoch, floor=log.floor())
            return
        self.wire += writer.batch(
            batch,
            log.schemas(),
            head=head,
            is_live=batch.upto >= head,
            source_age_s=0.0,
        )

    def deliver(self, *, at_most: int) -> None:
        for _ in range(min(at_most, len(self.wire))):
            frame = self.wire.pop(0)
            if not self.rules.counts_from_marks and frame.kind is FrameKind.ROWS:
                self.subscription.position = FeedPosition(
                    frame.epoch, frame.seq, self.subscription.position.base
                )
            try:
                event = self.subscription.receive(frame)
            except FeedProtocolError as error:
                if not self.rules.checks_marks and frame.kind is FrameKind.MARK:
                    self.subscription._changes = 0
                    self.subscription.position = FeedPosition(frame.epoch, frame.seq, 0)
                    continue
                if error.begin_anew:
                    self.subscription.forget()
                self.writer = None
                self.wire.clear()
                return
            before = dict(self.replica.shown)
            self.replica.apply(event)
            if isinstance(event, Began) or self.subscription.phase is Phase.BUILDING:
                assert self.replica.shown == before, "a build in progress was shown"

    def step(self) -> None:
        choice = self.random.random()
        if choice < 0.35:
            self.write()
        elif choice < 0.60:
            self.send()
        elif choice < 0.85:
            self.deliver(at_most=self.random.randint(1, 5))
        elif choice < 0.90:  # the link is cut, and what was on the way is lost
            self.writer = None
            self.wire.clear()
        elif choice < 0.93 and self.wire:  # a frame is lost in the middle
            del self.wire[self.random.randrange(len(self.wire))]
        elif choice < 0.95:  # a table is truncated
            self.log.clear(self.random.choice(TABLES))
        elif choice < 0.96:  # the model changes, or the log was lost
            self.log.renew()
        elif choice < 0.98:  # the driver saves a snapshot
            if self.subscription.phase is Phase.FOLLOWING:
                self.replica.saved = (self.subscription.position, dict(self.replica.shown))
        else:  # the driver dies, and starts from its snapshot
            self.writer = None
            self.wire.clear()
            position, rows = self.replica.saved or (FeedPosition(), {})
            schemas = tuple(self.log.schemas())
            self.subscription = Subscription(position, schemas if position.epoch else ())
            self.replica = Replica(self.rules, shown=dict(rows), saved=self.replica.saved)

    def settle(self) -> None:
        for _ in range(10_000):
            self.send()
            self.deliver(at_most=100)
            log = self.log
            at = self.subscription.position
            if self.subscription.phase is Phase.FOLLOWING and (at.epoch, at.seq) == (
                log.epoch,
                log.head(),
            ):
                return
        raise AssertionError("the replica never caught up")

    def expected(self) -> dict[tuple[str, str], str]:
        log = self.log
        rows = {}
        names = {schema.stream: schema.name for schema in log.schemas()}
        batch = log.read(epoch=log.epoch, after=0, base=10**9, limit_bytes=10**9, streams=None)
        for part in batch.frames:
            if part.kind is FrameKind.ROWS:
                for row_id, text in zip(part.ids, part.texts, strict=True):
                    rows[names[part.stream], row_id] = text
        return rows


def run(seed: int, rules: Rules) -> None:
    world = World(seed, rules)
    for _ in range(world.random.randint(20, 200)):
        world.step()
    world.settle()
    shown = {key: text for key, (_, text) in world.replica.shown.items()}
    assert shown == world.expected(), f"seed {seed}"


@pytest.mark.parametrize("part", range(4))
def test_a_replica_becomes_equal_to_the_log_whatever_is_lost(part: int) -> None:
    for seed in range(part * RUNS, (part + 1) * RUNS):
        run(seed, Rules())


@pytest.mark.parametrize(
    "rule",
    ["keeps_base", "resets_at_zero", "checks_marks", "counts_from_marks", "builds_beside"],
)
def test_without_a_rule_some_run_fails(rule: str) -> None:
    failed = fails(lambda seed: run(seed, Rules(**{rule: False})))
    assert failed, f"nothing noticed that {rule} is missing"


def fails(attempt: Callable[[int], None]) -> bool:
    for seed in range(4 * RUNS):
        try:
            attempt(seed)
        except AssertionError:
            return True
    return False


def test_a_memory_log_gives_each_row_once_and_in_order() -> None:
    log = MemoryLog(epoch=1)
    for number in range(50):
        log.append([RowChange(table="t", row_id=str(number % 7), vector=[1.0, number])])
    batch = log.read(epoch=1, after=0, base=0, limit_bytes=10**9, streams=None)
    (part,) = batch.frames
    assert sorted(part.ids) == sorted(map(str, range(7)))
    assert (np.diff(part.seqs.astype(np.int64)) > 0).all()
    assert batch.upto == log.head() == 50
