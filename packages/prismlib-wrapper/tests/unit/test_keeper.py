"""Shipments get their vectors and reach the log in order, each in its own thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from prism.wrapper._changelog import ChangeLog, LogBatch, RowState
from prism.wrapper._pipeline.channel import ChannelClosed
from prism.wrapper._pipeline.keeper import Keeper
from prism.wrapper._pipeline.shipment import Shipment
from prism.wrapper._pipeline.sightings import Sightings
from prism.wrapper.errors import VectorizeError
from prism.wrapper.sources import Source

_DEADLINE_S = 20.0


class _Confirmed:
    """The part of a source that a keeper knows."""

    def __init__(self) -> None:
        self.positions: list[str] = []

    def confirm(self, position: str) -> None:
        self.positions.append(position)


class _Kept:
    """A keeper that runs, and its log."""

    def __init__(self, folder: Path) -> None:
        self.log = ChangeLog(folder / "changes")
        self.epoch = self.log.begin_snapshot(spec="", shape="")
        self.log.finish_snapshot(position="0", committed_ns=0)
        self.confirmed = _Confirmed()
        self.failures: list[BaseException] = []
        source: Source = self.confirmed  # type: ignore[assignment]  # all that it uses
        self.keeper = Keeper(
            log=self.log,
            source=source,
            sightings=Sightings(),
            landed=lambda _: None,
            pause=lambda _: True,
        )
        work = (self.keeper.run_vectors, self.keeper.run)
        self.threads = [threading.Thread(target=self._guarded, args=(one,)) for one in work]
        for thread in self.threads:
            thread.start()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except (ChannelClosed, VectorizeError) as error:
            self.failures.append(error)

    def shipment(self, place: int, vectorize: Callable[[RowState], None] | None) -> Shipment:
        row = RowState(1, str(place), f"text {place}", b"{}", b"d" * 16)
        shipment = Shipment({self.epoch: LogBatch(rows={(1, row.row_id): row})}, str(place), place)
        if vectorize is not None:
            shipment.vectorize = lambda: vectorize(row)
        return shipment

    def end(self) -> None:
        self.keeper.close()
        for thread in self.threads:
            thread.join(_DEADLINE_S)
            assert not thread.is_alive()


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[_Kept]:
    kept = _Kept(tmp_path)
    yield kept
    kept.end()
    kept.log.close()


def test_what_needs_no_vectors_does_not_overtake_what_does(kept: _Kept) -> None:
    may_go_on = threading.Event()

    def slowly(row: RowState) -> None:
        assert may_go_on.wait(_DEADLINE_S)
        row.vector = b"\0\0\x80?"

    for place in range(1, 9):
        kept.keeper.ship(kept.shipment(place, slowly if place % 3 == 1 else None))
    assert not kept.keeper.is_idle()
    assert kept.log.head() == 0
    may_go_on.set()
    kept.keeper.settle()
    rows = kept.log.stored([(1, str(place)) for place in range(1, 9)], epoch=kept.epoch)
    assert [rows[1, str(place)].seq for place in range(1, 9)] == list(range(1, 9))
    assert [bool(rows[1, str(place)].vector) for place in range(1, 9)] == [
        place % 3 == 1 for place in range(1, 9)
    ]
    assert kept.confirmed.positions == [str(place) for place in range(1, 9)]


def test_what_was_shipped_is_written_before_the_end(kept: _Kept) -> None:
    for place in range(1, 30):
        kept.keeper.ship(kept.shipment(place, lambda row: setattr(row, "vector", b"\0\0\x80?")))
    kept.end()
    assert not kept.failures
    assert kept.keeper.is_idle()
    assert kept.log.state.position == "29"


def test_vectors_that_cannot_be_made_end_all_waiting_and_confirm_nothing(kept: _Kept) -> None:
    def fail(_: RowState) -> None:
        raise VectorizeError("the model is gone")

    third = kept.shipment(3, None)
    kept.keeper.ship(kept.shipment(1, None))
    kept.keeper.settle()
    kept.keeper.ship(kept.shipment(2, fail))
    with pytest.raises(ChannelClosed):
        kept.keeper.settle()
    with pytest.raises(ChannelClosed):
        kept.keeper.ship(third)
    kept.end()
    assert [type(failure) for failure in kept.failures] == [VectorizeError]
    assert kept.confirmed.positions == ["1"]
    assert kept.log.state.position == "1"
