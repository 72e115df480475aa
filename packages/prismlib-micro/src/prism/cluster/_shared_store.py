"""The store behind a cache that is shared with the other nodes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping

from prism.cache.store import MemoryStore
from prism.cache.store._protocol import Changes, Record
from prism.cluster._replica import Item
from prism.cluster._replication import Member, Outcome, Placed, Removed

__all__ = ["SharedStore"]

_BESIDE_BYTES = 400  # an item beside its texts, vector and answer


class SharedStore:
    """Keeps what this node wrote and what others did; implements `prism.cache.Store`.

    Safe for threads. One lock is over replica and records; nothing is called with it held.

    Args:
        member: This node's part in replication.
        wall: The time of day in seconds.
        act: Takes what came of it, and what has to be sent.
    """

    def __init__(
        self, member: Member, *, wall: Callable[[], float], act: Callable[[list[Outcome]], None]
    ) -> None:
        self.lock = threading.Lock()
        self.member = member
        self._wall = wall
        self._act = act
        self._records = MemoryStore()
        self._tenant: bytes | None = None

    def put(self, tenant: bytes, record: Record) -> int:
        """Keep a record, and spread it unless another node brought the same answer."""
        outcomes: list[Outcome] = []
        with self.lock:
            self._settle_on(tenant)
            held = self.member.replica.items.get(record.key)
            position = self._records.put(tenant, record)
            if held is None or held.body.answer != record.answer or held.body.tags != record.tags:
                item, gone = self.member.replica.write(
                    record.key,
                    record,
                    tags=record.tags,
                    size=_size(record),
                    wall_s=self._wall(),
                )
                outcomes = [Placed(item), *self.member.put(item)]
                if gone:
                    self._records.delete(tenant, gone)
                    outcomes.append(Removed(gone, None))
        self._act(outcomes)
        return position

    def delete(
        self,
        tenant: bytes,
        keys: Collection[bytes],
        *,
        versions: Mapping[bytes, int] | None = None,
    ) -> int:
        """Forget records here; other nodes are told by an invalidation alone."""
        return self._records.delete(tenant, keys, versions=versions)

    def changes(self, tenant: bytes, since: int) -> Changes:
        """Tell what changed; see `Store`."""
        with self.lock:
            self._settle_on(tenant)
        return self._records.changes(tenant, since)

    def has_changed(self, since: int) -> bool:
        """Tell cheaply whether something did."""
        if self._tenant is None and self.member.replica.items:
            return True
        return self._records.has_changed(since)

    def close(self) -> None:
        """Let go of the records."""
        self._records.close()

    def take(self, step: Callable[[Member], list[Outcome]]) -> list[Outcome]:
        """Let the member do a step, and keep records in line with it."""
        with self.lock:
            outcomes = step(self.member)
            for outcome in outcomes:
                if isinstance(outcome, Placed):
                    self._place(outcome.item)
                elif isinstance(outcome, Removed) and self._tenant is not None:
                    self._records.delete(self._tenant, outcome.keys)
        return outcomes

    def _place(self, item: Item) -> None:
        if self._tenant is not None:
            self._records.put(self._tenant, item.body)

    def _settle_on(self, tenant: bytes) -> None:
        """Learn the digest of the tenant, and place what came before it was known."""
        if self._tenant is None:
            self._tenant = tenant
            for item in self.member.replica.items.values():
                self._records.put(tenant, item.body)


def _size(record: Record) -> int:
    return _BESIDE_BYTES + len(record.answer) + len(record.vector) + 2 * len(record.question)
