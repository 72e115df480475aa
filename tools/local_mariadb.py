"""A MariaDB server of one's own: a temporary folder, a unix socket and a free port of loopback."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import pymysql
import pymysql.cursors

__all__ = ["LocalMariaDB"]

_START_S = 60.0
_SETTINGS = {
    "binlog-format": "ROW",
    "binlog-row-image": "FULL",
    "binlog-row-metadata": "FULL",
    "server-id": "11",
    "gtid-strict-mode": "ON",
    # A test's server need not survive the machine.
    "innodb-flush-log-at-trx-commit": "0",
    "sync-binlog": "0",
    "innodb-buffer-pool-size": "64M",
    "innodb-log-file-size": "16M",
    "performance-schema": "OFF",
    "skip-name-resolve": "ON",
    "skip-host-cache": "ON",
}


class LocalMariaDB:
    """A server that lives as long as the `with` block.

    As root it runs as the user `mysql`, which the system's packages make: MariaDB does not run as
    root. Its root account has no password; whoever reaches the socket or the port may use it.

    Args:
        settings: Added to, or instead of, what tests need: names as on the command line.
    """

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        self._settings = {**_SETTINGS, **(settings or {})}
        self._folder = Path(tempfile.mkdtemp(prefix="prism-mariadb-"))
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def __enter__(self) -> Self:
        if os.geteuid() == 0:
            account = pwd.getpwnam("mysql")
            os.chown(self._folder, account.pw_uid, account.pw_gid)
        subprocess.run(
            [
                *("mariadb-install-db", "--no-defaults", f"--datadir={self._data}"),
                *("--auth-root-authentication-method=normal", "--skip-test-db"),
                *self._as_user(),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.start()
        # Accounts of one host name each would be another thing to think of in every test.
        self.execute("CREATE USER 'root'@'127.0.0.1'")
        self.execute("GRANT ALL ON *.* TO 'root'@'127.0.0.1' WITH GRANT OPTION")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def socket(self) -> Path:
        """The unix socket."""
        return self._folder / "s"

    @property
    def pid(self) -> int | None:
        """The server's process, while it runs."""
        return self._process.pid if self._process is not None else None

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def dsn(self, *, database: str = "", user: str = "root", password: str | None = None) -> str:
        """How a source connects, by TCP."""
        secret = "" if password is None else f":{password}"
        return f"mariadb://{user}{secret}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it and wait until it answers; on the same port as before."""
        self.port = self.port or _free_port()
        self._process = subprocess.Popen(
            [
                *("mariadbd", "--no-defaults", f"--datadir={self._data}"),
                *(f"--socket={self.socket}", f"--pid-file={self._folder / 'pid'}"),
                *("--bind-address=127.0.0.1", f"--port={self.port}"),
                *(
                    f"--log-error={self._folder / 'error.log'}",
                    f"--log-bin={self._data / 'binlog'}",
                ),
                *(f"--{name}={value}" for name, value in self._settings.items()),
                *self._as_user(),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + _START_S
        while True:
            try:
                self.connect().close()
            except pymysql.Error as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    log = self._folder / "error.log"
                    told = log.read_text()[-2000:] if log.exists() else ""
                    raise RuntimeError(f"MariaDB does not start: {told}") from error
                time.sleep(0.02)
            else:
                return

    def stop(self) -> None:
        """End it in order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self._end(signal.SIGKILL)

    def connect(self, database: str | None = None) -> pymysql.Connection[pymysql.cursors.Cursor]:
        """Connect as root by the socket, without autocommit."""
        return pymysql.connect(
            unix_socket=str(self.socket), user="root", database=database, charset="utf8mb4"
        )

    def execute(self, *statements: str, database: str | None = None) -> None:
        """Run statements in one transaction."""
        connection = self.connect(database)
        try:
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
            connection.commit()
        finally:
            connection.close()

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            process.wait(_START_S)

    @staticmethod
    def _as_user() -> list[str]:
        return ["--user=mysql"] if os.geteuid() == 0 else []


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
