"""The file of a SQLiteStore: told apart from other files, created, checked and opened.

Four rules hold here.

A file that is not a healthy store is refused before anything is written. Whose file it is and
whether it is whole is read through a connection with `immutable=1`, which takes no lock and makes
no file beside it. Only where a log (`-wal`) has to be read too is it opened with `mode=ro`: that
may leave SQLite's rebuildable `-shm` index behind, never a change of content.

The database file is never opened but through SQLite. POSIX drops all locks of a process on a file
when any descriptor of it is closed, so a look at the header with `open()` could cost another
connection in this process its lock, and its owner the data. (Source: sqlite.org/howtocorrupt.html,
section 2.2.) The one exception is the creation of a file that did not exist.

The schema is made in rollback mode, so that the application id is in the file itself when the
transaction commits. A process killed before that leaves an empty file, or one that SQLite rolls
back to empty; both count as new. Such a rollback is the one thing that comes before the check.

No connection is carried over a fork; see `prism.cache.store._sqlite`.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from pathlib import Path
from typing import Literal

from prism.cache.errors import (
    CacheConfigurationError,
    StoreBusyError,
    StoreError,
    StoreFileError,
)
from prism.cache.store._sqlite_errors import damaged, store_error

__all__ = ["APPLICATION_ID", "OPENING", "SCHEMA_VERSION", "Identity", "StoreFile"]

# "PRSM". Also what file(1) shows as the application id.
APPLICATION_ID = 0x5052534D

# Step i takes a file from version i to i + 1; a new file has version 0.
# `horizon` is the position before which deletions are forgotten. That of a new file is the time in
# microseconds: a cache that still holds a position of a file that was here before, and that someone
# removed, then asks from before the horizon and is given everything anew.
_STEPS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE records (
            seq INTEGER PRIMARY KEY,
            tenant BLOB NOT NULL,
            key BLOB NOT NULL,
            scope BLOB NOT NULL,
            question TEXT NOT NULL,
            embedder TEXT NOT NULL,
            vector BLOB NOT NULL,
            answer BLOB NOT NULL,
            encoding TEXT NOT NULL,
            model TEXT NOT NULL,
            input_tokens INTEGER,
            output_tokens INTEGER,
            cached_tokens INTEGER,
            call_s REAL NOT NULL,
            created_at REAL NOT NULL,
            expires_at REAL,
            tags TEXT NOT NULL,
            checksum INTEGER NOT NULL,
            UNIQUE (tenant, key)
        )""",
        "CREATE INDEX records_by_tenant ON records (tenant)",
        """CREATE TABLE removals (
            seq INTEGER PRIMARY KEY,
            tenant BLOB NOT NULL,
            key BLOB NOT NULL,
            UNIQUE (tenant, key)
        )""",
        "CREATE TABLE meta (horizon INTEGER NOT NULL)",
        "INSERT INTO meta SELECT CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)",
    ),
    (
        """CREATE TABLE notes (
            tenant BLOB NOT NULL,
            name BLOB NOT NULL,
            value BLOB NOT NULL,
            checksum INTEGER NOT NULL,
            PRIMARY KEY (tenant, name)
        ) WITHOUT ROWID""",
    ),
)
SCHEMA_VERSION = len(_STEPS)

_SCHEMA = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name"
# Below this SQLite itself takes a file for empty or broken; the header alone is 100.
_SMALLEST_BYTES = 512
# Keeps the -wal from staying as large as one long reader once made it.
_WAL_KEPT_BYTES = 16 << 20
_RETRY_S = 0.005
# Longer than the steps in which a file system tells the time of a change.
_SECOND_LOOK_S = 0.05

# Held while any store of this process opens connections, and while this process forks.
OPENING = threading.Lock()

Identity = tuple[int, int]
Durability = Literal["process", "power"]


