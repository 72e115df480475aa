"""Stamps follow causes, whatever the clocks of the nodes tell."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from prism.cluster._clock import ZERO, HybridClock, Stamp

walls = st.floats(min_value=0, max_value=4e9, allow_nan=False)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), walls), max_size=40))
def test_a_stamp_is_later_than_all_that_were_known(steps: list[tuple[int, int, float]]) -> None:
    clocks = [HybridClock(name) for name in "abc"]
    known = [ZERO, ZERO, ZERO]
    given_out: set[Stamp] = set()
    for sender, receiver, wall in steps:
        stamp = clocks[sender].stamp(wall)
        assert stamp > known[sender]
        assert stamp not in given_out
        given_out.add(stamp)
        known[sender] = stamp
        clocks[receiver].observe(stamp)
        known[receiver] = max(known[receiver], stamp)


def test_a_stamp_stays_near_the_time_of_day() -> None:
    clock = HybridClock("a")
    assert [clock.stamp(5.0), clock.stamp(4.0), clock.stamp(6.5)] == [
        Stamp(5000, 0, "a"),
        Stamp(5000, 1, "a"),
        Stamp(6500, 0, "a"),
    ]
