"""Transactions as a source's events: rows in the columns that their tables had. Pure.

The tables are asked for anew after each statement that concerns them, and when a row comes with
other columns. Where the rows told are then no longer right, the stream ends: `StaleError`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from prism.wrapper.sources._events import Changes, SchemaChanged, SourceEvent
from prism.wrapper.sources._types import Change, Op, TableId, TableSchema
from prism.wrapper.sources.errors import SourceProtocolError
from prism.wrapper.sources.tidb._catalogue import TableFacts, rift
from prism.wrapper.sources.tidb._follow import concerns
from prism.wrapper.sources.tidb._messages import (
    DdlEvent,
    DdlKind,
    MessageError,
    RawRow,
    RawValue,
    RowEvent,
)
from prism.wrapper.sources.tidb._sequencer import Transaction
from prism.wrapper.sources.tidb._values import Texts

__all__ = ["StaleError", "Teller"]

# A second, as a difference of timestamps. A statement's is that of the beginning of the transaction
# which made it visible: at that very moment the tables are the old ones. If a later statement is
# seen as well, the rows between the two do not fit and are looked at on their own.
_SETTLED: Final = 1000 << 18


class StaleError(Exception):
    """The stream cannot go on; a new snapshot is needed. The text says why."""


class Teller:
    """Used by one thread.

    Args:
        part_rows: Changes in one `Changes`, at most.
        look: Gives the tables as they were at a timestamp, or so much later, by full name. Raises
            `SourceProtocolError` if that is not known any more.
        changed: Told the timestamp from which the tables are others, and the tables.
    """

    def __init__(
        self,
        *,
        part_rows: int,
        look: Callable[[int, int], Mapping[str, TableFacts]],
        changed: Callable[[int, Mapping[str, TableFacts]], None],
    ) -> None:
        self._part_rows = part_rows
        self._look_at = look
        self._changed = changed
        self._tables: dict[str, TableFacts] = {}
        self._schemas: dict[str, TableSchema] = {}
        self._texts: dict[str, Texts] = {}
        self._said: dict[TableId, TableSchema] = {}

    def adopt(self, tables: Mapping[str, TableFacts]) -> tuple[TableSchema, ...]:
        """Take the tables as they are from here on; returns their schemas."""
        self._tables = dict(tables)
        self._texts = {name: Texts(facts) for name, facts in tables.items()}
        self._schemas = {name: facts.told() for name, facts in tables.items()}
        return tuple(self._schemas.values())

    def say_all(self) -> None:
        """Note that all schemas were told, as a snapshot does."""
        self._said = {schema.table: schema for schema in self._schemas.values()}

    def rows(self, name: str, answered: Sequence[Sequence[RawValue]]) -> list[Change]:
        """The rows of a query, of all columns in their order."""
        schema, texts = self._schemas[name], self._texts[name]
        changes = []
        for row in answered:
            values = texts.of_answer(row)
            key = tuple(text for i in schema.key if (text := values[i]) is not None)
            changes.append(Change(Op.UPSERT, schema, key, values))
        return changes

    def tell(self, transaction: Transaction) -> Iterator[SourceEvent]:
        """The events of a transaction, without its end.

        Raises:
            StaleError: What was told is no longer right, or may not be.
            SourceProtocolError: TiCDC sends something else than the tables hold.
        """
        for ddl in transaction.ddl:
            yield from self._statement(ddl)
        # First the tables: all changes of one table are told in the same columns.
        rows = [
            (event, name)
            for event in (*transaction.upserts, *transaction.deletes)
            if (name := self._table(event)) is not None
        ]
        deletes: list[Change] = []
        upserts: list[Change] = []
        for event, name in rows:
            kept: tuple[str, ...] | None = None
            if event.after is not None:
                upserts.append(self._upsert(name, event.after))
                kept = upserts[-1].key
            if event.before and (gone := self._key(name, event.before)) != kept:
                deletes.append(Change(Op.DELETE, self._schemas[name], gone))
        # A row may come to a key that another left: see `_sequencer`.
        changes = deletes + upserts
        for schema in {change.schema.table: change.schema for change in changes}.values():
            yield from self._say(schema)
        for first in range(0, len(changes), self._part_rows):
            yield Changes(changes=changes[first : first + self._part_rows])

    def _table(self, event: RowEvent) -> str | None:
        """The full name of a row's table, or None if it is not followed."""
        name = f"{event.schema}.{event.table}"
        if name not in self._tables:
            return None
        if event.after is not None and not self._texts[name].fits(event.after):
            # A statement whose message is still to come, or never will: ask for its table then.
            self._look(event.ts, settle=0)
            if not self._texts[name].fits(event.after):
                raise SourceProtocolError(
                    f"{name}: TiCDC sends other columns than the table has. Remove column "
                    "selectors from the changefeed, or name another database in dsn"
                )
        return name

    def _statement(self, ddl: DdlEvent) -> Iterator[SourceEvent]:
        name = f"{ddl.schema}.{ddl.table}"
        if ddl.kind is DdlKind.TRUNCATE:
            if name in self._tables:
                yield from self._say(self._schemas[name])
                yield Changes(changes=[Change(Op.TRUNCATE, self._schemas[name])])
            return
        affected = concerns(ddl, self._tables)
        if affected:
            raise StaleError(affected)
        if affected is not None:
            self._look(ddl.ts, settle=_SETTLED)

    def _look(self, ts: int, *, settle: int) -> None:
        try:
            found = self._look_at(ts, settle)
        except SourceProtocolError as error:
            raise StaleError(f"the tables as they were at {ts} cannot be read: {error}") from None
        fresh: dict[str, TableFacts] = {}
        for name, before in self._tables.items():
            after = found.get(name)
            why = rift(before, after)
            if why is not None or after is None:
                raise StaleError(why or f"{name} is gone")
            fresh[name] = after
        if fresh != self._tables:
            self.adopt(fresh)
            self._changed(ts, fresh)

    def _say(self, schema: TableSchema) -> Iterator[SourceEvent]:
        if self._said.get(schema.table) != schema:
            self._said[schema.table] = schema
            yield SchemaChanged(schema=schema)

    def _upsert(self, name: str, row: RawRow) -> Change:
        try:
            values = self._texts[name].values(row)
        except MessageError as error:
            raise SourceProtocolError(str(error)) from None
        return Change(Op.UPSERT, self._schemas[name], self._key(name, row), values)

    def _key(self, name: str, row: RawRow) -> tuple[str, ...]:
        try:
            return self._texts[name].key(row)
        except MessageError as error:
            raise SourceProtocolError(str(error)) from None
