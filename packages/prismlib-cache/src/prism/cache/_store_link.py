"""The link between a shelf and its store: what was read, what still has to be deleted.

A deletion that the store could not take is *owed*: it is tried again at every occasion, and an owed
record is not taken back in meanwhile. So what was removed stays removed while this process lives,
and is gone for good as soon as the store can be written.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping

from prism.cache._metrics import Ledger
from prism.cache.errors import StoreError
from prism.cache.store import Changes, Notebook, Record, Store

__all__ = ["StoreLink"]

_log = logging.getLogger("prism.cache")
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 30.0
_PATIENCE = 10


class StoreLink:
    """One tenant's side of a store. Safe for threads.

    Args:
        store: The store; `None` for none, then nothing is ever to be done.
        tenant: Whose records.
        ledger: Where failures are counted.
    """

    def __init__(self, store: Store | None, *, tenant: bytes, ledger: Ledger) -> None:
        self._store = store
        self._tenant = tenant
        self._ledger = ledger
        self.lock = threading.RLock()
        self._owed: dict[bytes, int] = {}
        self._pause_s = 0.0
        self._resume_at_s = 0.0
        self.position = 0

    def put(self, record: Record) -> int:
        """Store a record; give its position, or 0 without a store.

        Raises:
            StoreError: It could not be written.
        """
        return 0 if self._store is None else self._store.put(self._tenant, record)

    @property
    def keeps_notes(self) -> bool:
        """Whether there is a store that keeps notes."""
        return isinstance(self._store, Notebook)

    def note(self, notes: Mapping[bytes, bytes]) -> None:
        """Keep what was learned, if the store keeps notes.

        Raises:
            StoreError: It could not be written.
        """
        store: object = self._store
        if isinstance(store, Notebook):
            store.note(self._tenant, notes)

    def notes(self) -> Mapping[bytes, bytes]:
        """Read what was learned; nothing if the store keeps no notes.

        Raises:
            StoreError: It could not be read.
        """
        store: object = self._store
        return store.notes(self._tenant) if isinstance(store, Notebook) else {}

    def forget(self, versions: Mapping[bytes, int]) -> None:
        """Delete these keys unless put after these positions, and all that is owed.

        Raises:
            StoreError: They are owed now.
        """
        if self._store is None:
            return
        with self.lock:
            for key, version in versions.items():
                self._owed[key] = max(version, self._owed.get(key, 0))
            owed = dict(self._owed)
        if owed:
            began_s = time.monotonic()
            # Others need not wait for the same meanwhile.
            self._resume_at_s = began_s + _LONGEST_PAUSE_S
            try:
                self._store.delete(self._tenant, owed.keys(), versions=owed)
            except BaseException:
                # A store that is busy makes every attempt wait: questions must not pay for each.
                now_s = time.monotonic()
                pause_s = max(2 * self._pause_s, _FIRST_PAUSE_S, _PATIENCE * (now_s - began_s))
                self._pause_s = min(pause_s, _LONGEST_PAUSE_S)
                self._resume_at_s = now_s + self._pause_s
                raise
            self._pause_s = self._resume_at_s = 0.0
            with self.lock:
                for key, version in owed.items():
                    if self._owed.get(key) == version:
                        del self._owed[key]

    def forget_quietly(self, versions: Mapping[bytes, int]) -> None:
        """Do as `forget`, where the caller has nobody to tell: a failure is counted."""
        try:
            self.forget(versions)
        except StoreError:
            _log.warning("removed entries are still in the store", exc_info=True)
            self._ledger.error("store")

    def is_owed(self, key: bytes) -> bool:
        """Whether the store may hold a record of `key` that was removed."""
        return key in self._owed

    @property
    def is_behind(self) -> bool:
        """Whether there is something to read or to delete. Microseconds.

        Raises:
            StoreError: The store could not be asked.
        """
        if self._store is None:
            return False
        return self.is_due or self._store.has_changed(self.position)

    @property
    def is_due(self) -> bool:
        """Whether something is owed and it is time to try again."""
        return bool(self._owed) and time.monotonic() >= self._resume_at_s

    def read(self) -> Changes | None:
        """Read what changed since `position`; `None` if nothing did.

        Raises:
            StoreError: It could not be read.
        """
        if self._store is None:
            return None
        if not self._store.has_changed(self.position):
            return None
        return self._store.changes(self._tenant, self.position)
