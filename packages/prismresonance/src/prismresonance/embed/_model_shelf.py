"""Loaded models, one of each per process."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["ModelShelf"]

K = TypeVar("K", bound=Hashable)
M = TypeVar("M")


class ModelShelf(Generic[K, M]):
    """Loads a model at its first use and hands the same one to every later caller.

    Safe to use from several threads: a model is loaded once even if many ask for it at the same
    time. A shelf belongs at module level; it and its models live as long as the process.

    A child process after `os.fork` starts with an empty shelf and loads again: another thread may
    have held a lock inside a model at the moment of the fork, and the threads that belong to a
    model do not exist in the child.
    """

    def __init__(self, load: Callable[[K], M]) -> None:
        self._load = load
        self._lock = threading.Lock()
        self._models: dict[K, M] = {}
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._empty_in_child)

    def get(self, key: K) -> M:
        """Return the model of `key`, loading it if this process has not done so yet.

        Whatever loading raises is passed on, and the next call tries again.
        """
        if key in self._models:
            return self._models[key]
        with self._lock:
            if key not in self._models:
                self._models[key] = self._load(key)
            return self._models[key]

    def _empty_in_child(self) -> None:
        # One reference too many, so that they outlive even the interpreter: destroying a model
        # waits for its threads, which the child does not have, and the child would never end.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._models))
        self._models = {}
        self._lock = threading.Lock()
