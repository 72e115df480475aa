from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chorus_fabric import FrameOrderError, ReplayedFrameError
from chorus_fabric._replay import WINDOW, ReplayWindow, StrictOrder

NEAR = st.integers(0, 40)
STEPS = st.lists(st.one_of(NEAR, st.integers(1000, 1100), st.integers(2**63, 2**64 - 1)))


@given(STEPS)
def test_a_window_accepts_each_counter_once_unless_it_is_too_old(counters: list[int]) -> None:
    window, seen = ReplayWindow(), set[int]()
    for counter in counters:
        is_new = counter not in seen and counter > max(seen, default=0) - WINDOW
        refusal = window.refusal(counter)
        assert (refusal is None) == is_new
        if refusal is None:
            window.accept(counter)
            seen.add(counter)
        else:
            assert isinstance(refusal, ReplayedFrameError)


@given(st.lists(st.integers(0, 20)))
def test_strict_order_accepts_the_next_alone(counters: list[int]) -> None:
    order, following = StrictOrder(), 0
    for counter in counters:
        refusal = order.refusal(counter)
        if counter == following:
            assert refusal is None
            order.accept(counter)
            following += 1
        else:
            expected = ReplayedFrameError if counter < following else FrameOrderError
            assert isinstance(refusal, expected)


def test_the_window_is_1024_wide() -> None:
    window = ReplayWindow()
    window.accept(5000)
    assert window.refusal(5000 - 1023) is None
    assert window.refusal(5000 - 1024) is not None
