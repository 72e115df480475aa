"""What SQLite's errors mean to the owner of the file."""

from __future__ import annotations

import sqlite3

from prism.cache.errors import StoreBusyError, StoreError, StoreFileError

__all__ = ["damaged", "store_error"]

_PRIMARY = 0xFF
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_REMEDIES = {
    sqlite3.SQLITE_FULL: "the disk is full; free some space",
    sqlite3.SQLITE_READONLY: "it is read-only for this process; check owner and mode",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; check that it and its folder are writable",
    sqlite3.SQLITE_PERM: "access is denied; check owner and mode",
    sqlite3.SQLITE_IOERR: "the disk or the file system failed",
    sqlite3.SQLITE_TOOBIG: "a field is larger than SQLite takes",
}


def store_error(error: sqlite3.Error | UnicodeDecodeError, path: str) -> StoreError:
    """Give the error to raise in place of one of SQLite's; raise it `from` that one."""
    if isinstance(error, UnicodeDecodeError):
        return damaged(path, "it holds text that is none")
    # Errors of the Python module itself, such as for a closed connection, carry no code.
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & _PRIMARY
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreBusyError(f"{path}: another process held the store too long; try again")
    if code in _DAMAGE:
        return damaged(path, str(error))
    return StoreError(f"{path}: {_REMEDIES.get(code, 'SQLite failed')} ({error})")


def damaged(path: str, finding: str) -> StoreFileError:
    """Give the error for a file with a damage inside."""
    return StoreFileError(
        f"{path}: the store is damaged ({finding}); move the file and those named like it with "
        "-wal and -shm away, or restore them, to start anew",
        path=path,
    )
