"""Locks that must not be held by anybody while the process forks.

A child has the locks of its parent but not the threads that held them, and not the second half of
what they were doing. So the locks are taken before a fork and released on both sides after it.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any

# Its fork handler must be registered before ours: handlers run in the opposite order, and ours may
# have to wait for a thread that waits for a connection of the store.
import prism.cache.store  # noqa: F401

__all__ = ["hold_over_fork"]

_owners: weakref.WeakKeyDictionary[Any, tuple[Any, ...]] = weakref.WeakKeyDictionary()
_registry = threading.Lock()
_held: list[Any] = []


def hold_over_fork(owner: object, *locks: Any) -> None:
    """Take `locks`, in this order, for every fork while `owner` lives.

    They must be re-entrant, and no thread may hold locks of two owners at once.
    """
    with _registry:
        _owners[owner] = locks


def _before() -> None:
    _registry.acquire()
    for locks in list(_owners.values()):
        for lock in locks:
            lock.acquire()
            _held.append(lock)


def _after() -> None:
    while _held:
        _held.pop().release()
    _registry.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_after)
