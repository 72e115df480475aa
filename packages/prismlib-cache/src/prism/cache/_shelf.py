"""The entries of one cache: vector and answer under one owner.

Whatever removes an answer (time, eviction, a tag, feedback, another process) goes through `_drop`,
which removes its vector, its place in the ranking and its record in the store with it.

Readers take no lock: the table of entries is a dict that is only ever given whole entries, and the
index answers from snapshots. Writers share one short lock, never held during a call to the model or
while an embedder runs.
"""

from __future__ import annotations

import heapq
import logging
import math
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from prism.cache._answers import AnswerSketch, sketch
from prism.cache._codec import EncodedAnswer, decode
from prism.cache._eviction import GreedyDual
from prism.cache._metrics import Ledger
from prism.cache._pricing import Usage
from prism.cache._scope import tenant_key
from prism.cache._settings import CacheSettings
from prism.cache.errors import StoreError
from prism.cache.store import Record, Store
from prismresonance import PrismProjector, WaveIndex

__all__ = ["Entry", "Shelf"]

_log = logging.getLogger("prism.cache")

CANDIDATES = 16
"""Neighbours the verdict sees. The true nearest full-width neighbour was among the first 16 of the
64-d scan in every one of the measured queries with a cosine of .80 or more (research, index)."""

# Per entry beside question, answer and vectors: the entry and its sketch, its places in dict, heap
# and index. A test measures real entries and fails if they take more than is estimated.
_ENTRY_OVERHEAD_BYTES = 4096
_REMEMBERED_REMOVALS = 1024


@dataclass(slots=True, eq=False)
class Entry:
    """One stored answer in memory. Only `hits` ever changes."""

    key: bytes
    scope: bytes
    question: str
    answer: EncodedAnswer
    sketch: AnswerSketch
    model: str
    usage: Usage | None
    created_at: float
    expires_at: float
    tags: tuple[str, ...]
    size_bytes: int
    row: int | None
    hits: int = 0


