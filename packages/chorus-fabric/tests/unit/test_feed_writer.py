from __future__ import annotations

import pytest

from chorus_fabric import FrameKind, MemoryLog, PositionGoneError, RowChange, StreamSchema
from chorus_fabric._backoff import Backoff
from chorus_fabric._feed_writer import FeedPosition, FeedWriter
from chorus_fabric._subscription import Subscription, Upserted
from chorus_fabric.errors import FeedProtocolError, InvalidFrameError


def frames_of(log: MemoryLog, writer: FeedWriter, *, limit_bytes: int = 1 << 30) -> list[object]:
    frames = writer.reset(epoch=log.epoch, floor=log.floor())
    batch = log.read(epoch=log.epoch, after=0, base=0, limit_bytes=limit_bytes, streams=None)
    frames += writer.batch(batch, log.schemas(), head=log.head(), is_live=True, source_age_s=0.0)
    return frames  # type: ignore[return-value]


def test_large_batches_become_several_frames_and_no_row_is_lost() -> None:
    log = MemoryLog(epoch=1)
    sizes = [10, 3 << 20, 1 << 20, 5, 900_000, 17 << 20, 1, 15 << 20]
    log.append(
        [
            RowChange(table="t", row_id=str(n), vector=[1.0], text="x" * size)
            for n, size in enumerate(sizes)
        ]
    )
    writer = FeedWriter(tenant_id="t", sender="w", position=FeedPosition())
    subscription = Subscription()
    rows: dict[str, int] = {}
    gone: list[str] = []
    for frame in frames_of(log, writer):
        event = subscription.receive(frame)  # type: ignore[arg-type]
        if isinstance(event, Upserted):
            assert sum(len(text) for text in event.frame.texts) < 16 << 20
            rows.update(zip(event.frame.ids, map(len, event.frame.texts), strict=True))
        elif frame.kind is FrameKind.GONE:  # type: ignore[attr-defined]
            gone += frame.ids  # type: ignore[attr-defined]
    assert rows == {str(n): size for n, size in enumerate(sizes) if size < 16 << 20}
    assert gone == ["5"]
    assert writer.oversized == 1
    assert subscription.position.seq == log.head()


def test_a_table_that_changes_its_width_within_an_epoch_is_begun_anew() -> None:
    subscription = Subscription()
    log = MemoryLog(epoch=1)
    log.append([RowChange(table="t", row_id="1", vector=[1.0])])
    writer = FeedWriter(tenant_id="t", sender="w", position=FeedPosition())
    for frame in frames_of(log, writer):
        subscription.receive(frame)  # type: ignore[arg-type]
    log._schemas = (StreamSchema(stream=1, name="t", dim=2),)
    batch = log.read(epoch=1, after=1, base=0, limit_bytes=1, streams=None)
    frames = writer.batch(batch, log.schemas(), head=1, is_live=True, source_age_s=0.0)
    with pytest.raises(FeedProtocolError) as caught:
        subscription.receive(frames[0])
    assert caught.value.begin_anew


def test_schemas_are_read_as_they_were_written() -> None:
    log = MemoryLog(epoch=1, model_id="m")
    log.append([RowChange(table="d.s.t", row_id="1", vector=[1.0], columns={"a": 1, "ü": None})])
    (schema,) = log.schemas()
    assert StreamSchema.from_json(schema.to_json()) == schema
    assert (schema.database, schema.schema, schema.name) == ("d", "s", "t")
    assert [schema.answers_to(n) for n in ("t", "s.t", "d.s.t", "d.t", "x.t", "")] == [
        True, True, True, False, False, False,
    ]  # fmt: skip
    for wrong in (b"", b"{}", b"[]", b"\xff", b'{"stream": "x"}'):
        with pytest.raises(InvalidFrameError, match="not a table's description"):
            StreamSchema.from_json(wrong)


def test_a_memory_log_refuses_what_cannot_be_read_on_from() -> None:
    log = MemoryLog(epoch=5, max_tombstones=1)
    log.append([RowChange(table="t", row_id=str(n), vector=[1.0]) for n in range(4)])
    log.append([RowChange(table="t", row_id=str(n), vector=None) for n in range(3)])
    args = {"limit_bytes": 1 << 20, "streams": None}
    assert log.floor() == 6
    with pytest.raises(PositionGoneError, match="epoch"):
        log.read(epoch=4, after=9, base=0, **args)  # type: ignore[arg-type]
    with pytest.raises(PositionGoneError, match="forgotten"):
        log.read(epoch=5, after=3, base=0, **args)  # type: ignore[arg-type]
    assert log.read(epoch=5, after=3, base=6, **args).upto == 7  # type: ignore[arg-type]
    with pytest.raises(InvalidFrameError, match="components"):
        log.append([RowChange(table="t", row_id="9", vector=[1.0, 2.0])])
    with pytest.raises(InvalidFrameError, match="JSON"):
        log.append([RowChange(table="t", row_id="9", vector=[1.0], columns={"x": object()})])
    assert log.head() == 7


def test_waits_double_and_are_shortened_by_chance() -> None:
    backoff = Backoff(first_s=0.05, most_s=1.0, rng=lambda: 1.0)
    assert [backoff.next_s() for _ in range(7)] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    backoff.reset()
    assert backoff.next_s() == 0.05
    assert Backoff(first_s=0.05, most_s=1.0, rng=lambda: 0.0).next_s() == 0.025
