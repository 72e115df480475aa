"""Whatever is done to a log, a replica that follows it holds the same rows."""

from __future__ import annotations

import json
import random
import weakref

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from chorus_fabric import BytesColumn, MemoryLog, RowChange, StreamSchema, TextColumn
from chorus_fabric._feed_writer import FeedPosition, FeedWriter
from chorus_fabric._frame import FrameKind
from chorus_fabric._subscription import Reached, Subscription
from prism.ffi._replica import ReplicaKeeper
from prism.ffi._table import TableReplica
from prismresonance import PrismProjector

PROJECTOR = PrismProjector(tenant_id="t")
TABLES = st.sampled_from(["a", "shop.b"])
IDS = st.sampled_from([str(number) for number in range(8)])
WIDTH = 70


def vector_of(text: str) -> list[float]:
    drawn = random.Random(text)
    return [drawn.gauss(0.0, 1.0) for _ in range(WIDTH)]


class ReplicaMachine(RuleBasedStateMachine):
    """Changes, cuts and resets in any order; `settle` compares."""

    def __init__(self) -> None:
        super().__init__()
        self.log = MemoryLog(epoch=1, max_tombstones=3)
        self.model: dict[tuple[str, str], str] = {}
        self.keeper = ReplicaKeeper(
            projector=PrismProjector(tenant_id="t"), indexed_columns={"a": ["kind"]}
        )
        self.subscription = Subscription()
        self.writer: FeedWriter | None = None
        self.versions = 0

    @rule(table=TABLES, row_id=IDS, is_zero=st.booleans(), many=st.integers(1, 3))
    def upsert(self, table: str, row_id: str, is_zero: bool, many: int) -> None:
        changes = []
        for number in range(many):
            self.versions += 1
            text = f"{row_id} version {self.versions}"
            vector = [0.0] * WIDTH if is_zero else vector_of(text)
            name = f"{row_id}.{number}"
            columns = {"kind": self.versions % 3, "tags": [self.versions], "zero": is_zero}
            changes.append(
                RowChange(table=table, row_id=name, vector=vector, text=text, columns=columns)
            )
            self.model[table, name] = text
        self.log.append(changes)

    @rule(table=TABLES, row_id=IDS)
    def delete(self, table: str, row_id: str) -> None:
        self.log.append([RowChange(table=table, row_id=f"{row_id}.0", vector=None)])
        self.model.pop((table, f"{row_id}.0"), None)

    @rule(table=TABLES)
    def truncate(self, table: str) -> None:
        self.log.clear(table)
        self.model = {key: text for key, text in self.model.items() if key[0] != table}

    @rule()
    def renew(self) -> None:
        self.log.renew()

    @rule()
    def cut(self) -> None:
        self.writer = None

    @rule()
    def ask_in_64_dimensions(self) -> None:
        for table in self.keeper.shown.tables.values():
            found = table.query(np.ones(64, np.float32), top_k=100, threshold=None, where=None)
            assert {match.row_id for match in found} == {
                row_id for row_id, row in table.rows.items() if not row.columns["zero"]
            }

    @rule(limit_bytes=st.sampled_from([1, 500, 10**6]), frames=st.integers(1, 9))
    def follow(self, limit_bytes: int, frames: int) -> None:
        self.step(limit_bytes, frames)

    def step(self, limit_bytes: int, frames: int = 10**9) -> None:
        log = self.log
        wire = []
        if self.writer is None:
            self.writer = FeedWriter(
                tenant_id="t", sender="w", position=self.subscription.reconnect()
            )
            if not self.writer.resumes(epoch=log.epoch, floor=log.floor(), head=log.head()):
                wire += self.writer.reset(epoch=log.epoch, floor=log.floor())
        at, head = self.writer.position, log.head()
        try:
            batch = log.read(
                epoch=at.epoch, after=at.seq, base=at.base, limit_bytes=limit_bytes, streams=None
            )
        except LookupError:
            wire += self.writer.reset(epoch=log.epoch, floor=log.floor())
        else:
            wire += self.writer.batch(
                batch, log.schemas(), head=head, is_live=batch.upto >= head, source_age_s=0.0
            )
        for frame in wire[:frames]:
            self.keeper.apply(self.subscription.receive(frame))
        if frames < len(wire):
            self.writer = None

    @rule()
    def settle(self) -> None:
        while (self.subscription.position.epoch, self.subscription.position.seq) != (
            self.log.epoch,
            self.log.head(),
        ) or self.keeper.is_building:
            self.step(10**6)
        shown = self.keeper.shown
        rows = {
            (table.schema.full_name, row_id): row.text_repr
            for table in shown.tables.values()
            for row_id, row in table.rows.items()
        }
        assert rows == self.model
        for table in shown.tables.values():
            for row_id, row in table.rows.items():
                if row.columns["zero"]:
                    continue
                vector = np.array(vector_of(row.text_repr), np.float32)
                best = table.query(vector, top_k=1, threshold=0.99, where=None)
                assert [match.row_id for match in best] == [row_id]
                assert best[0].row is row
                kind = {"kind": row.columns["kind"]}
                assert row_id in {
                    match.row_id
                    for match in table.query(vector, top_k=99, threshold=None, where=kind)
                }
            assert len(table._index) == sum(not r.columns["zero"] for r in table.rows.values())

    @invariant()
    @precondition(lambda self: self.keeper.shown.tables)
    def rows_are_whole(self) -> None:
        for table in self.keeper.shown.tables.values():
            for row_id, row in table.rows.items():
                assert row.text_repr.startswith(row_id.split(".")[0] + " ")
                assert json.loads(row.encoded) == dict(row.columns)

    def teardown(self) -> None:
        self.settle()


