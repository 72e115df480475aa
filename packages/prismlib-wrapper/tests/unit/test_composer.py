"""When the composer ships: at once to a log that waits, and in one piece to one that was busy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from prism.wrapper._changelog import ChangeLog
from prism.wrapper._config import VectorSettings
from prism.wrapper._pipeline.composer import Composer, Shipment
from prism.wrapper._pipeline.sightings import Sightings
from prism.wrapper._recipe import NoVectors, Recipe
from prism.wrapper.sources import (
    Change,
    Changes,
    Column,
    ColumnKind,
    Committed,
    Op,
    SnapshotDone,
    SnapshotStarted,
    SourceEvent,
    SourceStatus,
    TableId,
    TableSchema,
)

_SCHEMA = TableSchema(
    TableId("db", "public", "items"),
    (Column("id", "bigint", ColumnKind.INTEGER), Column("name", "text", ColumnKind.TEXT)),
    (0,),
)


class _Confirming:
    """A source of which only `confirm` is asked."""

    def events(self, resume: str | None) -> Iterator[SourceEvent]:
        raise NotImplementedError

    def confirm(self, position: str) -> None:
        pass

    def fetch(
        self, schema: TableSchema, keys: Sequence[tuple[str, ...]]
    ) -> Mapping[tuple[str, ...], tuple[str | None, ...]]:
        raise NotImplementedError

    def status(self) -> SourceStatus:
        raise NotImplementedError

    def close(self) -> None:
        pass


@pytest.fixture
def shipped() -> list[Shipment]:
    return []


@pytest.fixture
def composer(tmp_path: Path, shipped: list[Shipment]) -> Iterator[Composer]:
    log = ChangeLog(tmp_path / "changes")
    recipe = Recipe((), VectorSettings(), tenant_id="t", vectorizer=NoVectors("none", 4))
    composer = Composer(
        log=log,
        source=_Confirming(),
        recipe=recipe,
        sightings=Sightings(),
        ship=shipped.append,
        settle=lambda: None,
        persist=lambda work: work(),
        pause=lambda _: True,
    )
    composer.take(SnapshotStarted(tables=(_SCHEMA,), reason="first start"), more=False)
    composer.take(SnapshotDone(position="0", committed_ns=0), more=False)
    shipped.clear()
    yield composer
    log.close()


def _commit(composer: Composer, row: int, *, more: bool) -> None:
    change = Change(Op.UPSERT, _SCHEMA, (str(row),), (str(row), "a name"))
    composer.take(Changes(changes=[change]), more=True)
    assert not composer.is_whole()
    composer.take(Committed(position=str(row), committed_ns=row), more=more)


def test_a_commit_is_shipped_at_once_when_nothing_else_waits(
    composer: Composer, shipped: list[Shipment]
) -> None:
    _commit(composer, 1, more=False)
    assert [shipment.position for shipment in shipped] == ["1"]
    assert not composer.is_whole()


def test_commits_that_come_while_the_log_is_busy_are_shipped_in_one_piece(
    composer: Composer, shipped: list[Shipment]
) -> None:
    for row in range(1, 51):
        _commit(composer, row, more=True)
        assert composer.is_whole()
    assert not shipped
    composer.flush()
    assert [shipment.position for shipment in shipped] == ["50"]
    assert [len(batch) for batch in shipped[0].batches.values()] == [50]
