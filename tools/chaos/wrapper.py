"""`prism-wrapper` as a process, and what its change log says on disk."""

from __future__ import annotations

import json
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from chaos.shop import TABLES_TOML
from prism.wrapper.sources.postgres._position import Position

__all__ = ["LogState", "Wrapper", "WrapperEndedError"]

_START_S = 60.0
_STOP_S = 45.0
_STEP_S = 0.02
# For readers to let go of the journal.
_JOURNAL_S = 5.0


class WrapperEndedError(AssertionError):
    """The wrapper's process ended, and nobody had told it to."""


@dataclass(frozen=True, slots=True)
class LogState:
    """What the file says.

    Attributes:
        position: Where in the database's log it is; `None` if there is no snapshot.
        snapshot_rows: How many rows the snapshot has so far that is being built; `None` for none.
    """

    position: int | None
    snapshot_rows: int | None


class Wrapper:
    """A wrapper with a change log in a folder. It can be killed and started again.

    Args:
        folder: Of its configuration and its output.
        log_folder: Of its change log.
        dsn: The database.
        tenant_id: Whose rows, and the names of slot and publication.
    """

    def __init__(self, folder: Path, log_folder: Path, *, dsn: str, tenant_id: str) -> None:
        self.port = _free_port()
        self.output = folder / "wrapper.out"
        self.slot = f"prism_{tenant_id}"
        self._log = log_folder / "rows.changes"
        self._config = folder / "wrapper.toml"
        self._config.write_text(
            f"""
[database]
flavor = "postgresql"
dsn = {json.dumps(dsn)}

[chorus]
tenant_id = "{tenant_id}"
listen_port = {self.port}
heartbeat_s = 0.2

[log]
path = {json.dumps(str(self._log))}
{TABLES_TOML}
"""
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process."""
        if self._process is None:
            raise RuntimeError("the wrapper does not run")
        return self._process.pid

    def start(self) -> None:
        """Start it; it may be a while until it listens."""
        command = [sys.executable, "-m", "prism.wrapper", "--config", str(self._config)]
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output)

    def wait(self) -> None:
        """Wait until it listens.

        Raises:
            WrapperEndedError: It ended.
            TimeoutError: It does not listen.
        """
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            self.check()
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(_STEP_S)
            else:
                return
        raise TimeoutError(f"the wrapper does not listen:\n{self.said()}")

    def check(self) -> None:
        """See that it runs, unless it was ended.

        Raises:
            WrapperEndedError: It ended by itself.
        """
        if self._process is not None and self._process.poll() is not None:
            raise WrapperEndedError(
                f"the wrapper ended by itself, with code {self._process.returncode}:\n{self.said()}"
            )

    def kill(self) -> None:
        """SIGKILL."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def stop(self) -> None:
        """SIGTERM, and wait.

        Raises:
            AssertionError: It did not end in order.
        """
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"SIGTERM did not end the wrapper:\n{self.said()}") from None
        if code:
            raise AssertionError(f"after SIGTERM the wrapper ended with {code}:\n{self.said()}")

    def forget(self) -> None:
        """Remove the change log, as if the wrapper had never run."""
        for path in self._log.parent.glob(self._log.name + "*"):
            path.unlink()

    def shrink_log(self) -> None:
        """Give the room that the log's journal keeps for reuse back to the disk.

        A full disk is none to a writer that has such room.
        """
        with closing(sqlite3.connect(self._log, timeout=_JOURNAL_S)) as log:
            log.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def log_state(self) -> LogState:
        """Read what is on disk."""
        if not self._log.exists():
            return LogState(None, None)
        try:
            with closing(sqlite3.connect(f"{self._log.as_uri()}?mode=ro", uri=True)) as log:
                found = log.execute(
                    "SELECT position, kind, head FROM meta LEFT JOIN epochs ON epoch = building"
                ).fetchone()
        except sqlite3.OperationalError:
            return LogState(None, None)  # it is being made
        if found is None:
            return LogState(None, None)
        position = None if found[0] is None else Position.parse(found[0]).lsn
        return LogState(position, found[2] if found[1] == "snapshot" else None)

    def holds(self, table: str, row_id: str) -> str:
        """What the change log says of a row: which of wrapper and driver is wrong about it."""
        with closing(sqlite3.connect(f"{self._log.as_uri()}?mode=ro", uri=True)) as log:
            (epoch,) = log.execute("SELECT current FROM meta").fetchone()
            found = log.execute(
                f"SELECT seq, gone, CAST(columns AS TEXT) FROM rows_{epoch:d} NATURAL JOIN tables "
                "WHERE name = ? AND row_id = ?",
                (table, row_id),
            ).fetchone()
        if found is None:
            return "nothing"
        return f"seq {found[0]}, {'gone' if found[1] else found[2]}"

    def said(self, lines: int = 12) -> str:
        """The end of its output."""
        if not self.output.exists():
            return ""
        return "\n".join(self.output.read_text(errors="replace").splitlines()[-lines:])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
