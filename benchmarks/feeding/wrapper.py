"""A real prism-wrapper in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from feeding.shop import TABLE, TEMPLATE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from feeding.shop import Shop

_HOST = "127.0.0.1"
_START_S = 60.0
_STOP_S = 30.0


class Wrapper:
    """A wrapper that runs, as `prism-wrapper --config F` starts it.

    Attributes:
        port: Where drivers connect.
        tenant_id: Whose rows it serves.
        log: What it says.
    """

    def __init__(self, shop: Shop, folder: Path, *, tenant_id: str, embeds: bool) -> None:
        self.tenant_id = tenant_id
        self.port = _free_port()
        self.log = folder / "wrapper.log"
        self._slot = f"prism_{tenant_id}"
        self._shop = shop
        self._config = folder / "wrapper.toml"
        self._config.write_text(
            f"""
[database]
flavor = "postgresql"
dsn = {json.dumps(shop.dsn)}

[chorus]
listen_port = {self.port}
tenant_id = "{tenant_id}"

[log]
path = {json.dumps(str(folder / "changes"))}

[[tables]]
name = "{TABLE}"
text = "{TEMPLATE}"
embed = {str(embeds).lower()}
"""
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process."""
        if self._process is None:
            raise RuntimeError("the wrapper was not started")
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it listens.

        Raises:
            RuntimeError: It ended, or does not listen in time; the message ends with its log.
        """
        command = [sys.executable, "-m", "prism.wrapper", "--config", str(self._config)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline and self._process.poll() is None:
            with suppress(OSError), socket.create_connection((_HOST, self.port), 1):
                return
            time.sleep(0.05)
        said = "\n".join(self.log.read_text(errors="replace").splitlines()[-8:])
        raise RuntimeError(f"prism-wrapper does not listen:\n{said}")

    def cpu_s(self) -> float:
        """CPU seconds that it has used."""
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)

    def resident_bytes(self) -> int:
        """Its resident memory."""
        return int(psutil.Process(self.pid).memory_info().rss)

    def stop(self) -> None:
        """Let it drain and end, and drop its slot."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._forget_slot()

    def _forget_slot(self) -> None:
        deadline = time.monotonic() + _STOP_S
        with self._shop.connected() as cursor:
            while time.monotonic() < deadline:
                cursor.execute(
                    "SELECT active FROM pg_replication_slots WHERE slot_name = %s", (self._slot,)
                )
                found = cursor.fetchone()
                if found is None:
                    return
                if not found[0]:
                    cursor.execute("SELECT pg_drop_replication_slot(%s)", (self._slot,))
                    return
                time.sleep(0.05)


@contextmanager
def running(shop: Shop, *, tenant_id: str, embeds: bool) -> Iterator[Wrapper]:
    """Give a wrapper that runs, and stop it."""
    with tempfile.TemporaryDirectory(prefix="prism-wrapper-") as folder:
        wrapper = Wrapper(shop, Path(folder), tenant_id=tenant_id, embeds=embeds)
        try:
            wrapper.start()
            yield wrapper
        finally:
            wrapper.stop()


@contextmanager
def held(pid: int) -> Iterator[None]:
    """Stop a process for a while, by SIGSTOP."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port
