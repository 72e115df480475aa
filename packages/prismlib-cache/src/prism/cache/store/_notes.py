"""What a store may keep beside records: notes, small values under names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

__all__ = ["ENTRY_NOTE", "Notebook"]

ENTRY_NOTE = b"entry:"
"""Begins the name of a note on a record; the record's key follows. It goes with the record."""


@runtime_checkable
class Notebook(Protocol):
    """A store that keeps notes too: what a cache has learned, so that it survives a restart.

    A store need not: without it a cache learns anew after each start. Notes raise no positions, so
    other processes do not hear of them; the last writer wins. Every method raises `StoreError` when
    it cannot do what it says.
    """

    def note(self, tenant: bytes, notes: Mapping[bytes, bytes]) -> None:
        """Keep these values under their names, in place of older ones."""

    def notes(self, tenant: bytes) -> Mapping[bytes, bytes]:
        """Give all notes of a tenant."""
