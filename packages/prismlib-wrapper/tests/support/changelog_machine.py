"""The change log against a dictionary: see test_changelog_model and its mutants."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from chorus_fabric import FrameKind, PositionGoneError, StreamSchema
from prism.wrapper._changelog import ChangeLog, LogBatch, RowState
from prism.wrapper._rows.plan import digest

DIM = 4
ROW_IDS = [*(f"r{n}" for n in range(3)), "ä", ""]
IDS = st.sampled_from(ROW_IDS)
STREAMS = st.sampled_from([1, 2])
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "put", "remove", "remove", "clear"]),
        STREAMS,
        IDS,
        st.integers(0, 99),
    ),
    max_size=8,
)


class Follower:
    """Holds what it was sent, as a driver does."""

    def __init__(self) -> None:
        self.at = (0, 0, 0)
        self.rows: dict[tuple[int, str], tuple[str, bytes, bytes]] = {}

    def follow(self, log: Any, limit_bytes: int) -> None:
        """Read on until there is no more."""
        for _ in range(1000):
            epoch, after, base = self.at
            try:
                batch = log.read(
                    epoch=epoch, after=after, base=base, limit_bytes=limit_bytes, streams=None
                )
            except PositionGoneError:
                self.at, self.rows = (log.epoch, 0, log.floor()), {}
                continue
            seen = [int(seq) for part in batch.frames for seq in part.seqs]
            assert len(seen) == len(set(seen)), "a number came twice"
            assert all(after < seq <= batch.upto for seq in seen)
            for part in batch.frames:
                self._apply(part)
            self.at = (epoch, batch.upto, base)
            if batch.upto == after:
                assert batch.upto == log.head()
                return
        raise AssertionError("reading on has no end")

    def _apply(self, part: Any) -> None:
        if part.kind is FrameKind.CLEAR:
            for key in [key for key in self.rows if key[0] == part.stream]:
                del self.rows[key]
        elif part.kind is FrameKind.GONE:
            for row_id in part.ids:
                self.rows.pop((part.stream, row_id), None)
        else:
            assert part.vectors.shape == (len(part.ids), DIM)
            for place, row_id in enumerate(part.ids):
                self.rows[part.stream, row_id] = (
                    part.texts[place],
                    part.metadata[place],
                    part.vectors[place].tobytes(),
                )


def state_of(stream: int, row_id: str, value: int, *, suffix: str = "") -> RowState:
    text = f"text ö {value}{suffix}"
    vector = np.full(DIM, value + 1, "<f4").tobytes()
    return RowState(stream, row_id, text, f'{{"v":{value}}}'.encode(), digest(text), vector)


class LogMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.now = 1e9
        self.snapshots = 0
        self.close_follower, self.late_follower = Follower(), Follower()
        self.open()
        self.begin()
        self.finish()

    def open(self) -> None:
        self.log = ChangeLog(self.folder / "log", kept_deletions=1, clock=self.clock)
        # So that floors are met within a few steps.
        self.log._deletions = 10**6

    def clock(self) -> float:
        self.now += 1.0
        return self.now

    def begin(self) -> None:
        self.building: dict[tuple[int, str], RowState] = {}
        epoch = self.log.begin_snapshot(spec="", shape="")
        for name in ("a", "b"):
            self.log.define(StreamSchema(stream=0, name=name, dim=DIM), epochs=[epoch])

    def finish(self) -> None:
        self.snapshots += 1
        self.position = f"snapshot {self.snapshots}"
        self.log.finish_snapshot(position=self.position, committed_ns=1)
        self.model = self.building
        self.building = {}

    def batch_of(
        self, changes: Any, model: dict[tuple[int, str], RowState], suffix: str = ""
    ) -> LogBatch:
        batch = LogBatch()
        for what, stream, row_id, value in changes:
            if what == "put":
                row = state_of(stream, row_id, value, suffix=suffix)
                batch.put(row)
                model[stream, row_id] = row
            elif what == "remove":
                batch.remove(stream, row_id)
                model.pop((stream, row_id), None)
            else:
                batch.clear(stream)
                for key in [key for key in model if key[0] == stream]:
                    del model[key]
        return batch

    @precondition(lambda self: self.log.state.target == self.log.epoch)
    @rule(changes=CHANGES, n=st.integers(0, 10**6))
    def change(self, changes: Any, n: int) -> None:
        self.log._deletions = 10**6
        batches = {self.log.epoch: self.batch_of(changes, self.model)}
        if self.log.state.rebuilding is not None:
            batches[self.log.state.rebuilding] = self.batch_of(changes, self.rebuilt, "!")
        self.position = f"change {n}"
        self.log.append(batches, position=self.position, committed_ns=n)

    @precondition(lambda self: self.log.state.target == self.log.epoch)
    @rule(changes=CHANGES)
    def change_that_fails(self, changes: Any) -> None:
        before = self.log.head()
        batch = self.batch_of(changes, dict(self.model))
        batch.put(RowState(1, "bad", "t", b"{}", b"0" * 15 + b"0", None))  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            self.log.append({self.log.epoch: batch}, position="never", committed_ns=0)
        assert self.log.head() == before

    @precondition(lambda self: self.log.state.target == self.log.epoch)
    @rule()
    def begin_snapshot(self) -> None:
        self.begin()
        self.position = None

    @precondition(lambda self: self.log.state.target != self.log.epoch)
    @rule(changes=CHANGES)
    def read_snapshot(self, changes: Any) -> None:
        self.log.append({self.log.state.target: self.batch_of(changes, self.building)})

    @precondition(lambda self: self.log.state.target != self.log.epoch)
    @rule()
    def finish_snapshot(self) -> None:
        self.finish()

    @precondition(lambda self: self.log.state.building is None)
    @rule()
    def begin_rebuild(self) -> None:
        self.rebuilt: dict[tuple[int, str], RowState] = {}
        self.upto = self.log.head()
        self.log.begin_rebuild(spec="new", schemas=self.log.schemas())

    @precondition(lambda self: self.log.state.rebuilding is not None)
    @rule(stale=st.booleans(), changes=CHANGES, count=st.integers(1, 3))
    def copy(self, stale: bool, changes: Any, count: int) -> None:
        rows = self.log.rows_to_copy(count=count)
        made = []
        for row in rows:
            value = int(row.columns.decode()[5:-1])
            made.append((state_of(row.stream, row.row_id, value, suffix="!"), row.seq))
        if stale:
            # Between reading and writing the rows change.
            self.change(changes, 5)
        if rows:
            self.log.copy(made, faults={}, cursor=rows[-1].seq)
            for row, _ in made:
                key = (row.stream, row.row_id)
                if key in self.model and self.model[key].columns == row.columns:
                    self.rebuilt[key] = row

    @precondition(lambda self: self.log.state.rebuilding is not None)
    @rule()
    def finish_rebuild(self) -> None:
        while rows := self.log.rows_to_copy(count=100):
            made = [
                (state_of(r.stream, r.row_id, int(r.columns.decode()[5:-1]), suffix="!"), r.seq)
                for r in rows
            ]
            self.log.copy(made, faults={}, cursor=rows[-1].seq)
        self.log.finish_rebuild()
        self.model = {
            key: state_of(*key, int(row.columns.decode()[5:-1]), suffix="!")
            for key, row in self.model.items()
        }

    @rule()
    def reopen(self) -> None:
        was_building = self.log.state.target != self.log.epoch
        self.log.close()
        self.open()
        if was_building:
            assert self.log.state.position is None
            self.building = {}

    @rule()
    def tidy(self) -> None:
        while self.log.tidy():
            pass

    @rule(limit=st.sampled_from([1, 200, 10**6]))
    def follow_late(self, limit: int) -> None:
        self.compare(self.late_follower, limit)

    @rule()
    def join(self) -> None:
        self.compare(Follower(), 300)

    @invariant()
    def follow_close(self) -> None:
        self.compare(self.close_follower, 10**6)

    def compare(self, follower: Follower, limit: int) -> None:
        follower.follow(self.log, limit)
        assert follower.rows == {
            key: (row.text, row.columns, row.vector) for key, row in self.model.items()
        }

    @invariant()
    def lookups_agree(self) -> None:
        stored = self.log.stored(list(self.model), epoch=self.log.epoch)
        assert {key: row.columns for key, row in stored.items()} == {
            key: row.columns for key, row in self.model.items()
        }
        assert self.log.state.position == self.position
        if (rebuilding := self.log.state.rebuilding) is not None:
            # What is rebuilt so far is of rows as they are, never as they were.
            every = [(stream, row_id) for stream in (1, 2) for row_id in ROW_IDS]
            for key, stored_row in self.log.stored(every, epoch=rebuilding).items():
                assert stored_row.columns == self.model[key].columns

    def teardown(self) -> None:
        self.log.close()
        shutil.rmtree(self.folder)