class StoreFile:
    """One path, and what is needed to get connections to a healthy store there.

    Not safe for threads by itself: `connect` is called with `OPENING` held.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, busy_timeout_s: float, durability: Durability
    ) -> None:
        text = os.fspath(path)
        if not text or "\0" in text or text == ":memory:":
            raise CacheConfigurationError(
                f"path must name a file, not {text!r}; MemoryStore keeps answers in memory"
            )
        if not busy_timeout_s >= 0:
            raise CacheConfigurationError(f"busy_timeout_s must be 0 or more, not {busy_timeout_s}")
        if durability not in ("process", "power"):
            raise CacheConfigurationError(
                f"durability must be 'process' or 'power', not {durability!r}"
            )
        # The working folder may change later.
        self.path = str(Path(text).absolute())
        self._busy_timeout_s = busy_timeout_s
        self._synchronous = {"process": "NORMAL", "power": "FULL"}[durability]
        self._checked: Identity | None = None

    def identity(self) -> Identity | None:
        """Tell which file is at the path now, or `None` if there is none. Costs about 1 us."""
        try:
            found = os.stat(self.path)  # noqa: PTH116 - a Path is three times as slow here
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be looked at ({error.strerror})") from error
        return found.st_dev, found.st_ino

    def connect(self) -> tuple[sqlite3.Connection, Identity]:
        """Open a connection in autocommit mode, creating the store if there is none.

        The first connection to a file checks it whole: about 4 ms for each 1,000 records of 4 KB.

        Raises:
            StoreFileError: The file is not ours, of a newer version or damaged. It is as it was.
            StoreBusyError: Another process held the file longer than the busy timeout.
            StoreError: The file cannot be created, opened or written.
        """
        try:
            identity = self._find_or_create()
            self._refuse_foreign()
            is_checked = self._checked == identity
            if not is_checked and not self._has_content("-journal"):
                self._refuse_damaged()
                is_checked = True
            connection = self._open("mode=rw")
            try:
                self._prepare(connection)
                if not is_checked and (finding := _finding(connection)):
                    raise damaged(self.path, finding)  # noqa: TRY301 - closes what was opened
                if self.identity() != identity:
                    raise self._vanished()  # noqa: TRY301 - likewise
            except BaseException:
                connection.close()
                raise
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise store_error(error, self.path) from error
        self._checked = identity
        return connection, identity

    def _find_or_create(self) -> Identity:
        found = self.identity()
        if found is not None:
            return found
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_CLOEXEC", 0)
        try:
            # SQLite gives the files it makes beside it the same mode.
            os.close(os.open(self.path, flags, 0o600))
        except FileExistsError:
            pass
        except FileNotFoundError as error:
            raise StoreError(
                f"{self.path}: its folder does not exist; create it first, the store makes none"
            ) from error
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be created ({error.strerror})") from error
        found = self.identity()
        if found is None:
            raise self._vanished()
        return found

    def _vanished(self) -> StoreBusyError:
        return StoreBusyError(f"{self.path}: was replaced while it was opened; try again")

    def _refuse_foreign(self) -> None:
        path = Path(self.path)
        if not path.is_file():
            raise self._refusal("is not a file")
        size = path.stat().st_size
        if size == 0:
            return
        if size < _SMALLEST_BYTES:
            raise self._refusal(f"is not a SQLite file: it has only {size} bytes")
        with contextlib.closing(self._open("mode=ro&immutable=1")) as connection:
            try:
                # A file whose last page is missing is to be named damaged later, not foreign now.
                connection.execute("PRAGMA writable_schema=ON")
                (application_id,) = connection.execute("PRAGMA application_id").fetchone()
                (version,) = connection.execute("PRAGMA user_version").fetchone()
            except sqlite3.DatabaseError as error:
                if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
                    raise self._refusal("is not a SQLite file") from error
                raise
        if application_id != APPLICATION_ID:
            raise self._refusal(
                f"is a SQLite file of another program (application id {application_id:#x})"
            )
        self._refuse_newer(version)

    def _refuse_newer(self, version: int) -> None:
        if version > SCHEMA_VERSION:
            raise StoreFileError(
                f"{self.path}: has schema version {version}, and this prismlib-cache knows up to "
                f"{SCHEMA_VERSION}; upgrade prismlib-cache or name another path",
                path=self.path,
            )

    def _refusal(self, what: str) -> StoreFileError:
        return StoreFileError(
            f"{self.path}: {what}, not a store of prismlib-cache; it was left as it is, name "
            "another path",
            path=self.path,
        )

    def _refuse_damaged(self) -> None:
        earlier = None
        while True:
            found = os.stat(self.path)  # noqa: PTH116 - as in identity
            # Without the log the file alone may be halfway through a checkpoint.
            has_log = self._has_content("-wal")
            state = (found.st_mtime_ns, found.st_size, has_log)
            if found.st_size == 0:
                return
            mode = "mode=ro" if has_log else "mode=ro&immutable=1"
            with contextlib.closing(self._open(mode)) as connection:
                finding = _finding(connection)
            if not finding:
                return
            # An immutable connection may read what another process has half written: look twice.
            if has_log or state == earlier:
                raise damaged(self.path, finding)
            earlier = state
            time.sleep(_SECOND_LOOK_S)

    def _has_content(self, suffix: str) -> bool:
        try:
            return os.stat(os.path.realpath(self.path) + suffix).st_size > 0  # noqa: PTH116
        except OSError:
            return False

    def _open(self, parameters: str) -> sqlite3.Connection:
        return sqlite3.connect(
            f"{Path(self.path).as_uri()}?{parameters}",
            uri=True,
            timeout=self._busy_timeout_s,
            isolation_level=None,
            check_same_thread=False,
        )

    def _prepare(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        self._refuse_newer(version)
        if version < SCHEMA_VERSION:
            self._migrate(connection)
        self._use_wal(connection)
        connection.execute(f"PRAGMA synchronous={self._synchronous}")
        connection.execute(f"PRAGMA journal_size_limit={_WAL_KEPT_BYTES}")
        # Prompts and answers are private: what is deleted is overwritten.
        connection.execute("PRAGMA secure_delete=ON")
        connection.execute("PRAGMA cell_size_check=ON")

    def _migrate(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Another process may have been first.
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            self._refuse_newer(version)
            if version < 1 and connection.execute(_SCHEMA).fetchone() is not None:
                raise damaged(self.path, "it has tables and no version")  # noqa: TRY301 - rolls back
            if version < SCHEMA_VERSION:
                _migrate(connection, version)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _use_wal(self, connection: sqlite3.Connection) -> None:
        deadline = time.monotonic() + self._busy_timeout_s
        while True:
            try:
                (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
                break
            except sqlite3.OperationalError as error:
                # The switch needs the file for itself and does not wait for it.
                is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                if not is_busy or time.monotonic() >= deadline:
                    raise
                time.sleep(_RETRY_S)
        if mode != "wal":
            raise StoreError(
                f"{self.path}: its file system shares no memory between processes; "
                "name a path on a local disk"
            )


def _migrate(connection: sqlite3.Connection, version: int) -> None:
    for step in _STEPS[version:]:
        for statement in step:
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")


def _finding(connection: sqlite3.Connection) -> str | None:
    """Say what is wrong inside, or give `None`. Reads all pages but the tails of long values."""
    try:
        (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        if verdict != "ok":
            return str(verdict)
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        # An older one has another schema, known to the step that brings it up to date.
        if version == SCHEMA_VERSION and connection.execute(_SCHEMA).fetchall() != _expected():
            return "its tables are not those of a store"
        if version < 1:
            return f"its version is {version}"
    except UnicodeDecodeError:
        # Python's, of a message of SQLite's that quotes what is in the file.
        return "its tables are not those of a store"
    except sqlite3.DatabaseError as error:
        # SQLITE_ERROR is a file format or a function that is not known.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        if code not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR):
            raise
        return str(error)
    return None


def _expected() -> list[tuple[str, ...]]:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        _migrate(connection, 0)
        return connection.execute(_SCHEMA).fetchall()
