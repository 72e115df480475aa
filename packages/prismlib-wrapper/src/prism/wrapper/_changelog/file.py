"""The file of a change log: created, told apart from other files, locked for one writer.

The lock is a file of its own beside it (`.lock`): POSIX drops a process's locks on a file when any
descriptor of it is closed, so SQLite's file must not be opened by anyone else in the process.
(Source: sqlite.org/howtocorrupt.html, section 2.2.)

Every commit waits for the disk (`synchronous=FULL`): a position is confirmed to the database once
it is in the log, and the database then forgets the changes before it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from pathlib import Path

from prism.wrapper._changelog.layout import APPLICATION_ID, SCHEMA, SCHEMA_VERSION
from prism.wrapper.errors import (
    ChangeLogBusyError,
    ChangeLogError,
    ChangeLogFileError,
    ChangeLogFullError,
    WrapperConfigurationError,
)

__all__ = ["LogFile", "log_error"]

_PRIMARY = 0xFF
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
# EDQUOT, EFBIG and ENOSPC of a write that SQLite does not tell apart.
_NO_ROOM = {
    sqlite3.SQLITE_IOERR_WRITE,
    sqlite3.SQLITE_IOERR_TRUNCATE,
    sqlite3.SQLITE_IOERR_SHMSIZE,
}
_BUSY_TIMEOUT_S = 10.0
# Rows are 0.3 to 2 KB: three or more in a page, and a change of one rewrites not much more.
_PAGE_BYTES = 8192
_WRITER_CACHE_KB = 65_536
_READER_CACHE_KB = 8_192
_CHECKPOINT_PAGES = 2_000
_WAL_KEPT_BYTES = 64 << 20


def log_error(error: sqlite3.Error, path: str) -> ChangeLogError:
    """Give the error to raise in place of one of SQLite's; raise it `from` that one."""
    # Errors of the Python module itself, such as for a closed connection, carry no code.
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    if code & _PRIMARY == sqlite3.SQLITE_FULL or code in _NO_ROOM:
        return ChangeLogFullError(
            f"{path}: no space left for the change log; free some, or move the file to a larger "
            "disk. Nothing is lost, and the wrapper goes on by itself"
        )
    if code & _PRIMARY in _DAMAGE:
        return ChangeLogFileError(
            f"{path}: the change log is damaged ({error}); move it and the files named like it "
            "away, and the wrapper takes a new snapshot",
            path=path,
        )
    if code & _PRIMARY in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return ChangeLogBusyError(f"{path}: another program holds the change log; end it first")
    return ChangeLogError(f"{path}: the change log cannot be used ({error})")


class LogFile:
    """A path, locked for this process until `close`.

    Raises:
        ChangeLogBusyError: Another process has the lock.
        ChangeLogFileError: The file is not a change log, or one of a newer version.
        ChangeLogError: It cannot be created or opened.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        text = os.fspath(path)
        if not text or "\0" in text or text == ":memory:":
            raise WrapperConfigurationError(f"[log] path must name a file, not {text!r}")
        self.path = str(Path(text).absolute())
        self._lock = self._take_lock()
        try:
            self._find_or_create()
            self._check()
        except BaseException:
            self.close()
            raise

    def connect(self, *, writer: bool) -> sqlite3.Connection:
        """Open a connection in autocommit mode; a reader's cannot write."""
        try:
            connection = self._open("mode=rw" if writer else "mode=ro")
            try:
                cache_kb = _WRITER_CACHE_KB if writer else _READER_CACHE_KB
                connection.execute(f"PRAGMA cache_size=-{cache_kb}")
                if writer:
                    connection.execute(f"PRAGMA page_size={_PAGE_BYTES}")
                    (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
                    if mode != "wal":
                        raise ChangeLogError(  # noqa: TRY301 - closes what was opened
                            f"{self.path}: its file system shares no memory between processes; "
                            "name a path on a local disk"
                        )
                    connection.execute("PRAGMA synchronous=FULL")
                    connection.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")
                    connection.execute(f"PRAGMA journal_size_limit={_WAL_KEPT_BYTES}")
                    self._create_tables(connection)
            except BaseException:
                connection.close()
                raise
        except sqlite3.Error as error:
            raise log_error(error, self.path) from error
        return connection

    def close(self) -> None:
        """Give the lock back."""
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)

    def _take_lock(self) -> int:
        name = self.path + ".lock"
        try:
            lock = os.open(name, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except FileNotFoundError as error:
            raise ChangeLogError(
                f"{self.path}: its folder does not exist; create it, for the wrapper's user"
            ) from error
        except OSError as error:
            raise ChangeLogError(
                f"{self.path}: the change log cannot be created ({error.strerror}); "
                "check the folder's owner and mode"
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise ChangeLogBusyError(
                f"{self.path}: another prism-wrapper writes this change log; stop that one, or "
                "give this one its own [log] path"
            ) from error
        return lock

    def _find_or_create(self) -> None:
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC
        try:
            # SQLite gives the files it makes beside it the same mode.
            os.close(os.open(self.path, flags, 0o600))
        except FileExistsError:
            if not Path(self.path).is_file():
                raise self._foreign("is not a file") from None
        except OSError as error:
            raise ChangeLogError(
                f"{self.path}: the change log cannot be created ({error.strerror})"
            ) from error

    def _check(self) -> None:
        try:
            with contextlib.closing(self._open("mode=ro")) as connection:
                (application_id,) = connection.execute("PRAGMA application_id").fetchone()
                (version,) = connection.execute("PRAGMA user_version").fetchone()
                has_tables = connection.execute("SELECT 1 FROM sqlite_master").fetchone()
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", 0) & _PRIMARY == sqlite3.SQLITE_NOTADB:
                raise self._foreign("is not a SQLite file") from error
            raise log_error(error, self.path) from error
        if has_tables and application_id != APPLICATION_ID:
            raise self._foreign(f"is a file of another program (application id {application_id})")
        if version > SCHEMA_VERSION:
            raise ChangeLogFileError(
                f"{self.path}: was written by a newer prismlib-wrapper (version {version}, this "
                f"one knows {SCHEMA_VERSION}); upgrade, or name another path",
                path=self.path,
            )

    def _foreign(self, what: str) -> ChangeLogFileError:
        return ChangeLogFileError(
            f"{self.path}: {what}, no change log; it was left as it is, name another [log] path",
            path=self.path,
        )

    def _create_tables(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        try:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version == 0:
                for statement in SCHEMA:
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _open(self, parameters: str) -> sqlite3.Connection:
        return sqlite3.connect(
            f"{Path(self.path).as_uri()}?{parameters}",
            uri=True,
            timeout=_BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
        )
