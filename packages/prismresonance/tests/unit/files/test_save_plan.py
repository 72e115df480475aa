"""The plan of a save: complete, few segments, few rewrites."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prismresonance._files.plan import Group, Kept, planned

kept = st.builds(
    lambda rows, dead, fits: Kept(rows, max(0, rows - dead), fits),
    st.integers(1, 1000),
    st.integers(0, 1200),
    st.booleans(),
)


@given(st.lists(kept, max_size=12), st.integers(0, 2000))
def test_every_living_row_is_in_one_group_and_in_order(segments, new_rows):
    groups = planned(segments, new_rows)
    covered = []
    for group in groups:
        assert group.first < group.stop or group.with_new
        covered += range(group.first, group.stop)
    assert covered == sorted(set(covered))
    assert all(segments[n].living == 0 for n in set(range(len(segments))) - set(covered))
    assert [g.with_new for g in groups].count(True) == (new_rows > 0)
    assert new_rows == 0 or groups[-1].with_new
    for group in groups:
        if not group.write:
            (only,) = segments[group.first : group.stop]
            assert only.fits
            assert 2 * only.living >= only.rows


def test_nothing_new_writes_nothing():
    segments = [Kept(100, 90, fits=True), Kept(30, 30, fits=True), Kept(2, 2, fits=True)]
    groups = planned(segments, 0)
    assert groups == [Group(n, n + 1, write=False, with_new=False) for n in range(3)]


@pytest.mark.parametrize("batch", [1, 7, 1000])
@pytest.mark.parametrize("deaths", [0.0, 0.3, 0.9])
def test_many_saves_leave_few_segments_and_write_each_row_a_few_times(batch, deaths):
    rng = random.Random(f"{batch} {deaths}")
    segments: list[Kept] = []
    added = written = 0
    for _ in range(3000):
        new = rng.randint(1, batch)
        added += new
        for number, segment in enumerate(segments):
            if rng.random() < deaths:
                fewer = max(0, segment.living - rng.randint(0, segment.living // 4 + 1))
                segments[number] = segment._replace(living=fewer)
        following = []
        for group in planned(segments, new):
            if group.write:
                rows = sum(s.living for s in segments[group.first : group.stop])
                rows += new if group.with_new else 0
                written += rows
                following.append(Kept(rows, rows, fits=True))
            else:
                following.append(segments[group.first])
        segments = following
        living = sum(segment.living for segment in segments)
        assert len(segments) <= math.log2(living) + 2
    assert written <= added * (math.log2(added) + 1)
