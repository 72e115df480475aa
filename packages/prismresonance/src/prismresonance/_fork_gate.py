"""Keeps a fork from coming in the middle of what a background thread does.

A forked child has no other thread than the one that forked. What those were in the middle of stays
so for ever: locks of the linear algebra library and of our own among it.
"""

from __future__ import annotations

import os
import threading

__all__ = ["FORK_GATE", "ForkGate"]


class ForkGate:
    """Lets background work in while nobody forks, and forks while no such work is inside.

    Work goes out and in again at every step it takes, so a fork waits for a step at most; and a
    waiting fork goes first.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._forks = 0

    def enter(self) -> None:
        """Go in, once nobody wants to fork."""
        with self._changed:
            while self._forks:
                self._changed.wait()
            self._inside += 1

    def leave(self) -> None:
        """Go out."""
        with self._changed:
            self._inside -= 1
            self._changed.notify_all()

    def before_fork(self) -> None:
        """Wait until nobody is inside; nobody gets in from then on."""
        self._changed.acquire()
        self._forks += 1
        while self._inside:
            self._changed.wait()

    def after_fork_in_parent(self) -> None:
        """Open again."""
        self._forks -= 1
        self._changed.notify_all()
        self._changed.release()

    def after_fork_in_child(self) -> None:
        """Start afresh: who waited or was about to was left behind, and holds locks for ever."""
        self._changed = threading.Condition()
        self._inside = self._forks = 0


FORK_GATE = ForkGate()
"""The process's own."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=FORK_GATE.before_fork,
        after_in_parent=FORK_GATE.after_fork_in_parent,
        after_in_child=FORK_GATE.after_fork_in_child,
    )
