"""A store in one SQLite file, shared by threads and processes.

Three connections, each with a lock of its own: one writes, one reads changes, one watches the
position. So `has_changed` waits neither for a writer nor for a long read, and `changes` not for a
writer; SQLite's write-ahead log lets them go on side by side.

The position is the highest `seq` in the file. Whoever changes something takes the next ones inside
its own `BEGIN IMMEDIATE`, which only one process has at a time, so positions rise across processes.
A put moves its record to the new `seq`; a delete leaves the key in `removals` under one. Asking for
the highest is two steps down a tree that is in memory, and exact: measured, it costs no more than
`PRAGMA data_version` and needs no state to go with it.

SQLite cannot be carried over a fork: the child's copy believes in locks it does not have. So all
connections of all stores are closed before a fork and opened again at the next use, on both sides.
(Source: sqlite.org/howtocorrupt.html, section 2.6.)
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import weakref
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from types import TracebackType
from typing import Self, TypeVar

from prism.cache.errors import CacheConfigurationError, StoreBusyError, StoreError
from prism.cache.store._notes import ENTRY_NOTE
from prism.cache.store._protocol import Changes, Record
from prism.cache.store._rows import COLUMNS, DamagedRowError, decode, encode
from prism.cache.store._sqlite_errors import damaged, store_error
from prism.cache.store._sqlite_file import OPENING, Durability, Identity, StoreFile

__all__ = ["SQLiteStore"]

_T = TypeVar("_T")

_NEWEST = 2**63 - 1

_POSITION = """SELECT max(
    (SELECT horizon FROM meta),
    (SELECT ifnull(max(seq), 0) FROM records),
    (SELECT ifnull(max(seq), 0) FROM removals))"""
_PUT = (
    f"INSERT OR REPLACE INTO records (seq, {', '.join(COLUMNS)}) "  # noqa: S608 - our own names
    f"VALUES (?{', ?' * len(COLUMNS)})"
)
_STORED = (
    f"SELECT {', '.join(COLUMNS)} FROM records "  # noqa: S608 - our own names
    "WHERE tenant = ? AND seq > ? ORDER BY seq"
)


class _Lane:
    """A connection, the file it leads to, and the lock that lends it to one thread at a time."""

    __slots__ = ("connection", "identity", "lock", "pid")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.connection: sqlite3.Connection | None = None
        self.identity: Identity | None = None
        self.pid = 0

    def drop(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()


class SQLiteStore:
    """Keep records in one SQLite file that threads and processes share.

    The file is created with mode 0600 (`-wal` and `-shm` beside it likewise) if there is none; its
    folder is not. An empty file counts as none and keeps its mode. Any other file that is not a
    healthy store is refused and left as it is. A file that is removed or replaced while the store
    is open is noticed: the store goes on with the one that is at the path now.

    What `put` and `delete` acknowledge survives the death of the process. With
    `durability="process"` a power failure or a crash of the operating system may lose the last
    changes (those since the last checkpoint, usually less than 4 MB of log), never the file's
    consistency; with `"power"` each change waits until the disk has it.

    Safe for threads, for several stores on one path, and over `os.fork`. Put the file on a local
    disk: network file systems do not share memory between machines. The file keeps the size it once
    had; freed pages are overwritten and used again.

    Args:
        path: The file.
        busy_timeout_s: Seconds a call waits for threads of this store, and again for other
            processes. Raise it if many processes write; lower it to fail sooner.
        durability: `"process"` or `"power"`, as above.
        remembered_changes: A deletion is forgotten once this many changes came after it; whoever
            asks from before that is given everything anew. Raise it for readers that lag far
            behind; each deletion it remembers takes about 200 bytes in the file.

    Raises:
        CacheConfigurationError: An argument is outside what is accepted.
        StoreFileError: The file is not ours, of a newer version or damaged.
        StoreBusyError: Another process held the file too long.
        StoreError: The file cannot be created, opened or written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        busy_timeout_s: float = 5.0,
        durability: Durability = "process",
        remembered_changes: int = 65_536,
    ) -> None:
        if remembered_changes < 1:
            raise CacheConfigurationError(
                f"remembered_changes must be at least 1, not {remembered_changes}"
            )
        self._file = StoreFile(path, busy_timeout_s=busy_timeout_s, durability=durability)
        self._lock_timeout_s = busy_timeout_s
        self._remembered_changes = remembered_changes
        self._writer = _Lane()
        self._reader = _Lane()
        self._watcher = _Lane()
        self._is_closed = False
        with OPENING:
            _stores.add(self)
        try:
            # A file that cannot be written is to fail here, not at the first answer.
            self._write(lambda _: None)
            for lane in (self._reader, self._watcher):
                with self._borrow(lane):
                    pass
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"SQLiteStore({self._file.path!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def put(self, tenant: bytes, record: Record) -> int:
        """Keep `record` in place of any other with its key; return the position of the change.

        Raises:
            StoreBusyError: Another thread or process wrote for too long.
            StoreError: The record cannot be written, or the store is closed. Nothing changed.
        """
        row = encode(tenant, record)

        def change(connection: sqlite3.Connection) -> int:
            position = _position(connection) + 1
            connection.execute(
                "DELETE FROM removals WHERE tenant = ? AND key = ?", (row[0], row[1])
            )
            connection.execute(_PUT, (position, *row))
            return position

        return self._write(change)

    def delete(
        self,
        tenant: bytes,
        keys: Collection[bytes],
        *,
        versions: Mapping[bytes, int] | None = None,
    ) -> int:
        """Forget these keys, unless put after their `versions`; return how many. All or none.

        Raises:
            StoreBusyError: Another thread or process wrote for too long.
            StoreError: The change cannot be written, or the store is closed. Nothing changed.
        """

        def change(connection: sqlite3.Connection) -> int:
            start = position = _position(connection)
            for key in dict.fromkeys(keys):
                gone = connection.execute(
                    "DELETE FROM records WHERE tenant = ? AND key = ? AND seq <= ?",
                    (tenant, key, _NEWEST if versions is None else versions[key]),
                )
                if gone.rowcount:
                    connection.execute(
                        "DELETE FROM notes WHERE tenant = ? AND name = ?",
                        (tenant, ENTRY_NOTE + key),
                    )
                    position += 1
                    connection.execute(
                        "INSERT INTO removals VALUES (?, ?, ?)", (position, tenant, key)
                    )
            horizon = position - self._remembered_changes
            forgotten = connection.execute("DELETE FROM removals WHERE seq <= ?", (horizon,))
            if forgotten.rowcount:
                connection.execute("UPDATE meta SET horizon = max(horizon, ?)", (horizon,))
            return position - start

        return self._write(change)

    def changes(self, tenant: bytes, since: int) -> Changes:
        """Tell what changed after position `since`; 0 gives all records, as a reset.

        One consistent view of the file. O(what changed); every record's checksum is compared.

        Raises:
            StoreFileError: A record is not as it was written, or the file is damaged.
            StoreBusyError: Another thread read for too long.
            StoreError: The file cannot be read, or the store is closed.
        """
        with self._borrow(self._reader) as connection:
            connection.execute("BEGIN")
            try:
                position = _position(connection)
                (horizon,) = connection.execute("SELECT horizon FROM meta").fetchone()
                # Later than now is a position of another file that was here before.
                is_reset = not horizon <= since <= position
                after = -1 if is_reset else since
                stored = tuple(map(decode, connection.execute(_STORED, (tenant, after))))
                deleted = (
                    ()
                    if is_reset
                    else tuple(
                        key
                        for (key,) in connection.execute(
                            "SELECT key FROM removals WHERE tenant = ? AND seq > ? ORDER BY seq",
                            (tenant, after),
                        )
                    )
                )
            except DamagedRowError:
                raise damaged(self._file.path, "a record is not as it was written") from None
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            return Changes(position=position, stored=stored, deleted=deleted, is_reset=is_reset)

    def has_changed(self, since: int) -> bool:
        """Tell whether something changed after `since`, of whatever tenant. Costs about 5 us.

        Raises:
            StoreError: The file cannot be read, or the store is closed.
        """
        with self._borrow(self._watcher) as connection:
            return _position(connection) != since

    def note(self, tenant: bytes, notes: Mapping[bytes, bytes]) -> None:
        """Keep these values under their names, in place of older ones. All or none.

        Raises:
            StoreBusyError: Another thread or process wrote for too long.
            StoreError: They cannot be written, or the store is closed. Nothing changed.
        """
        rows = [
            (tenant, name, value, zlib.crc32(name + b"\0" + value)) for name, value in notes.items()
        ]

        def change(connection: sqlite3.Connection) -> None:
            connection.executemany("INSERT OR REPLACE INTO notes VALUES (?, ?, ?, ?)", rows)

        self._write(change)

    def notes(self, tenant: bytes) -> Mapping[bytes, bytes]:
        """Give all notes of a tenant, but those that are not as they were written.

        Raises:
            StoreBusyError: Another thread read for too long.
            StoreError: The file cannot be read, or the store is closed.
        """
        with self._borrow(self._reader) as connection:
            rows = connection.execute(
                "SELECT name, value, checksum FROM notes WHERE tenant = ?", (tenant,)
            )
            return {
                name: value
                for name, value, checksum in rows
                if zlib.crc32(name + b"\0" + value) == checksum
            }

    def close(self) -> None:
        """Close the file, and fold its log into it if no other process has it open.

        Waits for the calls that other threads are in. Closing twice does nothing.
        """
        self._is_closed = True
        for lane in self._lanes():
            with lane.lock:
                lane.drop()

    def _lanes(self) -> tuple[_Lane, ...]:
        return self._watcher, self._reader, self._writer

    def _write(self, change: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run `change` in a transaction that is committed whole or not at all."""
        with self._borrow(self._writer) as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                result = change(connection)
                connection.execute("COMMIT")
            except BaseException:
                # SQLite rolls back by itself on some errors, such as a full disk.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            return result

    @contextlib.contextmanager
    def _borrow(self, lane: _Lane) -> Iterator[sqlite3.Connection]:
        """Lend the lane's connection, opened or opened again if need be, with errors made ours."""
        path = self._file.path
        if not lane.lock.acquire(timeout=self._lock_timeout_s):
            raise StoreBusyError(f"{path}: another thread held the store too long; try again")
        try:
            yield self._connection(lane)
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise store_error(error, path) from error
        finally:
            lane.lock.release()

    def _connection(self, lane: _Lane) -> sqlite3.Connection:
        if self._is_closed:
            raise StoreError(f"{self._file.path}: the store is closed; make a new one")
        if lane.connection is not None:
            if lane.pid != os.getpid():
                raise StoreError(
                    f"{self._file.path}: this process was forked behind Python's back with the "
                    "store open; make the store after the fork"
                )
            if lane.identity == self._file.identity():
                return lane.connection
            lane.drop()
        with OPENING:
            lane.connection, lane.identity = self._file.connect()
            lane.pid = os.getpid()
        # The checksum is over the bytes of a text, and must be compared before they are decoded.
        lane.connection.text_factory = bytes
        return lane.connection


def _position(connection: sqlite3.Connection) -> int:
    (position,) = connection.execute(_POSITION).fetchone()
    return int(position)


_stores: weakref.WeakSet[SQLiteStore] = weakref.WeakSet()
_held: list[SQLiteStore] = []


def _before_fork() -> None:
    """Wait for the calls under way in all stores, and close their connections."""
    while True:
        OPENING.acquire()
        more = [store for store in _stores if store not in _held]
        if not more:
            return
        # A thread that opens a connection holds its lane and waits for OPENING.
        OPENING.release()
        for store in more:
            _held.append(store)
            for lane in store._lanes():
                lane.lock.acquire()
                lane.drop()


def _after_fork() -> None:
    for store in _held:
        for lane in store._lanes():
            lane.lock.release()
    _held.clear()
    if OPENING.locked():
        OPENING.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork
    )
