"""Never two GREEN, rising tokens, a GREEN within two leases: among faults, and not by luck."""

from __future__ import annotations

from typing import Any

import pytest

from prism.cluster._lease import Lease
from prism.cluster._lease_messages import Effect
from simulations.lease import Schedule, play, stop_green


@pytest.mark.parametrize("part", range(5))
def test_a_thousand_schedules(part: int) -> None:
    outcomes = [play(seed) for seed in range(part * 1_000, (part + 1) * 1_000)]

    broken = [(outcome.seed, outcome.problems[0]) for outcome in outcomes if outcome.problems]
    takeovers = sorted(o.takeover_s for o in outcomes if o.takeover_s is not None)

    assert not broken
    assert sum(outcome.promotions for outcome in outcomes) > 3_000
    assert takeovers[len(takeovers) // 2] < 0.9


def test_the_same_seed_is_the_same_schedule() -> None:
    assert play(42) == play(42)


def slowest(schedules: list[Schedule]) -> float:
    """Give the 99th of a hundred takeovers; one that never came counts for ever."""
    found = sorted(s for schedule in schedules for s in schedule.takeovers_s)
    missing = sum(bool(schedule.problems) for schedule in schedules)
    return [*found, *[float("inf")] * missing][int(len(found) * 0.99)]


# Messages of a busy machine: long enough that both of the others ask at once, often.
BUSY_S = (0.01, 0.05)


def test_a_green_that_stands_still_is_replaced_in_time() -> None:
    schedules = [stop_green(seed, delay_s=BUSY_S) for seed in range(100)]

    assert not [schedule.problems for schedule in schedules if schedule.problems]
    assert slowest(schedules) < 1.5
    assert slowest([stop_green(seed) for seed in range(100)]) < 1.2


# -- one rule removed each


class CountsFromTheAnswer(Lease):
    def _lease_until(self, sent: float, now: float) -> float:
        return super()._lease_until(now, now)


class SpeaksAtOnceAfterARestart(Lease):
    def _silence_s(self) -> float:
        return 0.0


class ReusesATerm(Lease):
    def _next_term(self) -> int:
        return max(1, self._seen)

    def _may_grant(self, holder: str, incarnation: int, term: int, now: float) -> bool:
        is_free = self._is_held_by(holder, incarnation) or now >= self._bound_until
        return is_free and term >= self._grant.term


class ClaimsWithoutAsking(Lease):
    def _stand(self, now: float, effects: list[Effect]) -> None:
        if self._is_bound_to_another(now):
            self._ask_at = None
        elif self._ask_at is None:
            self._ask_at = self._bound_until + self._patience_s()
        elif now >= self._ask_at:
            self._claim(self._next_term(), now, effects)


class PromisesTwoAtOnce(Lease):
    def _may_grant(self, holder: str, incarnation: int, term: int, now: float) -> bool:
        return term > self._grant.term or self._is_held_by(holder, incarnation)


class TakesHalfForAMajority(Lease):
    def __init__(self, node_id: str, voters: list[str], **rest: Any) -> None:
        super().__init__(node_id, voters, **rest)
        self._majority = self._rounds._majority = len(voters) // 2


class StaysGreenUntilATimerSaysNo(Lease):
    def is_green(self, now: float) -> bool:
        return self._term is not None and self._rounds.has_held


class StandsBackForNobody(Lease):
    def _stands_back_for(self, asker: str) -> bool:
        return False


def test_those_who_stand_back_for_nobody_block_each_other() -> None:
    schedules = [stop_green(seed, lease=StandsBackForNobody, delay_s=BUSY_S) for seed in range(100)]

    assert slowest(schedules) > 1.5


@pytest.mark.parametrize(
    ("mutant", "settings", "broken_promise"),
    [
        (CountsFromTheAnswer, {}, "two GREEN"),
        (SpeaksAtOnceAfterARestart, {}, "two GREEN"),
        (ReusesATerm, {}, "token"),
        (ClaimsWithoutAsking, {}, "no GREEN within"),
        (PromisesTwoAtOnce, {}, "two GREEN"),
        (TakesHalfForAMajority, {}, "two GREEN"),
        (StaysGreenUntilATimerSaysNo, {}, "two GREEN"),
        (Lease, {"keeps_terms": False}, "token"),
        (Lease, {"drift": 0.1}, "two GREEN"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
def test_a_mutant_fails(mutant: type[Lease], settings: dict[str, Any], broken_promise: str) -> None:
    problems = (p for seed in range(2_000) for p in play(seed, lease=mutant, **settings).problems)

    assert any(broken_promise in problem for problem in problems)
