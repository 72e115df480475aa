"""The entries of one cache: vector and answer under one owner.

Whatever removes an answer (time, eviction, a tag, feedback, another process) goes through `_drop`,
which removes its vector and its place in ranking and expiries too; the store is told afterwards.

Readers take no lock: the table of entries is a dict that is only ever given whole entries, and the
index answers from snapshots. Writers share one short lock, never held during a call to the model,
to an embedder or to the store.
"""

from __future__ import annotations

import enum
import logging
import math
import threading
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from prism.cache._entry import Entry, cost_of, entry_of
from prism.cache._eviction import GreedyDual
from prism.cache._expiries import Expiries
from prism.cache._forks import hold_over_fork
from prism.cache._groups import Groups
from prism.cache._metrics import Ledger
from prism.cache._scope import tenant_key
from prism.cache._settings import CacheSettings
from prism.cache._store_link import StoreLink
from prism.cache._vectors import Vectors
from prism.cache.errors import StoreError
from prism.cache.store import Record, Store

__all__ = ["Kept", "Shelf"]

_log = logging.getLogger("prism.cache")

_REMEMBERED_REMOVALS = 1024


class Kept(enum.Enum):
    """What became of an answer that was to be kept."""

    KEPT = "it is stored"
    NOT_DURABLE = "it is in memory; the store could not be written"
    TOO_LARGE = "it is larger than max_bytes"
    REMOVED = "it was removed while it was being fetched"


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
        self._embedder = embedder
        # If nobody learns from answers beside the questions, who stores one has it read: a decision
        # would take as long as sixteen of them are read.
        self._reads_answers = settings.similarity_threshold is None and not settings.learn
        self._ledger = ledger
        self._clock = clock
        self.link = self._link = StoreLink(
            store, tenant=tenant_key(settings.tenant_id), ledger=ledger
        )
        # Taken in this order. Re-entrant: a fork in one's own critical section must not wait.
        self._sync_lock = threading.RLock()
        self._lock = threading.RLock()
        self._entries: dict[bytes, Entry] = {}
        self._vectors = Vectors(settings.tenant_id, ledger)
        self._ranking = GreedyDual[bytes](self._hits_of)
        self._expiries = Expiries()
        self._groups = Groups[Entry]()
        self._size_bytes = 0
        self._removals: deque[Callable[[Entry], bool]] = deque(maxlen=_REMEMBERED_REMOVALS)
        self._removal_count = 0
        self._unread_since: float = math.inf
        self._is_closed = False
        hold_over_fork(self, self._sync_lock, self._lock, self._link.lock)
        self.catch_up()

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

    @property
    def is_behind(self) -> bool:
        """Whether `catch_up` would do something. Microseconds, takes no lock.

        Raises:
            StoreError: The store could not be asked.
        """
        return self._expiries.next_at <= self._clock() or self._link.is_behind

    def exact(self, key: bytes) -> Entry | None:
        """Find the entry of this very question. Takes no lock."""
        entry = self._entries.get(key)
        return entry if entry is not None and entry.expires_at > self._clock() else None

    def near(self, vector: npt.NDArray[np.float32], scope: bytes) -> list[tuple[Entry, float]]:
        """Find the nearest entries of a scope with their cosines, the nearest first.

        Takes no lock. A vector of zeros is near nothing.
        """
        return self._vectors.near(vector, scope, self._clock())

    def keep(self, record: Record, *, since: int) -> Kept:
        """Store an answer durably, then make it findable.

        Args:
            record: The answer.
            since: `removal_count` when its call began. If a removal asked for since then would have
                removed it, it is not kept: it may rest on what was invalidated.
        """
        entry = self._entry(record, 0)
        with self._lock:
            if self._was_removed(entry, since):
                return Kept.REMOVED
        if entry.size_bytes > self._settings.max_bytes:
            # The answer it would have replaced is out of date.
            gone = self._drop_where(lambda other: other.key == entry.key)
            self._link.forget_quietly({entry.key: self._link.position} | gone)
            return Kept.TOO_LARGE
        outcome = Kept.KEPT
        try:
            entry.position = self._link.put(record)
        except StoreError:
            # The answer still serves this process; an older one in the store must not outlive it.
            _log.warning("an answer could not be written to the store", exc_info=True)
            self._ledger.error("store")
            self._link.forget_quietly({entry.key: self._newest(entry.key)})
            outcome = Kept.NOT_DURABLE
        with self._lock:
            if self._is_closed or self._was_removed(entry, since):
                gone = {} if self._is_closed else {entry.key: entry.position}
                outcome = Kept.REMOVED
                if self._has(record):
                    # Read back from the store between our put and now.
                    gone |= self._drop(entry.key)
            elif 0 < entry.position <= self._link.position and not self._link.is_owed(entry.key):
                # Read back meanwhile, and placed, or found replaced or deleted by now.
                gone = {}
            else:
                gone = self._place([(entry, record.vector)])
        self._link.forget_quietly(gone)
        return outcome

    def entry(self, key: bytes) -> Entry | None:
        """Find an entry, expired or not. Takes no lock."""
        return self._entries.get(key)

    def understand(
        self, entry: Entry, group: bytes, meaning: npt.NDArray[np.float32] | None
    ) -> None:
        """Give an entry what was learned of its answer before."""
        with self._lock:
            if self._entries.get(entry.key) is entry:
                self._groups.discard(entry)
                entry.group, entry.meaning = group, meaning
                self._groups.add(entry)

    def agrees(self, entry: Entry, says_the_same: Callable[[Entry], bool]) -> bool:
        """Tell whether most of an entry's group say the same as something."""
        with self._lock:
            return self._groups.agrees(entry, says_the_same)

    def join(self, entries: Sequence[Entry]) -> list[Entry]:
        """Make one group of those of these entries that are still here; give what changed."""
        with self._lock:
            present = [entry for entry in entries if self._entries.get(entry.key) is entry]
            return self._groups.join(present) if present else []

    def remove(self, matches: Callable[[Entry], bool]) -> int:
        """Remove every entry that `matches`, now and durably, also those not yet read.

        Returns:
            How many there were.

        Raises:
            StoreError: They are gone from memory and will not come back; the store could not be
                read or written, and is told again at the next occasion.
        """
        with self._lock:
            self._removal_count += 1
            self._removals.append(matches)
            before = self._removal_count - 1
        gone = self._drop_where(matches)
        try:
            self._pull()
            gone |= self._drop_where(matches)
        except BaseException:
            # What could not be read is to be removed when it is.
            with self._lock:
                self._unread_since = min(self._unread_since, before)
                gone |= self._drop_where(matches)
            raise
        finally:
            self._link.forget(gone)
        return len(gone)

    def catch_up(self) -> None:
        """Take over what other processes stored and removed, then drop what has expired.

        In this order: an answer that another process renewed must not be taken for expired.

        Raises:
            StoreError: The store could not be read or written; the entries stay as they are.
        """
        self._pull()
        if self._expiries.next_at <= self._clock():
            with self._lock:
                due: list[bytes] = []
                self._expiries.take_due(self._clock(), due.append)
                gone = self._drop_all(due)
                self._ledger.count("expired", len(gone))
                if gone:
                    self._vectors.compact()
            self._link.forget(gone)
        elif self._link.is_due:
            self._link.forget({})

    def close(self) -> None:
        """Let go of all entries; the store keeps its own."""
        with self._lock:
            self._is_closed = True
            self._entries.clear()
            self._ranking = GreedyDual[bytes](self._hits_of)
            self._expiries = Expiries()
            self._groups = Groups[Entry]()
            self._vectors.clear()
            self._size_bytes = 0

    def _pull(self) -> None:
        with self._sync_lock:
            since = self._removal_count
            changes = self._link.read()
            if changes is None:
                self._unread_since = math.inf
                return
            now = self._clock()
            with self._lock:
                if self._is_closed:
                    return
                since = int(min(since, self._unread_since))
                if changes.is_reset:
                    stored = {record.key for record in changes.stored}
                    deleted = [key for key in self._entries if key not in stored]
                else:
                    deleted = list(changes.deleted)
                self._drop_all([key for key in deleted if self._is_older(key, changes.position)])
                arrivals, gone = [], {}
                for record in changes.stored:
                    if self._has(record) or self._link.is_owed(record.key):
                        continue
                    known = self._entries.get(record.key)
                    if known is not None and known.position > changes.position:
                        continue
                    entry = self._entry(record, changes.position)
                    self._drop(record.key)
                    if (
                        entry.expires_at <= now
                        or entry.size_bytes > self._settings.max_bytes
                        or self._was_removed(entry, since)
                    ):
                        gone[record.key] = changes.position
                    else:
                        is_ours = record.embedder == self._embedder
                        arrivals.append((entry, record.vector if is_ours else b""))
                gone |= self._place(arrivals)
                self._link.position = changes.position
                self._unread_since = math.inf
            if gone:
                self._link.forget_quietly(gone)

    def _newest(self, key: bytes) -> int:
        """The newest position of `key` that this process knows of."""
        entry = self._entries.get(key)
        return max(self._link.position, 0 if entry is None else entry.position)

    def _is_older(self, key: bytes, position: int) -> bool:
        """Whether the entry of `key`, if any, was in the store at `position` or before."""
        entry = self._entries.get(key)
        return entry is not None and 0 < entry.position <= position

    def _has(self, record: Record) -> bool:
        entry = self._entries.get(record.key)
        return entry is not None and (
            (entry.created_at, entry.answer.payload, entry.tags)
            == (record.created_at, record.answer, record.tags)
        )

    def _entry(self, record: Record, position: int) -> Entry:
        entry = entry_of(record, position=position, misread=lambda _: self._ledger.error("usage"))
        if self._reads_answers and not position:
            _ = entry.sketch.facts
        return entry

    def _place(self, arrivals: Sequence[tuple[Entry, bytes]]) -> dict[bytes, int]:
        """Put entries in table, ranking, expiries and index, in place of any with their keys.

        Returns:
            What was evicted for them, with positions, for the store to forget.
        """
        evicted: dict[bytes, int] = {}
        for entry, _ in arrivals:
            self._drop(entry.key)
            evicted |= self._make_room_for(entry)
            self._size_bytes += entry.size_bytes
            self._ranking.add(entry.key, size_bytes=entry.size_bytes, cost=cost_of(entry))
            self._expiries.set(entry.key, entry.expires_at)
            self._entries[entry.key] = entry
        # Of many arrivals, early ones may have been evicted for later ones.
        self._vectors.add([(e, vector) for e, vector in arrivals if self._entries.get(e.key) is e])
        return evicted

    def _drop(self, key: bytes) -> dict[bytes, int]:
        """Take an entry out of everything in memory; unknown keys too. Gives its position."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return {}
        self._size_bytes -= entry.size_bytes
        self._ranking.discard(key)
        self._expiries.discard(key)
        self._groups.discard(entry)
        self._vectors.remove(entry)
        # What the store had of it up to where we have read is superseded by it.
        return {key: max(entry.position, self._link.position)}

    def _drop_all(self, keys: Sequence[bytes]) -> dict[bytes, int]:
        gone: dict[bytes, int] = {}
        for key in keys:
            gone |= self._drop(key)
        return gone

    def _drop_where(self, matches: Callable[[Entry], bool]) -> dict[bytes, int]:
        with self._lock:
            gone = self._drop_all([key for key, e in self._entries.items() if matches(e)])
            if gone:
                self._vectors.compact()
            return gone

    def _make_room_for(self, entry: Entry) -> dict[bytes, int]:
        """Evict until `entry` fits, or nothing is left."""
        bounds = self._settings
        evicted: dict[bytes, int] = {}
        while self._entries and (
            self._size_bytes + entry.size_bytes > bounds.max_bytes
            or len(self._entries) >= bounds.max_entries
        ):
            evicted |= self._drop(self._ranking.pop())
        self._ledger.count("evicted", len(evicted))
        return evicted

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
