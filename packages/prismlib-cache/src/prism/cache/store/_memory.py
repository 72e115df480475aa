"""A store that lives and dies with the process."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from types import TracebackType
from typing import Self

from prism.cache.errors import CacheConfigurationError, StoreError
from prism.cache.store._notes import ENTRY_NOTE
from prism.cache.store._protocol import Changes, Record

__all__ = ["MemoryStore"]


class MemoryStore:
    """Keep records in dicts: nothing survives the process, nothing is shared with another one.

    Safe for threads. `put` is O(1), `delete` O(keys), `changes` O(what changed). A forked child
    goes on with a copy of its own.

    Args:
        remembered_changes: A deletion is forgotten once this many changes came after it; whoever
            asks from before that is given everything anew. Raise it for readers that lag far
            behind; each deletion it remembers costs about 200 bytes.

    Raises:
        CacheConfigurationError: `remembered_changes` is below 1.
    """

    def __init__(self, *, remembered_changes: int = 65_536) -> None:
        if remembered_changes < 1:
            raise CacheConfigurationError(
                f"remembered_changes must be at least 1, not {remembered_changes}"
            )
        self._remembered_changes = remembered_changes
        self._lock = threading.Lock()
        # Both are in the order of their positions: a key that changes again goes to the end.
        self._records: dict[bytes, dict[bytes, tuple[int, Record]]] = {}
        self._removals: dict[tuple[bytes, bytes], int] = {}
        self._notes: dict[bytes, dict[bytes, bytes]] = {}
        self._position = 0
        self._horizon = 0
        self._is_closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def put(self, tenant: bytes, record: Record) -> int:
        """Keep `record` in place of any other with its key; return the position of the change.

        Raises:
            StoreError: The store is closed.
        """
        with self._lock:
            self._check_open()
            position = self._position + 1
            records = self._records.setdefault(tenant, {})
            records.pop(record.key, None)
            records[record.key] = (position, record)
            self._removals.pop((tenant, record.key), None)
            self._position = position
            return position

    def delete(
        self,
        tenant: bytes,
        keys: Collection[bytes],
        *,
        versions: Mapping[bytes, int] | None = None,
    ) -> int:
        """Forget these keys, unless put after their `versions`; return how many there were.

        Raises:
            StoreError: The store is closed.
        """
        with self._lock:
            self._check_open()
            records = self._records.get(tenant, {})
            known = [
                key
                for key in dict.fromkeys(keys)
                if key in records and (versions is None or records[key][0] <= versions[key])
            ]
            position = self._position
            for key in known:
                position += 1
                del records[key]
                self._notes.get(tenant, {}).pop(ENTRY_NOTE + key, None)
                self._removals[tenant, key] = position
            self._forget_removals(position - self._remembered_changes)
            self._position = position
            return len(known)

    def changes(self, tenant: bytes, since: int) -> Changes:
        """Tell what changed after position `since`; 0 gives all records.

        Raises:
            StoreError: The store is closed.
        """
        with self._lock:
            self._check_open()
            is_reset = not self._horizon <= since <= self._position
            after = -1 if is_reset else since
            stored: list[Record] = []
            for position, record in reversed(self._records.get(tenant, {}).values()):
                if position <= after:
                    break
                stored.append(record)
            deleted: list[bytes] = []
            if not is_reset:
                for (owner, key), position in reversed(self._removals.items()):
                    if position <= after:
                        break
                    if owner == tenant:
                        deleted.append(key)
            return Changes(
                position=self._position,
                stored=tuple(reversed(stored)),
                deleted=tuple(reversed(deleted)),
                is_reset=is_reset,
            )

    def has_changed(self, since: int) -> bool:
        """Tell whether `changes` could have something new. Takes no lock.

        Raises:
            StoreError: The store is closed.
        """
        self._check_open()
        return self._position != since

    def note(self, tenant: bytes, notes: Mapping[bytes, bytes]) -> None:
        """Keep these values under their names, in place of older ones.

        Raises:
            StoreError: The store is closed.
        """
        with self._lock:
            self._check_open()
            self._notes.setdefault(tenant, {}).update(notes)

    def notes(self, tenant: bytes) -> Mapping[bytes, bytes]:
        """Give all notes of a tenant.

        Raises:
            StoreError: The store is closed.
        """
        with self._lock:
            self._check_open()
            return dict(self._notes.get(tenant, {}))

    def close(self) -> None:
        """Forget everything. Closing twice does nothing."""
        with self._lock:
            self._is_closed = True
            self._records.clear()
            self._removals.clear()
            self._notes.clear()

    def _check_open(self) -> None:
        if self._is_closed:
            raise StoreError("the memory store is closed; make a new one")

    def _forget_removals(self, horizon: int) -> None:
        """Drop the removals at or before `horizon`, and remember where the log now begins."""
        while self._removals:
            removed, position = next(iter(self._removals.items()))
            if position > horizon:
                break
            del self._removals[removed]
            self._horizon = position
