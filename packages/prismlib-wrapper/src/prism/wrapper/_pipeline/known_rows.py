"""What is known of a row besides what the database just sent.

Its columns, for values that were not sent; its vector, for a text that did not change. Taken from
the newest batch on its way to the log that has the row, then from the log, then from the database.
"""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import takewhile

from prism.wrapper._changelog import ChangeLog, LogBatch, RowState
from prism.wrapper._changelog.entries import RowKey
from prism.wrapper._pipeline.shipment import Shipment, Target
from prism.wrapper._rows.tokens import slices, tokenizer
from prism.wrapper.sources import UNCHANGED, Source, TableSchema, Value
from prism.wrapper.sources.errors import SourceUnavailableError

__all__ = ["KnownRows", "key_parts"]

_log = logging.getLogger("prism.wrapper.feed")

_FETCHED_AT_ONCE = 200
_FETCH_AGAIN_S = 1.0


class KnownRows:
    """Looks rows up. All methods but `landed` and `vectors` belong to one thread.

    Args:
        log: The log.
        source: Asked for values that nobody holds.
        pause: Waits some seconds; whether to go on.

    Attributes:
        schemas: The tables by number, as they are now.
    """

    def __init__(self, log: ChangeLog, source: Source, *, pause: Callable[[float], bool]) -> None:
        self._log = log
        self._source = source
        self._pause = pause
        self._in_flight: deque[Mapping[int, LogBatch]] = deque()
        self.schemas: dict[int, TableSchema] = {}

    def shipped(self, shipment: Shipment) -> None:
        """Note a shipment that is on its way to the log; call it before it can land."""
        self._in_flight.append(shipment.batches)

    def landed(self, shipment: Shipment) -> None:
        """Forget a shipment that is in the log. Shipments land in order. Any thread."""
        if self._in_flight and self._in_flight[0] is shipment.batches:
            self._in_flight.popleft()

    def vectors(
        self, target: Target, keys: Sequence[RowKey], *, before: Shipment
    ) -> dict[RowKey, tuple[bytes, bytes]]:
        """Find the digests and vectors of rows as they were before a shipment.

        It and later ones have no vectors yet, all earlier ones have. Any thread, while that
        shipment is on its way.
        """
        found: dict[RowKey, tuple[bytes, bytes]] = {}
        unknown = self._from_in_flight(
            target.epoch,
            keys,
            lambda key, row: found.__setitem__(key, (row.digest, row.vector)),
            before=before,
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
        self,
        epoch: int,
        keys: Iterable[RowKey],
        found: Callable[[RowKey, RowState], None],
        *,
        before: Shipment | None = None,
    ) -> list[RowKey]:
        """Look rows up in what is not in the log yet; return those the log has to be asked for."""
        last = None if before is None else before.batches
        on_the_way = list(takewhile(lambda batches: batches is not last, list(self._in_flight)))
        flying = [batches[epoch] for batches in reversed(on_the_way) if epoch in batches]
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

    def held(
        self, target: Target, rows: Mapping[RowKey, tuple[Value, ...] | None]
    ) -> dict[RowKey, dict[str, str]]:
        """Find the JSON tokens of values that are UNCHANGED, of rows that still exist."""
        keys = [key for key, values in rows.items() if values is not None and UNCHANGED in values]
        if not keys:
            return {}
        epoch = target.epoch
        held: dict[RowKey, dict[str, str]] = {}
        unknown = self._from_in_flight(
            epoch, keys, lambda key, row: held.__setitem__(key, slices(row.columns))
        )
        for key, row in self._log.stored(unknown, epoch=epoch).items():
            held[key] = slices(row.columns)
        lacking = [key for key in keys if not self._suffices(target, key, rows[key], held.get(key))]
        for start in range(0, len(lacking), _FETCHED_AT_ONCE):
            self._fetch(lacking[start : start + _FETCHED_AT_ONCE], held)
        return held

    def _suffices(
        self,
        target: Target,
        key: RowKey,
        values: tuple[Value, ...] | None,
        held: Mapping[str, str] | None,
    ) -> bool:
        schema = self.schemas[key[0]]
        sent = set(target.plans[key[0]].sent_columns)
        return held is not None and all(
            schema.columns[position].name in held
            for position, value in enumerate(values or ())
            if value is UNCHANGED and position in sent
        )

    def _fetch(self, keys: Collection[RowKey], held: dict[RowKey, dict[str, str]]) -> None:
        for stream in {stream for stream, _ in keys}:
            schema = self.schemas[stream]
            parts = {
                key_parts(schema, row_id): (stream, row_id) for s, row_id in keys if s == stream
            }
            _log.debug("asking the database for %s rows of %s", len(parts), schema.table)
            for key in parts.values():
                held.pop(key, None)
            for key_values, values in self.ask(schema, list(parts)).items():
                tokens = {
                    column.name: "null" if value is None else tokenizer(column)(value)
                    for column, value in zip(schema.columns, values, strict=True)
                }
                held[parts[key_values]] = tokens

    def ask(
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
