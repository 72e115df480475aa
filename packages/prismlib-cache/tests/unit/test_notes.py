"""Stores that keep notes: what a cache has learned."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from prism.cache import MemoryStore, SQLiteStore, StoreError
from prism.cache.store import Notebook, Record
from prism.cache.store._notes import ENTRY_NOTE

TENANT, OTHER = b"t" * 16, b"o" * 16
KEY = b"k" * 32


def record(key: bytes = KEY) -> Record:
    return Record(
        key=key,
        scope=b"s" * 16,
        question="q",
        embedder="e",
        vector=b"",
        answer=b"a",
        encoding="text",
        model="m",
        created_at=1.0,
    )


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MemoryStore | SQLiteStore]:
    made = MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "notes.sqlite")
    with made:
        yield made


def test_notes_are_kept_by_tenant_and_replaced(store: MemoryStore | SQLiteStore) -> None:
    assert isinstance(store, Notebook)
    store.note(TENANT, {b"a": b"1", b"b": b""})
    store.note(TENANT, {b"a": b"2"})
    assert store.notes(TENANT) == {b"a": b"2", b"b": b""}
    assert store.notes(OTHER) == {}


def test_notes_raise_no_position(store: MemoryStore | SQLiteStore) -> None:
    position = store.put(TENANT, record())
    store.note(TENANT, {b"a": b"1"})
    assert not store.has_changed(position)


def test_a_note_on_a_record_goes_with_it(store: MemoryStore | SQLiteStore) -> None:
    store.put(TENANT, record())
    store.note(TENANT, {ENTRY_NOTE + KEY: b"group", b"a": b"1"})
    store.note(OTHER, {ENTRY_NOTE + KEY: b"group"})
    store.delete(TENANT, [KEY])
    assert store.notes(TENANT) == {b"a": b"1"}
    assert store.notes(OTHER) == {ENTRY_NOTE + KEY: b"group"}


def test_a_closed_store_keeps_no_notes(store: MemoryStore | SQLiteStore) -> None:
    store.close()
    with pytest.raises(StoreError):
        store.note(TENANT, {b"a": b"1"})
    with pytest.raises(StoreError):
        store.notes(TENANT)


def test_a_note_that_was_changed_on_disk_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "notes.sqlite"
    with SQLiteStore(path) as store:
        store.note(TENANT, {b"a": b"1", b"b": b"2"})
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE notes SET value = x'39' WHERE name = x'61'")
    connection.close()
    with SQLiteStore(path) as store:
        assert store.notes(TENANT) == {b"b": b"2"}


def test_a_file_from_before_there_were_notes_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "notes.sqlite"
    with SQLiteStore(path) as store:
        store.put(TENANT, record())
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE notes")
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    with SQLiteStore(path) as store:
        assert [found.key for found in store.changes(TENANT, 0).stored] == [KEY]
        store.note(TENANT, {b"a": b"1"})
    with SQLiteStore(path) as store:
        assert store.notes(TENANT) == {b"a": b"1"}
