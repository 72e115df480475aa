"""Answering `Query`: searches for clients without a replica.

The rows are held a second time, in indexes that are made at the first query and brought up to the
log at each. A wrapper that is asked nothing pays nothing.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from chorus_fabric import (
    Caller,
    FeedPart,
    FrameKind,
    InvalidCallError,
    NotReadyError,
    PositionGoneError,
    QueryAnswer,
    QueryCall,
    QueryRow,
    StreamSchema,
)
from prism.wrapper._changelog import ChangeLog
from prism.wrapper._config import WrapperConfig
from prismresonance import PrismProjector, PrismResonanceError, WaveIndex
from prismresonance.embed import Embedder

__all__ = ["LogQueries"]

_READ_BYTES = 4 << 20


@dataclass(slots=True)
class _Table:
    """One table's rows: those with a vector in the index, the rest nowhere to be found."""

    index: WaveIndex
    texts: dict[str, tuple[str, bytes]] = field(default_factory=dict)


class LogQueries:
    """Searches what the log holds; a `QueryHandler`. Safe for threads.

    Args:
        log: The log.
        embedder: For queries by text.
        config: The configuration.
    """

    def __init__(self, log: ChangeLog, embedder: Embedder, config: WrapperConfig) -> None:
        self._log = log
        self._embedder = embedder
        self._projector = PrismProjector(tenant_id=config.chorus.tenant_id)
        self._is_projected = config.vectors.wire == "projected"
        self._lock = threading.Lock()
        self._tables: dict[int, _Table] = {}
        self._position = (0, 0, 0)

    def query(self, call: QueryCall, caller: Caller) -> QueryAnswer:  # noqa: ARG002 - of the protocol
        """Search.

        Raises:
            InvalidCallError: A table, a width or a model that is not this log's.
            NotReadyError: The first snapshot is not complete.
        """
        if not self._log.state.served.complete:
            raise NotReadyError("the first snapshot is not complete; try again")
        schemas = [
            schema
            for schema in self._log.schemas()
            if schema.dim and (not call.table or schema.answers_to(call.table))
        ]
        if not schemas:
            known = ", ".join(schema.full_name for schema in self._log.schemas()) or "none"
            raise InvalidCallError(f"no table {call.table!r} with vectors; tables: {known}")
        vector = self._vector(call, schemas[0])
        with self._lock:
            self._catch_up()
            epoch, seq, _ = self._position
            rows = [row for schema in schemas for row in self._search(call, schema, vector)]
        rows.sort(key=lambda row: -row.score)
        return QueryAnswer(rows=rows[: call.top_k], epoch=epoch, seq=seq)

    def _vector(self, call: QueryCall, schema: StreamSchema) -> npt.NDArray[np.float32]:
        if call.model_id and call.model_id != schema.model_id:
            raise InvalidCallError(
                f"the embedding is of {call.model_id}, the rows are of {schema.model_id}; "
                "embed the query with that one, or send its text"
            )
        vector: npt.NDArray[np.float32]
        if call.text is not None:
            vector = self._embedder.embed([call.text])[0]
        elif call.embedding is not None:
            vector = call.embedding
        else:
            raise InvalidCallError("a query needs an embedding or a text")
        if self._is_projected and len(vector) != schema.dim:
            vector = self._projector.project(vector)
        if len(vector) != schema.dim:
            raise InvalidCallError(
                f"the embedding has {len(vector)} components, the rows have {schema.dim}"
            )
        return vector

    def _search(
        self, call: QueryCall, schema: StreamSchema, vector: npt.NDArray[np.float32]
    ) -> Iterator[QueryRow]:
        table = self._tables.get(schema.stream)
        if table is None or len(table.index) == 0:
            return
        try:
            matches = table.index.query(
                vector, top_k=call.top_k, threshold=call.threshold, where=call.where or None
            )
        except PrismResonanceError as error:
            raise InvalidCallError(str(error)) from error
        for match in matches:
            row_id = str(match.id)
            text, columns = table.texts[row_id]
            yield QueryRow(
                table=schema.full_name,
                row_id=row_id,
                score=float(match.score),
                text=text,
                columns=columns,
            )

    def _catch_up(self) -> None:
        while True:
            epoch, after, base = self._position
            if epoch != self._log.epoch:
                self._begin_anew()
                continue
            try:
                batch = self._log.read(
                    epoch=epoch, after=after, base=base, limit_bytes=_READ_BYTES, streams=None
                )
            except PositionGoneError:
                self._begin_anew()
                continue
            for part in batch.frames:
                self._apply(part)
            if batch.upto == after:
                return
            self._position = (epoch, batch.upto, base)

    def _begin_anew(self) -> None:
        self._tables.clear()
        self._position = (self._log.epoch, 0, self._log.floor())

    def _apply(self, part: FeedPart) -> None:
        table = self._tables.get(part.stream)
        if part.kind is FrameKind.CLEAR:
            self._tables.pop(part.stream, None)
            return
        if table is None:
            table = self._tables[part.stream] = _Table(WaveIndex(self._projector))
        if part.kind is FrameKind.GONE:
            for row_id in part.ids:
                self._remove(table, row_id)
            return
        seen = np.any(part.vectors, axis=1) if part.vectors.size else np.zeros(len(part.ids), bool)
        ids = list(part.ids)
        for row_id, has_vector in zip(ids, seen.tolist(), strict=True):
            if not has_vector:
                self._remove(table, row_id)
        places = np.flatnonzero(seen)
        if len(places):
            payloads = [_payload(part.metadata[place]) for place in places.tolist()]
            chosen = [ids[place] for place in places.tolist()]
            table.index.upsert_many(part.vectors[places], payloads, chosen)
            for place, row_id in zip(places.tolist(), chosen, strict=True):
                table.texts[row_id] = (part.texts[place], part.metadata[place])

    def _remove(self, table: _Table, row_id: str) -> None:
        if table.texts.pop(row_id, None) is not None:
            table.index.remove(row_id)


def _payload(columns: bytes) -> Mapping[str, object]:
    found: dict[str, object] = json.loads(columns)
    return found
