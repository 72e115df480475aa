from __future__ import annotations

import sqlite3

import pytest

from prism.cache.errors import StoreBusyError, StoreError, StoreFileError
from prism.cache.store._sqlite_errors import store_error


def failure(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("what sqlite says")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [
        (sqlite3.SQLITE_BUSY, StoreBusyError, "another process"),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, StoreBusyError, "another process"),
        (sqlite3.SQLITE_LOCKED, StoreBusyError, "another process"),
        (sqlite3.SQLITE_CORRUPT, StoreFileError, "damaged"),
        (sqlite3.SQLITE_NOTADB, StoreFileError, "damaged"),
        (sqlite3.SQLITE_FULL, StoreError, "disk is full"),
        (sqlite3.SQLITE_READONLY_DIRECTORY, StoreError, "read-only"),
        (sqlite3.SQLITE_CANTOPEN, StoreError, "folder"),
        (sqlite3.SQLITE_IOERR_WRITE, StoreError, "disk or the file system failed"),
        (sqlite3.SQLITE_MISUSE, StoreError, "SQLite failed"),
    ],
)
def test_every_sqlite_error_becomes_ours(code, kind, said):
    error = store_error(failure(code), "/some/answers.db")
    assert type(error) is kind
    assert str(error).startswith("/some/answers.db: ")
    assert said in str(error)
    assert isinstance(error, TimeoutError) or "what sqlite says" in str(error)


def test_an_error_without_a_code_becomes_ours():
    error = store_error(sqlite3.ProgrammingError("Cannot operate on a closed database."), "a.db")
    assert type(error) is StoreError
