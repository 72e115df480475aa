"""What a queue of frames promises, for any order of pushes and pops."""

from __future__ import annotations

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from chorus_fabric import FrameKind
from chorus_fabric.mesh._message import COALESCABLE
from chorus_fabric.mesh._queue import FrameQueue

KINDS = (
    FrameKind.HEARTBEAT, FrameKind.LEASE, FrameKind.SIGNAL, FrameKind.INVALIDATE,
    FrameKind.CONFIG, FrameKind.REPLY, FrameKind.REQUEST, FrameKind.HEALTH, FrameKind.TOKEN_SYNC,
)  # fmt: skip
BOUND = 100

Steps = list[tuple[FrameKind, int] | None]
steps = st.lists(
    st.none() | st.tuples(st.sampled_from(KINDS), st.integers(1, 60)), min_size=1, max_size=80
)


@given(steps)
def test_bounds_order_and_who_makes_room(taken: Steps) -> None:
    queue: FrameQueue[int] = FrameQueue(BOUND)
    model: dict[FrameKind, deque[tuple[int, int]]] = {kind: deque() for kind in KINDS}
    for number, step in enumerate(taken):
        before = dict(queue.dropped)
        if step is None:
            first = next((kind for kind in KINDS if model[kind]), None)
            expected = None if first is None else model[first].popleft()[1]
            assert queue.pop() == expected
        else:
            kind, size = step
            was = {one: len(model[one]) for one in KINDS}
            is_queued = queue.push(kind, size, number)
            dropped = {
                one: queue.dropped[one] - before.get(one, 0)
                for one in KINDS
                if queue.dropped[one] != before.get(one, 0)
            }
            if not is_queued:
                assert not dropped, "dropped for nothing"
                room = BOUND - sum(s for items in model.values() for s, _ in items)
                room += sum(s for s, _ in model[FrameKind.TOKEN_SYNC])
                if kind in COALESCABLE and kind is not FrameKind.TOKEN_SYNC:
                    room += sum(s for s, _ in model[kind])
                assert size > room, "refused although there was room to make"
            for one, count in dropped.items():
                assert one is kind or one is FrameKind.TOKEN_SYNC
                assert one in COALESCABLE
                assert count <= was[one]
                for _ in range(count):
                    model[one].popleft()  # the oldest
            if is_queued:
                model[kind].append((size, number))
        assert queue.size_bytes == sum(s for items in model.values() for s, _ in items)
        assert queue.size_bytes <= BOUND
        assert len(queue) == sum(map(len, model.values()))


@given(steps, st.sets(st.sampled_from(KINDS)))
def test_kinds_that_are_busy_stay(taken: Steps, busy: set[FrameKind]) -> None:
    queue: FrameQueue[FrameKind] = FrameQueue(BOUND)
    for step in taken:
        if step is not None:
            queue.push(step[0], step[1], step[0])
    while (kind := queue.pop(besides=busy)) is not None:
        assert kind not in busy
    while (kind := queue.pop()) is not None:
        assert kind in busy
