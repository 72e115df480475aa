"""Rows are told in the columns of their tables, and a stream that lost its ground ends."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from prism.wrapper.sources import Changes, Op, SchemaChanged, SourceProtocolError
from prism.wrapper.sources.tidb._catalogue import ColumnFacts, TableFacts
from prism.wrapper.sources.tidb._messages import DdlEvent, DdlKind, RowEvent
from prism.wrapper.sources.tidb._sequencer import Transaction
from prism.wrapper.sources.tidb._teller import StaleError, Teller


def _table(*names: str) -> dict[str, TableFacts]:
    columns = tuple(
        ColumnFacts(name=name, type_name="int(11)", nullable=name != "id", has_default=False)
        for name in names
    )
    return {"s.t": TableFacts(schema="s", name="t", columns=columns, key=("id",))}


class _Case:
    def __init__(self, *names: str) -> None:
        self.later: Mapping[str, TableFacts] | None = _table(*names)
        self.looks: list[tuple[int, int]] = []
        self.changed: list[int] = []
        self.teller = Teller(
            part_rows=2, look=self._look, changed=lambda ts, tables: self.changed.append(ts)
        )
        self.teller.adopt(_table(*names))

    def _look(self, ts: int, settle: int) -> Mapping[str, TableFacts]:
        self.looks.append((ts, settle))
        if self.later is None:
            raise SourceProtocolError("GC life time is shorter than transaction duration")
        return self.later

    def tell(self, *events: RowEvent | DdlEvent, ts: int = 9) -> list[object]:
        rows = [event for event in events if isinstance(event, RowEvent)]
        transaction = Transaction(
            ts,
            tuple(event for event in events if isinstance(event, DdlEvent)),
            tuple(event for event in rows if event.after is None),
            tuple(event for event in rows if event.after is not None),
        )
        return list(self.teller.tell(transaction))


def _row(before: dict[str, str] | None, after: dict[str, str] | None) -> RowEvent:
    return RowEvent(9, "s", "t", before, after)


def _ddl(query: str, kind: DdlKind = DdlKind.OTHER) -> DdlEvent:
    return DdlEvent(9, "s", "t", query, kind)


def test_keys_that_move_are_freed_before_they_are_taken() -> None:
    case = _Case("id", "a")
    schema, *parts = case.tell(
        _row({"id": "4", "a": "1"}, {"id": "5", "a": "1"}),
        _row({"id": "5", "a": "2"}, {"id": "50", "a": "2"}),
        _row({"id": "7"}, None),
        _row({"id": "8", "a": "0"}, {"id": "8", "a": "1"}),
    )
    assert isinstance(schema, SchemaChanged)
    changes = [c for part in parts if isinstance(part, Changes) for c in part.changes]
    assert all(len(part.changes) <= 2 for part in parts if isinstance(part, Changes))
    assert [(c.op, c.key) for c in changes] == [
        (Op.DELETE, ("4",)), (Op.DELETE, ("5",)), (Op.DELETE, ("7",)),
        (Op.UPSERT, ("5",)), (Op.UPSERT, ("50",)), (Op.UPSERT, ("8",)),
    ]  # fmt: skip
    assert not any(isinstance(e, SchemaChanged) for e in case.tell(_row({"id": "8"}, None)))


def test_rows_with_other_columns_have_their_table_looked_at() -> None:
    case = _Case("id", "a")
    case.later = _table("id", "a", "b")
    told = case.tell(_row({"id": "1"}, None), _row(None, {"id": "2", "a": "1", "b": "2"}))
    assert case.looks == [(9, 0)]
    assert case.changed == [9]
    schema, changes = told
    assert isinstance(schema, SchemaChanged)
    assert isinstance(changes, Changes)
    assert {change.schema for change in changes.changes} == {schema.schema}
    case.later = _table("id", "a", "b")
    with pytest.raises(SourceProtocolError, match="column selectors"):
        case.tell(_row(None, {"id": "2"}))


def test_a_statement_is_looked_at_when_it_is_visible() -> None:
    case = _Case("id", "a")
    case.later = _table("id")
    assert case.tell(_ddl("ALTER TABLE t DROP COLUMN a")) == []
    assert case.looks == [(9, 1000 << 18)]
    case.tell(_row(None, {"id": "2"}))
    assert len(case.looks) == 1


def test_a_truncated_table_is_emptied() -> None:
    _, changes = _Case("id").tell(_ddl("TRUNCATE TABLE t", DdlKind.TRUNCATE))
    assert isinstance(changes, Changes)
    assert [change.op for change in changes.changes] == [Op.TRUNCATE]


@pytest.mark.parametrize("later", [None, {}, _table("id", "renamed")])
def test_lost_ground_ends_the_stream(later: Mapping[str, TableFacts] | None) -> None:
    case = _Case("id", "a")
    case.later = later
    with pytest.raises(StaleError):
        case.tell(_ddl("ALTER TABLE t CHANGE a renamed INT"))


def test_values_of_another_type_are_an_error_without_them() -> None:
    case = _Case("id", "a")
    with pytest.raises(SourceProtocolError) as caught:
        case.tell(_row(None, {"id": "1", "a": "a secret"}))
    assert "secret" not in str(caught.value)
    assert "a of s.t" in str(caught.value)


def test_rows_of_other_tables_are_left_out() -> None:
    event = RowEvent(9, "s", "other", None, {"x": "1"})
    assert _Case("id").tell(event) == []