class Shelf:
    """Keeps the entries of one tenant within their bounds, in step with the store.

    Args:
        settings: Whose shelf it is, and its bounds.
        store: The durable side; `None` for memory alone.
        embedder: `model_id` of the embedder. Records of another one answer the exact tier only,
            since vectors of two models cannot be compared.
        ledger: Where evictions, expiries and errors are counted.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        settings: CacheSettings,
        *,
        store: Store | None,
        embedder: str,
        ledger: Ledger,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._store = store
        self._embedder = embedder
        self._ledger = ledger
        self._clock = clock
        self._tenant = tenant_key(settings.tenant_id)
        self._lock = threading.RLock()
        self._sync_lock = threading.Lock()
        self._position = 0
        self._entries: dict[bytes, Entry] = {}
        # Made with the first vector: a tenant without entries costs next to nothing.
        self._index: WaveIndex | None = None
        self._ranking = GreedyDual[bytes](self._hits_of)
        self._expiries: list[tuple[float, bytes]] = []
        self._size_bytes = 0
        self._removals: deque[Callable[[Entry], bool]] = deque(maxlen=_REMEMBERED_REMOVALS)
        self._removal_count = 0
        if store is not None:
            self._pull(store)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size_bytes(self) -> int:
        """Estimated memory of all entries."""
        return self._size_bytes

    @property
    def removal_count(self) -> int:
        """How many removals were asked for so far; what was sought before one may be stale."""
        return self._removal_count

    def exact(self, key: bytes) -> Entry | None:
        """Find the entry of this very question. Takes no lock."""
        entry = self._entries.get(key)
        return entry if entry is not None and entry.expires_at > self._clock() else None

    def near(self, vector: npt.NDArray[np.float32], scope: bytes) -> list[tuple[Entry, float]]:
        """Find the nearest entries of a scope with their cosines, the nearest first.

        Takes no lock. A vector of zeros is near nothing.
        """
        if self._index is None or not vector.any():
            return []
        now = self._clock()
        found = self._index.query(vector, top_k=CANDIDATES, where={"scope": scope})
        entries = (
            (self._entries.get(cast("bytes", match.payload["key"])), match) for match in found
        )
        return [
            (entry, match.score)
            for entry, match in entries
            # An entry may have been dropped or replaced since the index answered.
            if entry is not None and entry.row == match.id and entry.expires_at > now
        ]

    def keep(self, record: Record, *, since: int) -> bool:
        """Store an answer durably, then make it findable.

        Args:
            record: The answer.
            since: `removal_count` when its call began. If a removal asked for since then would have
                removed it, it is not kept: it may rest on what was invalidated.

        Returns:
            Whether it was kept; not if it is larger than all the room there is.
        """
        entry = self._entry(record)
        with self._lock:
            if self._was_removed(entry, since) or entry.size_bytes > self._settings.max_bytes:
                return False
        if self._store is not None:
            try:
                self._store.put(self._tenant, record)
            except StoreError:
                # The answer still serves this process; the operator sees the counter.
                _log.warning("an answer could not be written to the store", exc_info=True)
                self._ledger.error("store")
        with self._lock:
            if self._was_removed(entry, since):
                self._forget_quietly([record.key])
                return False
            self._place([(entry, record.vector)])
        return True

    def remove(self, matches: Callable[[Entry], bool]) -> int:
        """Remove every entry that `matches`, now and durably.

        Returns:
            How many there were.

        Raises:
            StoreError: They are gone from memory; the store could not be told.
        """
        with self._lock:
            self._removal_count += 1
            self._removals.append(matches)
            keys = [key for key, entry in self._entries.items() if matches(entry)]
            for key in keys:
                self._drop(key)
            if keys and self._index is not None:
                # The index would keep the room of removed vectors until more are removed.
                self._index.compact()
            self._forget(keys)
        return len(keys)

    def sweep(self) -> None:
        """Remove what has expired. Costs one comparison when nothing has."""
        if self._expiries and self._expiries[0][0] <= self._clock():
            with self._lock:
                gone = []
                now = self._clock()
                while self._expiries and self._expiries[0][0] <= now:
                    expires_at, key = heapq.heappop(self._expiries)
                    entry = self._entries.get(key)
                    if entry is not None and entry.expires_at == expires_at:
                        self._drop(key)
                        gone.append(key)
                self._ledger.count("expired", len(gone))
                self._forget_quietly(gone)

    def sync(self) -> None:
        """Take over what other processes stored and removed. Cheap when nothing changed.

        Raises:
            StoreError: The store could not be read; the entries stay as they are.
        """
        store = self._store
        if store is not None and store.has_changed(self._position):
            with self._sync_lock:
                self._pull(store)

    def close(self) -> None:
        """Let go of all entries; the store keeps its own."""
        with self._lock:
            self._entries.clear()
            self._expiries.clear()
            self._index = None
            self._size_bytes = 0

    def _pull(self, store: Store) -> None:
        changes = store.changes(self._tenant, self._position)
        now = self._clock()
        with self._lock:
            if changes.is_reset:
                stored = {record.key for record in changes.stored}
                for key in [key for key in self._entries if key not in stored]:
                    self._drop(key)
            for key in changes.deleted:
                self._drop(key)
            self._place(
                [
                    (self._entry(record), self._vector_of(record))
                    for record in changes.stored
                    if not self._has(record) and len(record.answer) <= self._settings.max_bytes
                ]
            )
            self._position = changes.position
        expired = [
            r.key for r in changes.stored if r.expires_at is not None and r.expires_at <= now
        ]
        if expired:
            self.sweep()

    def _has(self, record: Record) -> bool:
        entry = self._entries.get(record.key)
        return (
            entry is not None
            and entry.created_at == record.created_at
            and entry.answer.payload == record.answer
        )

    def _entry(self, record: Record) -> Entry:
        answer = EncodedAnswer(record.answer, record.encoding)
        usage = None
        if record.input_tokens is not None and record.output_tokens is not None:
            usage = Usage(
                input_tokens=record.input_tokens,
                output_tokens=record.output_tokens,
                cached_tokens=record.cached_tokens or 0,
            )
        return Entry(
            key=record.key,
            scope=record.scope,
            question=record.question,
            answer=answer,
            sketch=sketch(_text_of(answer)),
            model=record.model,
            usage=usage,
            created_at=record.created_at,
            expires_at=math.inf if record.expires_at is None else record.expires_at,
            tags=record.tags,
            size_bytes=_ENTRY_OVERHEAD_BYTES
            + 4 * len(record.question)
            + len(record.answer)
            + 2 * len(record.vector),
            row=None,
        )

    def _vector_of(self, record: Record) -> bytes:
        return record.vector if record.embedder == self._embedder else b""

    def _place(self, arrivals: Sequence[tuple[Entry, bytes]]) -> None:
        """Put entries in the table, the index and the ranking, in place of any with their keys."""
        for entry, _ in arrivals:
            self._drop(entry.key)
            self._make_room_for(entry)
            self._size_bytes += entry.size_bytes
            self._ranking.add(entry.key, size_bytes=entry.size_bytes, cost=_cost(entry))
            if entry.expires_at < math.inf:
                heapq.heappush(self._expiries, (entry.expires_at, entry.key))
            self._entries[entry.key] = entry
        units = ((entry, np.frombuffer(vector, dtype="<f4")) for entry, vector in arrivals)
        # Of many arrivals, early ones may have been evicted for later ones.
        searchable = [
            (entry, unit)
            for entry, unit in units
            if unit.any() and self._entries.get(entry.key) is entry
        ]
        if searchable:
            if self._index is None:
                self._index = WaveIndex(
                    PrismProjector(dim=64, tenant_id=self._settings.tenant_id),
                    indexed_fields=("scope",),
                )
            rows = self._index.add_many(
                vectors=np.stack([unit for _, unit in searchable]),
                payloads=[{"scope": entry.scope, "key": entry.key} for entry, _ in searchable],
            )
            for (entry, _), row in zip(searchable, rows, strict=True):
                entry.row = int(row)

    def _drop(self, key: bytes) -> None:
        """Take an entry out of everything in memory; unknown keys too."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        self._size_bytes -= entry.size_bytes
        self._ranking.discard(key)
        if entry.row is not None and self._index is not None:
            self._index.remove(entry.row)

    def _make_room_for(self, entry: Entry) -> None:
        """Evict until `entry` fits, or nothing is left."""
        bounds = self._settings
        evicted = []
        while self._entries and (
            self._size_bytes + entry.size_bytes > bounds.max_bytes
            or len(self._entries) >= bounds.max_entries
        ):
            key = self._ranking.pop()
            self._drop(key)
            evicted.append(key)
        if evicted:
            self._ledger.count("evicted", len(evicted))
            self._forget_quietly(evicted)

    def _forget(self, keys: list[bytes]) -> None:
        if keys and self._store is not None:
            self._store.delete(self._tenant, keys)

    def _forget_quietly(self, keys: list[bytes]) -> None:
        try:
            self._forget(keys)
        except StoreError:
            _log.warning("removed entries are still in the store", exc_info=True)
            self._ledger.error("store")

    def _was_removed(self, entry: Entry, since: int) -> bool:
        missed = self._removal_count - since
        if missed > len(self._removals):
            return True
        return any(
            matches(entry) for matches in list(self._removals)[len(self._removals) - missed :]
        )

    def _hits_of(self, key: bytes) -> int:
        entry = self._entries.get(key)
        return entry.hits if entry is not None else 0


def _cost(entry: Entry) -> float:
    """What it takes to get an answer again: its output, which is what takes time and money."""
    return float(entry.usage.output_tokens if entry.usage else len(entry.answer.payload) / 4) + 1.0


def _text_of(answer: EncodedAnswer) -> str:
    try:
        whole = decode(answer)
    except ValueError:
        whole = answer.payload
    if isinstance(whole, str):
        return whole
    return answer.payload.decode("utf-8", "replace")
