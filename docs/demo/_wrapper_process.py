"""`prism-wrapper --config wrapper.toml` as a process of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["TENANT", "WrapperFailedError", "WrapperProcess"]

TENANT = "demo"

_START_S = 60.0
_STOP_S = 15.0


class WrapperFailedError(RuntimeError):
    """It did not start, or it ended by itself; the message has the end of its log."""


class WrapperProcess:
    """The wrapper. Close it after use; closing twice is fine.

    Args:
        folder: For its configuration, its change log and what it says.
        dsn: Its database.
    """

    def __init__(self, folder: Path, *, dsn: str) -> None:
        self.port = _free_port()
        self._folder = folder
        self._config = folder / "wrapper.toml"
        self._config.touch(mode=0o600)
        self._config.write_text(self._toml(dsn), encoding="utf-8")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Its process id, or None while it does not run."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start it and wait until it takes connections.

        Raises:
            WrapperFailedError: It does not.
        """
        with (self._folder / "wrapper.output").open("ab") as output, _signals_kept():
            self._process = subprocess.Popen(  # noqa: S603  our own program
                [sys.executable, "-m", "prism.wrapper", "--config", str(self._config)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for us: we end it
            )
        deadline = time.monotonic() + _START_S
        while not _answers(self.port):
            self.check()
            if time.monotonic() > deadline:
                raise WrapperFailedError(self._told(f"did not listen within {_START_S:.0f} s"))
            time.sleep(0.05)

    def check(self) -> None:
        """Raise if it has ended by itself.

        Raises:
            WrapperFailedError: It has.
        """
        if self._process is not None and (code := self._process.poll()) is not None:
            raise WrapperFailedError(self._told(f"ended with code {code}"))

    def kill(self) -> None:
        """End it with SIGKILL, as a crash would."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def close(self) -> None:
        """End it with SIGTERM, and with SIGKILL if it takes too long."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _toml(self, dsn: str) -> str:
        # A JSON string is a TOML string.
        return f"""\
[database]
flavor = "postgresql"
dsn = {json.dumps(dsn)}

[chorus]
tenant_id = {json.dumps(TENANT)}
listen_port = {self.port}

[[tables]]
name = "products"
text = "{{name}}: {{description}}"

[write]
tables = ["products"]

[log]
path = {json.dumps(os.fspath(self._folder / "demo.changes"))}
"""

    def _told(self, what: str) -> str:
        output = self._folder / "wrapper.output"
        lines = output.read_text(encoding="utf-8", errors="replace").splitlines()[-8:]
        return "\n".join([f"prism-wrapper {what}; it said:", *lines])


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Let signals wait: a process that has started and is not yet known would be left."""
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _frame: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for one in came:
            signal.raise_signal(one)
