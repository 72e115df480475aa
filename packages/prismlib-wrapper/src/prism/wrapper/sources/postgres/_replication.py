"""A replication connection: its commands, its stream, and a thread that tells the server we live.

psycopg's libpq wrapper is used, not psycopg2's replication cursor: that one confirms positions of
its own accord while nothing has been received. Here a position is confirmed only when `confirm` was
called with it, so the slot never stands past what the wrapper has on disk. That rule is what lets a
restored log or a slot made anew be noticed (`_position`).

The consumer reads in its own thread and may stand still for hours: another thread sends the status.
Each touches the connection under one lock, and never waits for the network while holding it.

A link can fall silent without an end: a router forgets it, a machine freezes. An idle server says
nothing for half a minute anyway, so we ask it each second, and `silent_s` tells since when no
answer came. Whoever calls rows fresh has to know.

Source: PostgreSQL manual, "Streaming Replication Protocol".
"""

from __future__ import annotations

import contextlib
import os
import select
import struct
import threading
import time
from collections.abc import Mapping
from typing import Final, NamedTuple

import psycopg
from psycopg import pq

from prism.wrapper.sources.errors import (
    SourceAccessError,
    SourceBusyError,
    SourceClosedError,
    SourceError,
    SourceProtocolError,
    SourceUnavailableError,
)
from prism.wrapper.sources.postgres._position import format_lsn, parse_lsn
from prism.wrapper.sources.postgres._session import conninfo, explain
from prism.wrapper.sources.postgres._sql import identifier, literal

__all__ = ["ReplicationConnection", "ServerRefusedError", "Slot", "SystemIdentity"]

_EPOCH_S: Final = 946_684_800
_DATA, _KEEPALIVE = b"wk"
_HEADER: Final = 25  # of a message of data: type, start, end of the log, time
_KEEPALIVE_FORM: Final = struct.Struct(">xQqB")
_STATUS: Final = struct.Struct(">cQQQqB")
_BATCH: Final = 512
_ASK_S: Final = 1.0
# A server that decodes much that is not for us answers late; PostgreSQL's own limit is the same.
_SILENCE_S: Final = 60.0


class ServerRefusedError(SourceError):
    """A replication command failed. `sqlstate` tells how."""

    def __init__(self, message: str, *, sqlstate: str) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class SystemIdentity(NamedTuple):
    """What IDENTIFY_SYSTEM tells."""

    system: int
    timeline: int
    lsn: int


class Slot(NamedTuple):
    """A slot that was made now, and the snapshot that fits it."""

    lsn: int
    snapshot: str


