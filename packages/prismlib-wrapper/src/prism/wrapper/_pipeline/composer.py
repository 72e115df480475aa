"""Rows to columns, texts and vectors.

The composer takes a source's events in order and gives batches for the log, in order. It folds
changes until nothing more waits or a batch is large enough, so that a busy database costs few
waits for the disk and a quiet one no delay.

It may be ahead of the log by some batches. What it needs to know of a row (its columns, for values
the database did not send; its vector, for a text that did not change) it takes from the newest of
these that has the row, then from the log, then from the database.
"""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from chorus_fabric import StreamSchema
from prism.wrapper._changelog import ChangeLog, LogBatch, RowState
from prism.wrapper._changelog.entries import RowKey
from prism.wrapper._pipeline.folding import Folded
from prism.wrapper._pipeline.sightings import Sightings
from prism.wrapper._recipe import Recipe
from prism.wrapper._rows import RowPlan
from prism.wrapper._rows.plan import digest
from prism.wrapper._rows.tokens import slices, tokenizer
from prism.wrapper.sources import (
    UNCHANGED,
    Change,
    Changes,
    Committed,
    Op,
    SchemaChanged,
    SnapshotDone,
    SnapshotRows,
    SnapshotStarted,
    Source,
    SourceEvent,
    TableSchema,
    Value,
)
from prism.wrapper.sources.errors import SourceUnavailableError

__all__ = ["Composer", "Shipment", "Target"]

_log = logging.getLogger("prism.wrapper.feed")

_ROWS_AT_ONCE = 1024
_BYTES_AT_ONCE = 8 << 20
_FETCHED_AT_ONCE = 200
_FETCH_AGAIN_S = 1.0


@dataclass(slots=True)
class Target:
    """An epoch that rows are composed for, and how."""

    epoch: int
    recipe: Recipe
    plans: dict[int, RowPlan] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Shipment:
    """What goes to the log at once.

    Attributes:
        batches: One for each epoch that is written.
        position: What may be confirmed to the source afterwards; `None` inside a transaction.
        committed_ns: When that was committed.
        sightings: Rows that somebody waits for, each with the position of its transaction.
    """

    batches: Mapping[int, LogBatch]
    position: str | None
    committed_ns: int | None
    sightings: Sequence[tuple[RowKey, str]] = ()

    @property
    def size_bytes(self) -> int:
        """About how much memory it takes."""
        return sum(batch.size_bytes for batch in self.batches.values())


