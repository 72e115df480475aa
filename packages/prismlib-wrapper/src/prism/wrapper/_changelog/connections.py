"""The connections to a log's file: one that writes, and readers that are lent."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

from prism.wrapper._changelog.file import LogFile, log_error
from prism.wrapper.errors import ChangeLogError

__all__ = ["Connections"]

Result = TypeVar("Result")


class Connections:
    """A file that is opened, locked and created; safe for threads.

    Args:
        path: See `LogFile`, also for what is raised.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._lock = threading.RLock()  # of the writer
        self._lending = threading.Lock()  # of what follows: readers need not wait for a write
        self._readers: list[sqlite3.Connection] = []
        self._is_closed = False
        self._file = LogFile(path)
        try:
            self._writer = self._file.connect(writer=True)
        except BaseException:
            self._file.close()
            raise

    @property
    def path(self) -> str:
        """The file."""
        return self._file.path

    def write(
        self,
        work: Callable[[sqlite3.Connection], Result],
        *,
        done: Callable[[sqlite3.Connection], None] = lambda _: None,
    ) -> Result:
        """Do `work` in a transaction, all or nothing, durably.

        `done` is called once it is on disk, before another thread may write.

        Raises:
            ChangeLogError: Nothing was written.
        """
        with self._lock:
            self._check_open()
            connection = self._writer
            try:
                connection.execute("BEGIN IMMEDIATE")
                try:
                    result = work(connection)
                    connection.execute("COMMIT")
                except BaseException:
                    if connection.in_transaction:
                        with contextlib.suppress(sqlite3.Error):
                            connection.execute("ROLLBACK")
                    raise
                done(connection)
            except sqlite3.Error as error:
                raise log_error(error, self.path) from error
        return result

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection with a transaction that sees one state of the file."""
        with self._lending:
            self._check_open()
            idle = self._readers.pop() if self._readers else None
        connection = idle or self._file.connect(writer=False)
        try:
            connection.execute("BEGIN")
            yield connection
        except sqlite3.Error as error:
            raise log_error(error, self.path) from error
        finally:
            with contextlib.suppress(sqlite3.Error):
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            with self._lending:
                if self._is_closed:
                    connection.close()
                else:
                    self._readers.append(connection)

    def close(self) -> None:
        """Close the file. Waits for a write that is under way. Closing twice does nothing."""
        with self._lock:
            with self._lending:
                if self._is_closed:
                    return
                self._is_closed = True
                readers, self._readers = self._readers, []
            for connection in (*readers, self._writer):
                with contextlib.suppress(sqlite3.Error):
                    connection.close()
            self._file.close()

    def _check_open(self) -> None:
        if self._is_closed:
            raise ChangeLogError(f"{self.path}: the change log is closed")
