"""When the composer ships: at once to a log that waits, and in one piece to one that was busy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from prism.wrapper._changelog import ChangeLog
from prism.wrapper._config import VectorSettings
from prism.wrapper._pipeline.composer import Composer, Shipment
from prism.wrapper._pipeline.sightings import Sightings
from prism.wrapper._recipe import NoVectors, Recipe
from prism.wrapper._vectorizer import Vectors
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


class _Counting(NoVectors):
    """Gives the number of the text as its vector, and notes the texts."""

    def __init__(self) -> None:
        super().__init__("counting", 4)
        self.texts: list[str] = []

    def vectorize(self, texts: Sequence[str]) -> Vectors:
        made = np.arange(len(self.texts) + 1, len(self.texts) + 1 + len(texts), dtype=np.float32)
        self.texts += texts
        return Vectors(rows=np.repeat(made[:, None], self.dim, axis=1), faults={})


@pytest.fixture
def shipped() -> list[Shipment]:
    return []


@pytest.fixture
def vectorizer() -> _Counting:
    return _Counting()


@pytest.fixture
def composer(tmp_path: Path, shipped: list[Shipment], vectorizer: _Counting) -> Iterator[Composer]:
    log = ChangeLog(tmp_path / "changes")
    recipe = Recipe((), VectorSettings(), tenant_id="t", vectorizer=vectorizer)
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


def test_a_text_that_is_on_its_way_to_the_log_is_not_made_a_vector_again(
    composer: Composer, shipped: list[Shipment], vectorizer: _Counting
) -> None:
    # All three are composed before the first has its vectors.
    for row in (1, 1, 2):
        _commit(composer, row, more=False)
    assert len(shipped) == 3
    assert not vectorizer.texts
    for shipment in shipped:
        assert shipment.vectorize is not None
        shipment.vectorize()
    assert len(vectorizer.texts) == 2
    vectors = [state.vector for one in shipped for batch in one.batches.values()
               for state in batch.rows.values() if state is not None]  # fmt: skip
    assert vectors[0] == vectors[1] != vectors[2]
