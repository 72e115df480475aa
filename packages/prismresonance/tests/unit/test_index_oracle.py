"""The index against a plain numpy oracle: every answer of every sequence of calls must be right."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    precondition,
    rule,
)

import prismresonance._arranger as arranger_module
import prismresonance._table as table_module
from prismresonance import Between, DuplicateIdError, InvalidVectorError, PrismProjector, WaveIndex

WIDTH = 12
TOLERANCE = 1e-4  # components are rounded to 1.5e-5

# Few directions, so that duplicates, ties and opposites are common; some lengths are extreme.
components = st.sampled_from([-1.0, -0.5, 0.0, 0.0, 0.25, 1.0])
scales = st.sampled_from([1.0, 3.0, 1e-300, 1e150, 1e-38])
vectors = st.builds(
    lambda parts, scale: np.array(parts) * scale,
    st.lists(components, min_size=WIDTH, max_size=WIDTH).filter(any),
    scales,
)
payloads = st.builds(
    lambda scope, number, text: {
        key: value
        for key, value in (("scope", scope), ("number", number), ("text", text))
        if value != "absent"
    },
    st.sampled_from(["a", "b", b"c", None, "absent"]),
    st.sampled_from([0, 1, 2.5, 7, "seven", "absent"]),
    st.sampled_from(["x", "y", ["unhashable"], "absent"]),
)
explicit_ids = st.one_of(st.integers(-3, 20), st.sampled_from(["r", "s", "t", "1"]))
scopes = st.one_of(
    st.sampled_from(["a", b"c", None, "nowhere"]),
    st.lists(st.sampled_from(["a", "b", None]), max_size=3),
)
numbers = st.sampled_from([1, [0, 7], {2.5}, Between(1, 7), Between(low=2), Between(high="z")])
texts = st.sampled_from(["x", ["x", "y"], Between("x", "x")])
wheres = st.one_of(
    st.none(),
    st.fixed_dictionaries({}, optional={"scope": scopes, "number": numbers, "text": texts}),
)


def unit(vector: np.ndarray) -> np.ndarray:
    wide = np.asarray(vector, np.float64)
    wide = wide / np.abs(wide).max()
    return wide / np.linalg.norm(wide)


def meets(payload: dict, where: dict | None) -> bool:
    for field, wanted in (where or {}).items():
        if field not in payload:
            return False
        value = payload[field]
        if isinstance(wanted, Between):
            try:
                above = wanted.low is None or value >= wanted.low
                below = wanted.high is None or value <= wanted.high
            except TypeError:
                return False
            if value is None or not (above and below):
                return False
        elif isinstance(wanted, list | set):
            if value not in list(wanted):
                return False
        elif value != wanted:
            return False
    return True


class IndexMachine(RuleBasedStateMachine):
    """Runs each call on the index and on a dictionary in order of insertion."""

    ids = Bundle("ids")

    def __init__(self) -> None:
        super().__init__()
        self.index = WaveIndex(
            PrismProjector(dim=8, tenant_id="oracle"), indexed_fields=("scope", "number")
        )
        self.rows: dict = {}
        self.highest = -1

    def _store(self, row_id, vector, payload) -> None:
        self.rows.pop(row_id, None)
        self.rows[row_id] = (unit(vector), payload)
        if isinstance(row_id, int):
            self.highest = max(self.highest, row_id)

    @rule(target=ids, vector=vectors, payload=payloads)
    def add(self, vector, payload):
        row_id = self.index.add(vector=vector, payload=payload)
        assert row_id == self.highest + 1
        self._store(row_id, vector, payload)
        return row_id

    @rule(target=ids, vector=vectors, payload=payloads, row_id=explicit_ids)
    def add_with_id(self, vector, payload, row_id):
        if row_id in self.rows:
            with pytest.raises(DuplicateIdError) as caught:
                self.index.add(vector, payload, id=row_id)
            assert caught.value.id == row_id
        else:
            assert self.index.add(vector, payload, id=row_id) == row_id
            self._store(row_id, vector, payload)
        return row_id

    @rule(target=ids, batch=st.lists(st.tuples(vectors, payloads), max_size=40))
    def add_many(self, batch):
        ids = self.index.add_many(
            vectors=[vector for vector, _ in batch], payloads=[payload for _, payload in batch]
        )
        assert ids == list(range(self.highest + 1, self.highest + 1 + len(batch)))
        for row_id, (vector, payload) in zip(ids, batch, strict=True):
            self._store(row_id, vector, payload)
        return multiple(*ids)

    @rule(
        target=ids,
        batch=st.dictionaries(explicit_ids, st.tuples(vectors, payloads), max_size=12),
        replace=st.booleans(),
    )
    def write_many_with_ids(self, batch, replace):
        parts = ([v for v, _ in batch.values()], [p for _, p in batch.values()], list(batch))
        known = set(batch) & set(self.rows)
        if replace:
            assert self.index.upsert_many(*parts) == len(known)
        elif known:
            with pytest.raises(DuplicateIdError):
                self.index.add_many(*parts)
            return multiple()
        else:
            assert self.index.add_many(*parts) == list(batch)
        for row_id, (vector, payload) in batch.items():
            self._store(row_id, vector, payload)
        return multiple(*batch)

    @rule(vector=vectors, payload=payloads, row_id=st.one_of(ids, explicit_ids))
    def upsert(self, vector, payload, row_id):
        assert self.index.upsert(vector, payload, id=row_id) is (row_id in self.rows)
        self._store(row_id, vector, payload)

    @rule(row_id=st.one_of(consumes(ids), explicit_ids))
    def remove(self, row_id):
        assert self.index.remove(row_id) is (self.rows.pop(row_id, None) is not None)

    @precondition(lambda self: self.rows)
    @rule(keep=st.integers(1, 5))
    def remove_most(self, keep):
        gone = [row_id for place, row_id in enumerate(self.rows) if place % 6 >= keep]
        assert self.index.remove_many([*gone, "never there"]) == len(gone)
        for row_id in gone:
            del self.rows[row_id]

    @rule()
    def compact(self):
        self.index.compact()
        assert self.index.stats().tombstones == 0

    @rule(batch=st.lists(vectors, min_size=1, max_size=5), place=st.integers(0, 4))
    def add_a_bad_batch(self, batch, place):
        bad = [*batch[:place], np.full(WIDTH, np.nan), *batch[place:]]
        with pytest.raises(InvalidVectorError, match=f"vector {min(place, len(batch))} is NaN"):
            self.index.add_many(bad)

    @rule(
        vector=vectors,
        top_k=st.integers(1, 12),
        where=wheres,
        threshold=st.one_of(st.none(), st.sampled_from([-1.0, 0.0, 0.5, 0.9, 1.0])),
        exact=st.booleans(),
    )
    def query(self, vector, top_k, where, threshold, exact):
        found = self.index.query(vector, top_k, threshold, where, exact=exact)
        direction = unit(vector)
        scores = {
            row_id: float(stored @ direction)
            for row_id, (stored, payload) in self.rows.items()
            if meets(payload, where)
        }
        ranked = sorted(scores.values(), reverse=True)
        if threshold is not None:
            # Which side of the threshold a row within the tolerance falls on is the index's to say.
            sure = sum(score >= threshold + TOLERANCE for score in ranked)
            possible = sum(score >= threshold - TOLERANCE for score in ranked)
            assert min(sure, top_k) <= len(found) <= min(possible, top_k)
            assert all(match.score >= threshold for match in found)
        else:
            assert len(found) == min(top_k, len(ranked))
        assert [m.score for m in found] == pytest.approx(ranked[: len(found)], abs=TOLERANCE)
        order = list(self.rows)
        assert found == sorted(found, key=lambda m: (-m.score, order.index(m.id)))
        for match in found:
            assert match.score == pytest.approx(scores[match.id], abs=TOLERANCE)
            assert match.payload is self.rows[match.id][1]
        if found and threshold is None:
            edge = found[-1].score
            again = self.index.query(vector, top_k, edge, where, exact=exact)
            assert again == found  # a score works as an inclusive threshold

    @rule(batch=st.lists(vectors, max_size=4), top_k=st.integers(1, 5), where=wheres)
    def query_many(self, batch, top_k, where):
        found = self.index.query_many(batch, top_k, where=where)
        assert found == [self.index.query(vector, top_k, where=where) for vector in batch]

    @invariant()
    def same_rows(self):
        assert len(self.index) == len(self.rows) == self.index.stats().rows
        for row_id in list(self.rows)[:3]:
            record = self.index.get(row_id)
            assert record.id == row_id
            assert record.payload is self.rows[row_id][1]
            np.testing.assert_allclose(record.vector, self.rows[row_id][0], atol=2e-5)
            assert row_id in self.index
        assert self.index.get("never there") is None
        assert "never there" not in self.index


class TestIndex(IndexMachine.TestCase):
    settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


class TestTinyChunks(IndexMachine.TestCase):
    """The same with chunks of a few rows, so that chunks fill, grow, thin out and merge."""

    settings = settings(max_examples=60, stateful_step_count=40, deadline=None)

    def setUp(self) -> None:
        self.patch = pytest.MonkeyPatch()
        self.addCleanup(self.patch.undo)
        self.patch.setattr(table_module, "_FIRST_CAPACITY", 2)
        self.patch.setattr(table_module, "_CHUNK_BYTES", 8 * 2 * WIDTH)
        self.patch.setattr(table_module, "_COPY_BYTES", 4 * 2 * WIDTH)
        self.patch.setattr(table_module, "_DEAD_ROWS", 1)


class TestProjected(TestTinyChunks):
    """The same with the projected space in use from 10 rows on, and cells from 20."""

    def setUp(self) -> None:
        super().setUp()
        self.patch.setattr(table_module, "FULL_SCAN_ELEMENTS", 10 * WIDTH)
        self.patch.setattr(arranger_module, "ARRANGE_FROM", 20)
        self.patch.setattr(arranger_module, "ARRANGED_ROWS", 16)


@pytest.mark.usefixtures("only_compiled")
class TestCompiled(TestTinyChunks):
    """The same by the compiled kernels, every row scored."""


@pytest.mark.usefixtures("only_compiled")
class TestCompiledProjected(TestProjected):
    """The same by the compiled kernels and sign codes."""