TestReplica = ReplicaMachine.TestCase


def test_frames_of_a_batch_do_not_keep_their_messages_alive() -> None:
    keeper = ReplicaKeeper(projector=PrismProjector(tenant_id="t"), indexed_columns={})
    log = MemoryLog(epoch=1)
    log.append([RowChange(table="a", row_id="1", vector=[1.0], text="x", columns={"n": 1})])
    writer = FeedWriter(tenant_id="t", sender="w", position=FeedPosition())
    frames = writer.reset(epoch=1, floor=0)
    batch = log.read(epoch=1, after=0, base=0, limit_bytes=10**6, streams=None)
    frames += writer.batch(batch, log.schemas(), head=1, is_live=True, source_age_s=0.0)
    subscription = Subscription()
    events = [subscription.receive(frame) for frame in frames]
    assert isinstance(events[-1], Reached)
    assert [frame.kind for frame in frames] == [
        FrameKind.RESET,
        FrameKind.SCHEMA,
        FrameKind.ROWS,
        FrameKind.MARK,
    ]
    for event in events:
        keeper.apply(event)
    row = keeper.shown.tables[1].rows["1"]
    assert type(row.encoded) is bytes
    assert type(row.text_repr) is str


def test_a_block_of_rows_goes_when_most_of_them_have() -> None:
    table = TableReplica(StreamSchema(stream=1, name="a", dim=4), projector=PROJECTOR)
    count = 100

    def put(ids: range, version: int) -> None:
        table.upsert(
            [str(n) for n in ids],
            TextColumn.from_strings(f"{n} é {version}" for n in ids),
            BytesColumn.from_items(b'{"n": %d}' % n for n in ids),
            np.ones((len(ids), 4), np.float32),
            np.full(len(ids), version, np.uint64),
        )

    put(range(count), 1)
    held = table.rows["3"]
    block = held.block
    assert block is not None
    assert block is table.rows["99"].block
    put(range(40), 2)
    # Who holds the row as it was still reads it so, and does not keep its block.
    assert (held.text_repr, held.seq, held.block) == ("3 é 1", 1, None)
    assert (table.rows["3"].text_repr, table.rows["3"].seq) == ("3 é 2", 2)
    assert table.rows["99"].block is block
    table.delete([str(n) for n in range(40, 60)], [2] * 20)
    alive = weakref.ref(block)
    del block
    assert alive() is None
    for n in range(60, count):
        row = table.rows[str(n)]
        assert (row.row_id, row.text_repr, row.columns) == (str(n), f"{n} é 1", {"n": n})
    put(range(count, count + 3), 3)
    assert table.rows["101"].block is None  # a few rows are not worth a block
    put(range(20, 80), 1)  # older than most
    assert {n: table.rows[str(n)].seq for n in (20, 50, 70)} == {20: 2, 50: 1, 70: 1}
