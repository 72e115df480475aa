"""Shared answers among faults: what is promised, and that each rule is needed for it."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from prism.cluster._clock import HybridClock, Stamp
from prism.cluster._replica import Item, Replica
from prism.cluster._replication import Listing, Member, Outcome, Put, Renewed, ToPeer
from prism.cluster._replication import _Pending as Pending
from simulations.replication import play


@pytest.mark.parametrize(
    ("schedules", "settings"),
    [(200, {}), (100, {"max_bytes": 450}), (100, {"log": 2})],
    ids=["roomy", "little room", "short log"],
)
def test_schedules(schedules: int, settings: dict[str, Any]) -> None:
    outcomes = [play(seed, **settings) for seed in range(schedules)]

    assert not [(one.seed, one.problems[0]) for one in outcomes if one.problems]
    assert sum(one.acknowledged for one in outcomes) > 5 * schedules
    assert sum(one.served for one in outcomes) > 1_000 * schedules


def test_the_same_seed_is_the_same_schedule() -> None:
    assert play(3) == play(3)


# -- one rule removed each


class LastArrivalWins(Replica):
    def _is_later(self, item: Item, held: Item | None) -> bool:
        return held is None or item.stamp != held.stamp


class SendsWhateverDiffers(Member):
    def _on_listing(self, sender: str, message: Listing, outcomes: list[Outcome]) -> None:
        theirs = dict(message.held)
        outcomes += [
            ToPeer(sender, Put(item, wants_answer=False))
            for item in self.replica.in_buckets(message.buckets)
            if theirs.get(item.key) != item.stamp
        ]


class DeafClock(HybridClock):
    def observe(self, seen: Stamp) -> None:
        pass


class ComparesClocks(Replica):
    """What was stamped before an invalidation is removed, what after is not: by clocks alone."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.clock = DeafClock(self.clock.latest.node)

    def is_invalid(self, item: Item) -> bool:
        return any(
            one.matches(item) and item.stamp < one.stamp
            for log in self._log.values()
            for one in log
        )

    def _append(self, one: Any) -> list[bytes]:
        self._log.setdefault(one.origin, deque()).append(one)
        self._known[one.origin] = one.stamp
        return self._remove_all([item for item in self.items.values() if self.is_invalid(item)])


class TakesWhatTheLogForgot(Replica):
    def is_invalid(self, item: Item) -> bool:
        floor, self._floor = self._floor, {}
        try:
            return super().is_invalid(item)
        finally:
            self._floor = floor


class LearnsWithGaps(Replica):
    def learn(self, log: Any) -> tuple[bool, list[bytes]]:
        whole, gone = True, list[bytes]()
        for one in log:
            if one.stamp > self._known.get(one.origin, one.previous):
                gone += self._append(one)
        return whole, gone


class NeverCompares(Member):
    def _compare(self, outcomes: list[Outcome]) -> None:
        pass


class AcknowledgesAtOnce(Member):
    def _is_past(self, one: Pending, now: float) -> bool:
        return True


class AcknowledgesByMajority(Member):
    def _is_past(self, one: Pending, now: float) -> bool:
        return one.majority_at is not None


class ServesWithoutALease(Member):
    def may_serve(self, now: float) -> bool:
        return self.is_synced


class CountsFromTheAnswer(Member):
    def _on_renewed(self, sender: str, message: Renewed, outcomes: list[Outcome]) -> None:
        before = self._serves_until
        super()._on_renewed(sender, message, outcomes)
        if self._serves_until > before:
            self._serves_until += 1.0


class RenewsWithoutTheLog(Member):
    def _on_renewed(self, sender: str, message: Renewed, outcomes: list[Outcome]) -> None:
        super()._on_renewed(sender, message._replace(floors={}, log=[]), outcomes)


class SpeaksBeforeItKnows(Member):
    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.is_synced = True


@pytest.mark.parametrize(
    ("mutant", "settings", "broken_promise"),
    [
        (LastArrivalWins, {"member": SendsWhateverDiffers}, "differ"),
        (ComparesClocks, {}, "invalidated at"),
        (TakesWhatTheLogForgot, {"log": 1}, "invalidated at"),
        (LearnsWithGaps, {}, "invalidated at"),
        (NeverCompares, {}, "differ"),
        (AcknowledgesAtOnce, {}, "invalidated at"),
        (AcknowledgesByMajority, {}, "invalidated at"),
        (ServesWithoutALease, {}, "invalidated at"),
        (CountsFromTheAnswer, {}, "invalidated at"),
        (RenewsWithoutTheLog, {}, "invalidated at"),
        (SpeaksBeforeItKnows, {}, "invalidated at"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
def test_a_mutant_fails(mutant: type, settings: dict[str, Any], broken_promise: str) -> None:
    part = {"member" if issubclass(mutant, Member) else "replica": mutant}
    problems = (p for seed in range(600) for p in play(seed, **part, **settings).problems)

    assert any(broken_promise in problem for problem in problems)
