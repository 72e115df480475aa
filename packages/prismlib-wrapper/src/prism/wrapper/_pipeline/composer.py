"""Rows to columns, texts and vectors.

The composer takes a source's events in order and gives batches for the log, in order. It folds
changes until nothing more waits or a batch is large enough, so that a busy database costs few
waits for the disk and a quiet one no delay. Vectors are made on the way to the log, in another
thread, while the next batches are composed.

It may be ahead of the log by some batches; see `KnownRows` for what that means.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import repeat
from typing import cast

from chorus_fabric import StreamSchema
from prism.wrapper._changelog import ChangeLog, LogBatch, RowState
from prism.wrapper._changelog.entries import RowKey
from prism.wrapper._pipeline.folding import Folded
from prism.wrapper._pipeline.known_rows import KnownRows, key_parts
from prism.wrapper._pipeline.shipment import Shipment, Target
from prism.wrapper._pipeline.sightings import Sightings
from prism.wrapper._recipe import Recipe
from prism.wrapper._rows import RowPlan
from prism.wrapper._rows.plan import NO_DIGEST, digest
from prism.wrapper.sources import (
    UNCHANGED,
    Change,
    Changes,
    Committed,
    Op,
    RowBatch,
    SchemaChanged,
    SnapshotDone,
    SnapshotRows,
    SnapshotStarted,
    Source,
    SourceEvent,
    TableSchema,
)

__all__ = ["Composer"]

_log = logging.getLogger("prism.wrapper.feed")

# A batch costs the log, the publisher and each driver about what 100 of its rows do. While one is
# embedded, rows that came after it wait.
_EMBEDDED_AT_ONCE = 1024
_ROWS_AT_ONCE = 4096
_BYTES_AT_ONCE = 8 << 20
_REFRESHED_AT_ONCE = 200


class Composer:
    """Compose shipments from a source's events.

    All methods belong to one thread. A shipment's `vectorize` is for any one other.

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
        self._targets: list[Target] = []
        self._known = KnownRows(log, source, pause=pause)
        self._streams: dict[int, tuple[TableSchema, int]] = {}
        self._folded = Folded()
        self._is_inside = False
        self._rows_at_once = _EMBEDDED_AT_ONCE
        self._watched: list[RowKey] = []
        self._sighted: list[tuple[RowKey, str]] = []
        self._refreshed_upto: dict[tuple[int, int], int] = {}

    def aim(self, targets: Iterable[Target]) -> None:
        """Compose for these epochs from now on; the first one's rows are those to look up."""
        self.flush()
        self._settle()
        self._targets = list(targets)
        self._streams.clear()

    def landed(self, shipment: Shipment) -> None:
        """Forget a shipment that is in the log. Shipments land in order. Any thread."""
        self._known.landed(shipment)

    def has_work(self) -> bool:
        """Say whether something is folded and not shipped."""
        return not self._folded.is_empty() or self._folded.position is not None

    def has_rows(self) -> bool:
        """Say whether rows are folded and not shipped."""
        return not self._folded.is_empty()

    def is_whole(self) -> bool:
        """Say whether whole transactions are folded and not shipped."""
        return not self._is_inside and not self._folded.is_empty()

    def take(self, event: SourceEvent, *, more: bool) -> None:
        """Take the next event.

        Args:
            event: The event.
            more: Whether to go on folding after a commit: another event waits already, or the log
                is busy. A log that takes one transaction after the other would fall behind: each
                waits for the disk.
        """
        match event:
            case Changes(changes=changes):
                self._is_inside = True
                self._add(changes, is_snapshot=False)
            case Committed(position=position, committed_ns=committed_ns):
                self._is_inside = False
                self._commit(position, committed_ns)
                if not more and not self._folded.is_empty():
                    self.flush()
            case SnapshotRows(changes=changes):
                self._add(changes, is_snapshot=True)
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
        held = self._known.held(self._targets[0], folded.rows) if folded.lacks else {}
        shipment = self._composed(self._targets, folded, held)
        shipment.position = folded.position
        shipment.committed_ns = folded.committed_ns
        shipment.sightings = sighted
        self._send(shipment)

    def _composed(
        self, targets: Sequence[Target], folded: Folded, held: Mapping[RowKey, dict[str, str]]
    ) -> Shipment:
        """Compose rows, and say how they get their vectors."""
        batches = {target.epoch: self._compose(target, folded, held) for target in targets}
        shipment = Shipment(batches, None, None)
        lacking = [(target, _embedded(target, batches[target.epoch])) for target in targets]

        def vectorize() -> None:
            for target, states in lacking:
                self._fill_vectors(target, states, shipment)

        if any(states for _, states in lacking):
            shipment.vectorize = vectorize
        return shipment

    def _send(self, shipment: Shipment) -> None:
        self._known.shipped(shipment)
        self._ship(shipment)

    # Events.

    def _begin_snapshot(self, tables: Sequence[TableSchema], reason: str) -> None:
        _log.info("a snapshot begins: %s", reason)
        # What was folded belongs to rows that the snapshot reads anew.
        self._folded = Folded()
        self._is_inside = True
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
        self._is_inside = False
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
        plans = [plan for target in self._targets for plan in target.plans.values()]
        embeds = any(plan.rule.embed for plan in plans)
        self._rows_at_once = _EMBEDDED_AT_ONCE if embeds else _ROWS_AT_ONCE
        self._known.schemas[stream] = schema
        self._streams[id(schema)] = (schema, stream)
        return stream

    def _define(self, described: StreamSchema, epoch: int) -> int:
        stream = self._persist(lambda: self._log.define(described, epochs=[epoch])) or 0
        if stream in self._log.state.refreshes.get(epoch, {}):
            _log.info("%s has other columns now; its rows are read anew", described.full_name)
        return stream

    def _add(self, changes: Sequence[Change], *, is_snapshot: bool) -> None:
        start = 0
        is_of_one_table = is_snapshot or isinstance(changes, RowBatch)
        while start < len(changes):
            schema = changes.schema if isinstance(changes, RowBatch) else changes[start].schema
            last = min(start + self._rows_at_once, len(changes))
            end = last if is_of_one_table else start + 1
            while end < last and changes[end].schema is schema:
                end += 1
            known = self._streams.get(id(schema))
            stream = known[1] if known and known[0] is schema else self._stream_of(schema)
            touched = self._folded.add(changes[start:end], stream)
            if not is_snapshot:
                self._watched += self._sightings.watched(touched)
            start = end
            if (
                len(self._folded.rows) >= self._rows_at_once
                or self._folded.size_bytes >= _BYTES_AT_ONCE
            ):
                self.flush()

    def _stream_of(self, schema: TableSchema) -> int:
        """Find the number of a table that is told by another object than before."""
        for stream, known in self._known.schemas.items():
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
        # All keys first: the log numbers rows in this order.
        batch = LogBatch(clears=dict(folded.clears), rows=dict.fromkeys(folded.rows))
        rows = batch.rows
        whole: dict[int, list[RowKey]] = {}
        for key, values in folded.rows.items():
            if values is None:
                continue
            stream, row_id = key
            if not folded.lacks or UNCHANGED not in values:
                whole.setdefault(stream, []).append(key)
            elif key not in held:
                del rows[key]  # gone in the database: its deletion is on the way
            else:
                plan, of_row = target.plans[stream], held[key]
                text = plan.text(values, of_row)
                told = digest(text) if plan.rule.embed else NO_DIGEST
                rows[key] = RowState(stream, row_id, text, plan.columns(values, of_row), told)
        for stream, keys in whole.items():
            states = _in_columns(target.plans[stream], stream, keys, folded)
            rows.update(zip(keys, states, strict=True))
        return batch

    def _fill_vectors(self, target: Target, states: list[RowState], shipment: Shipment) -> None:
        if not states:
            return
        batch = shipment.batches[target.epoch]
        keys = [(state.stream, state.row_id) for state in states]
        earlier = self._known.vectors(target, keys, before=shipment)
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

    # Rows with columns of an earlier schema.

    def refresh_some(self) -> bool:
        """Read some rows anew whose table was altered; say whether there were any.

        Nothing else is composed meanwhile: what the database gives is at least as new as what the
        log holds, and the changes after it are still to come.
        """
        for target in self._targets:
            for stream in self._log.state.refreshes.get(target.epoch, {}):
                if stream in self._known.schemas and stream in target.plans:
                    self._refresh(target, stream)
                    return True
        return False

    def _refresh(self, target: Target, stream: int) -> None:
        self.flush()
        self._settle()
        place = (target.epoch, stream)
        after = self._refreshed_upto.get(place, 0)
        rows = self._log.to_refresh(*place, after=after, count=_REFRESHED_AT_ONCE)
        if not rows:
            self._refreshed_upto.pop(place, None)
            self._persist(lambda: self._log.refreshed(*place))
            return
        self._refreshed_upto[place] = rows[-1].seq
        schema = self._known.schemas[stream]
        keys = [key_parts(schema, row.row_id) for row in rows]
        folded = Folded()
        folded.add(
            [
                Change(Op.UPSERT, schema, key, values)
                for key, values in self._known.ask(schema, keys).items()
            ],
            stream,
        )
        self._send(self._composed([target], folded, {}))


def _in_columns(
    plan: RowPlan, stream: int, keys: Sequence[RowKey], folded: Folded
) -> Iterable[RowState]:
    """Compose rows of one table that have all their values, column by column."""
    values = cast("list[tuple[str | None, ...]]", [folded.rows[key] for key in keys])
    columns = list(zip(*values, strict=True))
    texts = plan.texts_of(columns, rows=len(keys))
    digests = map(digest, texts) if plan.rule.embed else repeat(NO_DIGEST)
    ids = [row_id for _, row_id in keys]
    encoded = plan.columns_of(columns, rows=len(keys))
    return map(RowState, repeat(stream), ids, texts, encoded, digests)


def _embedded(target: Target, batch: LogBatch) -> list[RowState]:
    """Give the rows of a batch that get vectors."""
    streams = {stream for stream, plan in target.plans.items() if plan.rule.embed}
    if not streams:
        return []
    return [state for state in batch.rows.values() if state and state.stream in streams]