class ReplicationConnection:
    """One connection in replication mode.

    `read` and the commands are for one thread; `confirm`, `wake` and `close` for any.

    Args:
        dsn: Where to connect.
        connect_timeout_s: How long to try.
        status_interval_s: How often the server hears of us while the stream runs.

    Raises:
        SourceError: From each method; `SourceUnavailableError` when the connection is lost.
    """

    def __init__(self, dsn: str, *, connect_timeout_s: float, status_interval_s: float) -> None:
        info = conninfo(dsn, connect_timeout_s=connect_timeout_s, replication=True)
        self._connection = _connect(info.encode(), timeout_s=max(2.0, connect_timeout_s))
        if self._connection.status != pq.ConnStatus.OK:
            text = self._connection.get_error_message()
            role = self._connection.user.decode()
            self._connection.finish()
            if "wal sender" in text.lower() or "walsender" in text:
                raise SourceAccessError(
                    f"the role {role} may not read the log",
                    remedy=f"ALTER ROLE {identifier(role)} REPLICATION;",
                )
            raise explain(psycopg.Error(text), sqlstate=None, doing="cannot connect")
        self._interval_s = status_interval_s
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._woken, self._waker = os.pipe()
        os.set_blocking(self._waker, False)
        os.set_blocking(self._woken, False)
        self._speaker: threading.Thread | None = None
        self._speak = threading.Event()
        self._confirmed = 0
        self.log_end = 0
        self.log_end_ns = 0
        self.is_asked = False
        self.failure: SourceError | None = None
        self._heard_at = self._listened_at = time.monotonic()
        self._told_at = 0.0

    @property
    def silent_s(self) -> float:
        """For how long we have listened in vain. Nobody listens while the consumer stands still."""
        return max(0.0, self._listened_at - self._heard_at)

    def identify(self) -> SystemIdentity:
        """Ask which cluster this is and where its log ends."""
        row = self._command("IDENTIFY_SYSTEM")
        return SystemIdentity(int(row[0]), int(row[1]), parse_lsn(row[2]))

    def timeline_branches(self, timeline: int) -> tuple[tuple[int, int], ...]:
        """Ask how the cluster came to its timeline: earlier ones, each with where it was left."""
        if timeline == 1:
            return ()
        content = self._command(f"TIMELINE_HISTORY {timeline}")[1]
        branches = []
        for line in content.splitlines():
            parts = line.split()
            if len(parts) >= 2 and parts[0].isdigit():
                branches.append((int(parts[0]), parse_lsn(parts[1])))
        return tuple(branches)

    def create_slot(
        self, name: str, plugin: str, *, failover: bool, new_syntax: bool, timeout_s: float
    ) -> Slot:
        """Make a slot and export a snapshot that fits it.

        The snapshot lives until the next command. Waits for transactions that write now.

        Raises:
            SourceBusyError: They took longer than `timeout_s`. No slot is left behind.
            SourceClosedError: `close` was called meanwhile.
        """
        if new_syntax:  # PostgreSQL 15
            options = "SNAPSHOT 'export'" + (", FAILOVER true" if failover else "")
            tail = f"({options})"
        else:
            tail = "EXPORT_SNAPSHOT"
        command = f"CREATE_REPLICATION_SLOT {identifier(name)} LOGICAL {identifier(plugin)} {tail}"
        row = self._command(command, timeout_s=timeout_s)
        return Slot(parse_lsn(row[1]), row[2])

    def drop_slot(self, name: str) -> None:
        """Drop a slot, waiting until nobody reads it."""
        self._command(f"DROP_REPLICATION_SLOT {identifier(name)} WAIT", timeout_s=10.0)

    def start(self, slot: str, lsn: int, options: Mapping[str, str]) -> None:
        """Begin the stream: changes of transactions that commit at or after `lsn`."""
        told = ", ".join(f"{identifier(k)} {literal(v)}" for k, v in options.items())
        command = f"START_REPLICATION SLOT {identifier(slot)} LOGICAL {format_lsn(lsn)} ({told})"
        try:
            with self._lock:
                self._check_open()
                result = self._connection.exec_(command.encode())
                if result.status != pq.ExecStatus.COPY_BOTH:
                    raise self._refused(result)
                self._connection.nonblocking = 1
        except psycopg.Error as error:
            raise explain(error, sqlstate=None, doing="the connection was lost") from None
        self.log_end = lsn
        self._heard_at = self._listened_at = self._told_at = time.monotonic()
        self._speaker = threading.Thread(
            target=self._speak_until_closed, name="prism-pg-status", daemon=True
        )
        self._speaker.start()

    def read(self, timeout_s: float) -> list[bytes]:
        """Wait for messages and take some; none after `timeout_s` or after `wake`.

        All that was committed before `log_end`, at `log_end_ns`, has then been taken. `is_asked`
        becomes true when the server asks for our position, as it does before it shuts down.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            if self.failure is not None:
                raise self.failure
            with self._lock:
                self._check_open()
                payloads = self._take()
                self._listened_at = time.monotonic()
            if payloads:
                return payloads
            if self.silent_s > _SILENCE_S:
                raise SourceUnavailableError(f"the server was silent for {_SILENCE_S:g} s")
            left = deadline - time.monotonic()
            if left <= 0 or self._wait(left):
                return []

    def confirm(self, lsn: int) -> None:
        """Let the server forget its log up to here."""
        if lsn > self._confirmed:
            self._confirmed = lsn
            self._speak.set()

    def wake(self) -> None:
        """Make a waiting `read` return."""
        with contextlib.suppress(OSError):
            os.write(self._waker, b"!")

    def close(self) -> None:
        """Close the connection. A waiting `read` or command raises `SourceClosedError`."""
        self._closing.set()
        self._speak.set()
        self.wake()
        with self._lock:
            self._connection.finish()

    def release(self) -> None:
        """Close, and free what `read` waits on. For the reading thread, when it is done."""
        self.close()
        if self._speaker is not None:
            self._speaker.join()
        for end in (self._woken, self._waker):
            with contextlib.suppress(OSError):
                os.close(end)

    def _take(self) -> list[bytes]:
        payloads: list[bytes] = []
        append, get = payloads.append, self._connection.get_copy_data
        reply = False
        taken_before = -1  # messages when the network was last asked
        try:
            while len(payloads) < _BATCH:
                size, view = get(1)
                if size > 0:
                    frame = view.obj
                    if type(frame) is not bytes:
                        frame = bytes(view)
                    kind = frame[0]
                    if kind == _DATA:
                        append(frame[_HEADER:])
                        continue
                    self._heard_at = time.monotonic()
                    if kind == _KEEPALIVE:
                        end, time_us, wanted = _KEEPALIVE_FORM.unpack_from(frame)
                        if end >= self.log_end:
                            self.log_end = end
                            self.log_end_ns = (time_us + _EPOCH_S * 1_000_000) * 1000
                        reply = reply or bool(wanted)
                        if payloads:
                            break
                    else:
                        raise SourceProtocolError(f"unknown message {kind} in the stream")
                elif size == 0:
                    # The network gives some 16 KB at a time. While more is there it is taken: rows
                    # are read quicker in hundreds than in tens.
                    if len(payloads) == taken_before:
                        break
                    taken_before = len(payloads)
                    self._connection.consume_input()
                else:
                    raise self._ended()
        except psycopg.Error as error:
            raise explain(error, sqlstate=None, doing="the stream broke") from None
        if payloads:
            self._heard_at = time.monotonic()
        if reply:
            self.is_asked = True
            self._send_status()
        return payloads

    def _ended(self) -> SourceError:
        result = self._connection.get_result()
        if result is not None and result.status == pq.ExecStatus.FATAL_ERROR:
            return self._refused(result)
        return SourceUnavailableError("the server ended the stream")

    def _wait(self, timeout_s: float) -> bool:
        """Wait for the network; true if woken."""
        woken, connection = self._woken, self._connection
        try:
            ready, _, _ = select.select([connection.socket, woken], [], [], timeout_s)
        except (OSError, ValueError, psycopg.Error):
            self._check_open()
            raise SourceUnavailableError("the connection was lost") from None
        if woken in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(woken, 4096)
            return True
        return False

    def _check_open(self) -> None:
        if self._closing.is_set():
            raise SourceClosedError("the connection was closed")

    def _speak_until_closed(self) -> None:
        while not self._closing.is_set():
            is_called = self._speak.wait(min(_ASK_S, self._interval_s))
            self._speak.clear()
            is_silent = self.silent_s >= _ASK_S
            is_due = time.monotonic() - self._told_at >= self._interval_s
            if not (is_called or is_silent or is_due):
                continue
            with self._lock:
                if self._closing.is_set():
                    return
                try:
                    self._send_status(asks=is_silent)
                except SourceError as error:
                    self.failure = error
                    self.wake()
                    return

    def _send_status(self, *, asks: bool = False) -> None:
        """Send what was received and what was confirmed. Needs the lock."""
        self._told_at = time.monotonic()
        now = int((time.time() - _EPOCH_S) * 1e6)
        received = max(self.log_end, self._confirmed)
        message = _STATUS.pack(b"r", received, self._confirmed, self._confirmed, now, asks)
        try:
            # When the network takes nothing now, libpq sends it with the next.
            self._connection.put_copy_data(message)
            self._connection.flush()
        except psycopg.Error as error:
            raise explain(error, sqlstate=None, doing="the stream broke") from None

    def _command(self, command: str, *, timeout_s: float | None = None) -> list[str]:
        """Run a command and take its first row, or an empty one."""
        connection = self._connection
        try:
            connection.send_query(command.encode())
            deadline = None if timeout_s is None else time.monotonic() + timeout_s
            while connection.is_busy():
                left = 3600.0 if deadline is None else deadline - time.monotonic()
                if left <= 0:
                    # A server that waits for others does not notice that we hang up.
                    connection.get_cancel().cancel()
                    raise SourceBusyError(f"{command.split()[0]} took longer than {timeout_s:g} s")
                if self._wait(left):
                    self._check_open()
                connection.consume_input()
            results = []
            while (result := connection.get_result()) is not None:
                results.append(result)
        except psycopg.Error as error:
            self._check_open()
            raise explain(error, sqlstate=None, doing="the connection was lost") from None
        for result in results:
            if result.status == pq.ExecStatus.TUPLES_OK and result.ntuples:
                values = [result.get_value(0, i) for i in range(result.nfields)]
                return [(value or b"").decode() for value in values]
            if result.status == pq.ExecStatus.FATAL_ERROR:
                raise self._refused(result)
        return []

    def _refused(self, result: pq.abc.PGresult) -> SourceError:
        state = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
        text = (result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or b"").decode(
            errors="replace"
        )
        if not state or state.startswith(("08", "57P")):
            return SourceUnavailableError(text or "the connection was lost")
        return ServerRefusedError(text, sqlstate=state)


def _connect(info: bytes, *, timeout_s: float) -> pq.abc.PGconn:
    """Connect, letting other threads run: `PGconn.connect` keeps them all waiting.

    Raises:
        SourceUnavailableError: It takes longer.
    """
    connection = pq.PGconn.connect_start(info)
    deadline = time.monotonic() + timeout_s
    while connection.status != pq.ConnStatus.BAD:
        state = connection.connect_poll()
        if state in (pq.PollingStatus.OK, pq.PollingStatus.FAILED):
            break
        sockets = [connection.socket]
        reads = state == pq.PollingStatus.READING
        left = deadline - time.monotonic()
        ready = left > 0 and select.select(
            sockets if reads else [], [] if reads else sockets, [], left
        )
        if not ready or not any(ready):
            connection.finish()
            raise SourceUnavailableError(f"cannot connect: no answer in {timeout_s:g} s")
    return connection
