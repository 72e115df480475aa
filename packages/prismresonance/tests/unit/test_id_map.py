"""The map from ids to row numbers against a dictionary, by numpy's and by compiled loops."""

from __future__ import annotations

import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from prismresonance._id_map import IdMap
from prismresonance._kernels import plain, slots
from prismresonance._row_ids import RowIds

LEAST, MOST = -(2**63), 2**63 - 1
ids = st.one_of(
    st.integers(-5, 40),
    st.sampled_from([0, -1, LEAST, LEAST + 1, MOST, MOST + 1, LEAST - 1, 10**30]),
    st.integers(0, 50).map(lambda n: n << 32),
    st.integers(LEAST, MOST),
    st.sampled_from(["", "a", "1", "-1", str(LEAST)]),
)
several = st.lists(ids, unique=True, max_size=60)


class MapMachine(RuleBasedStateMachine):
    kernels = plain

    def __init__(self) -> None:
        super().__init__()
        self.map = IdMap()
        self.known: dict = {}
        self.next_seq = 0

    @initialize(base=st.integers(LEAST // 2, MOST // 2), step=st.sampled_from([1, 7, 1 << 20]))
    def many(self, base, step):
        self.store([base + step * n for n in range(300)])

    @rule(batch=several)
    def store(self, batch):
        self.map.store(RowIds.of(batch), self.next_seq, self.kernels)
        self.known.update(zip(batch, range(self.next_seq, self.next_seq + len(batch)), strict=True))
        self.next_seq += len(batch)

    @rule(batch=several)
    def store_twice_as_after_an_interrupt(self, batch):
        self.map.store(RowIds.of(batch), self.next_seq, self.kernels)
        self.store(batch)

    @rule(batch=several)
    def discard(self, batch):
        self.map.discard(RowIds.of(batch), self.kernels)
        for row_id in batch:
            self.known.pop(row_id, None)

    @rule(share=st.integers(1, 4))
    def discard_many(self, share):
        self.discard([row_id for place, row_id in enumerate(self.known) if place % share == 0])

    @rule(batch=st.lists(ids, max_size=60))
    def find(self, batch):
        found = self.map.find_many(RowIds.of(batch), self.kernels)
        assert found.tolist() == [self.known.get(row_id, -1) for row_id in batch]
        assert [self.map.find(row_id) for row_id in batch] == list(map(self.known.get, batch))

    @invariant()
    def holds_the_same(self):
        known = list(self.known)
        found = self.map.find_many(RowIds.of(known), self.kernels)
        assert found.tolist() == list(self.known.values())


class TestNumpy(MapMachine.TestCase):
    settings = settings(max_examples=50, stateful_step_count=20, deadline=None)


@pytest.mark.usefixtures("for_machine")
class TestCompiled(MapMachine.TestCase):
    settings = settings(max_examples=50, stateful_step_count=20, deadline=None)


@pytest.fixture
def for_machine(compiled, monkeypatch):
    monkeypatch.setattr(MapMachine, "kernels", compiled)


@given(seed=st.integers(0, 2**32 - 1), pairs=st.integers(1, 200), share=st.floats(0.0, 1.0))
def test_both_fill_a_table_with_the_same_keys(compiled, seed, pairs, share):
    random = np.random.default_rng(seed)
    numbers = random.choice(4 * pairs, int(share * (pairs - 1)), replace=False) << 33
    seqs = random.permutation(len(numbers))
    ours, numpys = slots.new_slots(pairs), slots.new_slots(pairs)
    assert compiled.store_ids(ours, numbers, seqs) == len(numbers)
    assert plain.store_ids(numpys, numbers, seqs) == len(numbers)
    asked = np.concatenate([numbers, random.integers(LEAST + 1, MOST, 20)])
    for table in (ours, numpys):
        assert sorted(table[0::2]) == sorted(numpys[0::2])
        places = np.empty(len(asked), np.int64), np.empty(len(asked), np.int64)
        compiled.locate_ids(table, asked, places[0])
        plain.locate_ids(table, asked, places[1])
        np.testing.assert_array_equal(*places)
        np.testing.assert_array_equal(table[places[0][: len(numbers)]], seqs)
        assert plain.store_ids(table, numbers, seqs[::-1].copy()) == 0


@given(st.lists(st.integers(LEAST, MOST), min_size=1), st.integers(1, 2**32))
def test_a_home_is_the_same_for_one_and_for_many(numbers, pairs):
    one_by_one = [slots.home(number, pairs) for number in numbers]
    assert slots.homes(np.array(numbers), pairs).tolist() == one_by_one
    assert all(0 <= place < pairs for place in one_by_one)


@pytest.mark.parametrize("step", [1, 2, 3, 1000, 1 << 10, 1 << 20, 1 << 31, 1 << 32, 1 << 44])
def test_strided_ids_spread_like_random_ones(step):
    count = 1 << 16
    places = slots.homes(np.arange(count) * step - 77, count)
    taken = len(np.unique(places)) / count
    assert 0.62 < taken < 0.65  # 1 - 1/e of the places


def test_a_row_takes_at_most_27_bytes_and_in_one_batch_25():
    one_batch = IdMap()
    one_batch.store(RowIds(np.arange(200_000)), 0)
    assert one_batch.size_bytes / 200_000 <= 25.1
    grown = IdMap()
    for start in range(0, 200_000, 1000):
        grown.store(RowIds(np.arange(start, start + 1000)), start)
        assert start < 10_000 or grown.size_bytes / (start + 1000) <= 27
    grown.discard(RowIds(np.arange(190_000)))
    for start in range(200_000, 400_000, 1000):
        grown.store(RowIds(np.arange(start, start + 1000)), start)
        grown.discard(RowIds(np.arange(start, start + 1000)))
    assert grown.size_bytes < 27 * 200_000  # what was removed does not pile up


@given(st.lists(ids, max_size=30))
def test_row_ids_are_what_they_were_made_of(batch):
    row_ids = RowIds.of(batch)
    assert row_ids.tolist() == [row_ids[place] for place in range(len(batch))] == batch
    assert row_ids.highest() == max((n for n in batch if isinstance(n, int)), default=None)
    twice = row_ids.repeated()
    assert (twice is not None) == (len(set(batch)) < len(batch))
    assert twice is None or batch.count(twice) > 1
    for row_id in (*batch, 41, "nowhere", LEAST):
        assert row_ids.place_of(row_id) == (batch.index(row_id) if row_id in batch else None)
    chosen = np.arange(len(batch))[::-2]
    assert row_ids.take(chosen).tolist() == batch[::-2]


@given(st.integers(-10, 40).map(lambda n: n + MOST), st.integers(0, 60))
def test_numbers_that_follow_leave_int64_without_a_seam(first, count):
    assert RowIds.following(first, count).tolist() == list(range(first, first + count))


def test_one_reader_beside_a_writer_finds_every_settled_id():
    """Growth, removal and insertion go on while others look up what does not change."""
    kept = list(range(0, 40_000, 7))
    id_map = IdMap()
    id_map.store(RowIds.of(kept), 0)
    failures: list = []
    writing = True

    def read() -> None:
        while writing:
            found = [id_map.find(row_id) for row_id in kept[::50]]
            if found != list(range(0, len(kept), 50)):
                failures.append(found)
            if id_map.find(-1) is not None:
                failures.append("found what was never there")

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    readers = [threading.Thread(target=read) for _ in range(2)]
    try:
        for reader in readers:
            reader.start()
        for start in range(10**6, 10**6 + 60_000, 3000):
            id_map.store(RowIds(np.arange(start, start + 3000)), start)
            for row_id in range(start + 10**7, start + 10**7 + 50):
                id_map.store(RowIds.of([row_id]), row_id)
            id_map.discard(RowIds(np.arange(start, start + 1500)))
    finally:
        writing = False
        for reader in readers:
            reader.join(60)
        sys.setswitchinterval(interval)
    assert not failures