class Composer:
    """Compose shipments from a source's events. All methods belong to one thread.

    Args:
        log: Where rows are looked up, and epochs begun.
        source: Asked for values that nobody holds.
        recipe: How rows are made.
        sightings: Who waits for rows.
        ship: Takes a shipment; may block.
        settle: Blocks until the log has everything that was shipped.
        persist: Does what writes to the log, again while there is no room.
        pause: Waits some seconds; whether to go on.
    """

    def __init__(
        self,
        *,
        log: ChangeLog,
        source: Source,
        recipe: Recipe,
        sightings: Sightings,
        ship: Callable[[Shipment], None],
        settle: Callable[[], None],
        persist: Callable[[Callable[[], int | None]], int | None],
        pause: Callable[[float], bool],
    ) -> None:
        self._log = log
        self._source = source
        self._recipe = recipe
        self._sightings = sightings
        self._ship = ship
        self._settle = settle
        self._persist = persist
        self._pause = pause
        self._targets: list[Target] = []
        self._schemas: dict[int, TableSchema] = {}
        self._streams: dict[int, tuple[TableSchema, int]] = {}
        self._folded = Folded()
        self._watched: list[RowKey] = []
        self._sighted: list[tuple[RowKey, str]] = []
        self._in_flight: deque[Mapping[int, LogBatch]] = deque()
        self._refreshed_upto: dict[tuple[int, int], int] = {}

    def aim(self, targets: Iterable[Target]) -> None:
        """Compose for these epochs from now on; the first one's rows are those to look up."""
        self.flush()
        self._settle()
        self._targets = list(targets)
        self._streams.clear()

    def landed(self, shipment: Shipment) -> None:
        """Forget a shipment that is in the log. Shipments land in order. Any thread."""
        if self._in_flight and self._in_flight[0] is shipment.batches:
            self._in_flight.popleft()

    def has_work(self) -> bool:
        """Say whether something is folded and not shipped."""
        return not self._folded.is_empty() or self._folded.position is not None

    def has_rows(self) -> bool:
        """Say whether rows are folded and not shipped."""
        return not self._folded.is_empty()

    def take(self, event: SourceEvent, *, more: bool) -> None:
        """Take the next event; `more` says that another waits already."""
        match event:
            case Changes(changes=changes):
                self._add(changes, between=True)
            case Committed(position=position, committed_ns=committed_ns):
                self._commit(position, committed_ns)
                if not more and not self._folded.is_empty():
                    self.flush()
            case SnapshotRows(changes=changes):
                self._add(changes, between=False)
            case SchemaChanged(schema=schema):
                self.flush()
                self._describe(schema)
            case SnapshotStarted(tables=tables, reason=reason):
                self._begin_snapshot(tables, reason)
            case SnapshotDone(position=position, committed_ns=committed_ns):
                self._finish_snapshot(position, committed_ns)

    def flush(self) -> None:
        """Ship what is folded."""
        folded, self._folded = self._folded, Folded()
        if folded.is_empty() and folded.position is None:
            return
        sighted, self._sighted = self._sighted, []
        held = self._held(folded.rows) if not folded.is_empty() else {}
        batches = {target.epoch: self._compose(target, folded, held) for target in self._targets}
        self._in_flight.append(batches)
        self._ship(
            Shipment(
                batches=batches,
                position=folded.position,
                committed_ns=folded.committed_ns,
                sightings=sighted,
            )
        )

    # Events.

    def _begin_snapshot(self, tables: Sequence[TableSchema], reason: str) -> None:
        _log.info("a snapshot begins: %s", reason)
        # What was folded belongs to rows that the snapshot reads anew.
        self._folded = Folded()
        self._watched.clear()
        self._sighted.clear()
        self._settle()
        recipe = self._recipe
        epoch = self._persist(
            lambda: self._log.begin_snapshot(spec=recipe.spec, shape=recipe.shape)
        )
        self.aim([Target(epoch or 0, recipe)])
        for schema in tables:
            self._describe(schema)

    def _finish_snapshot(self, position: str, committed_ns: int) -> None:
        self.flush()
        self._settle()
        self._persist(
            lambda: self._log.finish_snapshot(position=position, committed_ns=committed_ns)
        )
        self._source.confirm(position)
        _log.info("the snapshot is complete: %s rows", self._log.head())

    def _describe(self, schema: TableSchema) -> int:
        stream = 0
        for target in self._targets:
            plan = target.recipe.plan(schema)
            for problem in plan.problems():
                _log.warning("%s", problem)
            described = target.recipe.stream_schema(plan)
            stream = self._define(described, target.epoch)
            target.plans[stream] = plan
        self._schemas[stream] = schema
        self._streams[id(schema)] = (schema, stream)
        return stream

    def _define(self, described: StreamSchema, epoch: int) -> int:
        stream = self._persist(lambda: self._log.define(described, epochs=[epoch])) or 0
        if stream in self._log.state.refreshes.get(epoch, {}):
            _log.info("%s has other columns now; its rows are read anew", described.full_name)
        return stream

    def _add(self, changes: Sequence[Change], *, between: bool) -> None:
        start = 0
        while start < len(changes):
            schema = changes[start].schema
            end = start + 1
            while (
                end < len(changes)
                and end - start < _ROWS_AT_ONCE
                and (not between or changes[end].schema is schema)
            ):
                end += 1
            known = self._streams.get(id(schema))
            stream = known[1] if known and known[0] is schema else self._stream_of(schema)
            touched = self._folded.add(changes[start:end], stream)
            if between:
                self._watched += self._sightings.watched(touched)
            start = end
            if len(self._folded.rows) >= _ROWS_AT_ONCE or self._folded.size_bytes >= _BYTES_AT_ONCE:
                self.flush()

    def _stream_of(self, schema: TableSchema) -> int:
        """Find the number of a table that is told by another object than before."""
        for stream, known in self._schemas.items():
            if known == schema and all(stream in target.plans for target in self._targets):
                self._streams[id(schema)] = (schema, stream)
                return stream
        self.flush()
        return self._describe(schema)

    def _commit(self, position: str, committed_ns: int) -> None:
        self._folded.position = position
        self._folded.committed_ns = committed_ns
        self._sighted += [(key, position) for key in self._watched]
        self._watched.clear()

    # Composing.

    def _compose(
        self, target: Target, folded: Folded, held: Mapping[RowKey, dict[str, str]]
    ) -> LogBatch:
        batch = LogBatch(clears=dict(folded.clears))
        to_embed: list[RowState] = []
        for key, values in folded.rows.items():
            stream, row_id = key
            if values is None:
                batch.rows[key] = None
                continue
            if UNCHANGED in values and key not in held:
                continue  # gone in the database: its deletion is on the way
            plan = target.plans[stream]
            of_row = held.get(key)
            text = plan.text(values, of_row)
            state = RowState(stream, row_id, text, plan.columns(values, of_row), digest(text))
            batch.rows[key] = state
            if plan.rule.embed:
                to_embed.append(state)
        self._fill_vectors(target, to_embed, batch)
        return batch

    def _fill_vectors(self, target: Target, states: list[RowState], batch: LogBatch) -> None:
        if not states:
            return
        earlier = self._vectors(target, [(state.stream, state.row_id) for state in states])
        new: list[RowState] = []
        for state in states:
            known = earlier.get((state.stream, state.row_id))
            if known is not None and known[0] == state.digest:
                state.vector = known[1]
            else:
                new.append(state)
        if not new:
            return
        vectors = target.recipe.vectorizer.vectorize([state.text for state in new])
        for place, state in enumerate(new):
            state.vector = vectors.rows[place].tobytes()
            if place in vectors.faults:
                batch.faults[state.stream, state.row_id] = vectors.faults[place]
        if vectors.faults:
            _log.warning("%s rows have no vector; see the status", len(vectors.faults))

    def _vectors(self, target: Target, keys: Sequence[RowKey]) -> dict[RowKey, tuple[bytes, bytes]]:
        """Find the digests and vectors of rows as they were."""
        found: dict[RowKey, tuple[bytes, bytes]] = {}
        unknown = self._from_in_flight(
            target.epoch, keys, lambda key, row: found.__setitem__(key, (row.digest, row.vector))
        )
        state = self._log.state
        epochs = []
        if state.current != target.epoch and target.recipe.shares_vectors(state.served.spec):
            epochs.append(state.current)
        # A snapshot that is being read has each row once: it cannot hold it already.
        if state.building != target.epoch or state.rebuilding is not None:
            epochs.append(target.epoch)
        for epoch in epochs:
            for key, row in self._log.stored(unknown, epoch=epoch).items():
                found[key] = (row.digest, row.vector)
        # A row without a vector was refused: it is tried again.
        return {key: (told, vector) for key, (told, vector) in found.items() if any(vector)}

    def _from_in_flight(
        self, epoch: int, keys: Iterable[RowKey], found: Callable[[RowKey, RowState], None]
    ) -> list[RowKey]:
        """Look rows up in what is not in the log yet; return those the log has to be asked for."""
        flying = [batches[epoch] for batches in reversed(list(self._in_flight)) if epoch in batches]
        unknown: list[RowKey] = []
        for key in keys:
            for batch in flying:
                if key in batch.rows:
                    row = batch.rows[key]
                    if row is not None:
                        found(key, row)
                    break
                if key[0] in batch.clears:
                    break
            else:
                unknown.append(key)
        return unknown

    # Rows with columns of an earlier schema.

    def refresh_some(self) -> bool:
        """Read some rows anew whose table was altered; say whether there were any.

        Nothing else is composed meanwhile: what the database gives is at least as new as what the
        log holds, and the changes after it are still to come.
        """
        for target in self._targets:
            for stream in self._log.state.refreshes.get(target.epoch, {}):
                if stream in self._schemas and stream in target.plans:
                    self._refresh(target, stream)
                    return True
        return False

    def _refresh(self, target: Target, stream: int) -> None:
        self.flush()
        self._settle()
        place = (target.epoch, stream)
        after = self._refreshed_upto.get(place, 0)
        rows = self._log.to_refresh(*place, after=after, count=_FETCHED_AT_ONCE)
        if not rows:
            self._refreshed_upto.pop(place, None)
            self._persist(lambda: self._log.refreshed(*place))
            return
        self._refreshed_upto[place] = rows[-1].seq
        schema = self._schemas[stream]
        keys = [key_parts(schema, row.row_id) for row in rows]
        folded = Folded()
        folded.add(
            [
                Change(Op.UPSERT, schema, key, values)
                for key, values in self._ask(schema, keys).items()
            ],
            stream,
        )
        batches = {target.epoch: self._compose(target, folded, {})}
        self._in_flight.append(batches)
        self._ship(Shipment(batches, None, None))

    # Values that the database did not send.

    def _held(
        self, rows: Mapping[RowKey, tuple[Value, ...] | None]
    ) -> dict[RowKey, dict[str, str]]:
        """Find the JSON tokens of values that are UNCHANGED."""
        keys = [key for key, values in rows.items() if values is not None and UNCHANGED in values]
        if not keys:
            return {}
        epoch = self._targets[0].epoch
        held: dict[RowKey, dict[str, str]] = {}
        unknown = self._from_in_flight(
            epoch, keys, lambda key, row: held.__setitem__(key, slices(row.columns))
        )
        for key, row in self._log.stored(unknown, epoch=epoch).items():
            held[key] = slices(row.columns)
        lacking = [key for key in keys if not self._suffices(key, rows[key], held.get(key))]
        for start in range(0, len(lacking), _FETCHED_AT_ONCE):
            self._fetch(lacking[start : start + _FETCHED_AT_ONCE], held)
        return held

    def _suffices(
        self, key: RowKey, values: tuple[Value, ...] | None, held: Mapping[str, str] | None
    ) -> bool:
        schema = self._schemas[key[0]]
        sent = set(self._targets[0].plans[key[0]].sent_columns)
        return held is not None and all(
            schema.columns[position].name in held
            for position, value in enumerate(values or ())
            if value is UNCHANGED and position in sent
        )

    def _fetch(self, keys: Collection[RowKey], held: dict[RowKey, dict[str, str]]) -> None:
        for stream in {stream for stream, _ in keys}:
            schema = self._schemas[stream]
            parts = {
                key_parts(schema, row_id): (stream, row_id) for s, row_id in keys if s == stream
            }
            _log.debug("asking the database for %s rows of %s", len(parts), schema.table)
            for key in parts.values():
                held.pop(key, None)
            for key_values, values in self._ask(schema, list(parts)).items():
                tokens = {
                    column.name: "null" if value is None else tokenizer(column)(value)
                    for column, value in zip(schema.columns, values, strict=True)
                }
                held[parts[key_values]] = tokens

    def _ask(
        self, schema: TableSchema, keys: Sequence[tuple[str, ...]]
    ) -> Mapping[tuple[str, ...], tuple[str | None, ...]]:
        while True:
            try:
                return self._source.fetch(schema, keys)
            except SourceUnavailableError:
                if not self._pause(_FETCH_AGAIN_S):
                    raise


def key_parts(schema: TableSchema, row_id: str) -> tuple[str, ...]:
    """Give the parts of a key that `row_id` names."""
    if len(schema.key) == 1:
        return (row_id,)
    return tuple(json.loads(row_id))
